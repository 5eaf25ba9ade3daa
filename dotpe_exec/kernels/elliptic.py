"""Elliptic functions and integrals."""

from __future__ import annotations

import math

import numpy as np

from .compiling import kernel
from .trigonometry import cos_sin


@kernel(forceinline=True)
def jacobi_sn(u, m):
    """Return the elliptic sn(u | m), 0 <= m < 0.99; NaN elsewhere.

    Gauss's transformation (Abramowitz and Stegun 16.12), five times, which takes the
    parameter below rounding.
    """
    k1 = _smaller_modulus(math.sqrt(1.0 - m))
    k2 = _smaller_modulus(math.sqrt((1.0 - k1) * (1.0 + k1)))
    k3 = _smaller_modulus(math.sqrt((1.0 - k2) * (1.0 + k2)))
    k4 = _smaller_modulus(math.sqrt((1.0 - k3) * (1.0 + k3)))
    k5 = _smaller_modulus(math.sqrt((1.0 - k4) * (1.0 + k4)))
    scale = (1.0 + k1) * (1.0 + k2) * (1.0 + k3) * (1.0 + k4) * (1.0 + k5)
    _, sn = cos_sin(u / scale)
    sn = (1.0 + k5) * sn / (1.0 + k5 * sn * sn)
    sn = (1.0 + k4) * sn / (1.0 + k4 * sn * sn)
    sn = (1.0 + k3) * sn / (1.0 + k3 * sn * sn)
    sn = (1.0 + k2) * sn / (1.0 + k2 * sn * sn)
    sn = (1.0 + k1) * sn / (1.0 + k1 * sn * sn)
    return sn if (m >= 0.0) & (m < 0.99) else np.nan


@kernel(forceinline=True)
def _smaller_modulus(complement):
    """Return the modulus after a transformation, from the one complementary to before."""
    return (1.0 - complement) / (1.0 + complement)


@kernel()
def elliptic_f(sn, m):
    """Return the incomplete integral F(asin(sn) | m), by Carlson's duplication of R_F."""
    x, y, z = 1.0 - sn * sn, 1.0 - m * sn * sn, 1.0
    for _ in range(60):
        root_x, root_y, root_z = math.sqrt(x), math.sqrt(y), math.sqrt(z)
        lam = root_x * root_y + root_x * root_z + root_y * root_z
        x, y, z = 0.25 * (x + lam), 0.25 * (y + lam), 0.25 * (z + lam)
        mean = (x + y + z) / 3.0
        if max(abs(x - mean), abs(y - mean), abs(z - mean)) < 3e-3 * mean:
            break
    dx, dy, dz = 1.0 - x / mean, 1.0 - y / mean, 1.0 - z / mean
    e2 = dx * dy - dz * dz
    e3 = dx * dy * dz
    series = 1.0 - e2 / 10.0 + e3 / 14.0 + e2 * e2 / 24.0 - 3.0 * e2 * e3 / 44.0
    series += -5.0 * e2**3 / 208.0 + 3.0 * e3 * e3 / 104.0 + e2 * e2 * e3 / 16.0
    return sn * series / math.sqrt(mean)
