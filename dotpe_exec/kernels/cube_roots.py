"""Cube roots with the bits of the C library's.

NumPy's are as precise and faster, but differ in the last bit, which the Euler angles of
some binaries amplify.
"""

from __future__ import annotations

import numba
import numpy as np

from .compiling import kernel

_cbrt = numba.types.ExternalFunction("cbrt", numba.float64(numba.float64))

_MOST_STEPS = 8


@kernel()
def cube_root(cube):
    """Return the cube root of a number."""
    return _cbrt(cube)


@kernel()
def scaled_cubes(cubes_f, scale, factor):
    """Return numbers that have the same cube roots, but for a scale, to the bit.

    A root varies a third as much as its argument, so that mostly several numbers have the
    same.

    Parameters
    ----------
    cubes_f : (n_f,) float
        Above zero.
    scale, factor : float
        Above zero.

    Returns
    -------
    x_f : (n_f + 1,) float
        cbrt(x_f[1:] scale factor) = cbrt(cubes_f); the first is a quarter of
        the lowest that it would be for a factor of one.
    found_f : (n_f,) bool
        Whether to the bit.
    """
    x_f, found_f = np.empty(cubes_f.size + 1), np.empty(cubes_f.size, np.bool_)
    lowest = np.inf
    for f in range(cubes_f.size):
        root = _cbrt(cubes_f[f])
        nearest = cubes_f[f] / (scale * factor)
        lowest = min(lowest, nearest)
        low, high = nearest, nearest
        x = nearest
        found = _cbrt(x * scale * factor) == root
        for step in range(2 * _MOST_STEPS):
            if found:
                break
            if step % 2:
                low = np.nextafter(low, 0.0)
                x = low
            else:
                high = np.nextafter(high, np.inf)
                x = high
            found = _cbrt(x * scale * factor) == root
        x_f[f + 1] = x if found else nearest
        found_f[f] = found
    x_f[0] = 0.25 * factor * lowest
    return x_f, found_f
