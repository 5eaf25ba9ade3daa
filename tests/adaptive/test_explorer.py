"""Adaptive importance sampling of likelihoods whose evidence is known."""

import numpy as np
import pytest
from scipy.stats import norm

from dotpe_exec.adaptive.explorer import (
    CONFIRMED,
    MOST_ADDED,
    MOST_BEGUN_ANEW,
    MOST_COLLAPSES,
    N_FIRST,
    STUCK_ROUNDS,
    Explorer,
)
from dotpe_exec.adaptive.proposals import PRIOR_SHARE, MixedProposal
from dotpe_exec.kernels.importance import effective_size
from dotpe_exec.kernels.pareto import pareto_k
from dotpe_exec.kernels.weights import (
    bounded_weights,
    effective_number_of_ln,
    ln_mean_and_error,
)
from dotpe_exec.seeds import generator


class Normal:
    """A standard normal prior."""

    mirrors = ((0,),)

    def __init__(self, n_dim):
        self.n_dim = n_dim
        self.determined = [(1, (0, *range(2, n_dim)))]

    def draw(self, n, rng):
        return rng.standard_normal((n, self.n_dim))

    def ln_prior(self, z_ik):
        return -0.5 * np.sum(z_ik**2, axis=1) - 0.5 * self.n_dim * np.log(2 * np.pi)


class Gaussians:
    """Equal Gaussian peaks; the evidence under the standard normal prior is known."""

    def __init__(self, centres, width, ln_height=50.0):
        self.centres, self.width, self.ln_height = np.array(centres), width, ln_height
        self.n_evaluated = self.n_adapted = 0

    def __call__(self, z_ik):
        self.n_evaluated += len(z_ik)
        square_ic = np.sum((z_ik[:, None] - self.centres) ** 2, axis=2)
        terms_ic = -0.5 * square_ic / self.width**2
        return self.ln_height + np.logaddexp.reduce(terms_ic, axis=1)

    def rough(self, z_ik):
        return self(z_ik) + np.sin(17 * z_ik[:, 0])  # near enough to begin with

    def adapt(self, z_ik, lnlike_i, ln_weight_i):
        self.n_adapted += 1

    @property
    def ln_evidence(self):
        variance = 1 + self.width**2
        n_k = self.centres.shape[1]
        terms_c = (
            -0.5 * np.sum(self.centres**2, axis=1) / variance
            - 0.5 * n_k * np.log(variance)
            + n_k * np.log(self.width)
        )
        return self.ln_height + np.logaddexp.reduce(terms_c)


def explore(likelihood, n_dim, seed, n_effective=1000, max_points=60000):
    explorer = Explorer(
        Normal(n_dim),
        likelihood,
        lambda *path: generator(seed, *path),
        max_points=max_points,
    )
    explorer.learn()
    return explorer, explorer.produce(n_effective)


def test_narrow_peak_in_nine_dimensions():
    """A posterior e^20 times smaller than the prior."""
    likelihood = Gaussians([np.linspace(-1, 1, 9)], 0.1)
    explorer, points = explore(likelihood, 9, seed=1)
    ln_weight_i = points.ln_weights()
    ln_evidence, error = ln_mean_and_error(ln_weight_i)
    assert effective_number_of_ln(ln_weight_i) >= 1000
    assert error < 0.04
    assert ln_evidence == pytest.approx(likelihood.ln_evidence, abs=4 * error)
    assert pareto_k(ln_weight_i) < 0.7
    assert likelihood.n_adapted > 1
    assert explorer.history[0].beta < 1 == explorer.history[-1].beta


def test_both_of_two_peaks_are_found():
    likelihood = Gaussians([[-1.5, 0, 0, 0], [1.5, 0.5, 0, 0]], 0.15)
    _, points = explore(likelihood, 4, seed=2)
    ln_weight_i = points.ln_weights()
    ln_evidence, error = ln_mean_and_error(ln_weight_i)
    assert ln_evidence == pytest.approx(likelihood.ln_evidence, abs=4 * error)
    weight_i = np.exp(ln_weight_i - ln_weight_i.max())
    expected = 1 / (1 + np.exp(-0.5 * 0.25 / (1 + 0.15**2)))
    left = weight_i[points.z_ik[:, 0] < 0].sum() / weight_i.sum()
    assert left == pytest.approx(expected, abs=0.05)


def test_a_curved_sheet_takes_few_points():
    """As a long signal's: one coordinate known to a hundredth of what it is without."""

    class Sheet(Gaussians):
        def __call__(self, z_ik):
            y_ik = z_ik - np.linspace(-0.5, 0.5, 9)
            y_ik[:, 1] -= 0.5 * z_ik[:, 0] ** 2 + 0.3 * z_ik[:, 2] * z_ik[:, 3]
            return 40 - 0.5 * np.sum((y_ik / self.width) ** 2, axis=1)

    likelihood = Sheet(np.zeros((1, 9)), np.array([0.6, 0.006, *[0.6] * 7]))
    explorer, points = explore(likelihood, 9, seed=13, n_effective=2000)
    assert explorer.n_drawn < 40000
    assert explorer.history[-1].efficiency > 0.2
    # Its evidence, from draws of all but the narrow coordinate.
    rng = np.random.default_rng(0)
    width, others = likelihood.width, np.r_[0, 2:9]
    variance_o = 1 / (1 + width[others] ** -2)
    mean_o = np.linspace(-0.5, 0.5, 9)[others] / width[others] ** 2 * variance_o
    z_ik = np.zeros((200000, 9))
    z_ik[:, others] = mean_o + np.sqrt(variance_o) * rng.standard_normal((200000, 8))
    narrow_i = -0.375 + 0.5 * z_ik[:, 0] ** 2 + 0.3 * z_ik[:, 2] * z_ik[:, 3]
    share = np.mean(np.exp(-0.5 * narrow_i**2 / (1 + width[1] ** 2)))
    centre_o = np.linspace(-0.5, 0.5, 9)[others]
    expected = (
        40
        + np.log(share * np.prod(width))
        - 0.5 * np.sum(np.log1p(width**2))
        - 0.5 * np.sum(centre_o**2 / (1 + width[others] ** 2))
    )
    ln_evidence, error = ln_mean_and_error(points.ln_weights())
    assert ln_evidence == pytest.approx(expected, abs=4 * error)


def test_what_only_the_mirror_shows_is_found():
    """A second peak that one in a hundred thousand draws from the prior meets."""
    centre_k = np.array([1.5, *np.linspace(-1, 1, 5)])
    likelihood = Gaussians([centre_k, centre_k * [-1, 1, 1, 1, 1, 1]], 0.12)
    _, points = explore(likelihood, 6, seed=14, n_effective=2000)
    weight_i = np.exp(points.ln_weights() - points.ln_weights().max())
    left = weight_i[points.z_ik[:, 0] < 0].sum() / weight_i.sum()
    assert left == pytest.approx(0.5, abs=0.06)


def test_one_heavy_point_does_not_decide_what_is_drawn_next():
    explorer, _ = explore(Gaussians([[1.0, 0, 0]], 0.2), 3, seed=15, n_effective=3000)
    before = explorer._proposal("before")
    explorer.draws.lnlike_i[np.argmax(explorer.draws.lnlike_i)] += 12
    after = explorer._proposal("after")
    assert explorer.history[-1].beta == 1
    z_ik = before.draw(4000, np.random.default_rng(0))
    difference_i = after.ln_density(z_ik) - before.ln_density(z_ik)
    assert np.mean(np.abs(difference_i)) < 0.3


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


@pytest.mark.parametrize("max_points", [3, 10, 40, 200])
def test_few_points_are_drawn_where_few_are_allowed(max_points):
    """Fewer than there are parts of a proposal, too."""
    explorer, points = explore(Gaussians([[0.5, 0]], 0.5), 2, 7, max_points=max_points)
    assert explorer.n_drawn == max_points
    assert 1 <= len(points) < max_points
    assert np.isfinite(points.ln_weights()).all()


@pytest.mark.parametrize("inefficient", [0, 1, 2, 50])
def test_learning_is_not_at_its_end_while_rounds_are_inefficient(inefficient):
    class Surprised(Explorer):
        """Some rounds meet points that outweigh the others of their round."""

        left = inefficient

        def _draw_and_evaluate(self, proposal, size):
            super()._draw_and_evaluate(proposal, size)
            if self.left:
                self.left -= 1
                self._efficiency = 0.5 * CONFIRMED

    likelihood = Gaussians([[1.0, 0, 0]], 0.3)
    explorer = Surprised(
        Normal(3), likelihood, lambda *path: generator(4, *path), max_points=60000
    )
    explorer.learn()
    enough = [progress.n_effective > explorer.learnt for progress in explorer.history]
    assert enough == [True] * (1 + min(inefficient, MOST_ADDED))  # one would do
    assert explorer.n_drawn < 0.5 * 60000


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


def test_progress_counts_as_the_end_does():
    """One heavy point neither sets progress back nor makes a round larger."""
    explorer, _ = explore(Gaussians([[1.0, 0, 0]], 0.2), 3, seed=12, n_effective=8000)
    first = len(explorer.draws) - len(explorer._produced())
    explorer.draws.lnlike_i[first + np.argmax(explorer.draws.lnlike_i[first:])] += 8
    ln_weight_i = explorer._produced().ln_weights()
    counting = effective_size(bounded_weights(ln_weight_i))
    assert effective_number_of_ln(ln_weight_i) < 100 < 4000 < counting
    explorer.produce(counting + 200)
    assert explorer.draws.sizes[-1] == N_FIRST
    assert explorer.history[-1].n_effective >= counting + 200


@pytest.mark.slow
def test_evidence_and_error_are_unbiased():
    """Over many seeds: the mean is the truth, the scatter the stated error."""
    likelihood = Gaussians([[0.5, -0.5, 1.0]], 0.2)
    pulls = []
    for seed in range(60):
        _, points = explore(likelihood, 3, seed, n_effective=400)
        ln_evidence, error = ln_mean_and_error(points.ln_weights())
        pulls.append((ln_evidence - likelihood.ln_evidence) / error)
    assert abs(np.mean(pulls)) < 4 / np.sqrt(60)
    assert 0.6 < np.std(pulls) < 1.4


def test_weights_integrate_the_prior_whatever_the_proposals():
    """The mean of prior over mixture is one, and the prior is part of the mixture."""
    _, points = explore(Gaussians([[1.0, 1.0]], 0.3), 2, seed=3)
    ratio_i = np.exp(points.ln_ratio_i)
    error = ratio_i.std() / np.sqrt(len(points))
    assert ratio_i.mean() == pytest.approx(1, abs=5 * error)
    assert ratio_i.max() <= 2 / PRIOR_SHARE


@pytest.mark.slow
def test_weights_integrate_the_prior_near_a_curved_peak():
    """In a box around a narrow, curved posterior with long tails; mean over seeds."""

    class Curved(Gaussians):
        def __call__(self, z_ik):
            y_ik = z_ik.copy()
            y_ik[:, 1] -= 0.5 * z_ik[:, 0] ** 2 - 0.5
            widths_k = np.array([0.6, 0.03, 0.05, 0.1])
            return 30 - 3.5 * np.log1p(np.sum((y_ik / widths_k) ** 2, axis=1) / 3)

    likelihood = Curved([[0.0, -0.5, 0.0, 0.0]], 0.1)
    low_k, high_k = np.array([[-0.4, -0.56, -0.06, -0.15], [0.4, -0.44, 0.06, 0.15]])
    exact = np.prod(norm.cdf(high_k) - norm.cdf(low_k))
    masses = []
    for seed in range(16):
        _, points = explore(likelihood, 4, seed, n_effective=2000)
        inside = np.all((points.z_ik > low_k) & (points.z_ik < high_k), axis=1)
        masses.append(np.exp(points.ln_ratio_i[inside]).sum() / len(points) / exact)
    error = np.std(masses) / np.sqrt(len(masses))
    assert error < 0.03
    assert np.mean(masses) == pytest.approx(1, abs=4 * error)


def test_what_counts_in_a_round_does_not_weigh_it():
    """The same draws, another likelihood in the last round: weights stay."""
    explorer, points = explore(Gaussians([[1.0, 0]], 0.2), 2, seed=10, n_effective=5000)
    assert len(explorer.draws.sizes) > explorer._n_learning + 1
    explorer.draws.lnlike_i[-1] += 30  # a rare heavy point
    np.testing.assert_array_equal(explorer._produced().ln_ratio_i, points.ln_ratio_i)


def test_same_seed_same_bits():
    runs = [explore(Gaussians([[1.0, 0, 0]], 0.2), 3, seed=4)[1] for _ in range(2)]
    np.testing.assert_array_equal(runs[0].z_ik, runs[1].z_ik)
    np.testing.assert_array_equal(runs[0].ln_weights(), runs[1].ln_weights())


def test_it_never_draws_more_than_allowed():
    explorer, points = explore(Gaussians([np.ones(9)], 0.1), 9, seed=5, max_points=3000)
    assert explorer.n_drawn == 3000
    assert 1000 < len(points) < 3000


def test_it_goes_on_when_more_is_wanted():
    explorer, points = explore(Gaussians([[1.0, 0]], 0.2), 2, seed=6, n_effective=200)
    before = len(points)
    after = explorer.produce(5000)
    assert len(after) > before
    assert effective_number_of_ln(after.ln_weights()) >= 5000


def test_flat_likelihood_gives_the_prior():
    class Flat(Gaussians):
        def __call__(self, z_ik):
            return np.full(len(z_ik), 3.0)

    _, points = explore(Flat([[0.0, 0]], 1.0), 2, seed=7, n_effective=3000)
    ln_evidence, error = ln_mean_and_error(points.ln_weights())
    assert ln_evidence == pytest.approx(3, abs=max(4 * error, 0.02))


def test_points_without_a_model_count_as_zero():
    class Half(Gaussians):
        def __call__(self, z_ik):
            return np.where(z_ik[:, 0] > 0, super().__call__(z_ik), np.nan)

    likelihood = Half([[0.0, 0.5]], 0.3)
    _, points = explore(likelihood, 2, seed=8)
    ln_evidence, error = ln_mean_and_error(points.ln_weights())
    expected = likelihood.ln_evidence - np.log(2)
    assert ln_evidence == pytest.approx(expected, abs=4 * error)
    np.testing.assert_array_equal(
        points.failed_i & (points.z_ik[:, 0] > 0), np.zeros(len(points), dtype=bool)
    )
    assert points.failed_i.any()


def test_a_pilot_from_elsewhere_does_not_bias():
    """Its points only teach: also where their weights are all wrong."""
    likelihood = Gaussians([[1.0, 0.5]], 0.2)
    rng = np.random.default_rng(9)
    explorer = Explorer(
        Normal(2), likelihood, lambda *path: generator(9, *path), max_points=20000,
        pilot=(0.5 + rng.normal(size=(500, 2)), rng.normal(size=500)),
    )  # fmt: skip
    explorer.learn()
    points = explorer.produce(1000)
    ln_evidence, error = ln_mean_and_error(points.ln_weights())
    assert ln_evidence == pytest.approx(likelihood.ln_evidence, abs=4 * error)


class Rugged(Gaussians):
    """Noise hides the way to the peaks."""

    def __call__(self, z_ik):
        bumps_i = 40 * np.sin(29 * z_ik).prod(axis=1)
        return np.maximum(super().__call__(z_ik), bumps_i)


def test_a_peak_that_draws_from_the_prior_do_not_lead_to_is_found_from_a_point():
    """A posterior e^25 times smaller than the prior."""
    centre_k = np.linspace(-1, 1, 5)
    likelihood = Rugged([centre_k], 0.01, ln_height=200.0)
    explorer = Explorer(
        Normal(5),
        likelihood,
        lambda *path: generator(4, *path),
        max_points=40000,
        start_k=centre_k + 0.003,
    )
    explorer.learn()
    # Draws from the prior led nowhere.
    assert explorer.history[STUCK_ROUNDS - 2].ln_evidence < 50
    points = explorer.produce(300)
    ln_evidence, error = ln_mean_and_error(points.ln_weights())
    assert ln_evidence == pytest.approx(likelihood.ln_evidence, abs=4 * error)
    assert error < 0.08


@pytest.mark.slow
def test_it_goes_on_with_another_likelihood_when_learning_took_all_it_may():
    """As with a refined reference waveform, near a peak that the first one had missed."""

    centre_k = np.linspace(-1, 1, 9)
    explorer = Explorer(
        Normal(9),
        Rugged([centre_k], 0.01, ln_height=-np.inf),
        lambda *path: generator(16, *path),
        max_points=24000,
    )
    explorer.learn()
    assert explorer.n_drawn >= 12000
    likelihood = Rugged([centre_k], 0.01, ln_height=250.0)
    explorer.go_on_with(likelihood, centre_k + 0.003)
    points = explorer.produce(500)
    ln_evidence, error = ln_mean_and_error(points.ln_weights())
    assert ln_evidence == pytest.approx(likelihood.ln_evidence, abs=4 * error)
    assert error < 0.1
