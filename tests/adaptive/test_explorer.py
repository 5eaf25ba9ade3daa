"""Adaptive importance sampling of likelihoods whose evidence is known."""

import numpy as np
import pytest
from explorations import Gaussians, Normal, explore
from scipy.stats import norm

from dotpe_exec.adaptive.explorer import (
    MOST_ROUGH,
    N_FIRST,
    N_PILOT,
    N_ROUGH,
    N_ROUND,
    ROUGH_DROP,
    ROUGH_SHARE,
    STUCK_ROUNDS,
    Explorer,
)
from dotpe_exec.adaptive.proposals import PRIOR_SHARE
from dotpe_exec.kernels.pareto import pareto_k
from dotpe_exec.kernels.weights import (
    bounded_effective_number,
    effective_number_of_ln,
    ln_mean_and_error,
)
from dotpe_exec.seeds import generator


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


MIRRORS = ((0,), (0, 1, 2), (1, 2))


@pytest.mark.parametrize("mirror", MIRRORS)
def test_what_only_a_mirror_shows_is_found(mirror):
    class Hidden(Gaussians):
        """Of whose second peak nothing is seen from without."""

        def __call__(self, z_ik):
            square_i = np.sum((z_ik - self.centres[1]) ** 2, axis=1)
            first = Gaussians(self.centres[:1], self.width)
            second_i = self.ln_height - 0.5 * square_i / self.width**2
            hidden = square_i > 30 * self.width**2
            return np.logaddexp(first(z_ik), np.where(hidden, -np.inf, second_i))

    def share_of_second(mirrors):
        likelihood = Hidden([centre_k, other_k], 0.08)
        _, points = explore(likelihood, 6, seed=14, mirrors=mirrors)
        weight_i = np.exp(points.ln_weights() - points.ln_weights().max())
        of_other_i = points.z_ik[:, mirror[0]] * other_k[mirror[0]] > 0
        return weight_i[of_other_i].sum() / weight_i.sum()

    centre_k = np.array([1.5, -1.2, 1.0, 0.5, 0.5, 0.5])
    other_k = np.where(np.isin(np.arange(6), mirror), -centre_k, centre_k)
    assert share_of_second(MIRRORS) == pytest.approx(0.5, abs=0.06)
    assert share_of_second([other for other in MIRRORS if other != mirror]) < 0.01


@pytest.mark.parametrize("mirrors", [((0,),), ((0,), (0, 1), (1,))])
def test_parts_of_a_proposal_are_all_of_it(mirrors):
    """Weights are prior over density: that must integrate to one."""
    explorer, _ = explore(Gaussians([[1.0, 0]], 0.3), 2, seed=16, mirrors=mirrors)
    proposal = explorer._proposal("a proposal")
    assert sum(share for share, _ in proposal.parts) == pytest.approx(1)
    x, dx = np.linspace(-12, 12, 481, retstep=True)
    grid_ik = np.stack(np.meshgrid(x, x), axis=-1).reshape(-1, 2)
    integral = np.exp(proposal.ln_density(grid_ik)).sum() * dx**2
    assert integral == pytest.approx(1, abs=0.01)


def test_one_heavy_point_does_not_decide_what_is_drawn_next():
    explorer, _ = explore(Gaussians([[1.0, 0, 0]], 0.2), 3, seed=15, n_effective=3000)
    before = explorer._proposal("before")
    explorer.draws.lnlike_i[np.argmax(explorer.draws.lnlike_i)] += 12
    after = explorer._proposal("after")
    assert explorer.history[-1].beta == 1
    z_ik = before.draw(4000, np.random.default_rng(0))
    difference_i = after.ln_density(z_ik) - before.ln_density(z_ik)
    assert np.mean(np.abs(difference_i)) < 0.3


@pytest.mark.parametrize("max_points", [3, 10, 40, 200])
def test_few_points_are_drawn_where_few_are_allowed(max_points):
    """Fewer than there are parts of a proposal, too."""
    explorer, points = explore(Gaussians([[0.5, 0]], 0.5), 2, 7, max_points=max_points)
    assert explorer.n_drawn == max_points
    assert 1 <= len(points) < max_points
    assert np.isfinite(points.ln_weights()).all()


class Counted(Gaussians):
    """Gaussian peaks, and how many points were evaluated in each call."""

    def __init__(self, *args):
        super().__init__(*args)
        self.calls = []

    def __call__(self, z_ik):
        self.calls.append(len(z_ik))
        return super().__call__(z_ik)

    def rough(self, z_ik):
        return super().__call__(z_ik)


@pytest.mark.parametrize(
    ("width", "ln_height", "expected"),
    [
        (2.0, 50.0, MOST_ROUGH),  # all fit nearly as well
        (0.35, 50.0, 3 * N_ROUGH),  # the third batch shows that there is little more
        (0.01, 50.0, 0),  # all but a few are far below the best
    ],
)
def test_of_the_pilot_those_are_evaluated_that_may_matter(width, ln_height, expected):
    likelihood = Counted([[0.5, 0.2, 0.0]], width, ln_height)
    explorer = Explorer(
        Normal(3), likelihood, lambda *path: generator(3, *path), max_points=60000
    )
    draws = explorer._pilot()
    assert len(draws) == N_PILOT
    assert set(likelihood.calls[:-1]) <= {N_ROUGH}
    known = np.isfinite(draws.lnlike_i)
    assert np.count_nonzero(known) == sum(likelihood.calls)
    lnlike_i = likelihood.rough(draws.z_ik)
    if expected:
        assert np.count_nonzero(known) == expected
        assert lnlike_i[known].min() >= lnlike_i[~known].max(), "the best are evaluated"
    else:
        assert not (known & (lnlike_i < lnlike_i.max() - ROUGH_DROP)).any()
        assert 0 < np.count_nonzero(known) < N_ROUGH
    share_i = np.exp(lnlike_i - lnlike_i.max())
    if expected < MOST_ROUGH:
        assert share_i[~known].sum() < ROUGH_SHARE * share_i.sum()


def test_learning_draws_no_more_than_are_missing():
    likelihood = Counted([np.full(4, 0.5)], 0.4)
    explorer = Explorer(
        Normal(4),
        likelihood,
        lambda *path: generator(5, *path),
        max_points=60000,
        n_effective=4500,
    )
    explorer.draws = explorer._pilot()
    explorer._round(N_FIRST)
    assert explorer._beta == 1.0
    counting, efficiency = explorer._n_effective(), explorer._yield
    assert 4 * counting > N_FIRST
    explorer.learnt = counting + 1.0
    assert explorer._next_size() == N_FIRST
    explorer.learnt = counting + 2000 * efficiency
    assert explorer._next_size() == pytest.approx(2400, abs=1)
    explorer.learnt = 1e9
    assert explorer._next_size() == min(int(8 * counting), N_ROUND)
    explorer.learnt = 0.0  # enough, and what is drawn confirms it
    assert explorer._next_size() == min(int(8 * counting), N_ROUND)


def test_what_is_missing_is_reckoned_by_the_last_mixture_without_heavy_points():
    class OneHeavy(Gaussians):
        heavier = 0.0

        def __call__(self, z_ik):
            lnlike_i = super().__call__(z_ik)
            lnlike_i[np.argmax(lnlike_i)] += self.heavier
            return lnlike_i

    likelihood = OneHeavy([np.full(4, 0.5)], 0.3)
    explorer, _ = explore(likelihood, 4, seed=6, n_effective=500)
    before = explorer._yield
    assert before > 0.2
    assert explorer._draw_around(np.full(4, 3.0))  # for a look at a part that was missed
    assert explorer._efficiency < 0.1
    assert explorer._yield == before
    likelihood.heavier = 9.0
    explorer._round(N_FIRST)
    assert explorer._efficiency < 0.01
    assert explorer._yield > 0.1


def test_progress_counts_as_the_end_does():
    """One heavy point neither sets progress back nor makes a round larger."""
    explorer, _ = explore(Gaussians([[1.0, 0, 0]], 0.2), 3, seed=12, n_effective=8000)
    first = len(explorer.draws) - len(explorer._produced())
    explorer.draws.lnlike_i[first + np.argmax(explorer.draws.lnlike_i[first:])] += 8
    ln_weight_i = explorer._produced().ln_weights()
    counting = bounded_effective_number(ln_weight_i)
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
