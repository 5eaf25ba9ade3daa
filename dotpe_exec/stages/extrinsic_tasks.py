"""Tasks of the extrinsic stage: adapt one proposal, score a pool of points.

Both run in light workers (NumPy and numba) and depend on nothing but their payload.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..banks.waveforms import BankHandle
from ..executors.store import ArrayHandle, BundleHandle
from ..kernels.extrinsic import N_TAPS, marginalized_lnlike
from ..kernels.extrinsic_filter import (
    FilterData,
    filter_series,
    mode_norms,
    single_detector_lnlike,
)
from ..kernels.importance import effective_size
from ..kernels.proposals import (
    draw_bins,
    kernel_density_proposal,
    n_sequence_dimensions,
    point_geometry,
    points_from_bins,
    tempered_proposal,
)
from ..kernels.sky import SkyDictionary
from ..kernels.waveforms import linear_free_waveforms

BETA = 0.5
"""Inverse temperature of the single-detector likelihoods in a proposal."""

FIRST_POINTS = 2**11
"""Points drawn from a proposal before it is first adapted; then they double."""

MIN_EFFECTIVE = 50
"""Effective number of points that a proposal grows to."""

LNLIKE_RANGE = 12.0
"""Points this far below a waveform's best count as its support under the prior."""


@dataclass(frozen=True)
class ProposalTask:
    """Adapt the arrival-time proposal of one waveform.

    Parameters
    ----------
    bank : BankHandle
    index : int
        The waveform's index in its bank.
    filter_data, sky : BundleHandle
        Of :class:`.FilterData` and :class:`.SkyDictionary`.
    sequence : ArrayHandle
        Quasi-random points (n, n_d + 3): at most as many are drawn.
    shift_u : (n_d + 3,) float
        Random shift of the sequence, modulo 1 (Cranley & Patterson 1976).
    min_effective_prior : float
        Effective number of points under the prior that the proposal grows to.
    """

    bank: BankHandle
    index: int
    filter_data: BundleHandle
    sky: BundleHandle
    sequence: ArrayHandle
    shift_u: np.ndarray
    min_effective_prior: float


@dataclass(frozen=True)
class AdaptedProposal:
    """An adapted proposal and how well it did.

    Parameters
    ----------
    prob_dt : (n_d, n_t) float
        Probability of the arrival bins, normalised along t.
    n_effective, n_effective_prior : float
        Effective number of points under the waveform's posterior and under the prior
        restricted to its support.
    ln_evidence : float
        ln of the integral of prior times likelihood.
    """

    prob_dt: np.ndarray
    n_effective: float
    n_effective_prior: float
    ln_evidence: float


@dataclass(frozen=True)
class Pool:
    """Points to be scored, with what the scoring needs.

    Parameters
    ----------
    times_qd : (n_q, n_d) float32
        Arrival times in bins from ``first_d``.
    response_qdp : (n_q, n_d, 2) float32
    ln_ratio_q : (n_q,) float
        ln of prior density / mixture density.
    first_d : (n_d,) int
        First time bin that some point needs.
    n_t : int
        Number of time bins that the points need.
    n_total : int
        Points drawn, the unphysical ones included.
    """

    times_qd: np.ndarray
    response_qdp: np.ndarray
    ln_ratio_q: np.ndarray
    first_d: np.ndarray
    n_t: int
    n_total: int

    def part(self, inds: np.ndarray, ln_ratio_q: np.ndarray, n_total: int) -> Pool:
        """Return some of the points with other weights."""
        return Pool(
            times_qd=self.times_qd[inds],
            response_qdp=self.response_qdp[inds],
            ln_ratio_q=ln_ratio_q,
            first_d=self.first_d,
            n_t=self.n_t,
            n_total=n_total,
        )


@dataclass(frozen=True)
class ScoreTask:
    """Score a pool for a batch of waveforms.

    Parameters
    ----------
    bank : BankHandle
    inds : (n_i,) int
        Indices in the bank.
    ln_prior_i : (n_i,) float
        ln of the waveforms' prior weights.
    ln_stand_in_i : (n_i,) float
        ln of the number of waveforms that each stands for.
    filter_data, pool : BundleHandle
        Of :class:`.FilterData` and :class:`Pool`.
    """

    bank: BankHandle
    inds: np.ndarray
    ln_prior_i: np.ndarray
    ln_stand_in_i: np.ndarray
    filter_data: BundleHandle
    pool: BundleHandle


@dataclass(frozen=True)
class Score:
    """What a pool means to a batch of waveforms.

    Parameters
    ----------
    ln_posterior_q : (n_q,) float
        ln sum_i s_i pi_i L_iq, with prior weights pi and stand-in numbers s.
    ln_flattened_q : (n_q,) float
        ln sum_i s_i (pi_i Z_i)^(1/2) L_iq / Z_i, with the evidence Z: the waveforms count
        by the square root of their share.
    ln_evidence_i : (n_i,) float
        ln of the integral of prior times likelihood: the pool summed whole.
    n_effective_i : (n_i,) float
        Effective number of points of the pool.
    """

    ln_posterior_q: np.ndarray
    ln_flattened_q: np.ndarray
    ln_evidence_i: np.ndarray
    n_effective_i: np.ndarray


def propose(task: ProposalTask) -> AdaptedProposal:
    """Adapt the proposal of one waveform by importance sampling.

    Starts from the tempered single-detector likelihoods; while the effective numbers are
    too small, mixes in a kernel density of the weighted points and doubles their number.
    """
    data: FilterData = task.filter_data.load()
    sky: SkyDictionary = task.sky.load()
    uniforms_qu = (task.sequence.load() + task.shift_u) % 1.0
    n_max = len(uniforms_qu)
    amplitudes_impb, phases_impb = task.bank.read(np.array([task.index]))
    h_impb, _ = linear_free_waveforms(amplitudes_impb, phases_impb, data.line_fit)
    n_t = data.expand_rt.shape[1]
    first_d = np.zeros(len(data.dh_weights_dmpb), dtype=np.int64)
    series_dtc = filter_series(h_impb, data, first_d, n_t)[0]
    norms_kds = mode_norms(h_impb, data)[0]

    lnlike_dt = single_detector_lnlike(series_dtc, norms_kds, data)
    prob_dt = tempered_proposal(lnlike_dt, BETA, sky)
    prob_jdt, n_j = [prob_dt], [min(FIRST_POINTS, n_max)]
    bins_qd = np.empty((0, len(first_d)), dtype=np.int64)
    lnlike_q = np.empty(0)
    while True:
        start, stop = sum(n_j[:-1]), sum(n_j)
        new_bins_qd = draw_bins(prob_dt[None], np.array(n_j[-1:]), uniforms_qu[start:stop])
        bins_qd = np.concatenate([bins_qd, new_bins_qd])
        points = points_from_bins(
            bins_qd, uniforms_qu[:stop], np.array(prob_jdt), np.array(n_j), sky
        )
        n_old = len(lnlike_q)
        new = slice(n_old, None)
        times_qd, response_qdp = point_geometry(points, sky)
        new_lnlike_q = marginalized_lnlike(
            series_dtc,
            norms_kds,
            times_qd[new],
            response_qdp[new],
            points.ln_ratio_q[new],
            data,
        )
        lnlike_q = np.concatenate([lnlike_q, new_lnlike_q])
        ln_weight_q = lnlike_q + points.ln_ratio_q
        largest = np.max(ln_weight_q, initial=-np.inf)
        if largest == -np.inf:
            return AdaptedProposal(prob_dt, 0.0, 0.0, -np.inf)
        weights_q = np.exp(ln_weight_q - largest)
        support = lnlike_q > np.max(lnlike_q) - LNLIKE_RANGE
        n_effective = effective_size(weights_q)
        n_effective_prior = effective_size(np.exp(points.ln_ratio_q[support]))

        density_dt = kernel_density_proposal(points.bins_qd, weights_q, n_t)
        prob_dt = 0.5 * (prob_dt + density_dt)
        enough = n_effective >= MIN_EFFECTIVE and (
            n_effective_prior >= task.min_effective_prior
        )
        if enough or stop >= n_max:
            ln_evidence = np.log(np.sum(weights_q)) + largest - np.log(points.n_total)
            return AdaptedProposal(
                prob_dt, n_effective, n_effective_prior, float(ln_evidence)
            )
        prob_jdt.append(prob_dt)
        n_j.append(min(stop, n_max - stop))


def compile_tasks(data: FilterData, sky: SkyDictionary) -> None:
    """Compile what :func:`propose` and :func:`score` run, or load it from the disk cache.

    Where a parent calls this before it starts workers, they find the cache filled.
    """
    n_t = data.expand_rt.shape[1]
    n_d, n_m = data.dh_weights_dmpb.shape[:2]
    # Two points: columns of a single one would be contiguous, which is another type.
    points_from_bins(
        np.zeros((2, n_d), dtype=np.int64),
        np.zeros((2, n_sequence_dimensions(n_d))),
        np.full((1, n_d, n_t), 1 / n_t),
        np.ones(1, dtype=np.int64),
        sky,
    )
    marginalized_lnlike(
        np.zeros((n_d, n_t, 2 * n_m), dtype=np.complex64),
        np.zeros((len(data.cos_ko), n_d, 3), dtype=complex),
        np.zeros((2, n_d)),
        np.zeros((2, n_d, 2)),
        np.zeros(2),
        data,
    )


def pool_of_points(
    times_qd: np.ndarray,
    response_qdp: np.ndarray,
    ln_ratio_q: np.ndarray,
    n_total: int,
    n_grid: int,
) -> Pool:
    """Prepare points for scoring, on a time grid of ``n_grid`` bins.

    Parameters
    ----------
    times_qd, response_qdp : (n_q, n_d) and (n_q, n_d, 2) float
        Arrival times in bins of the grid, and antenna responses.
    ln_ratio_q, n_total
        As in :class:`Pool`.
    n_grid : int
    """
    first_d = np.maximum(np.floor(times_qd.min(axis=0)).astype(np.int64) - N_TAPS, 0)
    n_t = min(int(np.ceil(np.max(times_qd - first_d))) + N_TAPS, n_grid)
    first_d = np.minimum(first_d, n_grid - n_t)
    return Pool(
        times_qd=(times_qd - first_d).astype(np.float32),
        response_qdp=response_qdp.astype(np.float32),
        ln_ratio_q=ln_ratio_q,
        first_d=first_d,
        n_t=n_t,
        n_total=n_total,
    )


def score(task: ScoreTask) -> Score:
    """Score a pool for a batch of waveforms."""
    data: FilterData = task.filter_data.load()
    pool: Pool = task.pool.load()
    ln_ratio_q = np.array(pool.ln_ratio_q)
    amplitudes_impb, phases_impb = task.bank.read(task.inds)
    h_impb, _ = linear_free_waveforms(amplitudes_impb, phases_impb, data.line_fit)
    n_i = len(task.inds)
    ln_posterior_q = np.full(len(ln_ratio_q), -np.inf)
    ln_flattened_q = np.full(len(ln_ratio_q), -np.inf)
    ln_evidence_i, n_effective_i = np.full(n_i, -np.inf), np.zeros(n_i)
    series_idtc = filter_series(h_impb, data, pool.first_d, pool.n_t)
    norms_ikds = mode_norms(h_impb, data)
    for i in range(n_i):
        lnlike_q = marginalized_lnlike(
            series_idtc[i],
            norms_ikds[i],
            pool.times_qd,
            pool.response_qdp,
            ln_ratio_q,
            data,
        )
        ln_weight_q = lnlike_q + ln_ratio_q
        largest = np.max(ln_weight_q)
        if largest == -np.inf:
            continue
        weights_q = np.exp(ln_weight_q - largest)
        ln_evidence_i[i] = largest + np.log(np.sum(weights_q) / pool.n_total)
        n_effective_i[i] = effective_size(weights_q)
        ln_posterior = task.ln_prior_i[i] + task.ln_stand_in_i[i]
        ln_flattened = 0.5 * (task.ln_prior_i[i] - ln_evidence_i[i]) + task.ln_stand_in_i[i]
        some = np.flatnonzero(lnlike_q > -np.inf)
        for ln_sum_q, ln_factor in (
            (ln_posterior_q, ln_posterior),
            (ln_flattened_q, ln_flattened),
        ):
            ln_sum_q[some] = np.logaddexp(ln_sum_q[some], lnlike_q[some] + ln_factor)
    return Score(ln_posterior_q, ln_flattened_q, ln_evidence_i, n_effective_i)
