"""Unequal-probability draws: fixed size, no needless repeats, no bias."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dotpe_exec.kernels.draws import draw_from_pool, expected_counts, systematic_draw

importances = arrays(
    float,
    st.integers(1, 60),
    elements=st.floats(0, 1e6, allow_subnormal=False) | st.floats(1e-9, 1e-3),
).filter(lambda importance: np.any(importance > 0))


@given(importance=importances, n=st.integers(1, 100))
def test_expected_counts_add_up_and_favour_importance(importance, n):
    counts = expected_counts(importance, n)
    np.testing.assert_allclose(counts.sum(), n, rtol=1e-9)
    assert np.all(counts[importance == 0] == 0)
    assert np.all(counts[importance > 0] > 0)
    assert np.all(np.diff(counts[np.argsort(importance)]) >= -1e-9)
    if np.count_nonzero(importance) >= n:
        assert np.all(counts <= 1 + 1e-9)


def test_expected_counts_are_proportional_below_the_cap():
    np.testing.assert_allclose(
        expected_counts(np.array([100.0, 1, 2, 3]), 3), [1, 1 / 3, 2 / 3, 1]
    )


@given(importance=importances, n=st.integers(1, 100), u=st.floats(0, 1, exclude_max=True))
def test_each_point_is_drawn_as_often_as_expected_rounded_up_or_down(importance, n, u):
    counts = expected_counts(importance, n)
    drawn = np.bincount(systematic_draw(counts, u), minlength=len(counts))
    assert drawn.sum() == n
    assert np.all(drawn >= np.floor(counts - 1e-6))
    assert np.all(drawn <= np.ceil(counts + 1e-6))


def test_average_over_draws_is_the_sum_over_the_pool():
    rng = np.random.default_rng(5)
    ln_ratio_q, score_q, f_q = rng.normal(size=(3, 300))
    f_q = 1 + f_q**2
    truth = np.sum(np.exp(ln_ratio_q) * f_q)
    estimates = []
    for _ in range(2000):
        # A score that has nothing to do with f must not bias the estimate either.
        drawn, weights = draw_from_pool(3 * score_q, ln_ratio_q, 40, rng)
        estimates.append(np.mean(weights * f_q[drawn]))
    error = np.std(estimates) / np.sqrt(len(estimates))
    assert abs(np.mean(estimates) - truth) < 4 * error
    assert error < 0.05 * abs(truth)


def test_score_proportional_to_likelihood_leaves_hardly_any_variance():
    rng = np.random.default_rng(6)
    ln_ratio_q, lnlike_q = rng.normal(size=(2, 5000)) * np.array([[0.5], [3.0]])
    truth = np.sum(np.exp(ln_ratio_q + lnlike_q))
    by_score = [
        np.mean(weights * np.exp(lnlike_q[drawn]))
        for drawn, weights in (
            draw_from_pool(lnlike_q, ln_ratio_q, 200, rng) for _ in range(50)
        )
    ]
    blind = [
        np.mean(weights * np.exp(lnlike_q[drawn]))
        for drawn, weights in (
            draw_from_pool(lnlike_q, ln_ratio_q, 200, rng, {0.0: 1.0}) for _ in range(50)
        )
    ]
    assert np.std(by_score) < 0.1 * np.std(blind)
    np.testing.assert_allclose(np.mean(by_score), truth, rtol=0.05)


def test_pool_smaller_than_the_number_of_draws_is_repeated_evenly():
    drawn, weights = draw_from_pool(
        np.zeros(3), np.log([0.2, 0.3, 0.5]), 8, np.random.default_rng(0)
    )
    assert np.all(np.bincount(drawn, minlength=3) >= 2)
    np.testing.assert_allclose(np.mean(weights), 1, rtol=0.3)


def test_points_without_likelihood_can_be_drawn_too():
    ln_mixture_q = np.full(50, -np.inf)
    drawn, weights = draw_from_pool(
        ln_mixture_q, np.zeros(50), 10, np.random.default_rng(0)
    )
    assert len(np.unique(drawn)) == 10
    np.testing.assert_allclose(np.mean(weights), 50)
