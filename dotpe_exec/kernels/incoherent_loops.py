"""Compiled loops of the incoherent kernel; see :mod:`.incoherent` for what they make.

Sums may be reassociated, which lets them run in vector registers; NaN and infinity keep
their meaning.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from .waveforms import line_fit_shift, shifted_waveform_row

_SUMS = {"reassoc", "contract", "nsz"}


@numba.njit(cache=True, error_model="numpy")
def fill_waveforms(
    amplitudes_impb,
    phases_impb,
    m2_index,
    fbin_b,
    phase_step_b,
    fit_weights_b,
    h_impcb,
):
    """Write linear-free waveforms, real and imaginary parts apart."""
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


@numba.njit(cache=True, error_model="numpy", fastmath=_SUMS)
def _product_row(h_cb, g_cb, x_cb):
    """Write x = h conj(g)."""
    for b in range(h_cb.shape[1]):
        x_cb[0, b] = h_cb[0, b] * g_cb[0, b] + h_cb[1, b] * g_cb[1, b]
        x_cb[1, b] = h_cb[1, b] * g_cb[0, b] - h_cb[0, b] * g_cb[1, b]


@numba.njit(cache=True, error_model="numpy", fastmath=_SUMS)
def _dot_rows(w_cb, x_cb):
    """Return sum_b w x, real and imaginary part."""
    real = 0.0
    imag = 0.0
    for b in range(w_cb.shape[1]):
        real += w_cb[0, b] * x_cb[0, b] - w_cb[1, b] * x_cb[1, b]
        imag += w_cb[0, b] * x_cb[1, b] + w_cb[1, b] * x_cb[0, b]
    return real, imag


@numba.njit(cache=True, error_model="numpy")
def fill_norms(h_impcb, hh_weights_dkppcb, pairs_k4, hh_idjppc):
    """Write (h|h) by detector, |m - m'| and polarisations; pairs of equal |m - m'| added.

    Entries with m < m' are stored as conjugates, so that all share the phase factor
    exp(i |m - m'| phi).
    """
    n_d, n_k = hh_weights_dkppcb.shape[:2]
    n_b = h_impcb.shape[4]
    x_cb = np.empty((2, n_b))
    hh_idjppc[:] = 0.0
    for i in range(h_impcb.shape[0]):
        for k in range(n_k):
            m, mprime, j, sign = pairs_k4[k]
            for p in range(2):
                for q in range(2):
                    _product_row(h_impcb[i, m, p], h_impcb[i, mprime, q], x_cb)
                    for d in range(n_d):
                        real, imag = _dot_rows(hh_weights_dkppcb[d, k, p, q], x_cb)
                        hh_idjppc[i, d, j, p, q, 0] += real
                        hh_idjppc[i, d, j, p, q, 1] += sign * imag


@numba.njit(cache=True, error_model="numpy", fastmath=_SUMS)
def _screen_row(h_cb, scale_b, inverse_size, h32_cb, amplitude32_b):
    """Write a row of the waveform and its amplitude, of order one, in single precision."""
    for b in range(h_cb.shape[1]):
        real = h_cb[0, b] * (scale_b[b] * inverse_size)
        imag = h_cb[1, b] * (scale_b[b] * inverse_size)
        h32_cb[0, b] = real
        h32_cb[1, b] = imag
        amplitude32_b[b] = math.sqrt(real * real + imag * imag)


@numba.njit(cache=True, error_model="numpy", fastmath=_SUMS)
def _weigh_row(w_cb, h_cb, y_cb):
    """Write y = w conj(h)."""
    for b in range(w_cb.shape[1]):
        y_cb[0, b] = w_cb[0, b] * h_cb[0, b] + w_cb[1, b] * h_cb[1, b]
        y_cb[1, b] = w_cb[1, b] * h_cb[0, b] - w_cb[0, b] * h_cb[1, b]


@numba.njit(cache=True, error_model="numpy", fastmath=_SUMS)
def _dot_real(w_b, x_b):
    total = np.float32(0.0)
    for b in range(w_b.size):
        total += w_b[b] * x_b[b]
    return total


@numba.njit(cache=True, error_model="numpy")
def _largest(h_mpcb, scale_b):
    largest = 0.0
    for m in range(h_mpcb.shape[0]):
        for p in range(h_mpcb.shape[1]):
            for c in range(2):
                for b in range(scale_b.size):
                    size = abs(h_mpcb[m, p, c, b]) * scale_b[b]
                    largest = size if size > largest else largest
    return largest


@numba.njit(cache=True, error_model="numpy")
def fill_screen(
    h_impcb, scale_b, screen_weights_dmpcb, screen_error_dmpb, y_dimpcb, error_dip, size_i
):
    """Write weighted waveforms in single precision, and bounds on what is made of them."""
    n_i, n_m, n_p, _, n_b = h_impcb.shape
    h32_cb = np.empty((2, n_b), dtype=np.float32)
    amplitude32_b = np.empty(n_b, dtype=np.float32)
    for i in range(n_i):
        largest = _largest(h_impcb[i], scale_b)
        inverse_size = 1 / largest if largest > 0 else 1.0
        size_i[i] = inverse_size
        error_dip[:, i] = 0.0
        for m in range(n_m):
            for p in range(n_p):
                _screen_row(h_impcb[i, m, p], scale_b, inverse_size, h32_cb, amplitude32_b)
                for d in range(screen_weights_dmpcb.shape[0]):
                    _weigh_row(screen_weights_dmpcb[d, m, p], h32_cb, y_dimpcb[d, i, m, p])
                    error_dip[d, i, p] += _dot_real(
                        screen_error_dmpb[d, m, p], amplitude32_b
                    )


@numba.njit(cache=True, error_model="numpy")
def _forms(hh_jppc, pair_phasor_jco, rcond, s_xo):
    """Write the quadratic forms of u^T M(phi)^-1 u; see ``symmetric_inverse``."""
    n_o = s_xo.shape[1]
    for o in range(n_o):
        a = b = c = d = 0.0
        for j in range(pair_phasor_jco.shape[0]):
            cos = pair_phasor_jco[j, 0, o]
            sin = pair_phasor_jco[j, 1, o]
            a += cos * hh_jppc[j, 0, 0, 0] - sin * hh_jppc[j, 0, 0, 1]
            b += cos * hh_jppc[j, 0, 1, 0] - sin * hh_jppc[j, 0, 1, 1]
            c += cos * hh_jppc[j, 1, 0, 0] - sin * hh_jppc[j, 1, 0, 1]
            d += cos * hh_jppc[j, 1, 1, 0] - sin * hh_jppc[j, 1, 1, 1]
        det = a * d - b * c
        norm2 = a * a + b * b + c * c + d * d
        if abs(det) <= rcond * norm2:
            norm2 = 1.0 if norm2 == 0.0 else norm2
            s_xo[0, o] = a / norm2
            s_xo[1, o] = d / norm2
            s_xo[2, o] = (b + c) / norm2
        else:
            s_xo[0, o] = d / det
            s_xo[1, o] = a / det
            s_xo[2, o] = -(b + c) / det


@numba.njit(cache=True, error_model="numpy")
def _error_of_root(s_xo, unit, error_p):
    """Return a bound on the error of sqrt(u^T S u), from one on that of u.

    That is the norm of the error of u, if S is positive semidefinite at every phase; if
    not, infinity.
    """
    largest = 0.0
    for o in range(s_xo.shape[1]):
        s0, s1, s2 = s_xo[0, o], s_xo[1, o], s_xo[2, o]
        # A determinant that is negative by rounding only is a form of rank one.
        definite = s0 >= 0.0 and s1 >= 0.0 and 4.0 * s0 * s1 - s2 * s2 >= -1e-9 * s0 * s1
        if not definite:
            return math.inf
        size = (
            s0 * error_p[0] ** 2 + s1 * error_p[1] ** 2 + abs(s2) * error_p[0] * error_p[1]
        )
        largest = size if not (size <= largest) else largest
    return math.sqrt(largest * unit)


@numba.njit(cache=True, error_model="numpy", fastmath=_SUMS)
def _add_mode(cos, sin, real_t, imag_t, total_t):
    """Add Re(z exp(-i m phi))."""
    for t in range(total_t.size):
        total_t[t] += cos * real_t[t] + sin * imag_t[t]


@numba.njit(cache=True, error_model="numpy", fastmath=_SUMS)
def _raise_best(s0, s1, s2, sign, even_pt, odd_pt, best_t):
    """Raise best to u^T S u, with u the sum (or difference) of even and odd modes."""
    for t in range(best_t.size):
        u0 = even_pt[0, t] + sign * odd_pt[0, t]
        u1 = even_pt[1, t] + sign * odd_pt[1, t]
        value = u0 * (s0 * u0 + s2 * u1) + s1 * u1 * u1
        best_t[t] = value if value > best_t[t] else best_t[t]


@numba.njit(cache=True, error_model="numpy")
def _screen(
    z_mpct, mode_phasor_mco, odd_m, n_screened, s_xo, unit, best_t, even_pt, odd_pt
):
    """Write the largest u^T S u over phases, at each screened time."""
    n_m = z_mpct.shape[0]
    n_o = s_xo.shape[1]
    best_t[:] = np.float32(0.0)
    for o in range(n_screened):
        even_pt[:] = np.float32(0.0)
        odd_pt[:] = np.float32(0.0)
        for m in range(n_m):
            cos = np.float32(mode_phasor_mco[m, 0, o])
            sin = np.float32(mode_phasor_mco[m, 1, o])
            for p in range(2):
                total_t = odd_pt[p] if odd_m[m] else even_pt[p]
                _add_mode(cos, sin, z_mpct[m, p, 0], z_mpct[m, p, 1], total_t)
        for half in range(n_o // n_screened):
            phase = o + half * n_screened
            _raise_best(
                np.float32(s_xo[0, phase] * unit),
                np.float32(s_xo[1, phase] * unit),
                np.float32(s_xo[2, phase] * unit),
                np.float32(1.0 - 2.0 * half),
                even_pt,
                odd_pt,
                best_t,
            )


@numba.njit(cache=True, error_model="numpy")
def _combine(c_mpcs, z_mpct):
    """Write z at the screened times from the products with the time basis.

    Columns of ``c`` are products with the real, then with the imaginary parts of the
    basis; at mirrored times the basis is conjugated.
    """
    n_s = c_mpcs.shape[3] // 2
    mirrored = z_mpct.shape[3] > n_s
    for m in range(c_mpcs.shape[0]):
        for p in range(2):
            for s in range(n_s):
                rr, ri = c_mpcs[m, p, 0, s], c_mpcs[m, p, 0, n_s + s]
                ir, ii = c_mpcs[m, p, 1, s], c_mpcs[m, p, 1, n_s + s]
                z_mpct[m, p, 0, s] = rr - ii
                z_mpct[m, p, 1, s] = ri + ir
                if mirrored:
                    z_mpct[m, p, 0, n_s + s] = rr + ii
                    z_mpct[m, p, 1, n_s + s] = ir - ri


@numba.njit(cache=True, error_model="numpy", fastmath=_SUMS)
def _filter_row(w_cb, h_cb, e_cb):
    """Return sum_b w conj(h) e, real and imaginary part."""
    real = 0.0
    imag = 0.0
    for b in range(w_cb.shape[1]):
        yr = w_cb[0, b] * h_cb[0, b] + w_cb[1, b] * h_cb[1, b]
        yi = w_cb[1, b] * h_cb[0, b] - w_cb[0, b] * h_cb[1, b]
        real += yr * e_cb[0, b] - yi * e_cb[1, b]
        imag += yr * e_cb[1, b] + yi * e_cb[0, b]
    return real, imag


@numba.njit(cache=True, error_model="numpy")
def _best_at(h_mpcb, dh_weights_mpcb, timeshift_cb, mode_phasor_mco, s_xo, u_po):
    """Return the likelihood at one time, maximised over phases, in double precision."""
    u_po[:] = 0.0
    for m in range(h_mpcb.shape[0]):
        for p in range(2):
            real, imag = _filter_row(dh_weights_mpcb[m, p], h_mpcb[m, p], timeshift_cb)
            for o in range(u_po.shape[1]):
                u_po[p, o] += (
                    mode_phasor_mco[m, 0, o] * real + mode_phasor_mco[m, 1, o] * imag
                )
    best = -math.inf
    for o in range(u_po.shape[1]):
        u0, u1 = u_po[0, o], u_po[1, o]
        value = 0.5 * (s_xo[0, o] * u0 * u0 + s_xo[1, o] * u1 * u1 + s_xo[2, o] * u0 * u1)
        # Written so that NaN wins.
        best = best if value <= best else value
    return best


@numba.njit(cache=True, error_model="numpy")
def decide(
    h_impcb,
    hh_idjppc,
    c_dimpcs,
    error_dip,
    size_i,
    screen_scale_d,
    rounding,
    dh_weights_dmpcb,
    timeshift_dtcb,
    pair_phasor_jco,
    mode_phasor_mco,
    odd_m,
    n_screened,
    rcond,
    column_times,
    lnlike_id,
):
    """Write the likelihoods: screen all times, evaluate those that can hold the maximum.

    Returns
    -------
    int
        How many (waveform, detector, time) were evaluated.
    """
    n_i, n_m = h_impcb.shape[:2]
    n_d = c_dimpcs.shape[0]
    n_t = column_times.size
    n_o = mode_phasor_mco.shape[2]
    z_mpct = np.empty((n_m, 2, 2, n_t), dtype=np.float32)
    best_t = np.empty(n_t, dtype=np.float32)
    even_pt = np.empty((2, n_t), dtype=np.float32)
    odd_pt = np.empty((2, n_t), dtype=np.float32)
    s_xo = np.empty((3, n_o))
    u_po = np.empty((2, n_o))
    n_evaluated = 0
    for i in range(n_i):
        for d in range(n_d):
            _forms(hh_idjppc[i, d], pair_phasor_jco, rcond, s_xo)
            # Screened numbers are z times size times scale.
            unit = 1.0 / (size_i[i] * screen_scale_d[d]) ** 2
            error = _error_of_root(s_xo, unit, error_dip[d, i])
            # |u| is less than its error over the rounding of its terms.
            error_of_form = 16 * 2.0**-24 * (error / rounding) ** 2
            _combine(c_dimpcs[d, i], z_mpct)
            _screen(
                z_mpct,
                mode_phasor_mco,
                odd_m,
                n_screened,
                s_xo,
                unit,
                best_t,
                even_pt,
                odd_pt,
            )
            floor = (
                math.sqrt(max(np.float64(best_t.max()) - error_of_form, 0.0)) - 2 * error
            )
            best = -math.inf
            for t in range(n_t):
                # Written so that NaN and infinity exclude nothing.
                if math.sqrt(best_t[t] + error_of_form) < floor:
                    continue
                value = _best_at(
                    h_impcb[i],
                    dh_weights_dmpcb[d],
                    timeshift_dtcb[d, column_times[t]],
                    mode_phasor_mco,
                    s_xo,
                    u_po,
                )
                n_evaluated += 1
                best = best if value <= best else value
            lnlike_id[i, d] = best if math.isfinite(best) else math.nan
    return n_evaluated
