"""Stage 5: the coherent likelihood of what the incoherent selection left.

Per bank, the set of all (i, e, o) with bestfit_lnlike > M - max_bestfit_lnlike_diff, M
the bank's largest, or the ``size_limit`` best of them. Tasks are pairs of a batch of
waveforms and a block of extrinsic samples; they return what may be members, which the
parent merges. Where these are a large part of all orbital phases, tasks return pairs
(i, e) instead, which are smaller, and the parent does the rest.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..banks.format import BankHandle, WaveformBatch, nonfinite_message
from ..errors import NonFiniteError
from ..executors.phases import PhaseRunner
from ..executors.store import BundleHandle
from ..executors.task import Task
from ..executors.threads import OneThread
from ..kernels.coherent import TILE, PreparedCoherent, Projected, prepare_coherent, project
from ..kernels.coherent_pairs import compile_pairs, expand_pairs, pair_norms, pair_values
from ..kernels.coherent_screen import (
    DEFAULT_E_TILE,
    DEFAULT_I_TILE,
    CoherentPairs,
    exact_modes,
    search_block,
)
from ..kernels.summary import Summary
from ..kernels.waveforms import linear_free_waveforms
from .accepted_set import AcceptedSet
from .coherent_set import EXPANDED, CoherentSet, Collector
from .discarded_probes import probe_points

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .selection import Survivors

# Waveforms of each bank, the likeliest by incoherent likelihood, that set the first
# floor and the typical amplitudes.
_N_PILOT = 16
# Batches among which survivors are shared evenly where they are few; the smallest batch
# takes some tens of milliseconds.
_N_BATCHES, _SMALLEST_BATCH = 256, 64
# With so many samples, of 36 bytes each, a pair takes as much as it does itself.
_SAMPLES_PER_PAIR = 4


@dataclass(frozen=True)
class CoherentTask:
    """One batch of waveforms at one block of extrinsic samples.

    Parameters
    ----------
    bank_id : str
    batch : WaveformBatch
    line_fit, prepared : BundleHandle
        Of a LineFit and a PreparedCoherent.
    e_start, e_stop : int
    max_drop : float
        max_bestfit_lnlike_diff.
    seed : int
        For the probes.
    floor : float
        Known so far; samples that do not exceed it need not be returned.
    i_tile, e_tile : int
        How the task is screened, see :func:`.coherent_screen.search_block`.
    """

    bank_id: str
    batch: WaveformBatch
    line_fit: BundleHandle
    prepared: BundleHandle
    e_start: int
    e_stop: int
    max_drop: float
    seed: int
    floor: float = field(default=-math.inf, compare=False)
    i_tile: int = field(default=DEFAULT_I_TILE, compare=False)
    e_tile: int = field(default=DEFAULT_E_TILE, compare=False)


@dataclass(frozen=True)
class CoherentResult:
    """What one task found.

    Parameters
    ----------
    i_s, e_s, o_s : (n_samples,) int32
        Position in the batch, extrinsic sample, orbital phase; ascending in this order.
    dh_s, hh_s, lnlike_s : (n_samples,) float
    i_p, e_p, dh_pmc, hh_pr, maxima_p, n_evaluated
        See :class:`~dotpe_exec.kernels.coherent_screen.CoherentPairs`; of the pairs that
        the samples do not stand for.
    dt_i : (n_i,) float
        Shifts of the batch's waveforms [s].
    probe_i, probe_k : (n_probes,) int
        Which probes lie in the block: position in the batch, number of the probe.
    probe_dh, probe_hh, probe_lnlike : (n_probes,) float
    """

    i_s: np.ndarray
    e_s: np.ndarray
    o_s: np.ndarray
    dh_s: np.ndarray
    hh_s: np.ndarray
    lnlike_s: np.ndarray
    i_p: np.ndarray
    e_p: np.ndarray
    dh_pmc: np.ndarray
    hh_pr: np.ndarray
    maxima_p: np.ndarray
    n_evaluated: int
    dt_i: np.ndarray
    probe_i: np.ndarray
    probe_k: np.ndarray
    probe_dh: np.ndarray
    probe_hh: np.ndarray
    probe_lnlike: np.ndarray


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
        handles = runner.store.put(summary.line_fit), runner.store.put(prepared)
        tasks = _tasks(
            runner,
            {bank_id: banks[bank_id] for bank_id in occupied},
            survivors,
            handles,
            (i_blocksize, e_blocksize, n_e),
            (max_bestfit_lnlike_diff, seed),
            (i_tile or DEFAULT_I_TILE, e_tile or DEFAULT_E_TILE),
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


def coherent_task(task: CoherentTask) -> CoherentResult:
    """Search one batch of waveforms at one block of extrinsic samples."""
    prepared = task.prepared.load()
    dt_i, projected, h_impb = _projected(task.batch, task.line_fit, task.prepared)
    pairs = search_block(
        h_impb,
        projected,
        prepared,
        task.e_start,
        task.e_stop,
        max_drop=task.max_drop,
        floor=task.floor,
        i_tile=task.i_tile,
        e_tile=task.e_tile,
    )
    inds = task.batch.indices()
    e_ik, o_ik = probe_points(task.seed, task.bank_id, inds, prepared.n_e, prepared.n_phi)
    # Indices of the type that the search has, so that the same compiled code is run.
    probe_i, probe_k = (
        index.astype(np.int32)
        for index in np.nonzero((task.e_start <= e_ik) & (e_ik < task.e_stop))
    )
    e_p = e_ik[probe_i, probe_k].astype(np.int32)
    o_p = o_ik[probe_i, probe_k].astype(np.int32)
    dh_pmc = exact_modes(
        h_impb, projected, prepared, probe_i, e_p, task.e_start, task.e_stop
    )
    hh_pr = pair_norms(projected.norms_irk, prepared.q_ek, probe_i, e_p)
    values = pair_values(dh_pmc, hh_pr, prepared.phases_cno, o_p)
    samples = _expanded(pairs, prepared.phases_cno, task.floor, task.max_drop)
    rest = slice(None) if samples is None else slice(0)
    if samples is None:
        samples = (*[np.empty(0, np.int32)] * 3, *[np.empty(0)] * 3)
    i_s, e_s, o_s, dh_s, hh_s, lnlike_s = samples
    return CoherentResult(
        i_s=i_s,
        e_s=e_s,
        o_s=o_s,
        dh_s=dh_s,
        hh_s=hh_s,
        lnlike_s=lnlike_s,
        i_p=pairs.i_p[rest],
        e_p=pairs.e_p[rest],
        dh_pmc=pairs.dh_pmc[rest],
        hh_pr=pairs.hh_pr[rest],
        maxima_p=pairs.maxima_p[rest],
        n_evaluated=pairs.n_evaluated,
        dt_i=dt_i,
        probe_i=probe_i,
        probe_k=probe_k,
        probe_dh=values[0],
        probe_hh=values[1],
        probe_lnlike=values[2],
    )


def _expanded(
    pairs: CoherentPairs, phases_cno: np.ndarray, floor: float, max_drop: float
) -> tuple[np.ndarray, ...] | None:
    """Return i, e, o, dh, hh, lnlike of all samples above the floor.

    None where these would take more memory than the pairs.
    """
    floor = max(floor, pairs.maxima_p.max(initial=-math.inf) - max_drop)
    parts, n_samples = [], 0
    step = max(EXPANDED // phases_cno.shape[2], 1)
    for start in range(0, max(len(pairs.i_p), 1), step):
        some = slice(start, start + step)
        pair_s, *columns = expand_pairs(
            pairs.dh_pmc[some], pairs.hh_pr[some], phases_cno, floor
        )
        n_samples += len(pair_s)
        if n_samples > _SAMPLES_PER_PAIR * len(pairs.i_p):
            return None
        parts.append((pairs.i_p[some][pair_s], pairs.e_p[some][pair_s], *columns))
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


@functools.lru_cache(maxsize=1)
def _projected(
    batch: WaveformBatch, line_fit: BundleHandle, prepared: BundleHandle
) -> tuple[np.ndarray, Projected, np.ndarray]:
    """Return shifts, projections and waveforms of a batch.

    The last batch is remembered: tasks of its other extrinsic blocks come next.
    """
    amplitudes_impb, phases_impb = batch.read()
    h_impb, dt_i = linear_free_waveforms(amplitudes_impb, phases_impb, line_fit.load())
    projected = project(h_impb, prepared.load())
    finite_i = _finite(projected)
    if not finite_i.all():
        raise NonFiniteError(nonfinite_message(batch.bank, batch.indices(), ~finite_i))
    return dt_i, projected, h_impb


def _finite(projected: Projected) -> np.ndarray:
    """Return whether each waveform (n_i,) leads to finite numbers."""
    finite_i = np.isfinite(projected.a_cimq).all(axis=(0, 2, 3))
    return finite_i & np.isfinite(projected.norms_irk).all(axis=(1, 2))


def _read_pilot(bank: BankHandle, survivors: Survivors, summary: Summary) -> np.ndarray:
    """Return the waveforms (n_i, n_m, 2, n_b) of highest incoherent likelihood."""
    best = np.argsort(-survivors.incoherent_lnlikes, kind="stable")[:_N_PILOT]
    amplitudes_impb, phases_impb = bank.read(np.sort(survivors.inds[best]))
    return linear_free_waveforms(amplitudes_impb, phases_impb, summary.line_fit)[0]


def _pilot_maximum(h_impb: np.ndarray, prepared: PreparedCoherent) -> float:
    """Return the largest bestfit_lnlike of a few waveforms at all extrinsic samples."""
    projected = project(h_impb, prepared)
    if not _finite(projected).all():
        return 0.0  # the task that reads them tells
    pairs = search_block(h_impb, projected, prepared, 0, prepared.n_e, max_drop=1.0)
    return float(pairs.maxima_p.max(initial=0.0))


def _typical_amplitude(pilots: list[np.ndarray]) -> np.ndarray:
    """Return the root mean square |h| (n_m, 2, n_b) of finite waveforms."""
    power_impb = np.concatenate([h.real**2 + h.imag**2 for h in pilots])
    power_impb[~np.isfinite(power_impb)] = 0.0  # the tasks that read them tell
    return np.sqrt(power_impb.mean(axis=0))


def _tasks(
    runner: PhaseRunner,
    banks: dict[str, BankHandle],
    survivors: dict[str, Survivors],
    handles: tuple[BundleHandle, BundleHandle],
    sizes: tuple[int, int, int],
    limits: tuple[float, int],
    tiles: tuple[int, int],
) -> list[Task]:
    """Return the tasks of all banks, batches of highest incoherent likelihood first."""
    i_blocksize, e_blocksize, n_e = sizes
    starts = range(0, n_e, e_blocksize)
    batches: list[tuple[float, list[Task]]] = []
    for bank_id, bank in banks.items():
        inds = np.asarray(survivors[bank_id].inds, dtype=np.int64)
        inds_handle = runner.store.put(inds)
        for n, start in enumerate(range(0, len(inds), i_blocksize)):
            stop = min(start + i_blocksize, len(inds))
            batch = WaveformBatch(bank, start, stop, inds_handle)
            tasks = [
                Task(
                    f"{bank_id}/{n:06d}.{k:04d}",
                    CoherentTask(
                        bank_id,
                        batch,
                        *handles,
                        e,
                        min(e + e_blocksize, n_e),
                        *limits,
                        i_tile=tiles[0],
                        e_tile=tiles[1],
                    ),
                    group=f"{bank_id}/{n:06d}",
                )
                for k, e in enumerate(starts)
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
        _projected.cache_clear()
