"""Adaptive mixture importance sampling of a likelihood.

The explorer knows a prior that is a standard normal distribution, and a likelihood as a
function from points (n, n_dim) to n numbers. It knows neither executors nor waveforms.

*Learning.* Draws from the prior come first. Then, round by round, a mixture of Gaussians
is fitted to all weighted points so far and new points are drawn from it. Every point is
weighted by the prior over the mixture of all that was drawn (Cornuet, Marin, Mira &
Robert, arXiv:0907.1254). While too few points count, the likelihood is tempered for the
fit. The likelihood may be approximate, and may be asked to adapt itself to where the
weighted points are; those so far are then evaluated again.

*Production.* Points to which a mixture was fitted see a density that is too high, and have
weights that are too low: by 10% in a test in nine dimensions. So in the result a point is
weighted by the prior over the density of the very mixture that it was drawn from, which
was fitted before. The mean of weight times likelihood of each round is then the evidence,
without bias, whatever was learnt; rounds are averaged by what was known before each. A
part of each mixture is the prior itself, and a tempered posterior, so that weights are
bounded (Owen & Zhou 2000). Rounds of learning are not part of the result. Where production
meets a part of the posterior that learning had missed, it is learning that was not at its
end: it goes on, around what was met, and production begins anew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from ..executors.threads import OneThread
from ..kernels.importance import logsumexp
from ..kernels.weights import (
    bounded_effective_number,
    effective_number_of_ln,
    ln_mean_and_error,
    temper,
    truncate,
)
from .around import proposals_around
from .draws import Density, Draws, Prior, Produced, Progress
from .proposals import MixedProposal, propose

N_PILOT, PILOT_SHARE = 4096, 0.25
"""Draws from the prior to begin with: at most, and of all that may be drawn."""

N_FIRST, N_ROUND, N_PRODUCED = 1024, 4096, 8192
"""Points of a round: while the likelihood is tempered, then at most; of production, at
most."""

PER_EFFECTIVE, LEAST_YIELD = 4.0, 0.05
"""Points of a round of production for each point that counts so far, of all that were
drawn: with few, the mixture is not yet good, and the next will be better. And the share of
a round's points that will count, at least, where it is reckoned how many are missing."""

MIN_EFFECTIVE = 60.0
"""Points that count in a fit, by tempering."""

ADAPT_FACTOR = 3.0
"""While learning, the likelihood adapts when so many times as many points count as when it
last did."""

LEARNT, LEARNT_SHARE, MOST_LEARNT = 400.0, 0.2, 1000.0
"""Points that are to count at the end of learning: at least, of those wanted in the result,
and at most. A mixture fitted to 300 is about 15% efficient, to 1000 25%, to 3000 33%."""

CONFIRMED, MOST_ADDED = 0.1, 3
"""Learning is not at its end while a round was less efficient than that, many though may
count by then: it met what the mixture, fitted before, knew too little of. So many rounds
are added for it at most. Of a posterior in parts, production would meet the smaller ones
rarely, and by too few points for their weights to show: an evidence was 0.27 too low, of a
stated error of 0.04. Of a hundred injections 13 had less in their last round."""

COLLAPSE, MOST_COLLAPSES = 0.5, 4
"""If a round of production lowers the number of points that count below this share, the
likelihood adapts anew: it may be far too high where it was not adapted to. Final ones
alone make the result, so this biases nothing. At most so many times: it is meant
for single points, and where noise has many likely places it happens in every round, each
time to evaluate all that was drawn."""

MOST_BEGUN_ANEW = 3
"""How often production begins anew, at most, and what was produced so far is learnt from.
Where a point outweighs the others even when the likelihood was adapted to it, or by its
final likelihood, proposals miss a part of the posterior: with them it would take ten times
as many points until that one does not decide. What comes after the last time is kept
whatever it meets. This biases the mean over runs, by what those miss that never meet the
part."""

STUCK_ROUNDS, STUCK_BETA = 12, 0.3
"""If after so many rounds of learning the likelihood still has to be tempered by more than
so much, draws from the prior say too little about where the posterior is. Learning that led
somewhere had 0.8 after nine rounds; one that did not, 0.05 after twelve and after 27."""

MISSED = 10.0
"""So much more in ln likelihood than all points has one that they have missed."""

LEARN_BUDGET, MORE_BUDGET = 0.5, 0.1
"""Share of all points that learning may take, and more when it goes on with another
likelihood."""

ROUGH_DROP, N_ROUGH, MOST_ROUGH, ROUGH_SHARE = 60.0, 512, 2048, 0.03
"""Draws from the prior so far below the best rough likelihood are not evaluated, others so
many at a time and at most, best first, while the last have that share of the weight."""

NEGLIGIBLE_DROP = 12.0
"""Points whose ln weight is so far below the largest are not evaluated again."""

MAX_ROUNDS = 60


class Likelihood(Protocol):
    """What the explorer explores."""

    def rough(self, z_ik: np.ndarray) -> np.ndarray:
        """Return approximate ln likelihoods, (n,), before anything is adapted."""

    def __call__(self, z_ik: np.ndarray) -> np.ndarray:
        """Return ln likelihoods, (n,); here and above NaN where there is no model."""

    def adapt(
        self, z_ik: np.ndarray, lnlike_i: np.ndarray, ln_weight_i: np.ndarray
    ) -> None:
        """Adapt to weighted points; ``ln_weight_i`` is ln of prior over proposal."""


class Explorer:
    """Draws points until enough of them count.

    Parameters
    ----------
    prior : Prior
    likelihood : Likelihood
    rng : callable
        From labels to a random generator: see :func:`dotpe_exec.seeds.generator`.
    max_points : int
        Never draw more.
    n_effective : float
        Points that are going to be wanted.
    pilot : (n, n_dim) and (n,) float, optional
        Points to learn from first, and ln of prior over the density that they were drawn
        from, instead of draws from the prior. No part of the result.
    start_k : (n_dim,) float, optional
        A point that fits well, to look around at where learning is stuck.
    report : callable, optional
        Told of the progress after each round.
    """

    def __init__(
        self,
        prior: Prior,
        likelihood: Likelihood,
        rng: Callable[..., np.random.Generator],
        *,
        max_points: int,
        n_effective: float = 0.0,
        pilot: tuple[np.ndarray, np.ndarray] | None = None,
        start_k: np.ndarray | None = None,
        report: Callable[[Progress], None] = lambda progress: None,
    ):
        self.prior = prior
        self.likelihood = likelihood
        self.rng = rng
        self.max_points = max_points
        self.learnt = float(np.clip(LEARNT_SHARE * n_effective, LEARNT, MOST_LEARNT))
        self.pilot = pilot
        self.start_k = start_k
        self.report = report
        self.history: list[Progress] = []
        self.draws: Draws | None = None
        self._n_learning = 0  # rounds, the pilot among them
        self._known_t = [0.0]  # points that counted before each round
        self._n_collapses = 0
        self._n_begun_anew = 0
        self._n_added = 0
        self._n_components = 0
        self._beta = 0.0
        self._efficiency = 0.0
        self._yield = 0.0  # the same of bounded weights, of the last mixture
        self._adapted_at = 0.0
        self._learn_budget = LEARN_BUDGET
        self._learnt = False
        self._tempers_weights = False

    @property
    def n_drawn(self) -> int:
        """Points drawn so far."""
        return 0 if self.draws is None else len(self.draws)

    def learn(self) -> Draws:
        """Learn where the posterior is.

        Returns
        -------
        Draws
            All points, weighted; for proposals, not for results.
        """
        if self.draws is None:
            self.draws = self._pilot()
        while self._n_learning < MAX_ROUNDS:
            counting = self._n_effective()
            self._learnt = self._learnt or counting >= LEARNT
            self._adapt_if_due(counting)
            room = self._room_to_learn()
            enough = self._beta == 1.0 and counting >= self.learnt
            if (enough and self._is_confirmed()) or room <= 0:
                if not self._misses_start():
                    break
                self._look_around_start()
                continue
            self._round(min(self._next_size(), room))
            self._n_learning = len(self.draws.sizes)
            self._report("learning", self.draws.lnlike_i + self.draws.ln_ratio())
            if self._n_learning > STUCK_ROUNDS and (
                self._beta < STUCK_BETA or self._misses_start()
            ):
                self._look_around_start()
        self._n_learning = len(self.draws.sizes)
        return self.draws

    def go_on_with(self, likelihood: Likelihood, start_k: np.ndarray | None) -> Draws:
        """Take another likelihood, much like the one so far, and learn on with it.

        What may matter of what was drawn is evaluated again. :meth:`learn` comes first.
        """
        self.likelihood, self.start_k = likelihood, start_k
        self._learn_budget += MORE_BUDGET
        self._adapt(self._n_effective())
        if self._beta < 1.0:
            self._look_around_start()
        return self.learn()

    def produce(self, n_effective: float) -> Produced:
        """Return points of which ``n_effective`` count, or as many as may be drawn.

        It can be called again with a higher number, and goes on. :meth:`learn` comes first.
        """
        while True:
            done = self._produced()
            # One heavy point does not keep the others from being enough: the likelihoods of
            # the result say what it is worth.
            counting = bounded_effective_number(done.ln_weights())
            room = self.max_points - self.n_drawn
            if counting >= n_effective or room <= 0:
                return done
            least = COLLAPSE * max(effective_number_of_ln(done.ln_weights()), MIN_EFFECTIVE)
            missing = 1.02 * (n_effective - counting) / max(self._yield, LEAST_YIELD)
            # As many as the mixture deserves, as in learning.
            most = np.clip(PER_EFFECTIVE * self._n_counting(), N_FIRST, N_PRODUCED)
            self._round(min(int(np.clip(missing, N_FIRST, most)), room))
            if self._collapsed(least) and self._n_collapses < MOST_COLLAPSES:
                # One point outweighs all: a likelihood adapted to it says what it is worth.
                self._n_collapses += 1
                self._adapt(self._n_effective())
                if self._collapsed(least) and self._may_begin_anew():
                    done = self._produced()
                    self._begin_anew(done.z_ik[done.ln_weights().argmax()])
                    continue
            self._report("production", self._produced().ln_weights())

    def begins_anew(self, inds: np.ndarray, lnlike_i: np.ndarray) -> bool:
        """Learn from better likelihoods of what was produced, if one outweighs the others.

        Production then begins anew.

        Parameters
        ----------
        inds : (n,) int
            Points, counted as :meth:`produce` returned them.
        lnlike_i : (n,) float
            Their ln likelihoods, -inf where there is no model.

        Returns
        -------
        bool
            Whether it begins anew: not where many points count, nor for ever.
        """
        draws = self.draws
        assert draws is not None
        first = len(draws) - len(self._produced())
        before_i = draws.lnlike_i.copy()
        draws.lnlike_i[first + inds] = lnlike_i
        ln_weight_i = self._produced().ln_weights()
        least = COLLAPSE * bounded_effective_number(ln_weight_i)
        if not (self._collapsed(least) and self._may_begin_anew()):
            draws.lnlike_i = before_i
            return False
        heaviest_k = draws.z_ik[first + ln_weight_i.argmax()]
        self._adapt(self._n_effective())
        self._begin_anew(heaviest_k)
        return True

    def _produced(self) -> Produced:
        assert self.draws is not None
        return self.draws.produced(self._n_learning, self._known_t[self._n_learning :])

    def _collapsed(self, least: float) -> bool:
        """Return whether fewer points of production count than that."""
        return effective_number_of_ln(self._produced().ln_weights()) < least

    def _may_begin_anew(self) -> bool:
        return self._n_begun_anew < MOST_BEGUN_ANEW and self._room_to_learn() >= N_FIRST

    def _begin_anew(self, heaviest_k: np.ndarray) -> None:
        """Learn from what was produced, and around its heaviest point, and discard it."""
        draws = self.draws
        assert draws is not None
        self._n_begun_anew += 1
        self._draw_around(heaviest_k)
        self._n_learning = len(draws.sizes)
        self._report("learning", draws.lnlike_i + draws.ln_ratio())

    def _is_confirmed(self) -> bool:
        """Return whether the last round was efficient, or rounds were added in vain."""
        if self._efficiency >= CONFIRMED or self._n_added >= MOST_ADDED:
            return True
        self._n_added += 1
        return False

    def _adapt_if_due(self, counting: float) -> None:
        if counting > ADAPT_FACTOR * self._adapted_at:
            self._adapt(counting)

    def _pilot(self) -> Draws:
        if self.pilot is None:
            n_pilot = min(N_PILOT, max(int(PILOT_SHARE * self.max_points), 1))
            z_ik = self.prior.draw(n_pilot, self.rng("pilot"))
            ln_ratio_i = np.zeros(n_pilot)
        else:
            z_ik, ln_ratio_i = self.pilot
        ln_prior_i = self.prior.ln_prior(z_ik)
        rough_i = self.likelihood.rough(z_ik)
        draws = Draws(
            z_ik,
            np.full(len(z_ik), -np.inf),
            ln_prior_i,
            np.isnan(rough_i),
            [len(z_ik)],
            # Elsewhere taken for the prior's: weights of learning need not be exact.
            ln_density_ti=[ln_prior_i - ln_ratio_i],
        )
        rough_i[draws.failed_i] = -np.inf
        self.likelihood.adapt(z_ik, rough_i, draws.ln_ratio())
        order_i = np.argsort(-rough_i, kind="stable")[:MOST_ROUGH]
        order_i = order_i[rough_i[order_i] > rough_i[order_i[0]] - ROUGH_DROP]
        for start in range(0, len(order_i), N_ROUGH):
            some = np.sort(order_i[start : start + N_ROUGH])
            self._evaluate(draws, some)
            ln_i, _ = self._tempered(draws.lnlike_i, draws.ln_ratio())
            if logsumexp(ln_i[some]) < np.log(ROUGH_SHARE) + logsumexp(ln_i):
                break
        self._adapted_at = effective_number_of_ln(draws.lnlike_i + draws.ln_ratio())
        return draws

    def _room_to_learn(self) -> int:
        return int(self._learn_budget * self.max_points) - self.n_drawn

    def _misses_start(self) -> bool:
        """Return whether the point that fits well is far above all that were drawn."""
        draws = self.draws
        assert draws is not None
        if self.start_k is None or self._room_to_learn() < N_FIRST:
            return False
        lnlike = float(self.likelihood(self.start_k[None])[0])
        return lnlike > float(np.max(draws.lnlike_i)) + MISSED

    def _look_around_start(self) -> None:
        """Once, draw a round of points around the one that fits well, and go on from there.

        From then on whole weights are tempered, for which few points near the maximum count
        for more than many draws from the prior.
        """
        draws = self.draws
        assert draws is not None
        start_k, self.start_k = self.start_k, None
        if start_k is None or self._room_to_learn() < N_FIRST:
            return
        near_ik = start_k[None]
        rough_i = np.nan_to_num(self.likelihood.rough(near_ik), nan=-np.inf)
        self.likelihood.adapt(
            np.concatenate([draws.z_ik, near_ik]),
            np.concatenate([draws.lnlike_i, rough_i]),
            np.concatenate([draws.ln_ratio(), np.zeros(1)]),
        )
        if self._draw_around(start_k):
            self._tempers_weights = True
            self._adapt(self._n_effective())

    def _draw_around(self, centre_k: np.ndarray) -> bool:
        """Draw a round of points around one, if it has a likelihood; return whether."""
        with OneThread():
            proposal = proposals_around(self.likelihood, centre_k)
        if proposal is None:
            return False
        self._draw_and_evaluate(proposal, N_FIRST)
        return True

    def _adapt(self, counting: float) -> None:
        """Let the likelihood adapt, and evaluate the points that may matter again."""
        draws = self.draws
        assert draws is not None
        ln_ratio_i = draws.ln_ratio()
        self.likelihood.adapt(draws.z_ik, draws.lnlike_i, ln_ratio_i)
        self._adapted_at = counting
        tempered_i, _ = self._tempered(draws.lnlike_i, ln_ratio_i)
        chosen = np.flatnonzero(tempered_i > np.max(tempered_i) - NEGLIGIBLE_DROP)
        self._evaluate(draws, chosen)

    def _tempered(
        self, lnlike_i: np.ndarray, ln_ratio_i: np.ndarray
    ) -> tuple[np.ndarray, float]:
        """Return ln weights to fit to, and the power that the likelihood is taken to."""
        ln_weight_i = lnlike_i + ln_ratio_i
        if self._learnt:
            # Many count, but perhaps for a few that outweigh them: a fit to those alone
            # would be of no use, and one in which they hardly count would miss them again.
            ln_weight_i = truncate(ln_weight_i, LEARNT)
            if effective_number_of_ln(ln_weight_i) > 0.99 * LEARNT:
                return ln_weight_i, 1.0
        if self._tempers_weights:
            return temper(lnlike_i + ln_ratio_i, np.zeros(len(lnlike_i)), MIN_EFFECTIVE)
        return temper(lnlike_i, ln_ratio_i, MIN_EFFECTIVE)

    def _evaluate(self, draws: Draws, chosen: np.ndarray) -> None:
        lnlike_i = self.likelihood(draws.z_ik[chosen])
        draws.failed_i[chosen] = np.isnan(lnlike_i)
        draws.lnlike_i[chosen] = np.where(np.isnan(lnlike_i), -np.inf, lnlike_i)

    def _round(self, size: int) -> None:
        draws = self.draws
        assert draws is not None
        own_i = self._draw_and_evaluate(self._proposal(len(draws.sizes)), size)
        self._yield = bounded_effective_number(own_i) / size

    def _draw_and_evaluate(self, proposal: Density, size: int) -> np.ndarray:
        """Draw a round, and return the ln weights of its points by its own density."""
        draws = self.draws
        assert draws is not None
        number = len(draws.sizes)
        self._known_t.append(max(self._n_counting(), 1.0))
        with OneThread():  # the same bits however many threads there are
            z_ik = proposal.draw(size, self.rng("draw", number))
            draws.add(proposal, z_ik, self.prior)
        self._evaluate(draws, np.arange(len(draws) - size, len(draws)))
        own_i = draws.lnlike_i + draws.ln_prior_i - draws.ln_density_ti[-1]
        self._efficiency = effective_number_of_ln(own_i[-size:]) / size
        return own_i[-size:]

    def _proposal(self, label: str | int) -> MixedProposal:
        """Return what is to be drawn from next."""
        draws = self.draws
        assert draws is not None
        with OneThread():
            ln_weight_i, self._beta = self._tempered(draws.lnlike_i, draws.ln_ratio())
            proposal, self._n_components = propose(
                draws,
                self.prior,
                ln_weight_i,
                self._beta,
                lambda *path: self.rng(*path, label),
            )
        return proposal

    def _report(self, part: str, ln_weight_i: np.ndarray) -> None:
        ln_evidence, error = ln_mean_and_error(ln_weight_i)
        self.history.append(
            Progress(
                part=part,
                round=len(self.history) + 1,
                n_drawn=self.n_drawn,
                n_effective=bounded_effective_number(ln_weight_i),
                ln_evidence=ln_evidence,
                ln_evidence_error=error,
                beta=self._beta,
                n_components=self._n_components,
                efficiency=self._efficiency,
            )
        )
        self.report(self.history[-1])

    def _n_effective(self) -> float:
        assert self.draws is not None
        return effective_number_of_ln(self.draws.lnlike_i + self.draws.ln_ratio())

    def _n_counting(self) -> float:
        """Return how many points count; few heavy ones do not matter once enough did."""
        assert self.draws is not None
        if not self._learnt:
            return self._n_effective()
        return bounded_effective_number(self.draws.lnlike_i + self.draws.ln_ratio())

    def _next_size(self) -> int:
        """Return how many points the next round of learning draws."""
        if self._beta < 1.0:
            return N_FIRST
        # As many as the mixture deserves, which is fitted to few points, or as are missing.
        counting = self._n_effective()
        missing = 1.2 * (self.learnt - counting) / max(self._yield, LEAST_YIELD)
        size = min(8 * counting, missing) if missing > 0 else 8 * counting
        return int(np.clip(size, N_FIRST, N_ROUND))
