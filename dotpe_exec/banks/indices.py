"""Which waveforms of which bank a run considers, and with which prior weights.

What users may give in many forms (``n_int``, ``i_int_start``, ``preselected_indices``,
``load_inds`` with ``inds_path``, ``bank_logw_override``) becomes one form here, checked.
"""

from __future__ import annotations

import numbers
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..npy_files import load_npy_vector, load_npz_vector, reading
from ..warned import warn
from .format import Bank
from .table import LARGEST_LOG_WEIGHT

#: File of an earlier run with the waveforms that it selected, as ``inds``.
INDS_NAME = "intrinsic_samples.npz"


@dataclass(frozen=True)
class ResolvedIndices:
    """The waveforms that enter the incoherent selection.

    Parameters
    ----------
    candidates : dict of range or (n_i,) int64
        Their indices by bank id, for every bank, in the order given by the user; an
        array may be empty as long as another bank's is not.
    n_int : dict of int
        Waveforms considered before any selection, by bank id: N_int,k of the evidence.
    """

    candidates: dict[str, range | np.ndarray]
    n_int: dict[str, int]


def resolve_indices(
    banks: Mapping[str, Bank],
    *,
    n_int: Any = None,
    i_int_start: int = 0,
    preselected_indices: Any = None,
    load_inds: bool = False,
    inds_path: Any = None,
) -> ResolvedIndices:
    """Return the candidates of every bank and how many waveforms they stand for.

    Parameters
    ----------
    banks : dict of Bank
    n_int : None, int, list or dict
        Number of waveforms: None or [] for whole banks, an integer or a list of one for
        every bank, a list with one entry per bank, or a dictionary by bank id (banks
        without an entry are taken whole). With indices given it is only the number of
        waveforms that they were selected from.
    i_int_start : int
        First waveform, in every bank.
    preselected_indices : None, array, list, ``.npy`` path, or dict of these by bank id
        The waveforms to consider instead of a range; banks without an entry are taken
        whole. Several banks need a dictionary.
    load_inds : bool
        Whether to take the waveforms that an earlier run selected, from ``inds_path``.
    inds_path : path, or dict of these by bank id
        An ``intrinsic_samples.npz``, or the directory of a run of which the files
        ``banks/<bank id>/intrinsic_samples.npz`` are meant.

    Raises
    ------
    InputError
        A number is not a positive integer or exceeds a bank; indices are not integers,
        outside a bank or repeated; a bank id is unknown; arguments contradict each other.
    MissingFileError
        A file of indices does not exist.

    Warns
    -----
    UserWarning
        ``n_int`` is smaller than the number of indices given.
    """
    numbers_by_bank = _n_int_by_bank(n_int, banks)
    if load_inds and inds_path is None:
        raise InputError(
            f"load_inds is set but inds_path is None, expected the {INDS_NAME} of an "
            "earlier run"
        )
    if load_inds and preselected_indices is not None:
        raise InputError(
            "both preselected_indices and load_inds are given, expected one of them"
        )
    given: dict[str, np.ndarray] = {}
    name = "inds_path" if load_inds else "preselected_indices"
    if load_inds:
        given = {
            bank_id: _load_selected(path, banks[bank_id])
            for bank_id, path in _inds_paths(inds_path, banks).items()
        }
    elif preselected_indices is not None:
        given = {
            bank_id: _given_indices(value, banks[bank_id])
            for bank_id, value in _by_bank(preselected_indices, banks, name).items()
            if value is not None
        }
    start = _whole_number(i_int_start, "i_int_start", smallest=0)
    if given and start:
        raise InputError(
            f"i_int_start is {start} but {name} is given, expected 0 or no indices"
        )
    candidates: dict[str, range | np.ndarray] = {}
    n_considered = {}
    for bank_id, bank in banks.items():
        number = numbers_by_bank.get(bank_id)
        if bank_id in given:
            candidates[bank_id] = given[bank_id]
            n_considered[bank_id] = bank.n_waveforms if number is None else number
            _warn_if_fewer(n_considered[bank_id], given[bank_id], bank_id)
        else:
            candidates[bank_id] = _range(start, number, bank)
            n_considered[bank_id] = len(candidates[bank_id])
    if not any(len(inds) for inds in candidates.values()):
        raise InputError(f"{name} is empty, expected at least one waveform")
    return ResolvedIndices(candidates, n_considered)


def resolve_logw(
    bank_logw_override: Any, banks: Mapping[str, Bank]
) -> dict[str, np.ndarray]:
    """Return the ln prior weights of every bank, its own unless others are given.

    Parameters
    ----------
    bank_logw_override : None, array, list, pandas.Series, or dict of these by bank id
        Weights for all waveforms of a bank; banks without an entry keep their own.
        Several banks need a dictionary.
    banks : dict of Bank

    Returns
    -------
    dict of (n_waveforms,) float64
        By bank id.

    Raises
    ------
    InputError
        The weights are not numbers, not finite, or not one for each waveform.
    """
    name = "bank_logw_override"
    given = {} if bank_logw_override is None else _by_bank(bank_logw_override, banks, name)
    return {
        bank_id: (
            bank.log_prior_weights()
            if given.get(bank_id) is None
            else _weights(given[bank_id], f"{name} of {bank_id}", bank.n_waveforms)
        )
        for bank_id, bank in banks.items()
    }


def _weights(value: Any, name: str, n_waveforms: int) -> np.ndarray:
    array = _array(value, name)
    if array.dtype.kind not in "iuf":
        raise InputError(f"{name} has dtype {array.dtype}, expected numbers")
    if array.shape != (n_waveforms,):
        raise InputError(f"{name} has shape {array.shape}, expected ({n_waveforms},)")
    array = array.astype(np.float64)
    bad = np.flatnonzero(np.isfinite(array) & (np.abs(array) > LARGEST_LOG_WEIGHT))
    if len(bad):
        raise InputError(
            f"{name} is {array[bad[0]]:g} for waveform {bad[0]}, expected at most "
            f"{LARGEST_LOG_WEIGHT:.0e} either way: differences of larger ones are lost in "
            "rounding (take a constant off)"
        )
    bad = np.flatnonzero(~np.isfinite(array))
    if len(bad):
        raise InputError(
            f"{name} is {array[bad[0]]} for waveform {bad[0]}, expected finite numbers "
            "(preselected_indices leaves waveforms out)"
        )
    return array


def _n_int_by_bank(n_int: Any, banks: Mapping[str, Bank]) -> dict[str, int]:
    """Return the number of waveforms by bank id, without those that are taken whole."""
    if isinstance(n_int, np.ndarray):
        n_int = n_int.tolist()
    if n_int is None or (isinstance(n_int, list | tuple) and len(n_int) == 0):
        return {}
    if isinstance(n_int, Mapping):
        values = _known(n_int, banks, "n_int")
    elif isinstance(n_int, list | tuple):
        if len(n_int) not in (1, len(banks)):
            raise InputError(
                f"n_int has {len(n_int)} entries, expected 1 or {len(banks)}, one for each "
                "bank"
            )
        entries = n_int if len(n_int) == len(banks) else [n_int[0]] * len(banks)
        values = dict(zip(banks, entries, strict=True))
    else:
        values = dict.fromkeys(banks, n_int)
    result = {}
    for bank_id, value in values.items():
        if value is None:
            continue
        number = _whole_number(value, "n_int", smallest=1)
        if number > banks[bank_id].n_waveforms:
            raise InputError(
                f"n_int is {number} for {bank_id}, expected at most "
                f"{banks[bank_id].n_waveforms}, its number of waveforms"
            )
        result[bank_id] = number
    return result


def _range(start: int, number: int | None, bank: Bank) -> range:
    stop = bank.n_waveforms if number is None else start + number
    if start >= bank.n_waveforms or stop > bank.n_waveforms:
        wanted = f"i_int_start is {start}" + (f" and n_int {number}" if number else "")
        raise InputError(
            f"{wanted}, but {bank.bank_id} has only {bank.n_waveforms} waveforms"
        )
    return range(start, stop)


def _whole_number(value: Any, name: str, smallest: int) -> int:
    whole = isinstance(value, numbers.Integral) or (
        isinstance(value, numbers.Real) and float(value).is_integer()
    )
    if isinstance(value, bool | np.bool_) or not whole or value < smallest:
        raise InputError(f"{name} is {value!r}, expected an integer of at least {smallest}")
    return int(value)


def _known(values: Mapping, banks: Mapping[str, Bank], name: str) -> dict[str, Any]:
    """Return a dictionary by bank id after checking that the ids are those of banks."""
    unknown = [key for key in values if key not in banks]
    if unknown:
        raise InputError(
            f"{name} has an entry for {unknown[0]!r}, expected bank ids: {', '.join(banks)}"
        )
    return dict(values)


def _by_bank(value: Any, banks: Mapping[str, Bank], name: str) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return _known(value, banks, name)
    if len(banks) > 1:
        raise InputError(
            f"{name} is a {type(value).__name__} but there are {len(banks)} banks, "
            f"expected a dictionary by bank id ({', '.join(banks)})"
        )
    return dict.fromkeys(banks, value)


def _array(value: Any, name: str) -> np.ndarray:
    try:
        return np.asarray(value)
    except (ValueError, TypeError) as error:  # nested lists of different lengths
        raise InputError(f"{name} is not an array: {error}") from error


def _given_indices(value: Any, bank: Bank) -> np.ndarray:
    name = f"preselected_indices of {bank.bank_id}"
    if isinstance(value, str | os.PathLike):
        path = Path(value).expanduser()
        with reading(path, InputError):
            array = load_npy_vector(path, longest=bank.n_waveforms)
        return _checked(array, f"preselected_indices file {path}", bank)
    return _checked(_array(value, name), name, bank)


def _load_selected(path: Path, bank: Bank) -> np.ndarray:
    with reading(path, InputError):
        array = load_npz_vector(path, "inds", longest=bank.n_waveforms)
    if len(array) == 0 and array.dtype.kind == "f":
        array = array.astype(np.int64)  # how NumPy writes an empty list
    return _checked(array, f"inds_path file {path}", bank)


def _inds_paths(inds_path: Any, banks: Mapping[str, Bank]) -> dict[str, Path]:
    """Return the file of loaded indices of every bank."""
    if not isinstance(inds_path, Mapping):
        if not isinstance(inds_path, str | os.PathLike):
            raise InputError(
                f"inds_path is a {type(inds_path).__name__}, expected a path or a "
                "dictionary of paths"
            )
        folder = Path(inds_path).expanduser()
        if (folder / "banks").is_dir():
            return {bank_id: folder / "banks" / bank_id / INDS_NAME for bank_id in banks}
    paths = _by_bank(inds_path, banks, "inds_path")
    for bank_id in banks:
        if paths.get(bank_id) is None:
            raise InputError(f"inds_path has no entry for {bank_id}, expected a path")
        if not isinstance(paths[bank_id], str | os.PathLike):
            raise InputError(
                f"inds_path of {bank_id} is {paths[bank_id]!r}, expected a path"
            )
    return {bank_id: Path(path).expanduser() for bank_id, path in paths.items()}


def _checked(array: np.ndarray, name: str, bank: Bank) -> np.ndarray:
    """Return indices as int64 after checking that each names another waveform."""
    if array.ndim != 1:
        raise InputError(f"{name} has shape {array.shape}, expected one dimension")
    if array.size == 0:
        return np.empty(0, dtype=np.int64)
    if array.dtype.kind not in "iu":
        raise InputError(f"{name} has dtype {array.dtype}, expected integers")
    outside = np.flatnonzero((array < 0) | (array >= bank.n_waveforms))
    if len(outside):
        raise InputError(
            f"{name}: index {array[outside[0]]} at position {outside[0]} is outside "
            f"{bank.bank_id}, expected 0 to {bank.n_waveforms - 1}"
        )
    inds = array.astype(np.int64)
    values, counts = np.unique(inds, return_counts=True)
    if len(values) < len(inds):
        raise InputError(
            f"{name}: index {values[counts > 1][0]} appears {counts[counts > 1][0]} times, "
            "expected each once"
        )
    return inds


def _warn_if_fewer(n_int: int, inds: np.ndarray, bank_id: str) -> None:
    if n_int < len(inds):
        warn(
            f"n_int is {n_int} for {bank_id}, fewer than the {len(inds)} indices given: "
            "the evidence is normalised by n_int, the number of waveforms that they were "
            "selected from",
            stacklevel=3,
        )
