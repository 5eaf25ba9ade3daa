"""A bank folder: open it, check it cheaply, read waveforms from it.

The only module that knows the file names of a bank. A worker that reads waveforms
imports this module, so pandas, pyarrow and cogwheel load only where they are needed.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..digests import file_digest
from ..errors import BankError, InputError, MissingFileError
from ..executors.store import ArrayHandle
from ..npy_files import check_array_file, first_rows, read_json_object, reading
from .config import BankConfig, read_config
from .table import check_table_columns, read_table_columns

if TYPE_CHECKING:
    import pandas as pd

CONFIG_NAME = "bank_config.json"
TABLE_NAME = "intrinsic_sample_bank.feather"
WAVEFORMS_NAME = "waveforms"
CHECKSUMS_NAME = "checksums.json"
BUILD_NAME = "build.json"

#: Waveform files of a block: amplitude and phase.
KINDS = ("amplitudes", "phase")

_FLOAT = np.dtype(np.float64)
_BANK_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")


def block_name(kind: str, k: int | str) -> str:
    """Return the name of the file of ``kind`` for block ``k``, relative to the bank."""
    return f"{WAVEFORMS_NAME}/{kind}_block_{k}.npy"


@dataclass(frozen=True)
class BankHandle:
    """Where a bank's waveforms lie: small, picklable, opened by whoever reads.

    Parameters
    ----------
    folder : str
        The bank folder.
    bank_id : str
    n_waveforms, blocksize, n_m, n_b : int
        Number of waveforms, waveforms per file, modes, frequency bins.
    """

    folder: str
    bank_id: str
    n_waveforms: int
    blocksize: int
    n_m: int
    n_b: int

    @property
    def n_blocks(self) -> int:
        """Number of blocks."""
        return -(-self.n_waveforms // self.blocksize)

    def block_shape(self, k: int) -> tuple[int, int, int, int]:
        """Return the shape (waveforms, n_m, 2, n_b) of block ``k``; the last is shorter."""
        n_rows = min(self.blocksize, self.n_waveforms - k * self.blocksize)
        return (n_rows, self.n_m, 2, self.n_b)

    def block_path(self, kind: str, k: int) -> Path:
        """Return the path of the file of ``kind`` for block ``k``."""
        return Path(self.folder) / block_name(kind, k)

    def check_block(self, k: int) -> None:
        """Check presence, kind, shape and length of the files of block ``k``.

        Raises
        ------
        MissingFileError, BankError
        """
        for kind in KINDS:
            path = self.block_path(kind, k)
            with reading(path):
                check_array_file(path, self.block_shape(k), _FLOAT)

    def read(self, inds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return amplitudes and phases, (len(inds), n_m, 2, n_b) float64 each.

        ``inds`` may be in any order. Contiguous indices within one file come as a view
        of the memory map, nothing is copied.

        Raises
        ------
        InputError
            An index is outside the bank.
        MissingFileError, BankError
            The file of a block is missing, truncated or of another shape or kind.
        """
        inds = np.asarray(inds, dtype=np.int64)
        if len(inds) and not 0 <= inds.min() <= inds.max() < self.n_waveforms:
            bad = inds[(inds < 0) | (inds >= self.n_waveforms)][0]
            raise InputError(
                f"index {bad} is outside {self.bank_id}, which has {self.n_waveforms} "
                "waveforms"
            )
        if len(inds) and inds[-1] - inds[0] == len(inds) - 1 and np.all(np.diff(inds) == 1):
            k, first = divmod(int(inds[0]), self.blocksize)
            if int(inds[-1]) // self.blocksize == k:
                rows = slice(first, first + len(inds))
                amplitudes, phases = _open_block(self, k)
                return amplitudes[rows], phases[rows]
        shape = (len(inds), self.n_m, 2, self.n_b)
        amplitudes_impb, phases_impb = np.empty(shape), np.empty(shape)
        blocks = inds // self.blocksize
        for k in np.unique(blocks):
            places = np.flatnonzero(blocks == k)
            amplitudes, phases = _open_block(self, int(k))
            amplitudes_impb[places] = amplitudes[inds[places] - k * self.blocksize]
            phases_impb[places] = phases[inds[places] - k * self.blocksize]
        return amplitudes_impb, phases_impb


@functools.lru_cache(maxsize=64)
def _open_block(bank: BankHandle, k: int) -> tuple[np.ndarray, np.ndarray]:
    bank.check_block(k)
    return tuple(  # type: ignore[return-value]
        np.load(bank.block_path(kind, k), mmap_mode="r", allow_pickle=False)
        for kind in KINDS
    )


def forget_open_blocks() -> None:
    """Close the memory maps of this process, after the files of a bank were replaced."""
    _open_block.cache_clear()


@dataclass(frozen=True)
class WaveformBatch:
    """A batch of waveforms: ``start`` to ``stop`` of the bank, or of an index array."""

    bank: BankHandle
    start: int
    stop: int
    inds: ArrayHandle | None = None

    def indices(self) -> np.ndarray:
        """Return the waveforms' indices in the bank."""
        if self.inds is None:
            return np.arange(self.start, self.stop)
        return np.array(self.inds.load()[self.start : self.stop])

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """Return amplitudes and phases of the batch."""
        return self.bank.read(self.indices())


def nonfinite_message(bank: BankHandle, inds: np.ndarray, bad_rows: np.ndarray) -> str:
    """Return a sentence that names waveforms with NaN or infinity and where they lie.

    Parameters
    ----------
    bank : BankHandle
    inds : (n_i,) int
        Indices of the waveforms that were read.
    bad_rows : (n_i,) bool, or (n_bad,) int
        Which of them are not finite.
    """
    bad = np.asarray(inds)[np.asarray(bad_rows)]
    k, row = divmod(int(bad[0]), bank.blocksize)
    others = f", and so do {len(bad) - 1} more of the same batch" if len(bad) > 1 else ""
    return (
        f"waveform {bad[0]} of {bank.bank_id} (row {row} of block {k}, "
        f"{bank.block_path(KINDS[0], k)} or {KINDS[1]}_block_{k}.npy) leads to values that "
        f"are NaN or infinite{others}; `dotpe-exec bank check {bank.folder}` lists all"
    )


@dataclass(frozen=True, eq=False)
class Bank:
    """An open bank; make one with :func:`open_bank`.

    Parameters
    ----------
    folder : pathlib.Path
        Absolute.
    bank_id : str
    config : BankConfig
    n_waveforms : int
    """

    folder: Path
    bank_id: str
    config: BankConfig
    n_waveforms: int

    @property
    def handle(self) -> BankHandle:
        """What a task needs to read waveforms."""
        return BankHandle(
            folder=str(self.folder),
            bank_id=self.bank_id,
            n_waveforms=self.n_waveforms,
            blocksize=self.config.blocksize,
            n_m=len(self.config.m_arr),
            n_b=len(self.config.fbin),
        )

    def table(self) -> pd.DataFrame:
        """Return the table of intrinsic parameters and weights, one row per waveform.

        Columns ``banks.table.TABLE_COLUMNS``; read from disk at each call.
        """
        import pandas as pd

        return pd.DataFrame(read_table_columns(self.folder / TABLE_NAME))

    def log_prior_weights(self) -> np.ndarray:
        """Return ln of the ratio of prior and proposal densities, (n_waveforms,)."""
        path = self.folder / TABLE_NAME
        return read_table_columns(path, ("log_prior_weights",))["log_prior_weights"]

    def identity(self) -> str:
        """Return a digest of what the bank contains, wherever it lies.

        It covers the configuration, the table and, of the waveforms (which are many
        gigabytes), the sizes of all files and the first waveform of each block.
        """
        digest = hashlib.blake2b(digest_size=16)
        config = self.config
        for part in (config.approximant, config.f_ref, config.blocksize, self.n_waveforms,
                     config.m_arr.tolist(), config.harmonic_modes):  # fmt: skip
            digest.update(f"{part!r};".encode())
        digest.update(config.fbin.tobytes())
        for name, column in read_table_columns(self.folder / TABLE_NAME).items():
            digest.update(name.encode())
            digest.update(column.tobytes())
        handle = self.handle
        for k in range(handle.n_blocks):
            for kind in KINDS:
                path, shape = handle.block_path(kind, k), handle.block_shape(k)
                with reading(path):
                    digest.update(first_rows(path, shape, 1).tobytes())
        return digest.hexdigest()


def open_bank(folder: str | os.PathLike, bank_id: str = "bank_0") -> Bank:
    """Open the bank in ``folder`` and check all that can be checked without reading it all.

    Configuration, table (columns there and finite, masses positive), and of every block
    presence, kind, shape and length. Waveforms that contain NaN are found by whoever
    reads them, or by :func:`dotpe_exec.banks.check.check_bank`.

    Raises
    ------
    MissingFileError
        The folder or one of its files does not exist.
    BankError
        A file is not what the format demands; the message names it, what was found and
        what was expected.
    InputError
        ``bank_id`` cannot be the name of a folder.
    """
    check_bank_id(bank_id)
    folder = Path(os.path.abspath(Path(folder).expanduser()))  # noqa: PTH100 (keep links)
    if not folder.is_dir():
        found = "is not a folder" if folder.exists() else "does not exist"
        raise MissingFileError(f"bank_folder: {folder} {found}")
    try:
        config = read_config(folder / CONFIG_NAME)
        check_small_files(folder, read_checksums(folder))
        columns = read_table_columns(folder / TABLE_NAME)
        check_table_columns(folder / TABLE_NAME, columns)
        bank = Bank(folder, bank_id, config, len(columns["m1"]))
        for k in range(bank.handle.n_blocks):
            bank.handle.check_block(k)
    except MissingFileError as error:
        if (folder / BUILD_NAME).exists():
            raise MissingFileError(
                f"{error}: this bank was not built to its end; the same `bank build` "
                "command goes on with it"
            ) from error
        raise
    return bank


def read_checksums(folder: Path) -> dict[str, str]:
    """Return the checksums that a bank carries, by file name; none if it has none.

    Raises
    ------
    BankError
        The file of checksums is damaged.
    """
    path = folder / CHECKSUMS_NAME
    if not path.exists():
        return {}
    files = read_json_object(path).get("files")
    if not isinstance(files, dict) or not all(isinstance(v, str) for v in files.values()):
        raise BankError(f"{path} is not a list of checksums: remove it or build again")
    return files


def check_small_files(folder: Path, checksums: Mapping[str, str]) -> None:
    """Compare configuration and table with their checksums; BankError if they differ."""
    for name in (CONFIG_NAME, TABLE_NAME):
        if name in checksums and file_digest(folder / name) != checksums[name]:
            raise BankError(
                f"{folder / name} is damaged or was changed: it does not agree with its "
                f"checksum in {CHECKSUMS_NAME} (remove that file if the change is meant)"
            )


def open_banks(bank_folder: Any) -> dict[str, Bank]:
    """Open one bank or several.

    Parameters
    ----------
    bank_folder : path, str, list, tuple or dict
        A path, a comma-separated string of paths, a list or tuple of paths (their ids
        are ``bank_0``, ``bank_1``, ...), or a dictionary from bank ids to paths.

    Returns
    -------
    dict of Bank
        By bank id, in the order given.

    Raises
    ------
    InputError
        ``bank_folder`` is empty or of another type, or an id cannot be a folder's name.
    MissingFileError, BankError
        As :func:`open_bank`.
    """
    if isinstance(bank_folder, str):
        whole = bool(bank_folder.strip()) and Path(bank_folder).expanduser().is_dir()
        parts = [part.strip() for part in bank_folder.split(",")]
        folders = dict(_number([bank_folder] if whole else parts))
    elif isinstance(bank_folder, os.PathLike):
        folders = dict(_number([bank_folder]))
    elif isinstance(bank_folder, Mapping):
        folders = dict(bank_folder)
    elif isinstance(bank_folder, list | tuple):
        folders = dict(_number(bank_folder))
    else:
        raise InputError(
            f"bank_folder is a {type(bank_folder).__name__}, expected a path, a "
            "comma-separated string, a list or a dictionary of paths"
        )
    if not folders:
        raise InputError("bank_folder is empty, expected the folder of at least one bank")
    for bank_id, folder in folders.items():
        check_bank_id(bank_id)
        if not isinstance(folder, str | os.PathLike) or not str(folder).strip():
            raise InputError(f"bank_folder: {bank_id} is {folder!r}, expected a path")
    banks = {bank_id: open_bank(folder, bank_id) for bank_id, folder in folders.items()}
    seen: dict[Path, str] = {}
    for bank_id, bank in banks.items():
        first = seen.setdefault(bank.folder.resolve(), bank_id)
        if first != bank_id:
            warnings.warn(
                f"{first} and {bank_id} are the same folder {bank.folder}: its evidence "
                "counts twice",
                stacklevel=2,
            )
    return banks


def _number(folders: Iterable) -> Iterable[tuple[str, Any]]:
    return ((f"bank_{k}", folder) for k, folder in enumerate(folders))


def check_bank_id(bank_id: Any) -> None:
    """Refuse a bank id that is not a safe name of a folder, with an InputError."""
    if not isinstance(bank_id, str) or not _BANK_ID.fullmatch(bank_id):
        raise InputError(
            f"bank_folder: the bank id {bank_id!r} cannot name a folder, expected "
            "letters, digits, '_', '-' and '.'"
        )


def check_agreement(banks: Mapping[str, Bank]) -> None:
    """Check that several banks describe waveforms in the same way.

    Raises
    ------
    BankError
        Two banks differ in approximant, reference frequency, bins or modes; the message
        names both and what differs.
    """
    first, *others = banks.values()
    for other in others:
        for name in ("approximant", "f_ref", "fbin", "m_arr", "harmonic_modes"):
            here, there = getattr(first.config, name), getattr(other.config, name)
            if not np.array_equal(here, there):
                raise BankError(
                    f"{first.bank_id} and {other.bank_id} disagree on {name}: "
                    f"{_describe(here, there)} in {first.folder}, "
                    f"{_describe(there, here)} in {other.folder}"
                )


def _describe(value: Any, other: Any) -> str:
    if np.ndim(value) != 1 or len(value) < 10:
        return str(value.tolist() if isinstance(value, np.ndarray) else value)
    if len(value) != len(other):
        return f"{len(value)} values"
    k = int(np.flatnonzero(value != other)[0])
    return f"{value[k]} at position {k}"
