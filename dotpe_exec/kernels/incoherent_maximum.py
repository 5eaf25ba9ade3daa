"""Compiled loops over times and phases of the incoherent kernel: screening and decision.

See :mod:`.incoherent` for what they make.
"""

from __future__ import annotations

import math

import numpy as np

from .compiling import kernel
from .incoherent_loops import INLINED, LOOPS

# Within these, u^T S u and its terms can be formed in single precision.
_LARGEST_FORM = 1e18
_LARGEST_SUM = 1e9


@kernel()
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


@kernel()
def _error_of_root(s_xo, unit, error_p, z_mcx):
    """Return a bound on the error of sqrt(u^T S u), from one on that of u.

    That is the norm of the error of u, if S is positive semidefinite at every phase and
    all numbers are within the range of single precision; if not, infinity.
    """
    largest = 0.0
    within = True
    for o in range(s_xo.shape[1]):
        s0, s1, s2 = s_xo[0, o], s_xo[1, o], s_xo[2, o]
        # A determinant that is negative by rounding only is a form of rank one.
        within &= s0 >= 0.0 and s1 >= 0.0 and 4.0 * s0 * s1 - s2 * s2 >= -1e-9 * s0 * s1
        within &= (s0 + s1) * unit < _LARGEST_FORM
        size = (
            s0 * error_p[0] ** 2 + s1 * error_p[1] ** 2 + abs(s2) * error_p[0] * error_p[1]
        )
        largest = size if not (size <= largest) else largest
    within &= _sum_of_sizes(z_mcx.reshape(-1)) < _LARGEST_SUM
    return math.sqrt(largest * unit) if within else math.inf


@kernel(**LOOPS)
def _sum_of_sizes(z_x):
    total = np.float32(0.0)
    for x in range(z_x.size):
        total += abs(z_x[x])
    return total


@kernel(**INLINED)
def _add_mode(z_mcx, phasor_omc, o, m, total_x):
    cos, sin = phasor_omc[o, m, 0], phasor_omc[o, m, 1]
    for x in range(total_x.size):
        total_x[x] += cos * z_mcx[m, 0, x] + sin * z_mcx[m, 1, x]


@kernel(**INLINED)
def _set_two_modes(z_mcx, phasor_omc, o, m, n, total_x):
    cos_m, sin_m = phasor_omc[o, m, 0], phasor_omc[o, m, 1]
    cos_n, sin_n = phasor_omc[o, n, 0], phasor_omc[o, n, 1]
    for x in range(total_x.size):
        total_x[x] = (
            cos_m * z_mcx[m, 0, x]
            + sin_m * z_mcx[m, 1, x]
            + cos_n * z_mcx[n, 0, x]
            + sin_n * z_mcx[n, 1, x]
        )


@kernel(**INLINED)
def _sum_modes(z_mcx, phasor_omc, o, first, stop, total_x):
    """Write Re sum_m z exp(-i m phi) over modes first <= m < stop.

    The first two at once, which are all in most banks: half of the traffic.
    """
    m = first
    if stop - first >= 2:
        _set_two_modes(z_mcx, phasor_omc, o, first, first + 1, total_x)
        m += 2
    else:
        for x in range(total_x.size):
            total_x[x] = np.float32(0.0)
    while m < stop:
        _add_mode(z_mcx, phasor_omc, o, m, total_x)
        m += 1


@kernel(**INLINED)
def _raise_best(s0, s1, s2, sign, even_x, odd_x, best_t):
    """Raise best to u^T S u, with u the sum (or difference) of even and odd modes."""
    n_t = best_t.size
    for t in range(n_t):
        u0 = even_x[t] + sign * odd_x[t]
        u1 = even_x[n_t + t] + sign * odd_x[n_t + t]
        value = u0 * (s0 * u0 + s2 * u1) + s1 * u1 * u1
        best_t[t] = value if value > best_t[t] else best_t[t]


@kernel(**LOOPS)
def _screen(z_mcx, screen_phasor_omc, n_even, s_xo, unit, best_t, even_x, odd_x):
    """Write the largest u^T S u over phases, at each screened time.

    Modes of ``z`` are in the order of screening, the first ``n_even`` have even m; its
    columns x are times for the plus, then for the cross polarisation.
    """
    n_o = s_xo.shape[1]
    n_screened, n_m = screen_phasor_omc.shape[:2]
    best_t[:] = np.float32(0.0)
    for o in range(n_screened):
        _sum_modes(z_mcx, screen_phasor_omc, o, 0, n_even, even_x)
        _sum_modes(z_mcx, screen_phasor_omc, o, n_even, n_m, odd_x)
        for half in range(n_o // n_screened):
            phase = o + half * n_screened
            _raise_best(
                np.float32(s_xo[0, phase] * unit),
                np.float32(s_xo[1, phase] * unit),
                np.float32(s_xo[2, phase] * unit),
                np.float32(1.0 - 2.0 * half),
                even_x,
                odd_x,
                best_t,
            )


@kernel()
def _combine(c_mpcs, screen_order_m, z_mcx):
    """Write z at the screened times from the products with the time basis.

    Columns of ``c`` are products with the real, then with the imaginary parts of the
    basis; at mirrored times the basis is conjugated.
    """
    n_s = c_mpcs.shape[3] // 2
    n_t = z_mcx.shape[2] // 2
    for k in range(c_mpcs.shape[0]):
        m = screen_order_m[k]
        for p in range(2):
            x = p * n_t
            for s in range(n_s):
                z_mcx[k, 0, x + s] = c_mpcs[m, p, 0, s] - c_mpcs[m, p, 1, n_s + s]
                z_mcx[k, 1, x + s] = c_mpcs[m, p, 0, n_s + s] + c_mpcs[m, p, 1, s]
            if n_t > n_s:
                x += n_s
                for s in range(n_t - n_s):
                    z_mcx[k, 0, x + s] = c_mpcs[m, p, 0, s] + c_mpcs[m, p, 1, n_s + s]
                    z_mcx[k, 1, x + s] = c_mpcs[m, p, 1, s] - c_mpcs[m, p, 0, n_s + s]


@kernel(**INLINED)
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


@kernel(**LOOPS)
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


@kernel()
def decide(
    h_impcb,
    hh_idjppc,
    c_dimpcs,
    error_idp,
    unit_i,
    screen_scale_d,
    rounding,
    dh_weights_dmpcb,
    timeshift_dtcb,
    pair_phasor_jco,
    mode_phasor_mco,
    screen_phasor_omc,
    screen_order_m,
    n_even,
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
    z_mcx = np.empty((n_m, 2, 2 * n_t), dtype=np.float32)
    best_t = np.empty(n_t, dtype=np.float32)
    even_x = np.empty(2 * n_t, dtype=np.float32)
    odd_x = np.empty(2 * n_t, dtype=np.float32)
    s_xo = np.empty((3, n_o))
    u_po = np.empty((2, n_o))
    n_evaluated = 0
    for d in range(n_d):
        for i in range(n_i):
            _forms(hh_idjppc[i, d], pair_phasor_jco, rcond, s_xo)
            _combine(c_dimpcs[d, i], screen_order_m, z_mcx)
            # Screened numbers are z times the two units.
            unit = 1.0 / (unit_i[i] * screen_scale_d[d]) ** 2
            error = _error_of_root(s_xo, unit, error_idp[i, d], z_mcx)
            # |u| is less than its error over the rounding of its terms.
            error_of_form = 16 * 2.0**-24 * (error / rounding) ** 2
            _screen(
                z_mcx,
                screen_phasor_omc,
                n_even,
                s_xo,
                unit,
                best_t,
                even_x,
                odd_x,
            )
            # The likeliest first: it excludes most of the others.
            first = np.argmax(best_t)
            best = -math.inf
            for k in range(-1, n_t):
                t = first if k < 0 else k
                # Written so that NaN and infinity exclude nothing.
                if k == first or (
                    k >= 0
                    and math.sqrt(best_t[t] + error_of_form) + error < math.sqrt(2 * best)
                ):
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
