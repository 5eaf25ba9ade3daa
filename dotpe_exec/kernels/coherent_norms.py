"""Waveforms' own inner products, merged by difference of azimuthal numbers.

(h|h) depends on orbital phase through exp(i (m - m') phi) alone, and on the response
through the products of the two polarisations. So the mode pairs with equal |m - m'|
merge (a pair with m < m' enters conjugated), and the polarisations merge into (++, +x
and x+, xx):

    hh_ieo = sum_n Re[ exp(i n phi_o) sum_k z_ink q_ke ],     k = (d, ++ | +x | xx)

The real and imaginary parts of z are the rows r of ``norms_irk``; n = 0 has no imaginary
part. Cost: 28 flops per (mode pair, p, P, b) and detector, in a compiled loop that reads
the weights once per waveform.
"""

from __future__ import annotations

import numba
import numpy as np

from .summary import Summary, mode_pairs


def phase_orders(m_arr: np.ndarray) -> np.ndarray:
    """Return the different |m - m'|, ascending: 0 comes first."""
    m, mprime = mode_pairs(len(m_arr))
    return np.unique(np.abs(np.asarray(m_arr)[m] - np.asarray(m_arr)[mprime]))


def pair_table(m_arr: np.ndarray) -> np.ndarray:
    """Return where each (mode pair, p, P) is read from and where it is added.

    Returns
    -------
    table_xc : (n_mm * 4, 5) int
        Columns: flat (m, p) of the first factor, flat (m', P) of the second, row of the
        real part, sign of the imaginary part (0: not needed), place among the three
        products of polarisations.
    """
    m_arr = np.asarray(m_arr)
    orders = phase_orders(m_arr)
    table = []
    for m, mprime in zip(*mode_pairs(len(m_arr)), strict=True):
        difference = int(m_arr[m] - m_arr[mprime])
        order = int(np.searchsorted(orders, abs(difference)))
        row = 0 if order == 0 else 2 * order - 1
        for p in range(2):
            for pprime in range(2):
                table.append(
                    (2 * m + p, 2 * mprime + pprime, row, np.sign(difference), p + pprime)
                )
    return np.array(table, dtype=np.int64)


def merged_norms(
    h_impb: np.ndarray,
    weights_cxdb: np.ndarray,
    spread_dmpb: np.ndarray,
    m_arr: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the merged norms of waveforms, and sums of their power.

    Parameters
    ----------
    h_impb : (n_i, n_m, 2, n_b) complex
    weights_cxdb : (2, n_mm * 4, n_d, n_b) float
        From :func:`pair_weights`.
    spread_dmpb : (n_d, n_m, 2, n_b) float
        Weights of the power.
    m_arr : (n_m,) int

    Returns
    -------
    norms_irk : (n_i, 2 * n_orders - 1, n_d * 3) float
    power_idmp : (n_i, n_d, n_m, 2) float
        sum_b spread |h|^2.
    """
    n_rows = 2 * len(phase_orders(m_arr)) - 1
    norms_irk = np.zeros((len(h_impb), n_rows, 3 * weights_cxdb.shape[2]))
    power_idmp = np.empty((len(h_impb), *spread_dmpb.shape[:3]))
    _merged_norms(
        np.ascontiguousarray(h_impb),
        weights_cxdb,
        spread_dmpb,
        pair_table(m_arr),
        norms_irk,
        power_idmp,
    )
    return norms_irk, power_idmp


def pair_weights(summary: Summary) -> np.ndarray:
    """Return the (h|h) weights in the order of :func:`pair_table`.

    Returns
    -------
    weights_cxdb : (2, n_mm * 4, n_d, n_b) float
        Real and imaginary part.
    """
    weights_mppdb = np.moveaxis(summary.hh_weights_dmppb, 0, 3)
    weights_xdb = weights_mppdb.reshape(-1, *weights_mppdb.shape[3:])
    return np.ascontiguousarray(np.stack([weights_xdb.real, weights_xdb.imag]))


def squared_responses(response_dpe: np.ndarray, asd_drift_d: np.ndarray) -> np.ndarray:
    """Return q_ke (n_d * 3, n_e): F+^2, F+ Fx, Fx^2 over asd_drift^2."""
    plus, cross = response_dpe[:, 0], response_dpe[:, 1]
    products_dke = np.stack([plus * plus, plus * cross, cross * cross], axis=1)
    products_dke /= np.asarray(asd_drift_d)[:, None, None] ** 2
    return products_dke.reshape(-1, response_dpe.shape[-1])


@numba.njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
def _merged_norms(h_impb, weights_cxdb, spread_dmpb, table_xc, norms_irk, power_idmp):
    n_i, n_m, _, n_b = h_impb.shape
    _, n_x, n_d, _ = weights_cxdb.shape
    h_real = np.empty((2 * n_m, n_b))
    h_imag = np.empty((2 * n_m, n_b))
    real_b = np.empty(n_b)
    imag_b = np.empty(n_b)
    for i in range(n_i):
        for a in range(2 * n_m):
            for b in range(n_b):
                value = h_impb[i, a // 2, a % 2, b]
                h_real[a, b] = value.real
                h_imag[a, b] = value.imag
        for x in range(n_x):
            first, second = table_xc[x, 0], table_xc[x, 1]
            row, sign, slot = table_xc[x, 2], table_xc[x, 3], table_xc[x, 4]
            for b in range(n_b):
                xr, xi = h_real[first, b], h_imag[first, b]
                yr, yi = h_real[second, b], h_imag[second, b]
                real_b[b] = xr * yr + xi * yi
                imag_b[b] = xi * yr - xr * yi
            if first == second:
                for d in range(n_d):
                    spread_b = spread_dmpb[d, first // 2, first % 2]
                    power = 0.0
                    for b in range(n_b):
                        power += spread_b[b] * real_b[b]
                    power_idmp[i, d, first // 2, first % 2] = power
            for d in range(n_d):
                wr_b, wi_b = weights_cxdb[0, x, d], weights_cxdb[1, x, d]
                sum_real = 0.0
                sum_imag = 0.0
                if sign == 0:
                    for b in range(n_b):
                        sum_real += wr_b[b] * real_b[b] - wi_b[b] * imag_b[b]
                else:
                    for b in range(n_b):
                        sum_real += wr_b[b] * real_b[b] - wi_b[b] * imag_b[b]
                        sum_imag += wr_b[b] * imag_b[b] + wi_b[b] * real_b[b]
                    norms_irk[i, row + 1, 3 * d + slot] += sign * sum_imag
                norms_irk[i, row, 3 * d + slot] += sum_real
