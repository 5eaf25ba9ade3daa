"""Cosine, sine and arctangent in a form that compiles to vector instructions.

The C library's ``cos`` and ``sin`` are called one value at a time; they would be most of
the cost of the likelihood phases. Here both come from one argument reduction and two
polynomials, without branches, so that a loop over :func:`cos_sin` runs four or eight
values at once.
"""

from __future__ import annotations

import math

import numpy as np

from .compiling import CONTRACT, kernel

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


@kernel(fastmath=CONTRACT, error_model="python")
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


# Minimax polynomial of (atan x - x) / x^3 in x^2, |x| <= tan(pi/8) (fdlibm's s_atan.c).
_A = (
    3.33333333333329318027e-01,
    -1.99999999998764832476e-01,
    1.42857142725034663711e-01,
    -1.11111104054623557880e-01,
    9.09088713343650656196e-02,
    -7.69187620504482999495e-02,
    6.66107313738753120669e-02,
    -5.83357013379057348645e-02,
    4.97687799461593236017e-02,
    -3.65315727442169155270e-02,
    1.62858201153657823623e-02,
)
_A0, _A1, _A2, _A3, _A4, _A5, _A6, _A7, _A8, _A9, _A10 = _A
_TAN_PI_8 = math.tan(math.pi / 8)
_PI_4_LOW = 3.06161699786838301793e-17
_PI_2_LOW = 6.12323399573676603587e-17
_PI_LOW = 1.22464679914735317720e-16


@kernel(fastmath=CONTRACT, forceinline=True)
def arctangent(y, x):
    """Return atan2(y, x) within 5e-16; 0 where both are zero, whatever their signs."""
    ax, ay = abs(x), abs(y)
    steep = ay > ax
    small = ax if steep else ay
    large = ay if steep else ax
    # atan t = pi/4 + atan((t - 1) / (t + 1)) for t above tan(pi/8).
    far = small > _TAN_PI_8 * large
    numerator = small - large if far else small
    denominator = small + large if far else large
    denominator = 1.0 if denominator == 0.0 else denominator
    t = numerator / denominator
    t2 = t * t
    odd = _A6 + t2 * (_A7 + t2 * (_A8 + t2 * (_A9 + t2 * _A10)))
    series = _A0 + t2 * (_A1 + t2 * (_A2 + t2 * (_A3 + t2 * (_A4 + t2 * (_A5 + t2 * odd)))))
    angle = t - t * t2 * series
    angle = math.pi / 4 + (_PI_4_LOW + angle) if far else angle
    angle = math.pi / 2 - (angle - _PI_2_LOW) if steep else angle
    angle = math.pi - (angle - _PI_LOW) if x < 0.0 else angle
    return -angle if y < 0.0 else angle
