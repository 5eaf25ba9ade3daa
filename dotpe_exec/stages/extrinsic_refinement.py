"""Refining a pool of extrinsic points of which too few count.

Proposals for the arrival times treat the detectors as independent of each other, and know
nothing of how loud the signal is in each: of a precessing signal in three detectors one
point in a thousand may count. Where so few do, a mixture of Gaussians in time, sky position
and polarisation is fitted to the weighted points of the pool, points are drawn from it and
scored, and so on (population Monte Carlo: Cappe et al. 2004). Then the pool is drawn afresh
from the last mixture and, as a defence, the proposals for the arrival times, so that its
weights owe nothing to the fits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from ..executors.threads import OneThread
from ..kernels.importance import effective_size, relative_weights
from ..kernels.proposals import Points, mixture_density, point_geometry, rotate_response
from ..kernels.sky import (
    SkyDictionary,
    antenna_responses,
    consistent_samples,
    geocenter_delays,
)
from ..kernels.sky_mixture import LN_PRIOR_VOLUME, SkyFrame, SkyMixture
from ..kernels.weights import temper
from .extrinsic_tasks import Pool, pool_of_points

DEFENCE = 0.2
"""Share of a pool that is drawn from the proposals for the arrival times."""

N_ROUND, MAX_ROUNDS = 4096, 8
"""Points of a round, and rounds at most."""

MAX_POOL = 2**16
"""Points of the pool at most."""

MIN_EFFECTIVE = 40.0
"""Points that count in a fit, by tempering."""

EFFICIENT = 0.2
"""Share of a round's points that count at which there is nothing more to learn."""

COMPONENTS_PER_ROOT, MAX_COMPONENTS = 0.5, 16
"""Components of a mixture: so many times the root of the points that count."""


@dataclass(frozen=True)
class Located:
    """Points with all that is to be known of them.

    Parameters
    ----------
    lat_q, lon_q, psi_q : (n_q,) float
        [rad]
    t_first_q : (n_q,) float
        Arrival time at the first detector, in bins from the grid's start.
    delay_first_q : (n_q,) float
        Delay of the first detector from geocenter [s].
    times_qd : (n_q, n_d) float
        Arrival times in bins.
    response_qdp : (n_q, n_d, 2) float
    ln_ratio_q : (n_q,) float
        ln of prior density / mixture density.
    n_total : int
        Points drawn, the unphysical ones included.
    """

    lat_q: np.ndarray
    lon_q: np.ndarray
    psi_q: np.ndarray
    t_first_q: np.ndarray
    delay_first_q: np.ndarray
    times_qd: np.ndarray
    response_qdp: np.ndarray
    ln_ratio_q: np.ndarray
    n_total: int

    @classmethod
    def of(cls, points: Points, sky: SkyDictionary) -> Located:
        """Take points of a sky dictionary."""
        times_qd, response_qdp = point_geometry(points, sky)
        return cls(
            sky.lat_s[points.sky_q],
            sky.lon_s[points.sky_q],
            points.psi_q,
            points.t_first_q,
            sky.delays_sd[points.sky_q, 0],
            times_qd,
            response_qdp,
            points.ln_ratio_q,
            points.n_total,
        )

    def some(self, chosen_q: np.ndarray) -> Located:
        """Return some of the points."""
        return replace(self, **{name: getattr(self, name)[chosen_q] for name in _ARRAYS})

    def pool(self, n_grid: int) -> Pool:
        """Return the points for scoring, on a time grid of ``n_grid`` bins."""
        return pool_of_points(
            self.times_qd, self.response_qdp, self.ln_ratio_q, self.n_total, n_grid
        )


class Refinement:
    """Draws points from fitted mixtures, and from proposals for the arrival times.

    Parameters
    ----------
    prob_jdt : (n_j, n_d, n_t) float
        Proposals for the arrival times.
    sky : SkyDictionary
    locations_dx, responses_dxx : (n_d, 3), (n_d, 3, 3) float
        Detector positions [light seconds] and response tensors.
    draw_defence : callable
        From a number and a label to as many :class:`.Points` of the proposals.
    rng : callable
        From labels to a random generator.
    """

    def __init__(
        self,
        prob_jdt: np.ndarray,
        sky: SkyDictionary,
        locations_dx: np.ndarray,
        responses_dxx: np.ndarray,
        draw_defence: Callable[[int, str], Points],
        rng: Callable[..., np.random.Generator],
    ):
        self.prob_jdt = prob_jdt
        self.sky = sky
        self.locations_dx = locations_dx
        self.responses_dxx = responses_dxx
        self.frame = SkyFrame.of(locations_dx)
        self.draw_defence = draw_defence
        self.rng = rng

    def refined(
        self,
        points: Located,
        ln_ratio_q: np.ndarray,
        ln_score_q: np.ndarray,
        score: Callable[[Located, int], np.ndarray],
        n_effective: float,
    ) -> Located:
        """Learn from points, and return a new pool of which so many count, about.

        Parameters
        ----------
        points : Located
            Points to begin with.
        ln_ratio_q, ln_score_q : (n_q,) float
            ln of their weights and of their likelihoods, averaged over waveforms.
        score : callable
            From points and the round's number to ln of such likelihoods.
        n_effective : float
        """
        mixture = self._fit(points, ln_ratio_q, ln_score_q, 0)
        rounds: list[Located] = []
        mixtures: list[SkyMixture] = []
        ln_scores: list[np.ndarray] = []
        for number in range(1, MAX_ROUNDS + 1):
            drawn = self.draw(mixture, N_ROUND, f"round {number}")
            rounds.append(drawn)
            mixtures.append(mixture)
            ln_scores.append(score(drawn, number))
            own_q = relative_weights(drawn.ln_ratio_q + ln_scores[-1])
            efficiency = effective_size(own_q) / N_ROUND
            together = _joined(rounds)
            with OneThread():  # the same bits however many threads there are
                ln_ratio_q = self._ln_ratio(together, mixtures)
            mixture = self._fit(together, ln_ratio_q, np.concatenate(ln_scores), number)
            if efficiency > EFFICIENT:
                break
        n_pool = int(np.clip(n_effective / max(efficiency, 1e-9), N_ROUND, MAX_POOL))
        return self.draw(mixture, n_pool, "pool")

    def draw(self, mixture: SkyMixture, n: int, label: str) -> Located:
        """Draw points from a mixture and the proposals for the arrival times."""
        n_defence = round(DEFENCE * n)
        defence = Located.of(self.draw_defence(n_defence, label), self.sky)
        with OneThread():
            points_qk = mixture.draw(n - defence.n_total, self.rng("refined", label))
            drawn = self._located(points_qk, n)
            together = _joined([defence, drawn])
            ln_ratio_q = self._ln_ratio(together, [mixture], defence.n_total / n)
            together = replace(together, ln_ratio_q=ln_ratio_q, n_total=n)
            # Neighbours are alike, so that a systematic draw is a stratified one.
            cosine_q, azimuth_q = self.frame.angles(together.lat_q, together.lon_q)
        coarse = np.rint(10 * azimuth_q), np.rint(50 * cosine_q)
        return together.some(np.lexsort((together.psi_q, *coarse)))

    def _located(self, points_qk: np.ndarray, n_total: int) -> Located:
        t_first_q, cosine_q, azimuth_q, psi_q = points_qk.T
        lat_q, lon_q = self.frame.directions(cosine_q, azimuth_q)
        delays_qd = geocenter_delays(self.locations_dx, lat_q, lon_q).T
        times_qd = t_first_q[:, None] + (delays_qd - delays_qd[:, :1]) / self.sky.dt
        response_qdp = rotate_response(
            antenna_responses(self.responses_dxx, lat_q, lon_q), psi_q
        )
        located = Located(
            lat_q, lon_q, psi_q, t_first_q, delays_qd[:, 0], times_qd, response_qdp,
            np.zeros(len(lat_q)), n_total,
        )  # fmt: skip
        bins_qd = self._bins(located)
        n_t = self.prob_jdt.shape[2]
        return located.some(np.flatnonzero(((bins_qd >= 0) & (bins_qd < n_t)).all(axis=1)))

    def _bins(self, located: Located) -> np.ndarray:
        """Return the bins of arrival that the proposals would have drawn."""
        first_q = np.rint(located.t_first_q)
        delays_qd = located.times_qd - located.t_first_q[:, None]
        return (first_q[:, None] + np.rint(delays_qd)).astype(np.int64)

    def _coordinates(self, located: Located) -> np.ndarray:
        cosine_q, azimuth_q = self.frame.angles(located.lat_q, located.lon_q)
        return np.column_stack([located.t_first_q, cosine_q, azimuth_q, located.psi_q])

    def _ln_ratio(
        self, located: Located, mixtures: Sequence[SkyMixture], defence: float = DEFENCE
    ) -> np.ndarray:
        """Return ln of prior over density: that of some mixtures and of the defence."""
        n_j = len(self.prob_jdt)
        bins_qd = np.clip(self._bins(located), 0, self.prob_jdt.shape[2] - 1)
        with np.errstate(divide="ignore"):
            ln_defence_q = np.log(
                mixture_density(bins_qd, self.prob_jdt, np.full(n_j, 1 / n_j))
            )
        _, fraction_q = consistent_samples(bins_qd, np.zeros(len(bins_qd)), self.sky)
        known = fraction_q > 0
        ln_mixture_q = np.full(len(bins_qd), -np.inf)
        ln_mixture_q[known] = ln_defence_q[known] - np.log(fraction_q[known])
        ln_mixture_q += np.log(defence) - LN_PRIOR_VOLUME
        points_qk = self._coordinates(located)
        for mixture in mixtures:
            ln_mixture_q = np.logaddexp(
                ln_mixture_q,
                mixture.ln_density(points_qk) + np.log((1 - defence) / len(mixtures)),
            )
        return np.log(self.sky.dt) - LN_PRIOR_VOLUME - ln_mixture_q

    def _fit(
        self,
        located: Located,
        ln_ratio_q: np.ndarray,
        ln_score_q: np.ndarray,
        number: int,
    ) -> SkyMixture:
        ln_weight_q, _ = temper(ln_score_q, ln_ratio_q, MIN_EFFECTIVE)
        weight_q = relative_weights(ln_weight_q)
        weight_q[weight_q < 1e-9] = 0.0
        counting = effective_size(weight_q)
        n_c = int(np.clip(COMPONENTS_PER_ROOT * np.sqrt(counting), 1, MAX_COMPONENTS))
        with OneThread():
            return SkyMixture.fit(
                self._coordinates(located), weight_q, n_c, self.rng("fit", number)
            )


def _joined(parts: Sequence[Located]) -> Located:
    arrays = {
        name: np.concatenate([getattr(part, name) for part in parts]) for name in _ARRAYS
    }
    return Located(**arrays, n_total=sum(part.n_total for part in parts))


_ARRAYS = tuple(item.name for item in fields(Located) if item.name != "n_total")
