"""The coherent likelihood's mode sums at given points, for stages that need them all.

(d|h) by mode and (h|h) by m - m', and what they give at orbital phases::

    sums = score_points(h_impb, summary, response_dpe, timeshift_dbe)
    dh_ieo, hh_ieo = sums.at_phases(n_phi)

Made for few waveforms at many points, in chunks of a few thousand points. Most of the
cost is the factorisation of each chunk's time shifts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import coherent_norms
from .coherent import prepare_coherent, project, with_all_bins
from .summary import Summary


@dataclass(frozen=True)
class ModeSums:
    """(d|h) by mode and (h|h) by |m - m'|, at pairs of waveform and extrinsic sample.

    Parameters
    ----------
    m_arr : (n_m,) int
    orders : (n_orders,) int
        The different |m - m'|, 0 first.
    dh_iem : (n_i, n_e, n_m) complex
        dh_ieo = Re sum_m dh_iem exp(-i m phi_o).
    hh_ien : (n_i, n_e, n_orders) complex
        hh_ieo = Re sum_n hh_ien exp(i n phi_o), n the order.
    """

    m_arr: np.ndarray
    orders: np.ndarray
    dh_iem: np.ndarray
    hh_ien: np.ndarray

    def at_phases(self, n_phi: int) -> tuple[np.ndarray, np.ndarray]:
        """Return dh_ieo, hh_ieo (n_i, n_e, n_phi) at phi_o = 2 pi o / n_phi."""
        phi_o = 2 * np.pi * np.arange(n_phi) / n_phi
        dh_ieo = (self.dh_iem @ np.exp(-1j * np.outer(self.m_arr, phi_o))).real
        hh_ieo = (self.hh_ien @ np.exp(1j * np.outer(self.orders, phi_o))).real
        return dh_ieo, hh_ieo


def score_points(
    h_impb: np.ndarray,
    summary: Summary,
    response_dpe: np.ndarray,
    timeshift_dbe: np.ndarray,
    *,
    tolerance: float = 1e-6,
) -> ModeSums:
    """Return (d|h) by mode and (h|h) by m - m' of all waveforms at all points.

    Parameters
    ----------
    h_impb : (n_i, n_m, 2, n_b) complex
        Linear-free waveforms at 1 Mpc.
    summary, response_dpe, timeshift_dbe
        As for :func:`.coherent_dense.coherent_dense`; call with chunks of a few thousand
        points.
    tolerance : float
        Largest error of (d|h) relative to the waveform's norm.

    Returns
    -------
    ModeSums
    """
    prepared = prepare_coherent(
        summary,
        response_dpe,
        timeshift_dbe,
        1,
        amplitude_mpb=np.abs(h_impb).max(axis=0),
        tolerance=tolerance,
    )
    projected = project(h_impb, prepared)
    n_i, n_m = h_impb.shape[:2]
    a_imq = projected.a_cimq[0] + 1j * projected.a_cimq[1]
    b_eq = prepared.b_ceq[0] + 1j * prepared.b_ceq[1]
    dh_ime = (a_imq.reshape(n_i * n_m, -1) @ b_eq.T).reshape(n_i, n_m, -1)
    for i in np.flatnonzero(~projected.within_i):
        dh_ime[i] = with_all_bins(h_impb[i], prepared)
    hh_ire = projected.norms_irk @ prepared.q_ek.T
    orders = coherent_norms.phase_orders(prepared.m_arr)
    hh_ien = np.zeros((n_i, prepared.n_e, len(orders)), dtype=complex)
    hh_ien[..., 0] = hh_ire[:, 0]
    hh_ien[..., 1:] = (hh_ire[:, 1::2] + 1j * hh_ire[:, 2::2]).transpose(0, 2, 1)
    return ModeSums(prepared.m_arr, orders, dh_ime.transpose(0, 2, 1), hh_ien)
