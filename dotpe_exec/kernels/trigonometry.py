"""Cosine and sine together, in a form that compiles to vector instructions.

The C library's ``cos`` and ``sin`` are called one value at a time; they would be most of
the cost of the likelihood phases. Here both come from one argument reduction and two
polynomials, without branches, so that a loop over :func:`cos_sin` runs four or eight
values at once.
"""

from __future__ import annotations

import math

import numba
import numpy as np

# Largest |x| for which every product k * PIO2_* of the reduction below is exact
# (k < 2^20, each part has 33 significant bits); beyond it use math.cos and math.sin.
REDUCTION_LIMIT = 1.6e6

_TWO_OVER_PI = 2 / np.pi
# pi/2 in three parts of 33 bits (Cody and Waite; the constants are those of fdlibm).
_PIO2_1 = 1.57079632673412561417e00
_PIO2_2 = 6.07710050630396597660e-11
_PIO2_3 = 2.02226624871116645580e-21
# Minimax polynomials of sin and cos on [-pi/4, pi/4] (fdlibm's k_sin.c and k_cos.c).
_S1, _S2, _S3 = (
    -1.66666666666666324348e-01,
    8.33333333332248946124e-03,
    -1.98412698298579493134e-04,
)
_S4, _S5, _S6 = (
    2.75573137070700676789e-06,
    -2.50507602534068634195e-08,
    1.58969099521155010221e-10,
)
_C1, _C2, _C3 = (
    4.16666666666666019037e-02,
    -1.38888888888741095749e-03,
    2.48015872894767294178e-05,
)
_C4, _C5, _C6 = (
    -2.75573143513906633035e-07,
    2.08757232129817482790e-09,
    -1.13596475577881948265e-11,
)


@numba.njit(fastmath={"contract"}, cache=True)
def cos_sin(x):
    """Return (cos x, sin x) within 2e-16, for |x| <= ``REDUCTION_LIMIT``.

    About 35 floating-point operations. Not to be compiled with reassociation: it would
    merge the parts of pi/2.
    """
    k = math.floor(x * _TWO_OVER_PI + 0.5)
    r = ((x - k * _PIO2_1) - k * _PIO2_2) - k * _PIO2_3
    r2 = r * r
    sin_r = r + r * r2 * (
        _S1 + r2 * (_S2 + r2 * (_S3 + r2 * (_S4 + r2 * (_S5 + r2 * _S6))))
    )
    cos_r = (1.0 - 0.5 * r2) + r2 * r2 * (
        _C1 + r2 * (_C2 + r2 * (_C3 + r2 * (_C4 + r2 * (_C5 + r2 * _C6))))
    )
    # k mod 4 and the rest in floating point: conversions to integers do not vectorise
    # on all processors.
    quadrant = k - 4.0 * math.floor(0.25 * k)
    odd = (quadrant == 1.0) | (quadrant == 3.0)
    c = sin_r if odd else cos_r
    s = cos_r if odd else sin_r
    c = -c if (quadrant == 1.0) | (quadrant == 2.0) else c
    s = -s if quadrant >= 2.0 else s
    return c, s
