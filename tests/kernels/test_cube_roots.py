"""Numbers with the same cube roots as the C library gives."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from dotpe_exec.kernels.cube_roots import cube_root, scaled_cubes


@pytest.fixture
def cbrt():
    """Return the C library's cube root."""
    function = ctypes.CDLL(None).cbrt
    function.argtypes, function.restype = [ctypes.c_double], ctypes.c_double
    return function


@pytest.mark.parametrize("factor", [1.0, 2 / 3, 2 / 5])
def test_scaled_numbers_have_the_same_roots_to_the_bit(factor, cbrt):
    cubes_f = np.random.default_rng(3).uniform(1e-4, 0.9, 5000)
    scale = 3.217e-4
    x_f, found_f = scaled_cubes(cubes_f, scale, factor)
    assert cube_root(cubes_f[0]) == cbrt(cubes_f[0])
    roots = [cbrt(x * scale * factor) for x in x_f[1:].tolist()]
    same_f = np.array(roots) == [cbrt(cube) for cube in cubes_f.tolist()]
    np.testing.assert_array_equal(same_f, found_f)
    assert found_f.mean() > 0.9
    np.testing.assert_allclose(x_f[1:] * scale * factor, cubes_f, rtol=1e-14)
    assert 0 < x_f[0] < 0.3 * x_f[1:].min()
