"""Stage 5: the coherent likelihood of what the incoherent selection left.

Per bank, the set of all (i, e, o) with bestfit_lnlike > M - max_bestfit_lnlike_diff, M
the bank's largest, or the ``size_limit`` best of them. Tasks are pairs of a batch of
waveforms and a block of extrinsic samples; they return what may be members, which the
parent merges. Where these are a large part of all orbital phases, tasks return pairs
(i, e) instead, which are smaller, and the parent does the rest.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from ..banks.waveforms import BankHandle, WaveformBatch
from ..errors import NonFiniteError
from ..executors.phases import PhaseRunner
from ..executors.store import ArrayHandle
from ..executors.task import Task
from ..executors.threads import OneThread
from ..kernels.coherent import TILE, PreparedCoherent, prepare_coherent, project
from ..kernels.coherent_pairs import compile_pairs
from ..kernels.coherent_screen import DEFAULT_E_TILE, DEFAULT_I_TILE, search_block
from ..kernels.summary import Summary
from ..kernels.waveforms import linear_free_waveforms
from .accepted_set import AcceptedSet
from .coherent_set import CoherentSet, Collector
from .coherent_tasks import (
    CoherentSearch,
    CoherentTask,
    coherent_task,
    finite_waveforms,
    forget_batch,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .selection import Survivors

# Waveforms of each bank, the likeliest by incoherent likelihood, that set the first
# floor and the typical amplitudes.
_N_PILOT = 16
# Batches among which survivors are shared evenly where they are few; the smallest batch
# takes some tens of milliseconds.
_N_BATCHES, _SMALLEST_BATCH = 256, 64


def coherent_sets(
    runner: PhaseRunner,
    banks: dict[str, BankHandle],
    survivors: dict[str, Survivors],
    summary: Summary,
    response_dpe: np.ndarray,
    timeshift_dbe: np.ndarray,
    *,
    n_phi: int,
    i_blocksize: int,
    e_blocksize: int,
    max_bestfit_lnlike_diff: float,
    size_limit: int,
    seed: int,
    pairs_per_message: int | None = None,
    i_tile: int | None = None,
    e_tile: int | None = None,
    n_threads: int = 1,
) -> dict[str, CoherentSet]:
    """Return the accepted set of every bank.

    Parameters
    ----------
    runner : PhaseRunner
    banks : dict of BankHandle
    survivors : dict of Survivors
        By the same keys; may be empty for a bank.
    summary : Summary
        Of all detectors.
    response_dpe : (n_d, 2, n_e) float
    timeshift_dbe : (n_d, n_b, n_e) complex
    n_phi : int
        Number of orbital phases.
    i_blocksize, e_blocksize : int
        Waveforms (see :func:`batch_size`) and extrinsic samples per task.
    max_bestfit_lnlike_diff : float
        Depth of the set below the bank's best.
    size_limit : int
        Largest size of a bank's set.
    seed : int
        The run's.
    pairs_per_message : int, optional
        Tasks that travel together.
    i_tile, e_tile : int, optional
        Waveforms and extrinsic samples that a task screens at a time: for speed alone.
    n_threads : int
        Of this process, that put the samples in order when all tasks have ended.

    Returns
    -------
    dict of CoherentSet

    Raises
    ------
    NonFiniteError
        A waveform, response or time shift leads to NaN or infinity.
    """
    if not (np.isfinite(response_dpe).all() and np.isfinite(timeshift_dbe).all()):
        raise NonFiniteError("responses or time shifts of extrinsic samples are not finite")
    n_e = response_dpe.shape[2]
    collectors = {
        bank_id: Collector(
            bank_id,
            survivors[bank_id],
            AcceptedSet(max_bestfit_lnlike_diff, size_limit),
            n_e,
            n_phi,
            seed,
        )
        for bank_id in banks
    }
    occupied = [bank_id for bank_id in banks if len(survivors[bank_id].inds)]
    if occupied:
        with OneThread():  # the same bits however many threads the parent has
            pilots = {
                bank_id: _read_pilot(banks[bank_id], survivors[bank_id], summary)
                for bank_id in occupied
            }
            prepared = prepare_coherent(
                summary,
                response_dpe,
                timeshift_dbe,
                n_phi,
                amplitude_mpb=_typical_amplitude(list(pilots.values())),
            )
            for bank_id, h_impb in pilots.items():
                collectors[bank_id].accepted.hint(_pilot_maximum(h_impb, prepared))
            # All else that tasks run was compiled for the pilots.
            n_modes = len(prepared.m_arr)
            n_orders = prepared.phases_cno.shape[1] - n_modes
            compile_pairs(n_modes, n_orders, prepared.phases_cno)
        search = CoherentSearch(
            line_fit=runner.store.put(summary.line_fit),
            prepared=runner.store.put(prepared),
            max_drop=max_bestfit_lnlike_diff,
            seed=seed,
            i_tile=i_tile or DEFAULT_I_TILE,
            e_tile=e_tile or DEFAULT_E_TILE,
        )
        tasks = _tasks(
            banks,
            {
                bank_id: runner.store.put(np.asarray(survivors[bank_id].inds, np.int64))
                for bank_id in occupied
            },
            survivors,
            search,
            i_blocksize=i_blocksize,
            e_blocksize=e_blocksize,
            n_e=n_e,
        )
        _collect(runner, tasks, collectors, prepared.phases_cno, pairs_per_message)
    return {
        bank_id: collector.finish(n_threads) for bank_id, collector in collectors.items()
    }


def batch_size(survivors: Mapping[str, Survivors], at_most: int) -> int:
    """Return how many waveforms a task gets: fewer where survivors are few.

    A few large batches would leave workers idle at the end. The number depends on the
    survivors alone, not on the workers, so that batches are the same everywhere.
    """
    n = sum(len(each.inds) for each in survivors.values())
    balanced = -(-n // (_N_BATCHES * TILE)) * TILE
    return min(at_most, max(_SMALLEST_BATCH, balanced))


def _read_pilot(bank: BankHandle, survivors: Survivors, summary: Summary) -> np.ndarray:
    """Return the waveforms (n_i, n_m, 2, n_b) of highest incoherent likelihood."""
    best = np.argsort(-survivors.incoherent_lnlikes, kind="stable")[:_N_PILOT]
    amplitudes_impb, phases_impb = bank.read(np.sort(survivors.inds[best]))
    return linear_free_waveforms(amplitudes_impb, phases_impb, summary.line_fit)[0]


def _pilot_maximum(h_impb: np.ndarray, prepared: PreparedCoherent) -> float:
    """Return the largest bestfit_lnlike of a few waveforms at all extrinsic samples."""
    projected = project(h_impb, prepared)
    if not finite_waveforms(projected).all():
        return 0.0  # reported by the task that reads them
    pairs = search_block(h_impb, projected, prepared, 0, prepared.n_e, max_drop=1.0)
    return float(pairs.maxima_p.max(initial=0.0))


def _typical_amplitude(pilots: list[np.ndarray]) -> np.ndarray:
    """Return the root mean square |h| (n_m, 2, n_b) of finite waveforms."""
    power_impb = np.concatenate([h.real**2 + h.imag**2 for h in pilots])
    power_impb[~np.isfinite(power_impb)] = 0.0  # reported by the task that reads them
    return np.sqrt(power_impb.mean(axis=0))


def _tasks(
    banks: dict[str, BankHandle],
    inds_handles: dict[str, ArrayHandle],
    survivors: dict[str, Survivors],
    search: CoherentSearch,
    *,
    i_blocksize: int,
    e_blocksize: int,
    n_e: int,
) -> list[Task]:
    """Return the tasks of all banks, batches of highest incoherent likelihood first."""
    batches: list[tuple[float, list[Task]]] = []
    for bank_id, inds_handle in inds_handles.items():
        n_i = len(survivors[bank_id].inds)
        for n, start in enumerate(range(0, n_i, i_blocksize)):
            stop = min(start + i_blocksize, n_i)
            batch = WaveformBatch(banks[bank_id], start, stop, inds_handle)
            group = f"{bank_id}/{n:06d}"
            tasks = [
                Task(
                    f"{group}.{k:04d}",
                    CoherentTask(
                        search=search,
                        bank_id=bank_id,
                        batch=batch,
                        e_start=e_start,
                        e_stop=min(e_start + e_blocksize, n_e),
                    ),
                    group=group,
                )
                for k, e_start in enumerate(range(0, n_e, e_blocksize))
            ]
            best = float(np.max(survivors[bank_id].incoherent_lnlikes[start:stop]))
            batches.append((best, tasks))
    batches.sort(key=lambda item: -item[0])
    return [task for _, tasks in batches for task in tasks]


def _collect(
    runner: PhaseRunner,
    tasks: list[Task],
    collectors: dict[str, Collector],
    phases_cno: np.ndarray,
    pairs_per_message: int | None,
) -> None:
    def refresh(task: Any) -> Any:
        floor = collectors[task.bank_id].accepted.floor
        return dataclasses.replace(task, floor=floor)

    try:
        for task, result in runner.map(
            "coherent",
            coherent_task,
            tasks,
            n_tasks=len(tasks),
            refresh=refresh,
            tasks_per_message=pairs_per_message,
            work=lambda task: (
                (task.batch.stop - task.batch.start) * (task.e_stop - task.e_start)
            ),
            unit="pair",
        ):
            payload = task.payload
            collectors[payload.bank_id].take(payload.batch, result, phases_cno)
    finally:
        forget_batch()
