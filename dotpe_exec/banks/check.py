"""Validate every file of a bank, reading all of it once."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import DotpeExecError
from ..kernels.masses import chirp_mass
from ..npy_files import array_rows
from ..waveforms import ModeGenerator, NoWaveformError
from ..waveforms.parameters import PARAMETERS
from .config import read_config
from .format import (
    CHECKSUMS_NAME,
    CONFIG_NAME,
    TABLE_NAME,
    Bank,
    check_small_files,
    read_checksums,
)
from .table import check_table_columns, read_table_columns
from .waveforms import KINDS, block_name, without_phase

_OTHER_WAVEFORM, _OTHER_VERSION = 0.1, 1e-6  # differences, as a fraction of the norm

#: Problems of one block that are listed one by one.
_MOST_PER_BLOCK = 3


@dataclass(frozen=True)
class BankReport:
    """What :func:`check_bank` found.

    Parameters
    ----------
    folder : pathlib.Path
    problems : tuple of str
        One sentence each: what makes the bank unusable or suspicious to the point that it
        must not be used. Empty for a good bank.
    remarks : tuple of str
        What is unusual but allowed.
    n_waveforms, n_blocks : int
        By configuration and table.
    n_bytes : int
        Read from waveform files.
    has_checksums : bool
        Whether the bank carries checksums, which then were compared.
    mean_weight : float
        Mean of exp(log_prior_weights): the bank's share of the prior.
    weight_efficiency : float
        (sum w)^2 / (n sum w^2).
    """

    folder: Path
    problems: tuple[str, ...]
    remarks: tuple[str, ...] = ()
    n_waveforms: int = 0
    n_blocks: int = 0
    n_bytes: int = 0
    has_checksums: bool = False
    mean_weight: float = np.nan
    weight_efficiency: float = np.nan

    @property
    def ok(self) -> bool:
        """Whether the bank can be used."""
        return not self.problems

    def __str__(self) -> str:
        if self.problems:
            return f"{len(self.problems)} problems, the first: {self.problems[0]}"
        checksums = "checksums agree" if self.has_checksums else "no checksums to compare"
        parts = [
            f"{self.n_waveforms} waveforms in {self.n_blocks} blocks",
            f"{self.n_bytes / 1e9:.3g} GB read",
            "all values finite",
            checksums,
            f"mean prior weight {self.mean_weight:.4g}",
            f"weight efficiency {self.weight_efficiency:.3g}",
            *self.remarks,
        ]
        return "; ".join(parts)


def check_bank(
    folder: str | os.PathLike,
    progress: bool = False,
    n_new: int = 8,
    seed: int | None = None,
) -> BankReport:
    """Check all that :func:`dotpe_exec.banks.format.open_bank` does, and every number.

    All waveforms must be finite, amplitudes not all zero; if the bank carries checksums,
    every file must agree with its own. One pass over the files, a few megabytes at a
    time; goes on after a problem, so that the report lists those of all blocks. Of a bank
    without such problems some waveforms, chosen at random, are generated anew and
    compared.

    Parameters
    ----------
    folder : path
    progress : bool
        Show a bar, in a terminal or notebook.
    n_new : int
        Waveforms to generate anew.
    seed : int, optional
        Of their choice; by default it is another each time.

    Returns
    -------
    BankReport
        Bad banks are reported, not raised.
    """
    folder = Path(os.path.abspath(Path(folder).expanduser()))  # noqa: PTH100 (keep links)
    if not folder.is_dir():
        return BankReport(folder, (f"bank folder {folder} does not exist",))
    problems: list[str] = []
    config = columns = None
    with _noting(problems):
        config = read_config(folder / CONFIG_NAME)
    with _noting(problems):
        columns = read_table_columns(folder / TABLE_NAME)
        check_table_columns(folder / TABLE_NAME, columns)
    if config is None or columns is None or not len(columns["m1"]):
        return BankReport(folder, tuple(problems))
    checksums: dict[str, str] = {}
    with _noting(problems):
        checksums = read_checksums(folder)
        check_small_files(folder, checksums)
    bank = Bank(folder, folder.name, config, len(columns["m1"]))
    n_sound = len(problems)
    n_bytes = 0
    with _bar(bank, progress) as advance:
        for k in range(bank.handle.n_blocks):
            n_bytes += _check_block(bank, k, checksums, problems, advance)
    remarks = _remarks(bank, columns)
    if len(problems) == n_sound:
        _compare_with_new(bank, columns, n_new, seed, problems, remarks)
    weights = np.exp(columns["log_prior_weights"])
    return BankReport(
        folder=folder,
        problems=tuple(problems),
        remarks=tuple(remarks),
        n_waveforms=bank.n_waveforms,
        n_blocks=bank.handle.n_blocks,
        n_bytes=n_bytes,
        has_checksums=bool(checksums),
        mean_weight=float(np.mean(weights)),
        weight_efficiency=float(np.mean(weights) ** 2 / np.mean(weights**2)),
    )


def _check_block(
    bank: Bank,
    k: int,
    checksums: dict[str, str],
    problems: list[str],
    advance: Callable[[int], None],
) -> int:
    """Check the files of one block; return the number of bytes read."""
    n_bytes = 0
    for kind in KINDS:
        path = bank.handle.block_path(kind, k)
        with _noting(problems):
            n_bytes += path.stat().st_size if path.exists() else 0
            shape = bank.handle.block_shape(k)
            digest = hashlib.blake2b(digest_size=16)
            bad: list[int] = []
            for start, rows in array_rows(path, shape, digest.update):
                bad += (start + _bad_rows(rows, kind)).tolist()
                advance(len(rows))
            first = k * bank.config.blocksize
            what = (
                "NaN, infinite or the same at all frequencies"
                if kind == "phase"
                else "NaN, infinite, negative or all zero"
            )
            for row in bad[:_MOST_PER_BLOCK]:
                problems.append(f"{path}: waveform {first + row} (row {row}) is {what}")
            if len(bad) > _MOST_PER_BLOCK:
                problems.append(f"{path}: {len(bad)} waveforms are {what}")
            expected = checksums.get(block_name(kind, k))
            if expected is not None and digest.hexdigest() != expected:
                problems.append(f"{path} does not agree with its checksum")
            if checksums and expected is None:
                problems.append(f"{path} has no checksum in {CHECKSUMS_NAME}")
    return n_bytes


def _bad_rows(rows: np.ndarray, kind: str) -> np.ndarray:
    """Return which waveforms (n, n_m, 2, n_b) cannot be used."""
    flat = rows.reshape(len(rows), -1)
    # One number per waveform tells almost all of them apart from bad ones, and fast.
    total = flat.sum(axis=1)
    doubtful = np.flatnonzero(~np.isfinite(total) | (total == 0))
    good = np.isfinite(flat[doubtful]).all(axis=1)
    if kind == "amplitudes":
        good &= flat[doubtful].any(axis=1)
        return np.union1d(doubtful[~good], np.flatnonzero(flat.min(axis=1) < 0))
    return np.union1d(doubtful[~good], np.array(without_phase(rows), dtype=int))


def _compare_with_new(
    bank: Bank,
    columns: dict[str, np.ndarray],
    n_new: int,
    seed: int | None,
    problems: list[str],
    remarks: list[str],
) -> None:
    """Generate a few waveforms anew and compare: by match, which masses and spins move."""
    config = bank.config
    generator = ModeGenerator(
        config.approximant,
        tuple((int(ell), int(m)) for ell, m in config.harmonic_modes),
        config.f_ref,
        config.fbin,
        "direct",
    )
    n = min(n_new, bank.n_waveforms)
    inds = np.sort(np.random.default_rng(seed).choice(bank.n_waveforms, n, replace=False))
    with _noting(problems):
        amplitudes_impb, phases_impb = bank.handle.read(inds)
        h_impb = amplitudes_impb * np.exp(1j * phases_impb)
        for index, h_mpb in zip(inds, h_impb, strict=True):
            parameters = [columns[name][index] for name in PARAMETERS]
            try:
                amplitude_mpb, phase_mpb, _ = generator(parameters)
            except NoWaveformError as error:
                remarks.append(f"waveform {index} could not be generated anew ({error})")
                continue
            new_mpb = amplitude_mpb * np.exp(1j * phase_mpb)
            difference = np.linalg.norm(h_mpb - new_mpb) / np.linalg.norm(new_mpb)
            if not difference < _OTHER_WAVEFORM:
                problems.append(
                    f"waveform {index} is not that of its row in {TABLE_NAME}: it differs "
                    f"from one of {config.approximant} generated anew by {difference:.2g} "
                    "of its norm"
                )
            elif difference > _OTHER_VERSION:
                remarks.append(
                    f"waveform {index} differs from one generated anew by "
                    f"{difference:.1g} of its norm (other versions of LAL or cogwheel?)"
                )


def _remarks(bank: Bank, columns: dict[str, np.ndarray]) -> list[str]:
    """Return what is unusual about a bank's table and files."""
    remarks = []
    size = bank.config.info.get("bank_size")
    if size is not None and size != bank.n_waveforms:
        remarks.append(f"bank_size is {size} but the table has {bank.n_waveforms} rows")
    m1, m2 = columns["m1"], columns["m2"]
    if np.any(m2 > m1 * (1 + 1e-9)):
        remarks.append(f"m2 is larger than m1 in {np.count_nonzero(m2 > m1)} rows")
    mchirp_range = bank.config.mchirp_range
    mchirp = chirp_mass(m1, m2)
    if mchirp_range is not None:
        low, high = mchirp_range
        n_outside = np.count_nonzero(
            (mchirp < low * (1 - 1e-9)) | (mchirp > high * (1 + 1e-9))
        )
        if n_outside:
            remarks.append(f"{n_outside} chirp masses are outside {low} to {high}")
    for spin in ("s1", "s2"):
        square = sum(columns[f"{spin}{axis}"] ** 2 for axis in ("x_n", "y_n", "z"))
        if np.any(square > 1 + 1e-9):
            n = np.count_nonzero(square > 1 + 1e-9)
            remarks.append(f"the spin {spin} is above 1 in {n} rows")
    if bank.handle.block_path(KINDS[0], bank.handle.n_blocks).exists():
        remarks.append("there are more blocks than the table has rows for")
    return remarks


@contextlib.contextmanager
def _noting(problems: list[str]) -> Iterator[None]:
    """Turn this package's errors into entries of a list."""
    try:
        yield
    except DotpeExecError as error:
        problems.append(str(error))


@contextlib.contextmanager
def _bar(bank: Bank, progress: bool) -> Iterator[Callable[[int], None]]:
    """Give a function that advances a progress bar by a number of waveforms."""
    from tqdm.auto import tqdm

    total = bank.n_waveforms * len(KINDS)
    # None: in a terminal or notebook only.
    disable = None if progress else True
    with tqdm(total=total, desc=bank.folder.name, unit="waveform", disable=disable) as bar:
        yield bar.update
