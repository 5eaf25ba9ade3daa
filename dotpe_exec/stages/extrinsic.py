"""Stage 4: extrinsic samples, loaded or drawn where the posterior is.

The samples come from a pool of quasi-Monte-Carlo points whose mixture density is known:

1. ``N_PARENTS`` surviving waveforms, drawn by tempered likelihood, each adapt a proposal
   for the arrival times (one task per waveform);
2. a pool is drawn afresh from the mixture of all proposals, so that the weights prior /
   mixture owe nothing to the adaptation and are unbiased;
3. survivors are scored on a part of the pool; of those that carry the evidence a few on
   all of it, which is thinned out by what they say, and all of them on what is left
   (tasks over batches of waveforms);
4. samples are drawn from the pool with probability proportional to r_q sum_i pi_i L_iq,
   the density that makes the variance of the evidence small, with a defensive part.

Whatever the scores, the weights make mean_e(w_e L_e) an unbiased estimate of the integral
of prior times L: systematic sampling with expected counts c_q (Horvitz & Thompson 1952)
gives w_q = r_q n_ext / (n_total c_q). The prior is isotropic in the sky, uniform in
polarisation, of density 1 per second in the arrival time, as in cogwheel's
``MarginalizedExtrinsicLikelihood``.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..executors.phases import PhaseRunner
from ..executors.threads import OneThread
from ..kernels.distance import DistanceTable
from ..kernels.draws import draw_from_pool
from ..kernels.extrinsic_filter import prepare_filter
from ..kernels.proposals import Points, draw_points, halton, n_sequence_dimensions
from ..kernels.sky import SkyDictionary, make_sky_dictionary
from ..seeds import generator
from .extrinsic_candidates import (
    PARENT_TEMPERATURE,
    draw_parents,
    rank_survivors,
    typical_integrand,
)
from .extrinsic_refinement import Located, Refinement
from .extrinsic_samples import (
    COLUMNS,
    ExtrinsicSamples,
    antenna_and_shifts,
    load_extrinsic_samples,
)
from .extrinsic_scoring import (
    N_PARENTS,
    ScoredPool,
    adapt_proposals,
    score_again,
    score_for,
    score_pool,
)
from .extrinsic_tasks import AdaptedProposal, compile_tasks

if TYPE_CHECKING:
    import pandas as pd

    from ..banks.format import Bank
    from .reference import Reference
    from .selection import Survivors

__all__ = [
    "ExtrinsicSamples",
    "antenna_and_shifts",
    "draw_extrinsic_samples",
    "load_extrinsic_samples",
]

POOL_SIZE, POOL_POINTS_PER_SAMPLE = 2**16, 128
"""Points of the pool: at least, and per sample to be drawn."""

CARRIED, CARRIED_PER_SAMPLE = 2**13, 16
"""Points of the pool that are scored for all carriers: the same."""

ENOUGH_TO_CHOOSE = 100.0
"""Points of the first pool that are to count for the choice of carriers to stay when it is
refined. Of four injections 310 to 2474 did, of a strongly precessing signal 4 to 15."""

TIME_HALF_RANGE = 0.07
"""Arrival times considered, around that of the reference at geocenter [s]."""

F_SAMPLING = 8192.0
"""Inverse of the width of a time bin [Hz]."""

N_SKY = 2**20
"""Sky positions in the dictionary."""


def draw_extrinsic_samples(
    runner: PhaseRunner,
    banks: Mapping[str, Bank],
    survivors: Mapping[str, Survivors],
    reference: Reference,
    event_data: Any,
    *,
    n_ext: int,
    n_phi: int,
    seed: int,
    distance_table: DistanceTable,
    log_prior_weights: Mapping[str, np.ndarray],
    coherent_score_min_n_effective_prior: float = 100,
    n_int: Mapping[str, int] | None = None,
    parent_temperature: float = PARENT_TEMPERATURE,
    pool_size: int | None = None,
    n_pool_effective: float | None = None,
) -> ExtrinsicSamples:
    """Draw extrinsic samples where the posterior of the surviving waveforms is.

    Parameters
    ----------
    runner : PhaseRunner
        Runs the phases ``"proposals"``, ``"parent scores"``, ``"screening"``,
        ``"scout scores"``, ``"scores"``.
    banks : dict of Bank
    survivors : dict of Survivors
        By bank; some may be empty.
    reference : Reference
        Its ``summary`` and ``par_dic_0["t_geocenter"]`` are used.
    event_data : cogwheel.data.EventData
        Its ``detector_names`` and ``tcoarse`` are used.
    n_ext, n_phi : int
        Number of samples to draw; of orbital phases in the coherent stage.
    seed : int
    distance_table : DistanceTable
    log_prior_weights : dict of (n_waveforms,) float
        Of all waveforms of each bank.
    coherent_score_min_n_effective_prior : float
        Effective number of points under the prior that each proposal grows to.
    n_int : dict of int, optional
        Number of waveforms considered of each bank, by which it is normalised; default:
        its size.
    parent_temperature : float
        Waveforms that make proposals are drawn by likelihood to the power of its inverse.
    pool_size : int, optional
        Points of the pool; default: ``POOL_SIZE`` or ``POOL_POINTS_PER_SAMPLE`` for each
        sample.
    n_pool_effective : float, optional
        Points of the pool that are to count: where fewer do, it is drawn anew from refined
        proposals (:mod:`.extrinsic_refinement`). By default it is taken as it is.

    Returns
    -------
    ExtrinsicSamples

    Raises
    ------
    SelectionError
        There are no survivors, or no survivor gave a useful proposal.
    """
    summary = reference.summary
    detector_names = tuple(event_data.detector_names)
    candidates = rank_survivors(banks, survivors, log_prior_weights, n_int)
    parents = draw_parents(
        candidates, generator(seed, "extrinsic", "parents"), parent_temperature
    )

    t_start = float(reference.par_dic_0["t_geocenter"]) - TIME_HALF_RANGE
    with OneThread():  # the same bits however many threads there are
        filter_data = prepare_filter(
            summary,
            typical_integrand(candidates, parents[:N_PARENTS], summary),
            distance_table,
            t_start=t_start,
            dt=1 / F_SAMPLING,
            n_t=round(2 * TIME_HALF_RANGE * F_SAMPLING),
            tcoarse=float(event_data.tcoarse),
            n_phi=n_phi,
        )
    sky = _sky_dictionary(detector_names, N_SKY)
    data_handle = runner.store.put(filter_data)
    # Once here, not once in every worker.
    compile_tasks(filter_data, sky)

    proposals, n_tried = adapt_proposals(
        runner,
        candidates,
        parents,
        data_handle,
        # Tasks ask for delays and responses, not for the positions themselves.
        runner.store.put(replace(sky, lat_s=sky.lat_s[:0], lon_s=sky.lon_s[:0])),
        n_d=len(detector_names),
        min_effective_prior=coherent_score_min_n_effective_prior,
        seed=seed,
    )
    if pool_size is None:
        pool_size = max(POOL_SIZE, POOL_POINTS_PER_SAMPLE * n_ext)
    n_grid = filter_data.expand_rt.shape[1]

    def scored_pool(
        points: Located, n_thinned: int, n_carried: int, label: str = ""
    ) -> ScoredPool:
        return score_pool(
            runner, candidates, proposals, points.pool(n_grid), data_handle,
            n_thinned, n_carried,
            generator(seed, "extrinsic", "carriers", *([label] if label else [])), label,
        )  # fmt: skip

    points = Located.of(_draw_pool(proposals, pool_size, sky, seed), sky)
    n_carried = max(CARRIED, CARRIED_PER_SAMPLE * n_ext)
    scored = scored_pool(points, pool_size // 2, n_carried)
    if n_pool_effective is not None and scored.n_effective < n_pool_effective:
        refinement = Refinement(
            np.array([proposal.prob_dt for _, proposal in proposals]),
            sky,
            *_geometry(detector_names),
            lambda n, label: _draw_pool(proposals, n, sky, seed, label),
            lambda *path: generator(seed, "extrinsic", "refinement", *path),
        )

        def score(some: Located, number: int) -> np.ndarray:
            return score_for(
                runner, candidates, scored, some.pool(n_grid), data_handle, f"{number}-"
            )

        points = refinement.refined(
            points.some(scored.kept_q), scored.ln_ratio_q, scored.ln_mixture_q, score,
            n_pool_effective,
        )  # fmt: skip
        if scored.n_effective < ENOUGH_TO_CHOOSE:
            # All that is there: it is of points that count.
            n_refined = len(points.psi_q)
            scored = scored_pool(points, n_refined, n_refined, "refined-")
        else:
            scored = score_again(
                runner, candidates, scored, points.pool(n_grid), data_handle, "refined-"
            )
    drawn, weights = draw_from_pool(
        scored.ln_mixture_q, scored.ln_ratio_q, n_ext, generator(seed, "extrinsic", "draw")
    )
    # The points that were kept, all of them, would have weights n_ext exp(ln_ratio).
    counts = n_ext * np.exp(scored.ln_ratio_q[drawn]) / weights
    table = _make_table(
        points, sky.dt, scored.kept_q[drawn], weights, counts, t_start, n_phi, seed
    )
    return ExtrinsicSamples(
        table,
        *antenna_and_shifts(
            table, detector_names, summary.fbin_b, float(event_data.tcoarse)
        ),
        n_proposals=len(proposals),
        n_proposals_tried=n_tried,
    )


def prepare_sky(detector_names: Sequence[str]) -> None:
    """Begin, in a thread, what drawing samples for these detectors will need."""
    # Not behind others: the end of a run that is interrupted waits for it.
    thread = ThreadPoolExecutor(1, "dotpe-exec-sky")
    # What it fails at, the stage will meet, too.
    thread.submit(_sky_dictionary, tuple(detector_names), N_SKY)
    thread.shutdown(wait=False)


@functools.lru_cache(maxsize=2)
def _sky_dictionary(detector_names: tuple[str, ...], n_sky: int) -> SkyDictionary:
    """Return the dictionary of a network: a second of work that some runs repeat."""
    return make_sky_dictionary(*_geometry(detector_names), 1 / F_SAMPLING, n_sky)


def _geometry(detector_names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return detector positions [light seconds] and response tensors."""
    from cogwheel import gw_utils

    detectors = [gw_utils.DETECTORS[name] for name in detector_names]
    # With unit vectors along the axes, delays are minus the coordinates.
    axes = np.array([[0, 0, np.pi / 2], [0, np.pi / 2, 0]])
    locations_dx = -gw_utils.get_geocenter_delays(tuple(detector_names), *axes)
    return locations_dx, np.array(
        [detector.response for detector in detectors], dtype=float
    )


def _draw_pool(
    proposals: Sequence[tuple[int, AdaptedProposal]],
    n_pool: int,
    sky: SkyDictionary,
    seed: int,
    label: str = "",
) -> Points:
    """Draw the pool of points from the mixture of proposals, in equal parts."""
    n_each = -(-n_pool // len(proposals))
    n_d = sky.delays_sd.shape[1]
    n_u = n_sequence_dimensions(n_d)
    rng = generator(seed, "extrinsic", "pool", *([label] if label else []))
    sequence = halton(n_each, n_u)
    uniforms_qu = np.concatenate([(sequence + rng.random(n_u)) % 1 for _ in proposals])
    prob_jdt = np.array([proposal.prob_dt for _, proposal in proposals])
    n_j = np.full(len(proposals), n_each)
    points = draw_points(prob_jdt, n_j, uniforms_qu, sky)
    # By sky cell: neighbours are alike, and the systematic draw is stratified.
    order = np.lexsort((points.psi_q, points.sky_q))
    return Points(
        bins_qd=points.bins_qd[order],
        sky_q=points.sky_q[order],
        t_first_q=points.t_first_q[order],
        psi_q=points.psi_q[order],
        ln_ratio_q=points.ln_ratio_q[order],
        n_total=points.n_total,
    )


def _make_table(
    points: Located,
    dt: float,
    drawn: np.ndarray,
    weights: np.ndarray,
    counts: np.ndarray,
    t_start: float,
    n_phi: int,
    seed: int,
) -> pd.DataFrame:
    """Return the table of drawn points, in random order."""
    import pandas as pd

    rng = generator(seed, "extrinsic", "order")
    order = rng.permutation(len(drawn))
    drawn, weights, counts = drawn[order], weights[order], counts[order]
    return pd.DataFrame(
        {
            "lat": points.lat_q[drawn],
            "lon": points.lon_q[drawn],
            "psi": points.psi_q[drawn],
            "t_geocenter": t_start
            + points.t_first_q[drawn] * dt
            - points.delay_first_q[drawn],
            # Every sample is combined with all phases: this one is for show.
            "_phi_ref": 2 * np.pi / n_phi * rng.integers(n_phi, size=len(drawn)),
            "weights": weights,
            "log_prior_weights": np.log(weights),
            "expected_counts": counts,
        },
        columns=list(COLUMNS),
    )
