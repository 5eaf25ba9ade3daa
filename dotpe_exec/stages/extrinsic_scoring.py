"""Phases of the extrinsic stage: adapt proposals, score the pool of points."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import SelectionError
from ..executors.phases import PhaseRunner
from ..executors.store import BundleHandle
from ..executors.task import Task
from ..kernels.draws import draw_from_pool, expected_counts, systematic_draw
from ..kernels.importance import effective_size, logsumexp, relative_weights
from ..kernels.proposals import halton, n_sequence_dimensions
from ..seeds import generator
from .extrinsic_candidates import RankedSurvivors
from .extrinsic_tasks import AdaptedProposal, Pool, ProposalTask, ScoreTask, propose, score

logger = logging.getLogger(__name__)

N_PARENTS = 16
"""Proposals that make the mixture."""

MIN_EFFECTIVE_PRIOR = 32
"""A proposal with fewer effective points under the prior is dropped."""

MAX_PROPOSAL_POINTS = 2**15
"""Points at which a proposal stops growing."""

_FITS = 0.9
"""ln evidence over incoherent ln likelihood of a waveform that some sky position fits."""

N_SCREENED, SCREEN_DROP, N_SCREEN_POINTS = 1024, 12.0, 1024
"""Survivors whose evidence is estimated: at most, and how far in ln(incoherent likelihood
times prior weight) below the best; points used for it."""

N_CARRIERS, N_SCOUTS = 128, 16
"""Waveforms by which samples are drawn, and by which points for these are chosen."""

PARENT_BATCH, SCREEN_BATCH, CARRIER_BATCH, SCOUT_BATCH = 2, 32, 16, 2
"""Waveforms per task."""

THINNING_SHARES = {0.25: 0.6, 0.0: 0.4}
"""Shares of points, by the power of the score by which they are drawn, where the pool is
thinned: gently, for the carriers are not known yet."""

SCREEN_SHARES = {1.0: 0.4, 0.5: 0.4, 0.0: 0.2}
"""The same for the points that find the carriers, and for those that are left to them."""


@dataclass(frozen=True)
class ScoredPool:
    """What a pool means to the waveforms that carry the evidence.

    Parameters
    ----------
    kept_q : (n_q,) int
        Points of the pool that were kept, some perhaps repeatedly.
    ln_ratio_q : (n_q,) float
        ln of their weights: exp(ln_ratio_q) f_q sums to an estimate of the integral of
        prior times f.
    ln_mixture_q : (n_q,) float
        ln of the carriers' likelihoods, averaged as :func:`_score` does.
    carriers : (n_k,) int
        Candidates.
    ln_stand_in : (n_k,) float
        ln of how many candidates each stands for.
    """

    kept_q: np.ndarray
    ln_ratio_q: np.ndarray
    ln_mixture_q: np.ndarray
    carriers: np.ndarray
    ln_stand_in: np.ndarray

    @property
    def n_effective(self) -> float:
        """Points that count for all carriers together."""
        return effective_size(relative_weights(self.ln_ratio_q + self.ln_mixture_q))


def adapt_proposals(
    runner: PhaseRunner,
    candidates: RankedSurvivors,
    parents: np.ndarray,
    filter_data: BundleHandle,
    sky: BundleHandle,
    *,
    n_d: int,
    min_effective_prior: float,
    seed: int,
) -> tuple[list[tuple[int, AdaptedProposal]], int]:
    """Return (candidate, proposal) of the first parents with useful proposals.

    Also how many parents were tried.
    """
    n_u = n_sequence_dimensions(n_d)
    sequence = runner.store.put(halton(MAX_PROPOSAL_POINTS, n_u))
    accepted: list[tuple[int, AdaptedProposal]] = []
    fit: list[int] = []
    start = 0
    while len(accepted) < N_PARENTS and start < len(parents):
        wave = parents[start : start + N_PARENTS - len(accepted)]
        start += len(wave)
        tasks = []
        for k in wave:
            bank_id = candidates.banks[candidates.bank_k[k]].bank_id
            index = int(candidates.index_k[k])
            payload = ProposalTask(
                bank=candidates.banks[candidates.bank_k[k]],
                index=index,
                filter_data=filter_data,
                sky=sky,
                sequence=sequence,
                shift_u=generator(seed, "extrinsic", "proposal", bank_id, index).random(
                    n_u
                ),
                min_effective_prior=min_effective_prior,
            )
            tasks.append(Task(f"{bank_id}/{index}", payload))
        position = {task.key: int(k) for task, k in zip(tasks, wave, strict=True)}
        results = {
            position[task.key]: proposal
            for task, proposal in runner.map(
                "proposals", propose, tasks, n_tasks=len(tasks), unit="proposal"
            )
        }
        fit += [
            k
            for k, made in results.items()
            if made.ln_evidence > _FITS * candidates.lnlike_k[k]
        ]
        accepted += [
            (int(k), results[int(k)])
            for k in wave
            if results[int(k)].n_effective_prior > MIN_EFFECTIVE_PRIOR
        ]
    if not accepted and fit:
        snr = np.sqrt(2 * max(candidates.lnlike_k[k] for k in fit))
        raise SelectionError(
            "the signal is too loud to draw extrinsic samples for: a signal-to-noise "
            f"ratio of {snr:.0f} determines sky position, polarisation and time so "
            f"precisely that of {MAX_PROPOSAL_POINTS} points fewer than "
            f"{MIN_EFFECTIVE_PRIOR} fit; give extrinsic_samples drawn around them"
        )
    if not accepted:
        raise SelectionError(
            f"none of {start} waveforms gave a proposal with more than "
            f"{MIN_EFFECTIVE_PRIOR} effective points: no sky position fits their arrival "
            "times in the detectors; check the event's time, data and detectors"
        )
    logger.info("%d proposals from %d waveforms", len(accepted), start)
    return accepted, start


def score_pool(
    runner: PhaseRunner,
    candidates: RankedSurvivors,
    proposals: Sequence[tuple[int, AdaptedProposal]],
    pool: Pool,
    filter_data: BundleHandle,
    n_thinned: int,
    n_carried: int,
    rng: np.random.Generator,
    label: str = "",
) -> ScoredPool:
    """Score the pool for the waveforms that carry the evidence.

    All points are scored for the parents; what is negligible for them is thinned out to
    ``n_thinned``, with weights that make up for it, before the carriers are found. Of these
    a few score what is left, which is thinned out to ``n_carried``; then all do.

    Of several pools of the same candidates each needs a ``label`` of its own.
    """
    parents = np.array([k for k, _ in proposals])
    ln_mixture_q, _ = _score(
        runner, candidates, "parent scores", parents, pool, filter_data, PARENT_BATCH,
        label=label,
    )  # fmt: skip
    ln_ratio_q = pool.ln_ratio_q - np.log(pool.n_total)
    if len(ln_ratio_q) > n_thinned:
        kept_q, weights_q = draw_from_pool(
            ln_mixture_q, ln_ratio_q, n_thinned, rng, THINNING_SHARES
        )
        ln_ratio_q = np.log(weights_q / n_thinned)
    else:
        kept_q = np.arange(len(ln_ratio_q))

    screen, weights_q = draw_from_pool(
        ln_mixture_q[kept_q], ln_ratio_q, N_SCREEN_POINTS, rng, SCREEN_SHARES
    )
    promise_k = candidates.lnlike_k + candidates.ln_prior_k
    n_near = int(np.count_nonzero(promise_k > promise_k[0] - SCREEN_DROP))
    screened = np.arange(min(max(n_near, N_CARRIERS), N_SCREENED, len(promise_k)))
    part = pool.part(kept_q[screen], np.log(weights_q), len(screen))
    _, ln_evidence = _score(
        runner, candidates, "screening", screened, part, filter_data, SCREEN_BATCH,
        label=label,
    )  # fmt: skip
    # Carriers are drawn by share and square root of share; each stands for some others.
    ln_share = ln_evidence + candidates.ln_prior_k[screened]
    share = np.exp(ln_share - np.max(ln_share))
    wanted = share / np.sum(share) + np.sqrt(share) / np.sum(np.sqrt(share))

    def representatives(n: int) -> tuple[np.ndarray, np.ndarray]:
        counts = expected_counts(wanted, min(n, int(np.count_nonzero(wanted))))
        drawn = np.unique(systematic_draw(counts, rng.random()))
        return screened[drawn], -np.log(counts[drawn])

    def score_kept(phase: str, n: int, batch: int) -> tuple[np.ndarray, ...]:
        chosen, ln_stand_in = representatives(n)
        part = pool.part(kept_q, ln_ratio_q, 1)
        ln_mixture_q, _ = _score(
            runner, candidates, phase, chosen, part, filter_data, batch, ln_stand_in, label
        )
        return ln_mixture_q, chosen, ln_stand_in

    if len(kept_q) > n_carried:
        ln_mixture_q = score_kept("scout scores", N_SCOUTS, SCOUT_BATCH)[0]
        left, weights_q = draw_from_pool(
            ln_mixture_q, ln_ratio_q, n_carried, rng, SCREEN_SHARES
        )
        kept_q, ln_ratio_q = kept_q[left], np.log(weights_q / n_carried)
    ln_mixture_q, carriers, ln_stand_in = score_kept("scores", N_CARRIERS, CARRIER_BATCH)
    return ScoredPool(kept_q, ln_ratio_q, ln_mixture_q, carriers, ln_stand_in)


def score_again(
    runner: PhaseRunner,
    candidates: RankedSurvivors,
    scored: ScoredPool,
    pool: Pool,
    filter_data: BundleHandle,
    label: str,
) -> ScoredPool:
    """Score another pool, all of it, for the waveforms that carry the evidence in one."""
    ln_mixture_q, _ = _score(
        runner, candidates, "scores", scored.carriers, pool, filter_data, CARRIER_BATCH,
        scored.ln_stand_in, label,
    )  # fmt: skip
    return ScoredPool(
        np.arange(len(ln_mixture_q)),
        pool.ln_ratio_q - np.log(pool.n_total),
        ln_mixture_q,
        scored.carriers,
        scored.ln_stand_in,
    )


def score_for(
    runner: PhaseRunner,
    candidates: RankedSurvivors,
    scored: ScoredPool,
    pool: Pool,
    filter_data: BundleHandle,
    label: str,
) -> np.ndarray:
    """Return ln of the likelihood at other points, averaged over the same carriers.

    By their shares of the evidence, (n_q,), up to a constant that all pools share.
    """
    ln_posterior_q, _, _ = _score_parts(
        runner, candidates, "refinement", scored.carriers, pool, filter_data,
        CARRIER_BATCH, scored.ln_stand_in, label,
    )  # fmt: skip
    return ln_posterior_q


def _score(
    runner: PhaseRunner,
    candidates: RankedSurvivors,
    phase: str,
    chosen: np.ndarray,
    pool: Pool,
    filter_data: BundleHandle,
    batch: int,
    ln_stand_in: np.ndarray | None = None,
    label: str = "",
) -> tuple[np.ndarray, np.ndarray]:
    """Score a pool with chosen candidates.

    Returns
    -------
    ln_mixture_q : (n_q,) float
        ln of the likelihood averaged over the candidates: half of it by their shares of
        the evidence, which makes its variance small, half by the square roots of these,
        lest a waveform of a percent of the evidence gets but a handful of samples.
    ln_evidence : (len(chosen),) float
    """
    ln_posterior_q, ln_flattened_q, ln_evidence = _score_parts(
        runner, candidates, phase, chosen, pool, filter_data, batch, ln_stand_in, label
    )
    if np.all(ln_evidence == -np.inf):
        return ln_posterior_q, ln_evidence
    return np.logaddexp(
        ln_posterior_q - logsumexp(ln_posterior_q + pool.ln_ratio_q),
        ln_flattened_q - logsumexp(ln_flattened_q + pool.ln_ratio_q),
    ), ln_evidence


def _score_parts(
    runner: PhaseRunner,
    candidates: RankedSurvivors,
    phase: str,
    chosen: np.ndarray,
    pool: Pool,
    filter_data: BundleHandle,
    batch: int,
    ln_stand_in: np.ndarray | None,
    label: str,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return both averages over chosen candidates, and the evidence of each."""
    if ln_stand_in is None:
        ln_stand_in = np.zeros(len(chosen))
    handle = runner.store.put(pool)
    tasks, places = [], {}
    for b, bank in enumerate(candidates.banks):
        of_bank = np.flatnonzero(candidates.bank_k[chosen] == b)
        for start in range(0, len(of_bank), batch):
            part = of_bank[start : start + batch]
            key = f"{bank.bank_id}/{label}{start // batch:06d}"
            places[key] = part
            payload = ScoreTask(
                bank=bank,
                inds=candidates.index_k[chosen[part]],
                ln_prior_i=candidates.ln_prior_k[chosen[part]],
                ln_stand_in_i=ln_stand_in[part],
                filter_data=filter_data,
                pool=handle,
            )
            tasks.append(Task(key, payload))
    results = {
        task.key: result
        for task, result in runner.map(
            phase,
            score,
            tasks,
            n_tasks=len(tasks),
            work=lambda payload: len(payload.inds),
            unit="waveform",
        )
    }
    # In the tasks' order, whatever the order of arrival.
    ln_evidence = np.empty(len(chosen))
    ln_posterior_q = ln_flattened_q = np.full(len(pool.ln_ratio_q), -np.inf)
    for key, part in places.items():
        ln_evidence[part] = results[key].ln_evidence_i
        ln_posterior_q = np.logaddexp(ln_posterior_q, results[key].ln_posterior_q)
        ln_flattened_q = np.logaddexp(ln_flattened_q, results[key].ln_flattened_q)
    return ln_posterior_q, ln_flattened_q, ln_evidence
