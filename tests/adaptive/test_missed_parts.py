"""What learning had missed: parts of a posterior, and points that outweigh all others."""

import numpy as np
import pytest
from explorations import Gaussians, Normal, explore

from dotpe_exec.adaptive.explorer import (
    CONFIRMED,
    MOST_ADDED,
    MOST_BEGUN_ANEW,
    MOST_COLLAPSES,
    N_FIRST,
    Explorer,
)
from dotpe_exec.adaptive.proposals import MixedProposal
from dotpe_exec.kernels.weights import effective_number_of_ln, ln_mean_and_error
from dotpe_exec.seeds import generator


@pytest.mark.parametrize("inefficient", [0, 1, 2, 50])
def test_learning_is_not_at_its_end_while_rounds_are_inefficient(inefficient):
    class Surprised(Explorer):
        """Some rounds meet points that outweigh the others of their round."""

        left = inefficient

        def _draw_and_evaluate(self, proposal, size):
            own_i = super()._draw_and_evaluate(proposal, size)
            if self.left:
                self.left -= 1
                self._efficiency = 0.5 * CONFIRMED
            return own_i

    likelihood = Gaussians([[1.0, 0, 0]], 0.3)
    explorer = Surprised(
        Normal(3), likelihood, lambda *path: generator(4, *path), max_points=60000
    )
    explorer.learn()
    enough = [progress.n_effective > explorer.learnt for progress in explorer.history]
    assert enough == [True] * (1 + min(inefficient, MOST_ADDED))  # one would do
    assert explorer.n_drawn < 0.5 * 60000


def test_a_likelihood_that_is_far_too_high_at_a_point_is_adapted_to_it():
    class Spiked(Gaussians):
        n_spikes = 0

        def __call__(self, z_ik):
            lnlike_i = super().__call__(z_ik)
            if self.n_evaluated > 12000 and not self.n_spikes:
                self.n_spikes, self.n_before = 1, self.n_adapted
                lnlike_i[np.argmax(lnlike_i)] += 60
            return lnlike_i

    likelihood = Spiked([[1.0, 0]], 0.2)
    _, points = explore(likelihood, 2, seed=11, n_effective=20000)
    assert likelihood.n_spikes and likelihood.n_adapted == likelihood.n_before + 1
    ln_evidence, error = ln_mean_and_error(points.ln_weights())
    assert ln_evidence == pytest.approx(likelihood.ln_evidence, abs=4 * error)


class TwoWidths(Gaussians):
    """A wide peak and one so narrow that nothing leads to it, with a tenth of the other."""

    def __init__(self, n_dim):
        super().__init__([np.full(n_dim, -0.6), np.full(n_dim, 0.8)], None)
        self.parts = [
            Gaussians(self.centres[[j]], width, 0.0) for j, width in enumerate((0.3, 0.08))
        ]
        self.ln_share_j = np.log([1.0, 0.1]) - [part.ln_evidence for part in self.parts]

    def __call__(self, z_ik):
        parts = zip(self.ln_share_j, self.parts, strict=True)
        return 50 + np.logaddexp.reduce([ln + part(z_ik) for ln, part in parts])


def draw_by_chance(monkeypatch, number, point_k):
    """Let the next draw from a proposal have a point that it would hardly have."""
    draw = MixedProposal.draw

    def draw_it(proposal, n, rng):
        monkeypatch.undo()
        z_ik = draw(proposal, n, rng)
        z_ik[number] = point_k
        return z_ik

    monkeypatch.setattr(MixedProposal, "draw", draw_it)


def test_a_part_that_production_meets_is_learnt_and_production_begins_anew(monkeypatch):
    likelihood = TwoWidths(6)
    explorer = Explorer(
        Normal(6), likelihood, lambda *path: generator(5, *path), max_points=60000
    )
    explorer.learn()
    _, points = explore(likelihood, 6, seed=5, n_effective=500)
    missed, error = ln_mean_and_error(points.ln_weights())
    assert missed == pytest.approx(50, abs=4 * error)  # without the narrow one
    draw_by_chance(monkeypatch, 0, likelihood.centres[1] + 0.05)
    points = explorer.produce(500)
    assert explorer._n_begun_anew == 1
    ln_weight_i = points.ln_weights()
    ln_evidence, error = ln_mean_and_error(ln_weight_i)
    assert ln_evidence == pytest.approx(50 + np.log(1.1), abs=4 * error)
    assert error < 0.04
    assert effective_number_of_ln(ln_weight_i) > 300
    assert explorer.n_drawn < 20000


class Overlooked(TwoWidths):
    """Of which the narrow peak is not seen until the likelihood adapts to it."""

    def __init__(self, n_dim):
        super().__init__(n_dim)
        self.seen = False

    def in_truth(self, z_ik):
        return super().__call__(z_ik)

    def __call__(self, z_ik):
        if self.seen:
            return self.in_truth(z_ik)
        return 50 + self.ln_share_j[0] + self.parts[0](z_ik)

    def adapt(self, z_ik, lnlike_i, ln_weight_i):
        super().adapt(z_ik, lnlike_i, ln_weight_i)
        heaviest = np.argmax(lnlike_i + ln_weight_i)
        self.seen = self.seen or lnlike_i[heaviest] > self(z_ik[[heaviest]])[0] + 5


def test_a_part_that_only_final_likelihoods_see_is_learnt_and_production_begins_anew(
    monkeypatch,
):
    likelihood = Overlooked(6)
    explorer = Explorer(
        Normal(6), likelihood, lambda *path: generator(5, *path), max_points=60000
    )
    explorer.learn()
    draw_by_chance(monkeypatch, 7, likelihood.centres[1] + 0.05)
    points = explorer.produce(500)
    assert not likelihood.seen and explorer._n_begun_anew == 0
    inds = np.arange(5, len(points), 2)  # some of them, as of the result; number 7, too
    assert explorer.begins_anew(inds, likelihood.in_truth(points.z_ik[inds]))
    assert likelihood.seen
    points = explorer.produce(500)
    ln_weight_i = points.ln_weights()
    ln_evidence, error = ln_mean_and_error(ln_weight_i)
    assert ln_evidence == pytest.approx(50 + np.log(1.1), abs=4 * error)
    assert error < 0.04
    assert effective_number_of_ln(ln_weight_i) > 300
    assert not explorer.begins_anew(np.arange(len(points)), points.lnlike_i)


def test_production_goes_on_where_final_likelihoods_are_lower_for_many():
    explorer, points = explore(Gaussians([[1.0, 0.0]], 0.2), 2, seed=13)
    before_i = explorer.draws.lnlike_i.copy()
    worse_i = points.lnlike_i + np.random.default_rng(0).normal(0, 1, len(points))
    assert not explorer.begins_anew(np.arange(len(points)), worse_i)
    np.testing.assert_array_equal(explorer.draws.lnlike_i, before_i)
    more = explorer.produce(1500)
    assert len(more) > len(points) and explorer._n_begun_anew == 0


def test_production_begins_anew_a_few_times_only():
    class Growing(Gaussians):
        """Higher at the heaviest point of each call, for ever."""

        def __init__(self):
            super().__init__([[1.0, 0.0]], 0.2)
            self.raised = {}

        def __call__(self, z_ik):
            lnlike_i = super().__call__(z_ik)
            if self.n_evaluated > 8000 and len(z_ik) >= N_FIRST:
                heaviest = z_ik[np.argmax(lnlike_i)].tobytes()
                self.raised[heaviest] = 20.0 * (len(self.raised) + 1)
            return lnlike_i + [self.raised.get(z_k.tobytes(), 0.0) for z_k in z_ik]

    explorer = Explorer(
        Normal(2), Growing(), lambda *path: generator(11, *path), max_points=36000
    )
    explorer.learn()
    explorer._learn_budget = 0.9
    points = explorer.produce(20000)
    assert explorer._n_begun_anew == MOST_BEGUN_ANEW
    assert explorer.n_drawn == 36000
    assert 5000 < len(points) < 36000


def test_spikes_everywhere_are_not_adapted_to_for_ever():
    class Thorny(Gaussians):
        height = 0.0

        def __call__(self, z_ik):
            lnlike_i = super().__call__(z_ik)
            if self.n_evaluated > 12000:  # a higher one in every call
                self.height += 20
                lnlike_i[np.argmax(lnlike_i)] += self.height
            return lnlike_i

    explorer, _ = explore(Thorny([[1.0, 0]], 0.2), 2, 11, 30000, max_points=60000)
    rounds = [progress for progress in explorer.history if progress.part == "production"]
    assert len(rounds) > MOST_COLLAPSES
    assert explorer._n_collapses == MOST_COLLAPSES
    assert explorer.n_drawn == 60000  # it went on
