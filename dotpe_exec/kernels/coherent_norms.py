"""Waveforms' own inner products, merged by difference of azimuthal numbers.

(h|h) depends on orbital phase through exp(i (m - m') phi) alone, and on the response
through the products of the two polarisations. So the mode pairs with equal |m - m'|
merge (a pair with m < m' enters conjugated), and the polarisations merge into (++, +x
and x+, xx):

    hh_ieo = sum_n Re[ exp(i n phi_o) sum_k z_ink q_ke ],     k = (d, ++ | +x | xx)

The real and imaginary parts of z are the rows r of ``norms_irk``; n = 0 has no imaginary
part. Cost: 6 + 8 n_d flops per (mode pair, p, P, b), in a compiled loop; a quarter for
modes with themselves.
"""

from __future__ import annotations

import numpy as np

from .compiling import kernel
from .incoherent_loops import INLINED, LOOPS, norms_one, norms_three
from .summary import Summary, mode_pairs

# Waveforms at a time: few enough for the second-level cache.
_TILE = 16


def phase_orders(m_arr: np.ndarray) -> np.ndarray:
    """Return the different |m - m'|, ascending: 0 comes first."""
    m, mprime = mode_pairs(len(m_arr))
    return np.unique(np.abs(np.asarray(m_arr)[m] - np.asarray(m_arr)[mprime]))


def pair_table(m_arr: np.ndarray) -> np.ndarray:
    """Return what is summed over bins, and where each sum is added.

    Of the four products of polarisations of a mode with itself, two are real and the
    others enter as their real part alone, so that these two are one.

    Returns
    -------
    table_x6 : (n_x, 6) int
        Columns: flat (m, p) of the first factor, flat (m', P) of the second, row of the
        real part, sign of the imaginary part, place among the three products of
        polarisations, mode pair.
        Sign 0: the imaginary part is not needed.
    """
    m_arr = np.asarray(m_arr)
    orders = phase_orders(m_arr)
    table = []
    for pair, (m, mprime) in enumerate(zip(*mode_pairs(len(m_arr)), strict=True)):
        difference = int(m_arr[m] - m_arr[mprime])
        order = int(np.searchsorted(orders, abs(difference)))
        row, sign = max(2 * order - 1, 0), int(np.sign(difference))
        for p in range(2):
            for pprime in range(p if m == mprime else 0, 2):
                first, second = 2 * m + p, 2 * mprime + pprime
                table.append((first, second, row, sign, p + pprime, pair))
    return np.array(table, dtype=np.int64)


def pair_weights(summary: Summary) -> np.ndarray:
    """Return the (h|h) weights in the order of :func:`pair_table`.

    Returns
    -------
    weights_xdcb : (n_x, n_d, 2, n_b) float
        Real and imaginary part.
    """
    weights = []
    for first, second, *_, pair in pair_table(summary.m_arr).tolist():
        weights_ppdb = np.moveaxis(summary.hh_weights_dmppb[:, pair], 0, 2)
        weights_db = weights_ppdb[first % 2, second % 2]
        if first // 2 == second // 2 and first != second:
            weights_db = weights_db + weights_ppdb[second % 2, first % 2].conj()
        weights.append(np.stack([weights_db.real, weights_db.imag], axis=1))
    return np.stack(weights)


def merged_norms(
    h_impb: np.ndarray,
    weights_xdcb: np.ndarray,
    spread_dmpb: np.ndarray,
    table_x6: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the merged norms of waveforms, and sums of their power.

    Parameters
    ----------
    h_impb : (n_i, n_m, 2, n_b) complex
    weights_xdcb : (n_x, n_d, 2, n_b) float
        From :func:`pair_weights`.
    spread_dmpb : (n_d, n_m, 2, n_b) float
        Weights of the power.
    table_x6 : (n_x, 6) int
        From :func:`pair_table`.

    Returns
    -------
    norms_irk : (n_i, 2 * n_orders - 1, n_d * 3) float
    power_imdp : (n_i, n_m, n_d, 2) float
        sum_b spread |h|^2.
    """
    n_i, n_m = h_impb.shape[:2]
    n_d = len(spread_dmpb)
    n_rows = int(np.max(table_x6[:, 2] + (table_x6[:, 3] != 0))) + 1
    norms_irk = np.zeros((n_i, n_rows, 3 * n_d))
    power_imdp = np.empty((n_i, n_m, n_d, 2))
    _fill_norms(
        np.ascontiguousarray(h_impb),
        weights_xdcb,
        spread_dmpb,
        table_x6,
        norms_irk,
        power_imdp,
    )
    return norms_irk, power_imdp


@kernel(**LOOPS)
def _fill_norms(h_impb, weights_xdcb, spread_dmpb, table_x6, norms_irk, power_imdp):
    n_i, n_m, _, n_b = h_impb.shape
    n_x, n_d = weights_xdcb.shape[:2]
    h_iacb = np.empty((_TILE, 2 * n_m, 2, n_b))
    power_b = np.empty(n_b)
    for start in range(0, n_i, _TILE):
        n_tile = min(_TILE, n_i - start)
        for i in range(n_tile):
            for a in range(2 * n_m):
                for b in range(n_b):
                    value = h_impb[start + i, a // 2, a % 2, b]
                    h_iacb[i, a, 0, b] = value.real
                    h_iacb[i, a, 1, b] = value.imag
        # Weights outermost: they are larger than the waveforms and stay in the nearest
        # cache.
        for x in range(n_x):
            first, second, row = table_x6[x, 0], table_x6[x, 1], table_x6[x, 2]
            sign, slot = table_x6[x, 3], table_x6[x, 4]
            for i in range(n_tile):
                norms_rk = norms_irk[start + i]
                if first == second:
                    h_cb = h_iacb[i, first]
                    for b in range(n_b):
                        power_b[b] = h_cb[0, b] * h_cb[0, b] + h_cb[1, b] * h_cb[1, b]
                    for d in range(n_d):
                        norm, power = _norms_two(
                            power_b,
                            weights_xdcb[x, d, 0],
                            spread_dmpb[d, first // 2, first % 2],
                        )
                        norms_rk[row, 3 * d + slot] += norm
                        power_imdp[start + i, first // 2, d, first % 2] = power
                    continue
                d = 0
                while d + 3 <= n_d:
                    sums = norms_three(
                        h_iacb[i, first], h_iacb[i, second], weights_xdcb[x, d : d + 3]
                    )
                    for k in range(3):
                        norms_rk[row, 3 * (d + k) + slot] += sums[2 * k]
                        if sign != 0:
                            norms_rk[row + 1, 3 * (d + k) + slot] += sign * sums[2 * k + 1]
                    d += 3
                while d < n_d:
                    real, imag = norms_one(
                        h_iacb[i, first], h_iacb[i, second], weights_xdcb[x, d]
                    )
                    norms_rk[row, 3 * d + slot] += real
                    if sign != 0:
                        norms_rk[row + 1, 3 * d + slot] += sign * imag
                    d += 1


@kernel(**INLINED)
def _norms_two(power_b, weights_b, spread_b):
    """Return two weighted sums of one row."""
    norm = power = 0.0
    for b in range(power_b.size):
        norm += weights_b[b] * power_b[b]
        power += spread_b[b] * power_b[b]
    return norm, power


def squared_responses(response_dpe: np.ndarray, asd_drift_d: np.ndarray) -> np.ndarray:
    """Return q_ke (n_d * 3, n_e): F+^2, F+ Fx, Fx^2 over asd_drift^2."""
    plus, cross = response_dpe[:, 0], response_dpe[:, 1]
    products_dke = np.stack([plus * plus, plus * cross, cross * cross], axis=1)
    products_dke /= np.asarray(asd_drift_d)[:, None, None] ** 2
    return products_dke.reshape(-1, response_dpe.shape[-1])
