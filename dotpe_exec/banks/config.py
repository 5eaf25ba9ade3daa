"""``bank_config.json``: what all waveforms of a bank have in common."""

from __future__ import annotations

import math
import numbers
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BankError
from ..events.bins import FEWEST_BINS
from ..gc_pause import no_collection
from ..lean_cogwheel import lean_cogwheel
from ..npy_files import read_json_object
from ..validation import short

_REQUIRED = ("approximant", "f_ref", "fbin", "m_arr", "blocksize")


@dataclass(frozen=True, eq=False)
class BankConfig:
    """What all waveforms of a bank have in common.

    Parameters
    ----------
    approximant : str
    f_ref : float
        Reference frequency of the spins [Hz].
    fbin : (n_b,) float
        Frequencies at which the waveforms are given: edges of the bins [Hz].
    m_arr : (n_m,) int
        Azimuthal numbers of the modes, in the order of the files.
    harmonic_modes : tuple of (l, m)
        Modes summed in each m; ``m_arr`` is in order of first appearance in it.
    blocksize : int
        Waveforms per file.
    info : dict
        Everything else in the file: informative.
    """

    approximant: str
    f_ref: float
    fbin: np.ndarray
    m_arr: np.ndarray
    harmonic_modes: tuple[tuple[int, int], ...]
    blocksize: int
    info: Mapping[str, Any]

    @property
    def mchirp_range(self) -> tuple[float, float] | None:
        """Range of chirp masses [solar masses], if the file has one."""
        for low, high in (("mchirp_min", "mchirp_max"), ("min_mchirp", "max_mchirp")):
            ends = self.info.get(low), self.info.get(high)
            if all(_is_finite(end) for end in ends):
                return float(ends[0]), float(ends[1])  # type: ignore[arg-type]
        return None


def read_config(path: Path) -> BankConfig:
    """Return the configuration in ``path``, checked.

    Banks made before ``harmonic_modes`` was written have the approximant's modes whose m
    is in ``m_arr``.

    Raises
    ------
    MissingFileError
    BankError
        The file is not JSON, or an entry is missing or has a value that cannot be used.
    """
    content = read_json_object(path)
    missing = [key for key in _REQUIRED if key not in content]
    if missing:
        raise BankError(f"{path}: {missing[0]} is missing")
    approximant = content["approximant"]
    if not isinstance(approximant, str) or not approximant:
        raise BankError(f"{path}: approximant is {approximant!r}, expected a name")
    default_modes = approximant_modes(approximant, path)
    m_arr = _m_arr(content["m_arr"], path)
    if content.get("harmonic_modes") is None:
        modes = _modes_of_m_arr(default_modes, m_arr, approximant, path)
    else:
        modes = _harmonic_modes(content["harmonic_modes"], m_arr, path)
    known = {*_REQUIRED, "harmonic_modes"}
    return BankConfig(
        approximant=approximant,
        f_ref=_positive(content["f_ref"], "f_ref", path),
        fbin=_fbin(content["fbin"], path),
        m_arr=np.array(m_arr, dtype=np.int64),
        harmonic_modes=modes,
        blocksize=_positive_integer(content["blocksize"], "blocksize", path),
        info={key: value for key, value in content.items() if key not in known},
    )


def approximant_modes(approximant: str, source: Any) -> list[tuple[int, int]]:
    """Return the modes (l, m) that cogwheel has for an approximant.

    Parameters
    ----------
    approximant : str
    source : object
        What names it, for the message.

    Raises
    ------
    BankError
        cogwheel does not know the approximant.
    """
    lean_cogwheel()
    with no_collection():
        from cogwheel import waveform

    if isinstance(approximant, str) and approximant == "IMRPhenomXODE":
        import cogwheel.waveform_models.xode  # noqa: F401  (registers the approximant)

    if not isinstance(approximant, str) or approximant not in waveform.APPROXIMANTS:
        raise BankError(
            f"{source}: approximant is {short(approximant)}, expected one of "
            + ", ".join(sorted({*waveform.APPROXIMANTS, "IMRPhenomXODE"}))
        )
    return [
        (int(ell), int(m)) for ell, m in waveform.APPROXIMANTS[approximant].harmonic_modes
    ]


def first_appearance(modes: Any) -> list[int]:
    """Return the azimuthal numbers of modes (l, m) in order of first appearance."""
    return list(dict.fromkeys(m for _, m in modes))


def _is_finite(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond the range of float
        return False


def _positive(value: Any, name: str, path: Path) -> float:
    if not _is_finite(value) or value <= 0:
        raise BankError(f"{path}: {name} is {_short(value)}, expected a positive number")
    return float(value)


def _is_positive_integer(value: Any) -> bool:
    return _is_finite(value) and 0 < value < 2**62 and float(value).is_integer()


def _positive_integer(value: Any, name: str, path: Path) -> int:
    if not _is_positive_integer(value):
        raise BankError(f"{path}: {name} is {_short(value)}, expected a positive integer")
    return int(value)


def _fbin(value: Any, path: Path) -> np.ndarray:
    if (
        not isinstance(value, list)
        or len(value) < FEWEST_BINS
        or not all(_is_finite(f) and f > 0 for f in value)
    ):
        raise BankError(
            f"{path}: fbin is {_short(value)}, expected a list of at least {FEWEST_BINS} "
            "positive frequencies [Hz]"
        )
    fbin = np.array(value, dtype=np.float64)
    falls = np.flatnonzero(np.diff(fbin) <= 0)
    if len(falls):
        k = int(falls[0])
        raise BankError(
            f"{path}: fbin goes from {fbin[k]} to {fbin[k + 1]} Hz at position {k}, "
            "expected frequencies in ascending order"
        )
    return fbin


def _m_arr(value: Any, path: Path) -> list[int]:
    if (
        not isinstance(value, list)
        or not all(_is_positive_integer(m) for m in value)
        or len(set(value)) != len(value)
        or 2 not in value
    ):
        # Waveforms are aligned in time by their m = 2 mode.
        raise BankError(
            f"{path}: m_arr is {_short(value)}, expected distinct positive integers, "
            "2 among them"
        )
    return [int(m) for m in value]


def _harmonic_modes(value: Any, m_arr: list[int], path: Path) -> tuple:
    ok = isinstance(value, list) and all(
        isinstance(mode, list)
        and len(mode) == 2
        and all(_is_positive_integer(number) for number in mode)
        and mode[0] >= mode[1]
        for mode in value
    )
    if not ok or len({tuple(mode) for mode in value}) != len(value):
        raise BankError(
            f"{path}: harmonic_modes is {_short(value)}, expected distinct pairs [l, m]"
        )
    modes = tuple((int(ell), int(m)) for ell, m in value)
    if first_appearance(modes) != m_arr:
        raise BankError(
            f"{path}: m_arr is {m_arr}, expected {first_appearance(modes)} for the "
            f"harmonic_modes {_short(value)}"
        )
    return modes


def _modes_of_m_arr(
    modes: list[tuple[int, int]], m_arr: list[int], approximant: str, path: Path
) -> tuple:
    present = [mode for mode in modes if mode[1] in m_arr]
    if set(first_appearance(present)) != set(m_arr):
        raise BankError(
            f"{path}: m_arr is {m_arr}, expected some of {first_appearance(modes)}, "
            f"the modes of {approximant}"
        )
    if first_appearance(present) != m_arr:
        present.sort(key=lambda mode: m_arr.index(mode[1]))
    return tuple(present)


def _short(value: Any) -> str:
    return reprlib.repr(value)  # never long, however large or deep the value
