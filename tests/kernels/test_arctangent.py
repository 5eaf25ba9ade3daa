"""The branch-free arctangent."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dotpe_exec.kernels.trigonometry import arctangent


def test_arctangent_is_that_of_the_c_library():
    rng = np.random.default_rng(0)
    y, x = rng.normal(size=(2, 2000)) * 10 ** rng.uniform(-9, 9, (2, 2000))
    made = [arctangent(a, b) for a, b in zip(y, x, strict=True)]
    np.testing.assert_allclose(made, np.arctan2(y, x), rtol=0, atol=5e-16)


@pytest.mark.parametrize(
    ("y", "x"), [(0.0, 1.0), (0.0, -1.0), (1.0, 0.0), (-1.0, 0.0), (0.0, 0.0), (1.0, 1.0)]
)
def test_arctangent_at_the_axes(y, x):
    assert arctangent(y, x) == math.atan2(y, x)
    assert math.isnan(arctangent(math.nan, x))
