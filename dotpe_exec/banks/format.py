"""A bank folder: open it, check it cheaply, read waveforms from it.

The only module that knows the file names of a bank. A worker that reads waveforms
imports this module, so pandas, pyarrow and cogwheel load only where they are needed.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..digests import file_digest
from ..errors import BankError, InputError, MissingFileError
from ..npy_files import first_rows, read_json_object, reading
from ..warned import warn
from .config import BankConfig, read_config
from .table import check_table_columns, read_table_columns
from .waveforms import DIGESTS_NAME, KINDS, BankHandle

if TYPE_CHECKING:
    import pandas as pd

CONFIG_NAME = "bank_config.json"
TABLE_NAME = "intrinsic_sample_bank.feather"
CHECKSUMS_NAME = "checksums.json"
BUILD_NAME = "build.json"

_BANK_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")


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
    digests : str
        See :class:`~dotpe_exec.banks.waveforms.BankHandle`.
    """

    folder: Path
    bank_id: str
    config: BankConfig
    n_waveforms: int
    digests: str = ""

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
            digests=self.digests,
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
        gigabytes), the sizes of all files, the first waveform of each block and, where
        the bank carries them, the digests of all.
        """
        digest = hashlib.blake2b(digest_size=16)
        config = self.config
        for part in (config.approximant, config.f_ref, config.blocksize, self.n_waveforms,
                     config.m_arr.tolist(), config.harmonic_modes):  # fmt: skip
            digest.update(f"{part!r};".encode())
        digest.update(config.fbin.tobytes())
        digest.update(self.digests.encode())
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
        checksums = read_checksums(folder)
        check_small_files(folder, checksums)
        columns = read_table_columns(folder / TABLE_NAME)
        check_table_columns(folder / TABLE_NAME, columns)
        digests = checksums.get(DIGESTS_NAME, "")
        bank = Bank(folder, bank_id, config, len(columns["m1"]), digests)
        bank.handle.expected_digests()
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


def small_files(folder: Path) -> list[Path]:
    """Return the files of a bank that are not waveforms, there or not."""
    return [folder / name for name in (CONFIG_NAME, TABLE_NAME, DIGESTS_NAME)]


def check_small_files(folder: Path, checksums: Mapping[str, str]) -> None:
    """Compare all but the waveforms with their checksums; BankError if they differ."""
    for name in (CONFIG_NAME, TABLE_NAME, DIGESTS_NAME):
        with reading(folder / name):
            same = name not in checksums or file_digest(folder / name) == checksums[name]
        if not same:
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
    folders = bank_folders(bank_folder)
    banks = {bank_id: open_bank(folder, bank_id) for bank_id, folder in folders.items()}
    seen: dict[Path, str] = {}
    for bank_id, bank in banks.items():
        first = seen.setdefault(bank.folder.resolve(), bank_id)
        if first != bank_id:
            warn(
                f"{first} and {bank_id} are the same folder {bank.folder}: its evidence "
                "counts twice",
                stacklevel=2,
            )
    return banks


def bank_folders(bank_folder: Any) -> dict[str, str | os.PathLike]:
    """Return the folder of each bank by its id, whether it is there or not.

    Takes what :func:`open_banks` does, and refuses what is not that with an InputError.
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
    return folders


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
