"""Stage 2: the likelihood of every candidate in each detector alone.

The first parallel phase, and the only one that reads every waveform. Tasks are batches of
waveforms, one stream over all banks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..banks.waveforms import BankHandle, WaveformBatch
from ..executors.phases import PhaseRunner
from ..executors.task import Task
from ..executors.threads import OneThread
from ..kernels.incoherent import (
    PreparedIncoherent,
    compile_incoherent,
    prepare_incoherent,
)
from ..kernels.summary import IncoherentSummary
from .incoherent_tasks import IncoherentTask, incoherent_task


@dataclass(frozen=True, eq=False)
class Candidates:
    """Waveforms of one bank that are considered.

    Parameters
    ----------
    bank : BankHandle
    inds : range or (n_i,) int array
        Indices in the bank, each once, in any order.
    """

    bank: BankHandle
    inds: range | np.ndarray


def incoherent_lnlikes(
    runner: PhaseRunner,
    candidates: dict[str, Candidates],
    incoherent_summary: IncoherentSummary,
    *,
    n_phi: int,
    i_batch: int,
    tasks_per_message: int | None = None,
    digests: dict[str, np.ndarray] | None = None,
) -> dict[str, np.ndarray]:
    """Return the single-detector likelihoods of all candidates.

    Parameters
    ----------
    runner : PhaseRunner
    candidates : dict of Candidates
        By bank id; a bank may have none.
    incoherent_summary : IncoherentSummary
    n_phi : int
        Number of orbital phases.
    i_batch : int
        Waveforms per task.
    tasks_per_message : int, optional
        Tasks that travel together.
    digests : dict, optional
        Filled with the digests (n_i,) of waveforms that were read, by bank id; not of
        banks that carry their own.

    Returns
    -------
    dict of (n_d, n_i) float
        By bank id, in the order of the candidates.

    Raises
    ------
    NonFiniteError
        A waveform leads to NaN or infinity; the message names bank, file and index.
    """
    with OneThread():
        prepared = prepare_incoherent(incoherent_summary, n_phi)
        # Once here, not once in every worker.
        compile_incoherent(prepared)
    tasks = _tasks(runner, candidates, prepared, i_batch)
    n_d = len(incoherent_summary.summary.asd_drift_d)
    lnlikes = {
        bank_id: np.full((n_d, len(some.inds)), np.nan)
        for bank_id, some in candidates.items()
    }
    seen = {} if digests is None else digests
    seen |= {
        bank_id: np.zeros(len(some.inds), dtype=np.uint64)
        for bank_id, some in candidates.items()
        if not some.bank.digests
    }
    for task, result in runner.map(
        "incoherent",
        incoherent_task,
        tasks,
        n_tasks=len(tasks),
        tasks_per_message=tasks_per_message,
        work=_n_waveforms,
        unit="waveform",
    ):
        bank_id, number = task.key.rsplit("/", 1)
        start = int(number) * i_batch
        n_i = _n_waveforms(task.payload)
        lnlikes[bank_id][:, start : start + n_i] = result.lnlikes_di
        if bank_id in seen:
            seen[bank_id][start : start + n_i] = result.digests_i
    return lnlikes


def _n_waveforms(task: IncoherentTask) -> int:
    return task.batch.stop - task.batch.start


def _tasks(
    runner: PhaseRunner,
    candidates: dict[str, Candidates],
    prepared: PreparedIncoherent,
    i_batch: int,
) -> list[Task]:
    handle = runner.store.put(prepared)
    tasks = []
    for bank_id, some in candidates.items():
        n_i = len(some.inds)
        if isinstance(some.inds, range) and some.inds.step == 1:
            first, inds = some.inds.start, None
        else:
            first, inds = 0, runner.store.put(np.asarray(some.inds, dtype=np.int64))
        for number, start in enumerate(range(0, n_i, i_batch)):
            stop = min(start + i_batch, n_i)
            batch = WaveformBatch(some.bank, first + start, first + stop, inds)
            tasks.append(Task(f"{bank_id}/{number:06d}", IncoherentTask(batch, handle)))
    return tasks
