"""What importance weights are worth."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dotpe_exec.kernels import importance
from dotpe_exec.kernels.importance import (
    effective_size,
    logsumexp,
    relative_weights,
    to_relative_weights,
)
from dotpe_exec.kernels.weights import (
    effective_number_of_ln,
    ln_mean_and_error,
    temper,
    truncate,
)


def test_mean_and_error_of_lognormal_weights():
    """The stated error is the scatter over repetitions."""
    rng = np.random.default_rng(4)
    found = np.array([ln_mean_and_error(rng.normal(size=2000)) for _ in range(200)])
    assert found[:, 0].mean() == pytest.approx(0.5, abs=0.01)
    assert found[:, 1].mean() == pytest.approx(found[:, 0].std(), rel=0.2)


def test_nothing_counts():
    assert effective_number_of_ln(np.full(4, -np.inf)) == 0
    assert ln_mean_and_error(np.full(4, -np.inf)) == (-np.inf, np.inf)


@given(st.integers(0, 999), st.floats(0.1, 100))
def test_temper_reaches_the_number_asked_for(seed, scale):
    rng = np.random.default_rng(seed)
    lnlike_i = scale * rng.normal(size=500)
    lnlike_i[:100] = -np.inf
    ln_weight_i, beta = temper(lnlike_i, 0.1 * rng.normal(size=500), 60.0)
    assert 0 <= beta <= 1
    assert effective_number_of_ln(ln_weight_i) >= 60 * (1 - 1e-6)
    assert np.all(ln_weight_i[:100] == -np.inf)


def test_temper_leaves_enough_alone():
    lnlike_i = np.random.default_rng(5).random(500)
    ln_weight_i, beta = temper(lnlike_i, np.zeros(500), 60.0)
    assert beta == 1
    np.testing.assert_array_equal(ln_weight_i, lnlike_i)


@given(st.integers(0, 999), st.integers(1, 5), st.floats(5, 50))
def test_truncate_lowers_the_heaviest_no_more_than_needed(seed, n_heavy, by):
    ln_weight_i = 0.1 * np.random.default_rng(seed).normal(size=500)
    ln_weight_i[-50:] = -np.inf
    ln_weight_i[:n_heavy] += by
    lowered_i = truncate(ln_weight_i, 200.0)
    assert effective_number_of_ln(lowered_i) == pytest.approx(200, rel=1e-3)
    np.testing.assert_array_equal(lowered_i[n_heavy:], ln_weight_i[n_heavy:])


def test_truncate_leaves_enough_alone():
    ln_weight_i = np.random.default_rng(5).random(500)
    np.testing.assert_array_equal(truncate(ln_weight_i, 60.0), ln_weight_i)


def test_truncate_makes_no_more_than_there_are():
    ln_weight_i = np.array([0.0, 3.0, -np.inf, 9.0])
    lowered_i = truncate(ln_weight_i, 60.0)
    np.testing.assert_allclose(lowered_i, [0, 0, -np.inf, 0], atol=1e-9)


@pytest.mark.parametrize("ln_weights", [[1.0, -3.0, -np.inf, 800.0], [-np.inf] * 3, []])
def test_weights_in_place_are_the_same_to_the_bit(ln_weights):
    in_place = np.array(ln_weights)
    ln_sum = to_relative_weights(in_place)
    assert ln_sum == logsumexp(np.array(ln_weights))
    np.testing.assert_array_equal(in_place, relative_weights(np.array(ln_weights)))


def test_effective_size_does_not_depend_on_the_parts(monkeypatch):
    weights = np.random.default_rng(5).exponential(size=1000)
    whole = effective_size(weights)
    monkeypatch.setattr(importance, "_PART", 7)
    assert effective_size(weights) == pytest.approx(whole, rel=1e-14)
    assert whole == pytest.approx(weights.sum() ** 2 / np.sum(weights**2), rel=1e-14)
