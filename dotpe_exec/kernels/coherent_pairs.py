"""The coherent likelihood of single pairs of waveform and extrinsic sample.

Everything that ends in a result is computed here, pair by pair in a fixed order of
operations, so that it depends on the waveform and the sample alone and not on the batch
or block that they came in. Cost per pair: 32 n_m K flops for (d|h) by mode, then
4 (n_m + n_orders) per orbital phase.
"""

from __future__ import annotations

import numba
import numpy as np

# Sums may be reordered (vectorised); the compiled code is the same for every pair.
_REORDER = {"reassoc", "contract", "nsz"}


@numba.njit(cache=True, error_model="numpy", fastmath=_REORDER)
def pair_modes(a_cimq, b_ceq, i_p, e_p):
    """Return dh_pmc (n_pairs, n_m, 2) float: (d|h) by mode, real and imaginary part."""
    _, _, n_m, n_q = a_cimq.shape
    dh_pmc = np.empty((len(i_p), n_m, 2))
    for n in range(len(i_p)):
        b_real, b_imag = b_ceq[0, e_p[n]], b_ceq[1, e_p[n]]
        for m in range(n_m):
            a_real, a_imag = a_cimq[0, i_p[n], m], a_cimq[1, i_p[n], m]
            real = 0.0
            imag = 0.0
            for q in range(n_q):
                real += a_real[q] * b_real[q] - a_imag[q] * b_imag[q]
                imag += a_real[q] * b_imag[q] + a_imag[q] * b_real[q]
            dh_pmc[n, m, 0] = real
            dh_pmc[n, m, 1] = imag
    return dh_pmc


@numba.njit(cache=True, error_model="numpy")
def pair_norms(norms_irk, q_ek, i_p, e_p):
    """Return hh_pr (n_pairs, n_rows) float: (h|h) by m - m', merged."""
    n_rows, n_k = norms_irk.shape[1:]
    hh_pr = np.empty((len(i_p), n_rows))
    for n in range(len(i_p)):
        norms_rk, q_k = norms_irk[i_p[n]], q_ek[e_p[n]]
        for r in range(n_rows):
            total = 0.0
            for k in range(0, n_k, 3):
                total += (
                    norms_rk[r, k] * q_k[k]
                    + norms_rk[r, k + 1] * q_k[k + 1]
                    + norms_rk[r, k + 2] * q_k[k + 2]
                )
            hh_pr[n, r] = total
    return hh_pr


@numba.njit(cache=True, error_model="numpy")
def at_phases(dh_mc, hh_r, phases_cno, dh_o, hh_o):
    """Write dh and hh at all orbital phases."""
    n_m = len(dh_mc)
    dh_o[:] = 0.0
    hh_o[:] = hh_r[0]
    # Factors of a loop are read before it: the compiler cannot know that writing dh_o does
    # not change them.
    for m in range(n_m):
        real, imag = dh_mc[m, 0], dh_mc[m, 1]
        for o in range(len(dh_o)):
            dh_o[o] += phases_cno[0, m, o] * real + phases_cno[1, m, o] * imag
    for n in range(1, (len(hh_r) + 1) // 2):
        real, imag = hh_r[2 * n - 1], hh_r[2 * n]
        for o in range(len(hh_o)):
            hh_o[o] += phases_cno[0, n_m + n, o] * real - phases_cno[1, n_m + n, o] * imag


@numba.njit(cache=True, error_model="numpy")
def lnlike(dh, hh):
    """Return ln L maximised over distance; 0 where no distance makes it positive."""
    # The division is made in any case: so loops over this are vectorised.
    positive = (dh > 0) & (hh > 0)
    value = 0.5 * dh * dh / (hh if positive else 1.0)
    return value if positive else 0.0


@numba.njit(cache=True, error_model="numpy", fastmath={"nnan", "nsz"})
def _largest(values_o):
    # Apart, because a maximum is vectorised only if it may forget about NaN.
    largest = values_o[0]
    for o in range(1, len(values_o)):
        largest = max(largest, values_o[o])
    return largest


@numba.njit(cache=True, error_model="numpy")
def pair_maxima(dh_pmc, hh_pr, phases_cno):
    """Return the largest bestfit_lnlike (n_pairs,) over orbital phases."""
    n_phi = phases_cno.shape[2]
    dh_o, hh_o, lnlike_o = np.empty(n_phi), np.empty(n_phi), np.empty(n_phi)
    maxima_p = np.zeros(len(dh_pmc))
    for n in range(len(dh_pmc)):
        at_phases(dh_pmc[n], hh_pr[n], phases_cno, dh_o, hh_o)
        for o in range(n_phi):
            lnlike_o[o] = lnlike(dh_o[o], hh_o[o])
        maxima_p[n] = _largest(lnlike_o)
    return maxima_p


@numba.njit(cache=True, error_model="numpy")
def pair_values(dh_pmc, hh_pr, phases_cno, o_p):
    """Return dh_p, hh_p, lnlike_p (n_pairs,) at one orbital phase each."""
    n_phi = phases_cno.shape[2]
    dh_o, hh_o = np.empty(n_phi), np.empty(n_phi)
    dh_p, hh_p, lnlike_p = np.empty(len(o_p)), np.empty(len(o_p)), np.empty(len(o_p))
    for n in range(len(o_p)):
        at_phases(dh_pmc[n], hh_pr[n], phases_cno, dh_o, hh_o)
        dh_p[n], hh_p[n] = dh_o[o_p[n]], hh_o[o_p[n]]
        lnlike_p[n] = lnlike(dh_p[n], hh_p[n])
    return dh_p, hh_p, lnlike_p


@numba.njit(cache=True, error_model="numpy")
def expand_pairs(dh_pmc, hh_pr, phases_cno, floor):
    """Return pair, o, dh, hh and lnlike of all (pair, o) with lnlike > floor.

    Takes 36 bytes of address space per (pair, o): call with chunks of pairs.
    """
    n_phi = phases_cno.shape[2]
    dh_o, hh_o, lnlike_o = np.empty(n_phi), np.empty(n_phi), np.empty(n_phi)
    most = len(dh_pmc) * n_phi
    pair_s, o_s = np.empty(most, np.int64), np.empty(most, np.int32)
    dh_s, hh_s, lnlike_s = np.empty(most), np.empty(most), np.empty(most)
    s = 0
    for n in range(len(dh_pmc)):
        at_phases(dh_pmc[n], hh_pr[n], phases_cno, dh_o, hh_o)
        for o in range(n_phi):
            lnlike_o[o] = lnlike(dh_o[o], hh_o[o])
        for o in range(n_phi):
            if lnlike_o[o] > floor:
                pair_s[s], o_s[s] = n, o
                dh_s[s], hh_s[s], lnlike_s[s] = dh_o[o], hh_o[o], lnlike_o[o]
                s += 1
    return (
        pair_s[:s].copy(),
        o_s[:s].copy(),
        dh_s[:s].copy(),
        hh_s[:s].copy(),
        lnlike_s[:s].copy(),
    )


def compile_pairs(phases_cno: np.ndarray) -> None:
    """Compile :func:`pair_values` and :func:`expand_pairs`, or load them from the cache.

    Where a parent calls this before it starts workers, they find the cache filled.
    """
    dh_pmc, hh_pr = np.zeros((1, 1, 2)), np.zeros((1, 1))
    pair_values(dh_pmc, hh_pr, phases_cno, np.zeros(1, dtype=np.int32))
    expand_pairs(dh_pmc, hh_pr, phases_cno, 0.0)
