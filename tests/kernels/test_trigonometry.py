"""cos_sin against extended precision."""

import numba
import numpy as np
import pytest

from dotpe_exec.kernels.trigonometry import REDUCTION_LIMIT, cos_sin


@numba.njit
def _map(x, c, s):
    for k in range(x.size):
        c[k], s[k] = cos_sin(x[k])


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e3, REDUCTION_LIMIT])
def test_cos_sin_is_right_to_rounding(scale):
    x = np.random.default_rng(1).uniform(-scale, scale, 20_000)
    x = np.append(x, [0.0, -0.0, scale, -scale])
    c, s = np.empty_like(x), np.empty_like(x)
    _map(x, c, s)
    np.testing.assert_allclose(c, np.cos(x.astype(np.longdouble)), rtol=0, atol=3e-16)
    np.testing.assert_allclose(s, np.sin(x.astype(np.longdouble)), rtol=0, atol=3e-16)


def test_cos_sin_at_quadrant_boundaries():
    k = np.arange(-(2**19), 2**19, 997)
    for nudge in (-1e-9, 0.0, 1e-9):
        x = k * (np.pi / 4) + nudge
        c, s = np.empty_like(x), np.empty_like(x)
        _map(x, c, s)
        np.testing.assert_allclose(c, np.cos(x.astype(np.longdouble)), rtol=0, atol=3e-16)
        np.testing.assert_allclose(s, np.sin(x.astype(np.longdouble)), rtol=0, atol=3e-16)


def test_cos_sin_keeps_nan():
    x = np.array([np.nan])
    c, s = np.zeros(1), np.zeros(1)
    _map(x, c, s)
    assert np.isnan(c[0]) and np.isnan(s[0])
