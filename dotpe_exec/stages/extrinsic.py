"""Stage 4: extrinsic samples, loaded or drawn where the posterior is.

The samples come from a pool of quasi-Monte-Carlo points whose mixture density is known:

1. ``N_PARENTS`` surviving waveforms, drawn by tempered likelihood, each adapt a proposal
   for the arrival times (one task per waveform);
2. a pool is drawn afresh from the mixture of all proposals, so that the weights prior /
   mixture owe nothing to the adaptation and are unbiased;
3. survivors are scored on a part of the pool, those that carry the evidence on all of it
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

import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError, MissingFileError, SelectionError
from ..executors.phases import PhaseRunner
from ..executors.task import Task
from ..kernels.distance import DistanceTable
from ..kernels.draws import expected_counts, systematic_draw
from ..kernels.extrinsic import FilterData, prepare_filter
from ..kernels.proposals import (
    Points,
    draw_points,
    halton,
    n_sequence_dimensions,
    rotate_response,
)
from ..kernels.sky import SkyDictionary, make_sky_dictionary
from ..kernels.waveforms import linear_free_waveforms
from ..seeds import generator
from .extrinsic_tasks import (
    Pool,
    Proposal,
    ProposalTask,
    ScoreTask,
    make_pool,
    propose,
    score,
)

if TYPE_CHECKING:
    import pandas as pd

    from ..banks.format import Bank
    from .reference import Reference
    from .selection import Survivors

logger = logging.getLogger(__name__)

N_PARENTS = 16
"""Proposals that make the mixture."""

PARENT_TEMPERATURE = 2.0
"""Parents are drawn by incoherent likelihood to the power of its inverse."""

MIN_EFFECTIVE_PRIOR = 32
"""A proposal with fewer effective points under the prior is dropped."""

MAX_PROPOSAL_POINTS = 2**15
"""Points at which a proposal stops growing."""

POOL_SIZE, POOL_POINTS_PER_SAMPLE = 2**16, 128
"""Points of the pool: at least, and per sample to be drawn."""

N_SCREENED, N_SCREEN_POINTS = 1024, 1024
"""Survivors whose evidence is estimated, and points of the pool used for it."""

N_CARRIERS = 64
"""Waveforms that the whole pool is scored with."""

SCORE_BATCH, SCREEN_BATCH = 8, 64
"""Waveforms per task."""

TEMPERED_SHARE, DEFENSIVE_SHARE = 0.08, 0.04
"""Shares of the draws by the square root of the posterior weight, and by the prior."""

TIME_HALF_RANGE = 0.07
"""Arrival times considered, around that of the reference at geocenter [s]."""

F_SAMPLING = 8192.0
"""Inverse of the width of a time bin [Hz]."""

N_SKY = 2**20
"""Sky positions in the dictionary."""

COLUMNS = ("lat", "lon", "psi", "t_geocenter", "_phi_ref", "weights", "log_prior_weights")


@dataclass(frozen=True)
class ExtrinsicSamples:
    """Weighted extrinsic samples, and what the likelihood needs of them.

    Parameters
    ----------
    table : pandas.DataFrame
        ``lat, lon, psi`` [rad], ``t_geocenter`` [s] (that of linear-free waveforms,
        relative to the event's time), ``_phi_ref`` [rad] (informative),  ``weights`` [s],
        ``log_prior_weights``: mean(weights L) estimates the integral of prior times L.
    response_dpe : (n_d, 2, n_e) float
        Antenna responses.
    timeshift_dbe : (n_d, n_b, n_e) complex
        exp(-2 pi i f_b (t_geocenter + delay_d + tcoarse)).
    """

    table: pd.DataFrame
    response_dpe: np.ndarray
    timeshift_dbe: np.ndarray


@dataclass(frozen=True)
class _Candidates:
    """Survivors of all banks, best first; arrays run over survivors.

    ``bank_k`` is the position of the bank, ``ln_prior_k`` the ln of the prior weight per
    waveform considered, ``lnlike_k`` the incoherent ln likelihood.
    """

    banks: tuple[Any, ...]
    bank_k: np.ndarray
    index_k: np.ndarray
    ln_prior_k: np.ndarray
    lnlike_k: np.ndarray

    def read_waveforms(self, k: int, line_fit: Any) -> np.ndarray:
        """Return the linear-free waveform (n_m, 2, n_b) of candidate k."""
        handle = self.banks[self.bank_k[k]].handle
        h_impb, _ = linear_free_waveforms(
            *handle.read(np.array([self.index_k[k]])), line_fit
        )
        return h_impb[0]


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
) -> ExtrinsicSamples:
    """Draw extrinsic samples where the posterior of the surviving waveforms is.

    Parameters
    ----------
    runner : PhaseRunner
        Runs the phases ``"proposals"``, ``"screening"`` and ``"scores"``.
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

    Returns
    -------
    ExtrinsicSamples

    Raises
    ------
    SelectionError
        There are no survivors, or no proposal of any survivor is of use.
    """
    summary = reference.summary
    detector_names = tuple(event_data.detector_names)
    candidates = _order_candidates(banks, survivors, log_prior_weights, n_int)
    parents = _draw_parents(candidates, generator(seed, "extrinsic", "parents"))

    t_start = float(reference.par_dic_0["t_geocenter"]) - TIME_HALF_RANGE
    filter_data = prepare_filter(
        summary,
        _typical_integrand(candidates, parents[:N_PARENTS], summary),
        distance_table,
        t_start=t_start,
        dt=1 / F_SAMPLING,
        n_t=round(2 * TIME_HALF_RANGE * F_SAMPLING),
        tcoarse=float(event_data.tcoarse),
        n_phi=n_phi,
    )
    sky = make_sky_dictionary(*_geometry(detector_names), 1 / F_SAMPLING, N_SKY)
    data_handle = runner.store.put(filter_data)

    proposals = _adapt_proposals(
        runner,
        candidates,
        parents,
        data_handle,
        runner.store.put(sky),
        n_d=len(detector_names),
        min_effective_prior=coherent_score_min_n_effective_prior,
        seed=seed,
    )
    points = _draw_pool(
        proposals, max(POOL_SIZE, POOL_POINTS_PER_SAMPLE * n_ext), sky, seed
    )
    pool = make_pool(points, sky, filter_data.expand_rt.shape[1])
    ln_mixture_q = _score_pool(runner, candidates, proposals, pool, data_handle, seed)

    drawn, weights = draw_from_pool(
        ln_mixture_q, points.ln_ratio_q, points.n_total, n_ext, generator(seed, "extrinsic", "draw")
    )
    table = _make_table(points, sky, drawn, weights, t_start, n_phi, seed)
    return ExtrinsicSamples(
        table,
        *antenna_and_shifts(
            table, detector_names, summary.fbin_b, float(event_data.tcoarse)
        ),
    )


def draw_from_pool(
    ln_mixture_q: np.ndarray,
    ln_ratio_q: np.ndarray,
    n_total: int,
    n_ext: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw points by posterior weight and return them with their prior weights.

    Parameters
    ----------
    ln_mixture_q : (n_q,) float
        ln of a score: the better it is proportional to the likelihood, averaged over the
        waveforms of interest, the smaller the variance. No score biases the weights.
    ln_ratio_q : (n_q,) float
        ln of prior density / density of the pool.
    n_total : int
        Points drawn for the pool, unphysical ones included.
    n_ext : int
        Number of draws.
    rng : numpy.random.Generator

    Returns
    -------
    drawn : (n_ext,) int
        Indices of points.
    weights : (n_ext,) float
        For any function f of the points, mean(weights * f[drawn]) is an unbiased estimate
        of sum_q exp(ln_ratio_q) f_q / n_total.
    """
    ratio_q = np.exp(ln_ratio_q - np.max(ln_ratio_q))
    importance_q = DEFENSIVE_SHARE * ratio_q / np.sum(ratio_q)
    largest = np.max(ln_mixture_q + ln_ratio_q)
    if largest > -np.inf:
        posterior_q = np.exp(ln_mixture_q + ln_ratio_q - largest)
        tempered_q = np.exp(0.5 * (ln_mixture_q - np.max(ln_mixture_q))) * ratio_q
        importance_q += TEMPERED_SHARE * tempered_q / np.sum(tempered_q)
        importance_q += posterior_q / np.sum(posterior_q)
    counts_q = expected_counts(importance_q, n_ext)
    drawn = systematic_draw(counts_q, rng.random())
    ln_weights = ln_ratio_q[drawn] + np.log(n_ext / n_total) - np.log(counts_q[drawn])
    return drawn, np.exp(ln_weights)


def antenna_and_shifts(
    table: pd.DataFrame,
    detector_names: Sequence[str],
    fbin: np.ndarray,
    tcoarse: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Return what the likelihood needs of extrinsic samples.

    Parameters
    ----------
    table : pandas.DataFrame
        With columns ``lat, lon, psi`` [rad] and ``t_geocenter`` [s].
    detector_names : sequence of str
    fbin : (n_b,) float
        Frequencies [Hz].
    tcoarse : float
        Time of the event from the beginning of the data [s].

    Returns
    -------
    response_dpe : (n_d, 2, n_e) float
        [[cos 2psi, sin 2psi], [-sin 2psi, cos 2psi]] applied to (F+, Fx) at psi = 0.
    timeshift_dbe : (n_d, n_b, n_e) complex
        exp(-2 pi i f_b (t_geocenter + delay_d + tcoarse)).
    """
    from cogwheel import gw_utils

    lat, lon, psi, t_geocenter = (
        table[name].to_numpy(float) for name in ("lat", "lon", "psi", "t_geocenter")
    )
    response_edp = gw_utils.get_fplus_fcross_0(tuple(detector_names), lat, lon)
    response_dpe = np.moveaxis(rotate_response(response_edp, psi), 0, -1)
    delays_de = gw_utils.get_geocenter_delays(tuple(detector_names), lat, lon)
    cycles_dbe = np.asarray(fbin)[:, None] * (t_geocenter + delays_de + tcoarse)[:, None, :]
    return np.ascontiguousarray(response_dpe), np.exp(-2j * np.pi * cycles_dbe)


def load_extrinsic_samples(
    path: Any,
    n_ext: int,
    *,
    fbin: np.ndarray,
    detector_names: Sequence[str],
    tcoarse: float,
) -> ExtrinsicSamples:
    """Load extrinsic samples of an earlier run, or of another program.

    ``response_dpe.npy`` and ``timeshift_dbe.npy`` beside the file are used if they fit
    it, these detectors and bins; else they are computed. Missing ``log_prior_weights``
    are ln of ``weights``; if both are missing, 0.

    Parameters
    ----------
    path : path
        Feather file with columns ``lat, lon, psi, t_geocenter`` at least.
    n_ext : int
        The first ``n_ext`` rows are taken.
    fbin, detector_names, tcoarse
        As in :func:`antenna_and_shifts`.

    Raises
    ------
    MissingFileError
        There is no such file.
    InputError
        It cannot be read, has fewer rows, lacks columns, or holds values that are not
        finite or weights that are negative.
    """
    import pandas as pd

    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"extrinsic_samples: the file {path} does not exist")
    try:
        table = pd.read_feather(path)
    except Exception as error:
        raise InputError(f"extrinsic_samples: {path} is not a feather file: {error}") from error
    n_rows = len(table)
    if n_rows < n_ext:
        raise InputError(f"extrinsic_samples: {path} has {n_rows} rows, n_ext is {n_ext}")
    table = _check_table(table.iloc[:n_ext].reset_index(drop=True), path)

    computed = antenna_and_shifts(table, detector_names, fbin, tcoarse)
    arrays = [
        _load_beside(path.with_name(name), array, n_rows)
        for name, array in zip(
            ("response_dpe.npy", "timeshift_dbe.npy"), computed, strict=True
        )
    ]
    return ExtrinsicSamples(table, *arrays)


def _check_table(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Return the table with weights filled in, or refuse it."""
    missing = [name for name in ("lat", "lon", "psi", "t_geocenter") if name not in table]
    if missing:
        raise InputError(f"extrinsic_samples: {path} lacks the columns {', '.join(missing)}")
    table = table.copy()
    with np.errstate(divide="ignore", invalid="ignore"):
        if "log_prior_weights" not in table:
            table["log_prior_weights"] = np.log(table["weights"]) if "weights" in table else 0.0
        if "weights" not in table:
            table["weights"] = np.exp(table["log_prior_weights"])
    if "_phi_ref" not in table:
        table["_phi_ref"] = 0.0
    for name in ("lat", "lon", "psi", "t_geocenter", "weights"):
        bad = np.flatnonzero(~np.isfinite(table[name].to_numpy(float)))
        if len(bad):
            raise InputError(
                f"extrinsic_samples: {path} has {table[name].iloc[bad[0]]} in column {name}, "
                f"row {bad[0]}, expected finite numbers"
            )
    log_weights = table["log_prior_weights"].to_numpy(float)
    bad = np.flatnonzero(np.isnan(log_weights) | (log_weights == np.inf))
    if len(bad) or (table["weights"] < 0).any():
        raise InputError(
            f"extrinsic_samples: {path} has weights that are negative or not finite"
        )
    return table


def _load_beside(path: Path, computed: np.ndarray, n_rows: int) -> np.ndarray:
    """Return the array of an .npy file where it fits what was computed, else that."""
    if not path.is_file():
        return computed
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        warnings.warn(f"{path} cannot be read ({error}); it is computed anew", stacklevel=3)
        return computed
    expected = (*computed.shape[:-1], n_rows)
    n_ext = computed.shape[-1]
    if array.shape != expected or not np.allclose(
        array[..., :n_ext], computed, rtol=0, atol=1e-4
    ):
        warnings.warn(
            f"{path} does not fit these samples, detectors and frequency bins; it is "
            "computed anew",
            stacklevel=3,
        )
        return computed
    return np.ascontiguousarray(array[..., :n_ext])


def _geometry(detector_names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return detector positions [light seconds] and response tensors."""
    from cogwheel import gw_utils

    detectors = [gw_utils.DETECTORS[name] for name in detector_names]
    # With unit vectors along the axes, delays are minus the coordinates.
    axes = np.array([[0, 0, np.pi / 2], [0, np.pi / 2, 0]])
    locations_dx = -gw_utils.get_geocenter_delays(tuple(detector_names), *axes)
    return locations_dx, np.array([detector.response for detector in detectors], dtype=float)


def _order_candidates(
    banks: Mapping[str, Bank],
    survivors: Mapping[str, Survivors],
    log_prior_weights: Mapping[str, np.ndarray],
    n_int: Mapping[str, int] | None,
) -> _Candidates:
    """Return the survivors of all banks by likelihood times prior weight."""
    bank_ids = list(survivors)
    columns = []
    for k, bank_id in enumerate(bank_ids):
        inds = np.asarray(survivors[bank_id].inds, dtype=np.int64)
        n_k = n_int[bank_id] if n_int else banks[bank_id].handle.n_waveforms
        columns.append(
            (
                np.full(len(inds), k),
                inds,
                np.asarray(log_prior_weights[bank_id], dtype=float)[inds] - np.log(n_k),
                np.asarray(survivors[bank_id].incoherent_lnlikes, dtype=float),
            )
        )
    bank_k, index_k, ln_prior_k, lnlike_k = map(np.concatenate, zip(*columns, strict=True))
    possible = np.flatnonzero(ln_prior_k > -np.inf)
    if not len(possible):
        raise SelectionError(
            "no surviving waveform has prior weight, so there is nothing to draw extrinsic "
            "samples for: raise max_incoherent_lnlike_drop or use another bank"
        )
    order = possible[np.argsort(-(ln_prior_k + lnlike_k)[possible], kind="stable")]
    return _Candidates(
        banks=tuple(banks[bank_id] for bank_id in bank_ids),
        bank_k=bank_k[order],
        index_k=index_k[order],
        ln_prior_k=ln_prior_k[order],
        lnlike_k=lnlike_k[order],
    )


def _draw_parents(candidates: _Candidates, rng: np.random.Generator) -> np.ndarray:
    """Return all candidates in random order, by tempered likelihood times prior weight.

    Drawing without replacement by the exponential race (Gumbel's trick).
    """
    ln_share_k = candidates.lnlike_k / PARENT_TEMPERATURE + candidates.ln_prior_k
    return np.argsort(-(ln_share_k + rng.gumbel(size=len(ln_share_k))), kind="stable")


def _typical_integrand(
    candidates: _Candidates, parents: np.ndarray, summary: Any
) -> np.ndarray:
    """Return the size by frequency bin of what is integrated for (d|h), (n_b,)."""
    scale_b = np.zeros(len(summary.fbin_b))
    for k in parents:
        h_mpb = candidates.read_waveforms(k, summary.line_fit)
        scale_b += np.sum(np.abs(summary.dh_weights_dmpb * h_mpb), axis=(0, 1, 2))
    return scale_b


def _adapt_proposals(
    runner: PhaseRunner,
    candidates: _Candidates,
    parents: np.ndarray,
    filter_data: Any,
    sky: Any,
    *,
    n_d: int,
    min_effective_prior: float,
    seed: int,
) -> list[tuple[int, Proposal]]:
    """Return (candidate, proposal) of the first parents whose proposals are of use."""
    n_u = n_sequence_dimensions(n_d)
    sequence = runner.store.put(halton(MAX_PROPOSAL_POINTS, n_u))
    accepted: list[tuple[int, Proposal]] = []
    start = 0
    while len(accepted) < N_PARENTS and start < len(parents):
        wave = parents[start : start + N_PARENTS - len(accepted)]
        start += len(wave)
        tasks = []
        for k in wave:
            bank_id = candidates.banks[candidates.bank_k[k]].handle.bank_id
            index = int(candidates.index_k[k])
            payload = ProposalTask(
                bank=candidates.banks[candidates.bank_k[k]].handle,
                index=index,
                filter_data=filter_data,
                sky=sky,
                sequence=sequence,
                shift_u=generator(seed, "extrinsic", "proposal", bank_id, index).random(n_u),
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
        accepted += [
            (int(k), results[int(k)])
            for k in wave
            if results[int(k)].n_effective_prior > MIN_EFFECTIVE_PRIOR
        ]
    if not accepted:
        raise SelectionError(
            f"none of {start} waveforms gave a proposal with more than "
            f"{MIN_EFFECTIVE_PRIOR} effective points: no sky position fits their arrival "
            "times in the detectors; check the event's time, data and detectors"
        )
    logger.info("%d proposals from %d waveforms", len(accepted), start)
    return accepted


def _draw_pool(
    proposals: Sequence[tuple[int, Proposal]], n_pool: int, sky: SkyDictionary, seed: int
) -> Points:
    """Draw the pool of points from the mixture of proposals, in equal parts."""
    n_each = -(-n_pool // len(proposals))
    n_d = sky.delays_sd.shape[1]
    n_u = n_sequence_dimensions(n_d)
    rng = generator(seed, "extrinsic", "pool")
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


def _score_pool(
    runner: PhaseRunner,
    candidates: _Candidates,
    proposals: Sequence[tuple[int, Proposal]],
    pool: Pool,
    filter_data: Any,
    seed: int,
) -> np.ndarray:
    """Return ln sum_i pi_i L_iq over the waveforms that carry the evidence, (n_q,)."""
    n_candidates = len(candidates.index_k)
    pool_handle = runner.store.put(pool)

    def scores(phase: str, chosen: np.ndarray, ln_prior: np.ndarray, handle: Any, batch: int):
        return _score(runner, candidates, phase, chosen, ln_prior, handle, filter_data, batch)

    if n_candidates <= N_CARRIERS:
        chosen = np.arange(n_candidates)
        return scores("scores", chosen, candidates.ln_prior_k, pool_handle, SCORE_BATCH)[0]

    # Points that matter to the parents that carry most, thinned, tell which others matter.
    ln_share = np.array([p.ln_evidence + candidates.ln_prior_k[k] for k, p in proposals])
    best = [proposals[j][0] for j in np.argsort(-ln_share, kind="stable")[:SCORE_BATCH]]
    ln_mixture_q, _ = scores(
        "first scores", np.array(best), candidates.ln_prior_k[best], pool_handle, 1
    )
    rng = generator(seed, "extrinsic", "screening")
    drawn, weights = draw_from_pool(
        ln_mixture_q, pool.ln_ratio_q, pool.n_total, N_SCREEN_POINTS, rng
    )
    screen = Pool(
        times_qd=pool.times_qd[drawn],
        response_qdp=pool.response_qdp[drawn],
        ln_ratio_q=np.log(weights),
        first_d=pool.first_d,
        n_t=pool.n_t,
        n_total=len(drawn),
    )
    screened = np.arange(min(n_candidates, N_SCREENED))
    ln_prior = candidates.ln_prior_k[screened]
    _, ln_evidence = scores(
        "screening", screened, ln_prior, runner.store.put(screen), SCREEN_BATCH
    )
    # Carriers are drawn by their share of the evidence; those drawn stand for the others.
    ln_share = ln_evidence + ln_prior
    share = np.exp(ln_share - np.max(ln_share))
    counts = expected_counts(share, min(N_CARRIERS, int(np.count_nonzero(share))))
    carriers = systematic_draw(counts, rng.random())
    return scores(
        "scores",
        screened[carriers],
        ln_prior[carriers] - np.log(counts[carriers]),
        pool_handle,
        SCORE_BATCH,
    )[0]


def _score(
    runner: PhaseRunner,
    candidates: _Candidates,
    phase: str,
    chosen: np.ndarray,
    ln_prior: np.ndarray,
    pool: Any,
    filter_data: Any,
    batch: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Score a pool with chosen candidates.

    Returns
    -------
    ln_mixture_q : (n_q,) float
        ln sum over chosen of exp(ln_prior) L_q.
    ln_evidence : (len(chosen),) float
    """
    tasks, places = [], {}
    for b, bank in enumerate(candidates.banks):
        of_bank = np.flatnonzero(candidates.bank_k[chosen] == b)
        for start in range(0, len(of_bank), batch):
            part = of_bank[start : start + batch]
            key = f"{bank.handle.bank_id}/{start // batch:06d}"
            places[key] = part
            payload = ScoreTask(
                bank=bank.handle,
                inds=candidates.index_k[chosen[part]],
                ln_prior_i=ln_prior[part],
                filter_data=filter_data,
                pool=pool,
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
    ln_mixture_q = np.full(1, -np.inf)
    for key, part in places.items():
        ln_evidence[part] = results[key].ln_evidence_i
        ln_mixture_q = np.logaddexp(ln_mixture_q, results[key].ln_mixture_q)
    return ln_mixture_q, ln_evidence


def _make_table(
    points: Points,
    sky: SkyDictionary,
    drawn: np.ndarray,
    weights: np.ndarray,
    t_start: float,
    n_phi: int,
    seed: int,
) -> pd.DataFrame:
    """Return the table of drawn points, in random order."""
    import pandas as pd

    rng = generator(seed, "extrinsic", "order")
    order = rng.permutation(len(drawn))
    drawn, weights = drawn[order], weights[order]
    sky_e = points.sky_q[drawn]
    return pd.DataFrame(
        {
            "lat": sky.lat_s[sky_e],
            "lon": sky.lon_s[sky_e],
            "psi": points.psi_q[drawn],
            "t_geocenter": t_start + points.t_first_q[drawn] * sky.dt - sky.delays_sd[sky_e, 0],
            # Every sample is combined with all phases: this one is for show.
            "_phi_ref": 2 * np.pi / n_phi * rng.integers(n_phi, size=len(drawn)),
            "weights": weights,
            "log_prior_weights": np.log(weights),
        },
        columns=list(COLUMNS),
    )
