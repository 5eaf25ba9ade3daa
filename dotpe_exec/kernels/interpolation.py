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

    Six complex multiply-adds per number and frequency, and one sine and cosine per m.

    Parameters
    ----------
    smooth_mpn : (n_m, 2, n_n) complex
    carrier_mn : (n_m, n_n) float
        [rad]
    position_f : (n_f,) float
        In units of the nodes' spacing, from the first node on.
    h_mpf : (n_m, 2, n_f) complex
        Written.
    """
    n_n = carrier_mn.shape[1]
    weight_j = np.empty(N_NEAREST)
    for f in range(position_f.size):
        first = min(max(int(position_f[f]) - 2, 0), n_n - N_NEAREST)
        x = position_f[f] - first
        # Lagrange's polynomials of the nodes 0 ... 5.
        a, b, c, d, e, g = x, x - 1.0, x - 2.0, x - 3.0, x - 4.0, x - 5.0
        weight_j[0] = -b * c * d * e * g / 120.0
        weight_j[1] = a * c * d * e * g / 24.0
        weight_j[2] = -a * b * d * e * g / 12.0
        weight_j[3] = a * b * c * e * g / 12.0
        weight_j[4] = -a * b * c * d * g / 24.0
        weight_j[5] = a * b * c * d * e / 120.0
        for m in range(carrier_mn.shape[0]):
            phase = 0.0
            for j in range(N_NEAREST):
                phase += weight_j[j] * carrier_mn[m, first + j]
            if abs(phase) < REDUCTION_LIMIT:
                cosine, sine = cos_sin(phase)
            else:
                cosine, sine = math.cos(phase), math.sin(phase)
            for p in range(2):
                real, imag = 0.0, 0.0
                for j in range(N_NEAREST):
                    value = smooth_mpn[m, p, first + j]
                    real += weight_j[j] * value.real
                    imag += weight_j[j] * value.imag
                h_mpf[m, p, f] = complex(
                    real * cosine + imag * sine, imag * cosine - real * sine
                )
