"""Smooth waveforms between nodes that are equally spaced in ln f.

Each value is that of the polynomial of degree five through the six nearest nodes.
"""

from __future__ import annotations

import math

import numpy as np

from .compiling import CONTRACT, kernel
from .trigonometry import REDUCTION_LIMIT, cos_sin

#: Nodes of each polynomial.
N_NEAREST = 6
# Places whose weights are made together, at most.
_AT_A_TIME = 128
# Of a value midway between the third and the fourth of six nodes.
_MIDWAY_J = np.array([3.0, -25.0, 150.0, 150.0, -25.0, 3.0]) / 256


def midway(values_rn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return values at nodes of odd number, from the even ones and as they are.

    Those at either end, which have no three even nodes on both sides, are left out.

    Parameters
    ----------
    values_rn : (..., n_n) array
        With n_n odd and at least 11.

    Returns
    -------
    interpolated, given : (..., (n_n - 1) / 2 - 4) arrays
    """
    even = values_rn[..., ::2]
    n = even.shape[-1] - N_NEAREST + 1
    found = sum(w * even[..., j : j + n] for j, w in enumerate(_MIDWAY_J))
    first = N_NEAREST - 1
    return np.asarray(found), values_rn[..., first : first + 2 * n : 2]


@kernel(fastmath=CONTRACT)
def interpolate_modes(smooth_mpn, carrier_mn, position_f, h_mpf):
    """Write ``smooth exp(-i carrier)`` at places between nodes.

    Six complex multiply-adds per number and frequency, and one sine and cosine per m; those
    of places that have the same nearest nodes in vector registers.

    Parameters
    ----------
    smooth_mpn : (n_m, 2, n_n) complex
    carrier_mn : (n_m, n_n) float
        [rad]
    position_f : (n_f,) float
        In units of the nodes' spacing, from the first node on; increasing.
    h_mpf : (n_m, 2, n_f) complex
        Written.
    """
    n_n, n_f = carrier_mn.shape[1], position_f.size
    weight_jk = np.empty((N_NEAREST, _AT_A_TIME))
    cos_k, sin_k = np.empty(_AT_A_TIME), np.empty(_AT_A_TIME)
    start = 0
    while start < n_f:
        first = min(max(int(position_f[start]) - 2, 0), n_n - N_NEAREST)
        stop = start + 1
        while (
            stop < n_f
            and stop - start < _AT_A_TIME
            and min(max(int(position_f[stop]) - 2, 0), n_n - N_NEAREST) == first
        ):
            stop += 1
        n_k = stop - start
        for k in range(n_k):
            x = position_f[start + k] - first
            # Lagrange's polynomials of the nodes 0 ... 5.
            a, b, c, d, e, g = x, x - 1.0, x - 2.0, x - 3.0, x - 4.0, x - 5.0
            weight_jk[0, k] = -b * c * d * e * g * (1 / 120.0)
            weight_jk[1, k] = a * c * d * e * g * (1 / 24.0)
            weight_jk[2, k] = -a * b * d * e * g * (1 / 12.0)
            weight_jk[3, k] = a * b * c * e * g * (1 / 12.0)
            weight_jk[4, k] = -a * b * c * d * g * (1 / 24.0)
            weight_jk[5, k] = a * b * c * d * e * (1 / 120.0)
        for m in range(carrier_mn.shape[0]):
            c0, c1, c2 = (
                carrier_mn[m, first],
                carrier_mn[m, first + 1],
                carrier_mn[m, first + 2],
            )
            c3, c4, c5 = (
                carrier_mn[m, first + 3],
                carrier_mn[m, first + 4],
                carrier_mn[m, first + 5],
            )
            largest = max(abs(c0), abs(c1), abs(c2), abs(c3), abs(c4), abs(c5))
            for k in range(n_k):
                cos_k[k] = (
                    weight_jk[0, k] * c0
                    + weight_jk[1, k] * c1
                    + weight_jk[2, k] * c2
                    + weight_jk[3, k] * c3
                    + weight_jk[4, k] * c4
                    + weight_jk[5, k] * c5
                )
            # The sum of the polynomials' absolute values is at most four.
            if largest < REDUCTION_LIMIT / 4:
                for k in range(n_k):
                    cos_k[k], sin_k[k] = cos_sin(cos_k[k])
            else:
                for k in range(n_k):
                    cos_k[k], sin_k[k] = math.cos(cos_k[k]), math.sin(cos_k[k])
            for p in range(2):
                v0, v1 = smooth_mpn[m, p, first], smooth_mpn[m, p, first + 1]
                v2, v3 = smooth_mpn[m, p, first + 2], smooth_mpn[m, p, first + 3]
                v4, v5 = smooth_mpn[m, p, first + 4], smooth_mpn[m, p, first + 5]
                r0, r1, r2, r3, r4, r5 = (
                    v0.real,
                    v1.real,
                    v2.real,
                    v3.real,
                    v4.real,
                    v5.real,
                )
                i0, i1, i2, i3, i4, i5 = (
                    v0.imag,
                    v1.imag,
                    v2.imag,
                    v3.imag,
                    v4.imag,
                    v5.imag,
                )
                for k in range(n_k):
                    w0, w1, w2 = weight_jk[0, k], weight_jk[1, k], weight_jk[2, k]
                    w3, w4, w5 = weight_jk[3, k], weight_jk[4, k], weight_jk[5, k]
                    real = w0 * r0 + w1 * r1 + w2 * r2 + w3 * r3 + w4 * r4 + w5 * r5
                    imag = w0 * i0 + w1 * i1 + w2 * i2 + w3 * i3 + w4 * i4 + w5 * i5
                    cosine, sine = cos_k[k], sin_k[k]
                    h_mpf[m, p, start + k] = complex(
                        real * cosine + imag * sine, imag * cosine - real * sine
                    )
        start = stop
