"""Compiled loops over bins of the incoherent kernel; see :mod:`.incoherent`.

Sums may be reassociated, which lets them run in vector registers; NaN and infinity keep
their meaning.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .compiling import REORDER, kernel
from .waveforms import line_fit_shift, shifted_waveform_row

LOOPS: dict[str, Any] = {"fastmath": REORDER}
# Short loops: handing over arrays would cost as much as the loop. They take on the flags
# of the function that they are inlined into.
INLINED: dict[str, Any] = {**LOOPS, "inline": "always"}


@kernel()
def fill_waveforms(
    amplitudes_impb,
    phases_impb,
    m2_index,
    fbin_b,
    phase_step_b,
    fit_weights_b,
    h_impcb,
):
    """Write linear-free waveforms, real and imaginary parts apart.

    Rows of ``h`` may be longer than those of the waveforms; the rest is left alone.
    """
    n_i, n_m, n_p, n_b = amplitudes_impb.shape
    shift_b = np.empty(n_b)
    for i in range(n_i):
        dt = line_fit_shift(
            amplitudes_impb[i, m2_index, 0],
            phases_impb[i, m2_index, 0],
            fbin_b,
            phase_step_b,
            fit_weights_b,
        )
        for b in range(n_b):
            shift_b[b] = 2 * math.pi * fbin_b[b] * dt
        for m in range(n_m):
            for p in range(n_p):
                shifted_waveform_row(
                    amplitudes_impb[i, m, p],
                    phases_impb[i, m, p],
                    shift_b,
                    h_impcb[i, m, p, 0],
                    h_impcb[i, m, p, 1],
                )


@kernel(**INLINED)
def norms_three(h_cb, g_cb, w_dcb):
    """Return sum_b w h conj(g) with the weights of three detectors: re, im, re, im, ..."""
    re0 = im0 = re1 = im1 = re2 = im2 = 0.0
    for b in range(h_cb.shape[1]):
        xr = h_cb[0, b] * g_cb[0, b] + h_cb[1, b] * g_cb[1, b]
        xi = h_cb[1, b] * g_cb[0, b] - h_cb[0, b] * g_cb[1, b]
        re0 += w_dcb[0, 0, b] * xr - w_dcb[0, 1, b] * xi
        im0 += w_dcb[0, 0, b] * xi + w_dcb[0, 1, b] * xr
        re1 += w_dcb[1, 0, b] * xr - w_dcb[1, 1, b] * xi
        im1 += w_dcb[1, 0, b] * xi + w_dcb[1, 1, b] * xr
        re2 += w_dcb[2, 0, b] * xr - w_dcb[2, 1, b] * xi
        im2 += w_dcb[2, 0, b] * xi + w_dcb[2, 1, b] * xr
    return re0, im0, re1, im1, re2, im2


@kernel(**INLINED)
def norms_one(h_cb, g_cb, w_cb):
    """Return sum_b w h conj(g), real and imaginary part."""
    real = imag = 0.0
    for b in range(h_cb.shape[1]):
        xr = h_cb[0, b] * g_cb[0, b] + h_cb[1, b] * g_cb[1, b]
        xi = h_cb[1, b] * g_cb[0, b] - h_cb[0, b] * g_cb[1, b]
        real += w_cb[0, b] * xr - w_cb[1, b] * xi
        imag += w_cb[0, b] * xi + w_cb[1, b] * xr
    return real, imag


@kernel(**LOOPS)
def fill_norms(h_impcb, hh_weights_kppdcb, pairs_k4, hh_idjppc):
    """Add (h|h) by detector, |m - m'| and polarisations to zeros.

    Entries with m < m' are stored as conjugates, so that all share the phase factor
    exp(i |m - m'| phi).
    """
    n_k = hh_weights_kppdcb.shape[0]
    n_d = hh_weights_kppdcb.shape[3]
    # Weights outermost: they are larger than the waveforms and stay in the nearest cache.
    for k in range(n_k):
        m, mprime, j, sign = pairs_k4[k, 0], pairs_k4[k, 1], pairs_k4[k, 2], pairs_k4[k, 3]
        for p in range(2):
            for q in range(2):
                w_dcb = hh_weights_kppdcb[k, p, q]
                for i in range(h_impcb.shape[0]):
                    h_cb = h_impcb[i, m, p]
                    g_cb = h_impcb[i, mprime, q]
                    d = 0
                    # Three detectors at a time: the products are formed once.
                    while d + 3 <= n_d:
                        sums = norms_three(h_cb, g_cb, w_dcb[d : d + 3])
                        for c in range(3):
                            hh_idjppc[i, d + c, j, p, q, 0] += sums[2 * c]
                            hh_idjppc[i, d + c, j, p, q, 1] += sign * sums[2 * c + 1]
                        d += 3
                    while d < n_d:
                        real, imag = norms_one(h_cb, g_cb, w_dcb[d])
                        hh_idjppc[i, d, j, p, q, 0] += real
                        hh_idjppc[i, d, j, p, q, 1] += sign * imag
                        d += 1


@kernel(**INLINED)
def _screen_row(h_cb, scale_b, unit, h32_cb, size32_b):
    """Write a row of the waveform in single precision, and at least its modulus."""
    for b in range(size32_b.size):
        h32_cb[0, b] = np.float32(h_cb[0, b] * (scale_b[b] * unit))
    for b in range(size32_b.size):
        h32_cb[1, b] = np.float32(h_cb[1, b] * (scale_b[b] * unit))
    for b in range(size32_b.size):
        # |a + i b| <= max + min / 2: no root, and at most 12% too large.
        real, imag = abs(h32_cb[0, b]), abs(h32_cb[1, b])
        larger = real if real > imag else imag
        size32_b[b] = np.float32(0.5) * (larger + real + imag)


@kernel(**INLINED)
def _weigh_row(w_cb, h_cb, bound_b, size_b, y_cb):
    """Write y = w conj(h); return sum_b bound size.

    One loop for each of them: the compiler gives up on more than a few rows at a time,
    which might overlap.
    """
    for b in range(w_cb.shape[1]):
        y_cb[0, b] = w_cb[0, b] * h_cb[0, b] + w_cb[1, b] * h_cb[1, b]
    for b in range(w_cb.shape[1]):
        y_cb[1, b] = w_cb[1, b] * h_cb[0, b] - w_cb[0, b] * h_cb[1, b]
    total = np.float32(0.0)
    for b in range(w_cb.shape[1]):
        total += bound_b[b] * size_b[b]
    return total


@kernel(**LOOPS)
def fill_screen(
    h_impcb,
    hh_idjppc,
    scale_b,
    screen_weights_mpdcb,
    screen_error_mpdb,
    y_dimpcb,
    error_idp,
    unit_i,
):
    """Write weighted waveforms in single precision, and bounds on the error of their sums.

    Waveforms are brought to order one by their own (h|h); ``unit_i`` is the factor.
    """
    n_i, n_m, n_p, _, n_b = h_impcb.shape
    h32_cb = np.empty((2, n_b), dtype=np.float32)
    size32_b = np.empty(n_b, dtype=np.float32)
    n_d = screen_weights_mpdcb.shape[2]
    for i in range(n_i):
        norm = 0.0
        for d in range(n_d):
            norm += hh_idjppc[i, d, 0, 0, 0, 0] + hh_idjppc[i, d, 0, 1, 1, 0]
            error_idp[i, d, 0] = error_idp[i, d, 1] = 0.0
        unit_i[i] = 1 / math.sqrt(norm) if norm > 0 else 1.0
    for m in range(n_m):
        for p in range(n_p):
            for i in range(n_i):
                _screen_row(h_impcb[i, m, p], scale_b, unit_i[i], h32_cb, size32_b)
                for d in range(n_d):
                    error_idp[i, d, p] += _weigh_row(
                        screen_weights_mpdcb[m, p, d],
                        h32_cb,
                        screen_error_mpdb[m, p, d],
                        size32_b,
                        y_dimpcb[d, i, m, p],
                    )
