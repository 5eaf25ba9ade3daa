"""The task of the coherent stage: a batch of waveforms at a block of extrinsic samples.

Its workers load NumPy, numba and the kernels, and nothing else.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from dataclasses import dataclass, field

import numpy as np

from ..banks.waveforms import WaveformBatch, nonfinite_message
from ..errors import NonFiniteError
from ..executors.store import BundleHandle
from ..kernels.coherent import PreparedCoherent, Projected, project
from ..kernels.coherent_pairs import expand_pairs, pair_norms, pair_values
from ..kernels.coherent_screen import (
    DEFAULT_E_TILE,
    DEFAULT_I_TILE,
    CoherentPairs,
    exact_modes,
    search_block,
)
from ..kernels.waveforms import linear_free_waveforms
from .discarded_probes import probe_points

EXPANDED = 1_000_000
"""(i, e, o) of pairs that are looked at in one go."""

# With so many samples, of 36 bytes each, a pair takes as much as it does itself.
_SAMPLES_PER_PAIR = 4


@dataclass(frozen=True)
class CoherentSearch:
    """What all tasks of a coherent phase have in common.

    Parameters
    ----------
    line_fit, prepared : BundleHandle
        Of a LineFit and a PreparedCoherent.
    max_drop : float
        max_bestfit_lnlike_diff.
    seed : int
        For the probes.
    i_tile, e_tile : int
        How tasks are screened, see :func:`.coherent_screen.search_block`.
    """

    line_fit: BundleHandle
    prepared: BundleHandle
    max_drop: float
    seed: int
    i_tile: int = field(default=DEFAULT_I_TILE, compare=False)
    e_tile: int = field(default=DEFAULT_E_TILE, compare=False)


@dataclass(frozen=True)
class CoherentTask:
    """One batch of waveforms at one block of extrinsic samples.

    Parameters
    ----------
    search : CoherentSearch
    bank_id : str
    batch : WaveformBatch
    e_start, e_stop : int
    floor : float
        Known so far; samples that do not exceed it need not be returned.
    """

    search: CoherentSearch
    bank_id: str
    batch: WaveformBatch
    e_start: int
    e_stop: int
    floor: float = field(default=-math.inf, compare=False)


@dataclass(frozen=True)
class FoundSamples:
    """Samples (i, e, o) that may belong to the accepted set.

    Parameters
    ----------
    i_s, e_s, o_s : (n_samples,) int32
        Position in the batch, extrinsic sample, orbital phase; ascending in this order.
    dh_s, hh_s, lnlike_s : (n_samples,) float
    """

    i_s: np.ndarray
    e_s: np.ndarray
    o_s: np.ndarray
    dh_s: np.ndarray
    hh_s: np.ndarray
    lnlike_s: np.ndarray

    @classmethod
    def none(cls) -> FoundSamples:
        """No samples."""
        inds, values = np.empty(0, np.int32), np.empty(0)
        return cls(inds, inds, inds, values, values, values)


@dataclass(frozen=True)
class ProbeValues:
    """The probes that lie in a task's batch and block.

    Parameters
    ----------
    i_p, k_p : (n_probes,) int32
        Position in the batch, number of the probe.
    dh_p, hh_p, lnlike_p : (n_probes,) float
    """

    i_p: np.ndarray
    k_p: np.ndarray
    dh_p: np.ndarray
    hh_p: np.ndarray
    lnlike_p: np.ndarray


@dataclass(frozen=True)
class CoherentResult:
    """What one task found.

    Parameters
    ----------
    samples : FoundSamples
    pairs : CoherentPairs
        Those that ``samples`` does not stand for.
    probes : ProbeValues
    dt_i : (n_i,) float
        Shifts of the batch's waveforms [s].
    """

    samples: FoundSamples
    pairs: CoherentPairs
    probes: ProbeValues
    dt_i: np.ndarray


def coherent_task(task: CoherentTask) -> CoherentResult:
    """Search one batch of waveforms at one block of extrinsic samples."""
    search = task.search
    prepared = search.prepared.load()
    dt_i, projected, h_impb = _projected(task.batch, search.line_fit, search.prepared)
    pairs = search_block(
        h_impb,
        projected,
        prepared,
        task.e_start,
        task.e_stop,
        max_drop=search.max_drop,
        floor=task.floor,
        i_tile=search.i_tile,
        e_tile=search.e_tile,
    )
    samples = _expanded(pairs, prepared.phases_cno, task.floor, search.max_drop)
    if samples is None:
        samples = FoundSamples.none()
    else:
        pairs = _without_pairs(pairs)
    return CoherentResult(
        samples=samples,
        pairs=pairs,
        probes=_probe_values(task, prepared, projected, h_impb),
        dt_i=dt_i,
    )


def _probe_values(
    task: CoherentTask, prepared: PreparedCoherent, projected: Projected, h_impb: np.ndarray
) -> ProbeValues:
    inds = task.batch.indices()
    e_ik, o_ik = probe_points(
        task.search.seed, task.bank_id, inds, prepared.n_e, prepared.n_phi
    )
    # Indices of the type that the search has, so that the same compiled code is run.
    i_p, k_p = (
        index.astype(np.int32)
        for index in np.nonzero((task.e_start <= e_ik) & (e_ik < task.e_stop))
    )
    e_p = e_ik[i_p, k_p].astype(np.int32)
    o_p = o_ik[i_p, k_p].astype(np.int32)
    dh_pmc = exact_modes(h_impb, projected, prepared, i_p, e_p, task.e_start, task.e_stop)
    hh_pr = pair_norms(projected.norms_irk, prepared.q_ek, i_p, e_p)
    dh_p, hh_p, lnlike_p = pair_values(dh_pmc, hh_pr, prepared.phases_cno, o_p)
    return ProbeValues(i_p, k_p, dh_p, hh_p, lnlike_p)


def _expanded(
    pairs: CoherentPairs, phases_cno: np.ndarray, floor: float, max_drop: float
) -> FoundSamples | None:
    """Return all samples above the floor.

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
    return FoundSamples(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _without_pairs(pairs: CoherentPairs) -> CoherentPairs:
    """Return the same, with no pair in it."""
    return dataclasses.replace(
        pairs,
        i_p=pairs.i_p[:0],
        e_p=pairs.e_p[:0],
        dh_pmc=pairs.dh_pmc[:0],
        hh_pr=pairs.hh_pr[:0],
        maxima_p=pairs.maxima_p[:0],
    )


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
    finite_i = finite_waveforms(projected)
    if not finite_i.all():
        raise NonFiniteError(nonfinite_message(batch.bank, batch.indices(), ~finite_i))
    return dt_i, projected, h_impb


def forget_batch() -> None:
    """Let go of the batch that this process remembers."""
    _projected.cache_clear()


def finite_waveforms(projected: Projected) -> np.ndarray:
    """Return whether each waveform (n_i,) leads to finite numbers."""
    finite_i = np.isfinite(projected.a_cimq).all(axis=(0, 2, 3))
    return finite_i & np.isfinite(projected.norms_irk).all(axis=(1, 2))
