"""What the stages leave in the run directory."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from ..atomic import atomic_write, write_json, write_npy, write_npz
from ..rundir.files import RunFiles
from ..stages.extrinsic import ExtrinsicSamples
from ..stages.extrinsic_origin import write_extrinsic_table
from ..stages.results import BankPosterior
from ..stages.sample_rows import SampleRows
from ..stages.samples import bank_sample_chunks, sample_chunks
from ..stages.selection import Survivors
from ..stages.tables import write_chunks


def write_survivors(files: RunFiles, survivors: dict[str, Survivors]) -> None:
    """Write what the incoherent selection kept of each bank."""
    for bank_id, some in survivors.items():
        write_npz(
            files.intrinsic_samples(bank_id),
            inds=some.inds,
            lnlikes_di=some.lnlikes_di,
            incoherent_lnlikes=some.incoherent_lnlikes,
        )


def write_extrinsic(
    files: RunFiles,
    extrinsic: ExtrinsicSamples,
    par_dic_0: Mapping[str, float] | None = None,
) -> None:
    """Write the extrinsic samples; the table, which refers to the arrays, last.

    ``par_dic_0`` is the reference waveform that they are known to belong to.
    """
    write_npy(files.response, extrinsic.response_dpe)
    write_npy(files.timeshift, extrinsic.timeshift_dbe)
    write_extrinsic_table(files.extrinsic_samples, extrinsic.table, par_dic_0)


class SampleWriter:
    """Writes the tables of samples, large ones beside the thread that makes the next.

    As a context manager: at the end all is written, or the first error is raised.

    Parameters
    ----------
    files : RunFiles
    n_threads : int
        With one, all is written at once.
    """

    def __init__(self, files: RunFiles, n_threads: int):
        self._files = files
        self._pool = ThreadPoolExecutor(n_threads) if n_threads > 1 else None
        self._jobs: list[Future[None]] = []

    def bank(self, posterior: BankPosterior) -> None:
        """Write the accepted samples of one bank, and its waveforms' shifts in time."""
        self._start(_write_bank, self._files, posterior)

    def prob_samples(self, rows: SampleRows) -> None:
        """Write likelihoods and weights of samples of all banks."""
        self._start(_write_table, self._files.prob_samples, sample_chunks(rows))

    def samples(self, chunks: Iterator[dict[str, Any]]) -> None:
        """Write samples with all their parameters, before this returns."""
        _write_table(self._files.samples, chunks)

    def calibration_curves(
        self, fbin_b: np.ndarray, curves: Mapping[str, np.ndarray]
    ) -> None:
        """Write calibration curves by detector, if there are any."""
        if curves:
            write_npz(self._files.calibration_curves, frequencies=fbin_b, **curves)

    def _start(self, job: Callable[..., None], *args: Any) -> None:
        if self._pool is None:
            job(*args)
        else:
            self._jobs.append(self._pool.submit(job, *args))

    def __enter__(self) -> SampleWriter:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._pool or contextlib.nullcontext():
            for job in self._jobs if exc_type is None else ():
                job.result()


def _write_bank(files: RunFiles, posterior: BankPosterior) -> None:
    members = posterior.coherent_set
    _write_table(files.bank_prob_samples(posterior.bank_id), bank_sample_chunks(posterior))
    shifts = zip(members.inds.tolist(), members.dt_linfree.tolist(), strict=True)
    write_json(
        files.linfree_timeshifts(posterior.bank_id), {str(i): dt for i, dt in shifts}
    )


def _write_table(path: Path, chunks: Iterator[dict[str, Any]]) -> None:
    with atomic_write(path) as temporary:
        write_chunks(temporary, chunks)
