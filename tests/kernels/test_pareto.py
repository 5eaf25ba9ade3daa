"""The shape of the weights' tail."""

from __future__ import annotations

import numpy as np
import pytest

from dotpe_exec.kernels.pareto import pareto_k


@pytest.mark.parametrize("shape", [0.2, 0.5, 0.7, 1.0, 1.5])
def test_shape_of_pareto_tails_is_found(shape):
    rng = np.random.default_rng(1)
    found = [pareto_k(rng.pareto(1 / shape, 20_000)) for _ in range(10)]
    assert np.mean(found) == pytest.approx(shape, abs=0.1)


def test_scale_order_and_zeros_do_not_matter():
    rng = np.random.default_rng(2)
    weights = rng.pareto(2.0, 3000)
    weights[:500] = 0
    expected = pareto_k(weights)
    assert pareto_k(weights[::-1] * 1e-200) == pytest.approx(expected, rel=1e-9)
    assert pareto_k(weights[500:], 3000) == pytest.approx(expected, rel=1e-12)


def test_bounded_weights_that_are_resolved_have_a_light_tail():
    """A Gaussian likelihood in a box: the fewer points it holds, the heavier the tail."""
    rng = np.random.default_rng(3)
    points = rng.uniform(-0.5, 0.5, (2**14, 9))
    shapes = [
        pareto_k(np.exp(-0.5 * np.sum((points / width) ** 2, axis=1)))
        for width in (0.3, 0.2, 0.12)
    ]
    assert shapes[0] < 0.3 and shapes[0] < shapes[1] < 0.7 and shapes[2] > 1


def test_too_few_weights_have_no_tail():
    assert pareto_k(np.array([1.0, 0.0, 2.0, 3.0])) is None
    assert pareto_k(np.array([1.0, 0.5, 2.0, 3.0]), 10_000) is None
    assert pareto_k(np.empty(0)) is None


def test_equal_weights_have_a_light_tail():
    assert pareto_k(np.ones(1000)) is None  # nothing exceeds anything
