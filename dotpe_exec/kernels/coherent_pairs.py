"""The coherent likelihood of single pairs of waveform and extrinsic sample.

Everything that ends in a result is computed here, pair by pair in a fixed order of
operations, so that it depends on the waveform and the sample alone and not on the batch
or block that they came in. Cost per pair: 32 n_m K flops for (d|h) by mode, then
4 (n_m + n_orders) per orbital phase.
"""

from __future__ import annotations

import numpy as np

from .compiling import REORDER, kernel

# Sums may be reordered (vectorised); the compiled code is the same for every pair.


@kernel(fastmath=REORDER)
def pair_modes(a_cimq, b_ceq, i_p, e_p):
    """Return dh_pmc (n_pairs, n_m, 2) float: (d|h) by mode, real and imaginary part."""
    n_m = a_cimq.shape[2]
    dh_pmc = np.empty((len(i_p), n_m, 2))
    for n in range(len(i_p)):
        i, dh_mc = i_p[n], dh_pmc[n]
        b_real, b_imag = b_ceq[0, e_p[n]], b_ceq[1, e_p[n]]
        m = 0
        # Four modes at a time: B is read once for all of them, and there are enough sums
        # for the processor to go on while each waits for its last term.
        while m + 4 <= n_m:
            real0, imag0 = a_cimq[0, i, m], a_cimq[1, i, m]
            real1, imag1 = a_cimq[0, i, m + 1], a_cimq[1, i, m + 1]
            real2, imag2 = a_cimq[0, i, m + 2], a_cimq[1, i, m + 2]
            real3, imag3 = a_cimq[0, i, m + 3], a_cimq[1, i, m + 3]
            re0 = im0 = re1 = im1 = re2 = im2 = re3 = im3 = 0.0
            for q in range(len(b_real)):
                re0 += real0[q] * b_real[q] - imag0[q] * b_imag[q]
                im0 += real0[q] * b_imag[q] + imag0[q] * b_real[q]
                re1 += real1[q] * b_real[q] - imag1[q] * b_imag[q]
                im1 += real1[q] * b_imag[q] + imag1[q] * b_real[q]
                re2 += real2[q] * b_real[q] - imag2[q] * b_imag[q]
                im2 += real2[q] * b_imag[q] + imag2[q] * b_real[q]
                re3 += real3[q] * b_real[q] - imag3[q] * b_imag[q]
                im3 += real3[q] * b_imag[q] + imag3[q] * b_real[q]
            dh_mc[m, 0], dh_mc[m, 1] = re0, im0
            dh_mc[m + 1, 0], dh_mc[m + 1, 1] = re1, im1
            dh_mc[m + 2, 0], dh_mc[m + 2, 1] = re2, im2
            dh_mc[m + 3, 0], dh_mc[m + 3, 1] = re3, im3
            m += 4
        while m < n_m:
            real0, imag0 = a_cimq[0, i, m], a_cimq[1, i, m]
            re0 = im0 = 0.0
            for q in range(len(b_real)):
                re0 += real0[q] * b_real[q] - imag0[q] * b_imag[q]
                im0 += real0[q] * b_imag[q] + imag0[q] * b_real[q]
            dh_mc[m, 0], dh_mc[m, 1] = re0, im0
            m += 1
    return dh_pmc


@kernel()
def pair_norms(norms_irk, q_ek, i_p, e_p):
    """Return hh_pr (n_pairs, n_rows) float: (h|h) by m - m', merged."""
    n_rows, n_k = norms_irk.shape[1:]
    hh_pr = np.empty((len(i_p), n_rows))
    for n in range(len(i_p)):
        i, e = i_p[n], e_p[n]
        for r in range(n_rows):
            total = 0.0
            for k in range(0, n_k, 3):
                total += (
                    norms_irk[i, r, k] * q_ek[e, k]
                    + norms_irk[i, r, k + 1] * q_ek[e, k + 1]
                    + norms_irk[i, r, k + 2] * q_ek[e, k + 2]
                )
            hh_pr[n, r] = total
    return hh_pr


# Without flags that let operations be fused, so that it gives the same bits wherever it
# is inlined.
@kernel(inline="always")
def at_phase(dh_mc, hh_r, phases_cno, o, modes, orders):
    """Return dh and hh at one orbital phase.

    ``modes`` and ``orders`` are tuples of as many entries as there are modes, and phase
    orders beyond 0: their lengths are types, so that loops over them are unrolled.
    """
    dh, hh = 0.0, hh_r[0]
    for m in range(len(modes)):
        dh += phases_cno[0, m, o] * dh_mc[m, 0] + phases_cno[1, m, o] * dh_mc[m, 1]
    for n in range(len(orders)):
        row = len(modes) + 1 + n
        hh += (
            phases_cno[0, row, o] * hh_r[2 * n + 1]
            - phases_cno[1, row, o] * hh_r[2 * n + 2]
        )
    return dh, hh


def unrolled(n_m: int, n_rows: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return what :func:`at_phase` takes as ``modes`` and ``orders``."""
    return (0,) * n_m, (0,) * ((n_rows - 1) // 2)


@kernel()
def lnlike(dh, hh):
    """Return ln L maximised over distance; 0 where no distance makes it positive."""
    # The division is made in any case: so loops over this are vectorised.
    positive = (dh > 0) & (hh > 0)
    value = 0.5 * dh * dh / (hh if positive else 1.0)
    return value if positive else 0.0


@kernel(fastmath={"nnan", "nsz"})
def _largest(values_o):
    # Apart, because a maximum is vectorised only if it may forget about NaN.
    largest = values_o[0]
    for o in range(1, len(values_o)):
        largest = max(largest, values_o[o])
    return largest


def pair_maxima(
    dh_pmc: np.ndarray, hh_pr: np.ndarray, phases_cno: np.ndarray
) -> np.ndarray:
    """Return the largest bestfit_lnlike (n_pairs,) over orbital phases."""
    sizes = unrolled(dh_pmc.shape[1], hh_pr.shape[1])
    return _pair_maxima(dh_pmc, hh_pr, phases_cno, *sizes)


@kernel()
def _pair_maxima(dh_pmc, hh_pr, phases_cno, modes, orders):
    lnlike_o = np.empty(phases_cno.shape[2])
    maxima_p = np.zeros(len(dh_pmc))
    for n in range(len(dh_pmc)):
        dh_mc, hh_r = dh_pmc[n], hh_pr[n]
        for o in range(len(lnlike_o)):
            dh, hh = at_phase(dh_mc, hh_r, phases_cno, o, modes, orders)
            lnlike_o[o] = lnlike(dh, hh)
        maxima_p[n] = _largest(lnlike_o)
    return maxima_p


def pair_values(
    dh_pmc: np.ndarray, hh_pr: np.ndarray, phases_cno: np.ndarray, o_p: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return dh_p, hh_p, lnlike_p (n_pairs,) at one orbital phase each."""
    sizes = unrolled(dh_pmc.shape[1], hh_pr.shape[1])
    return _pair_values(dh_pmc, hh_pr, phases_cno, o_p, *sizes)


@kernel()
def _pair_values(dh_pmc, hh_pr, phases_cno, o_p, modes, orders):
    dh_p, hh_p, lnlike_p = np.empty(len(o_p)), np.empty(len(o_p)), np.empty(len(o_p))
    for n in range(len(o_p)):
        dh, hh = at_phase(dh_pmc[n], hh_pr[n], phases_cno, o_p[n], modes, orders)
        dh_p[n], hh_p[n], lnlike_p[n] = dh, hh, lnlike(dh, hh)
    return dh_p, hh_p, lnlike_p


def expand_pairs(
    dh_pmc: np.ndarray, hh_pr: np.ndarray, phases_cno: np.ndarray, floor: float
) -> tuple[np.ndarray, ...]:
    """Return pair, o, dh, hh and lnlike of all (pair, o) with lnlike > floor.

    Takes 36 bytes of address space per (pair, o): call with chunks of pairs.
    """
    sizes = unrolled(dh_pmc.shape[1], hh_pr.shape[1])
    return _expand_pairs(dh_pmc, hh_pr, phases_cno, float(floor), *sizes)


@kernel()
def _expand_pairs(dh_pmc, hh_pr, phases_cno, floor, modes, orders):
    n_phi = phases_cno.shape[2]
    dh_o, hh_o, may_o = np.empty(n_phi), np.empty(n_phi), np.empty(n_phi, np.bool_)
    most = len(dh_pmc) * n_phi
    pair_s, o_s = np.empty(most, np.int64), np.empty(most, np.int32)
    dh_s, hh_s, lnlike_s = np.empty(most), np.empty(most), np.empty(most)
    # A division takes longer than all else: made only where the floor may be exceeded.
    lowest = floor * (1 - 1e-12) if floor > 0 else 0.0
    s = 0
    for n in range(len(dh_pmc)):
        dh_mc, hh_r = dh_pmc[n], hh_pr[n]
        for o in range(n_phi):
            dh, hh = at_phase(dh_mc, hh_r, phases_cno, o, modes, orders)
            dh_o[o], hh_o[o] = dh, hh
            may_o[o] = not (0.5 * dh * dh < lowest * hh)
        for o in range(n_phi):
            if may_o[o]:
                value = lnlike(dh_o[o], hh_o[o])
                if value > floor:
                    pair_s[s], o_s[s] = n, o
                    dh_s[s], hh_s[s], lnlike_s[s] = dh_o[o], hh_o[o], value
                    s += 1
    return (
        pair_s[:s].copy(),
        o_s[:s].copy(),
        dh_s[:s].copy(),
        hh_s[:s].copy(),
        lnlike_s[:s].copy(),
    )


def compile_pairs(n_modes: int, n_orders: int, phases_cno: np.ndarray) -> None:
    """Compile :func:`pair_values` and :func:`expand_pairs`, or load them from the cache.

    Where a parent calls this before it starts workers, they find the cache filled.

    Parameters
    ----------
    n_modes, n_orders : int
        Number of modes, and of phase orders, 0 included.
    phases_cno : (2, n_modes + n_orders, n_phi) float
    """
    dh_pmc, hh_pr = np.zeros((1, n_modes, 2)), np.zeros((1, 2 * n_orders - 1))
    pair_values(dh_pmc, hh_pr, phases_cno, np.zeros(1, dtype=np.int32))
    expand_pairs(dh_pmc, hh_pr, phases_cno, 0.0)
