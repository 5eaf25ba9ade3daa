"""The coherent likelihood written out as its formula, to check the fast kernel against.

With h at 1 Mpc, phi_o = 2 pi o / n_phi and the weights of
:class:`~dotpe_exec.kernels.summary.Summary`,

    dh_ieo = Re sum_m exp(-i m phi_o) sum_{d,p,b}
             dh_weights conj(h_i) conj(timeshift) response / asd_drift_d^2
    hh_ieo = Re sum_{m<=m'} exp(i (m-m') phi_o) sum_{d,p,P}
             response_dp response_dP sum_b hh_weights h_mp conj(h_m'P) / asd_drift_d^2

Cost: about 8 n_d n_m 2 n_b flops per (i, e) and 16 (n_m + n_m (n_m + 1) / 2) per
(i, e, o), with arrays of shape (i, e, o).
"""

from __future__ import annotations

import numpy as np

from .summary import Summary, mode_pairs


def coherent_dense(
    h_impb: np.ndarray,
    summary: Summary,
    response_dpe: np.ndarray,
    timeshift_dbe: np.ndarray,
    n_phi: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the inner products of all waveforms, extrinsic samples and phases.

    Parameters
    ----------
    h_impb : (n_i, n_m, 2, n_b) complex
        Linear-free waveforms at 1 Mpc.
    summary : Summary
    response_dpe : (n_d, 2, n_e) float
        Antenna response, rotated by the polarisation angle.
    timeshift_dbe : (n_d, n_b, n_e) complex
        exp(-2 pi i f t) of the arrival times.
    n_phi : int
        Number of orbital phases.

    Returns
    -------
    dh_ieo, hh_ieo : (n_i, n_e, n_phi) float
        (d|h) and (h|h) at 1 Mpc.
    """
    dh_iem, hh_iem = coherent_modes_dense(h_impb, summary, response_dpe, timeshift_dbe)
    m_arr = np.asarray(summary.m_arr)
    m, mprime = mode_pairs(len(m_arr))
    phi_o = 2 * np.pi * np.arange(n_phi) / n_phi
    dh_ieo = (dh_iem @ np.exp(-1j * np.outer(m_arr, phi_o))).real
    hh_ieo = (hh_iem @ np.exp(1j * np.outer(m_arr[m] - m_arr[mprime], phi_o))).real
    return dh_ieo, hh_ieo


def coherent_modes_dense(
    h_impb: np.ndarray,
    summary: Summary,
    response_dpe: np.ndarray,
    timeshift_dbe: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return (d|h) by mode and (h|h) by mode pair, before the orbital phase.

    Returns
    -------
    dh_iem : (n_i, n_e, n_m) complex
    hh_iem : (n_i, n_e, n_mm) complex
        Pairs in the order of :func:`~dotpe_exec.kernels.summary.mode_pairs`.
    """
    m, mprime = mode_pairs(len(summary.m_arr))
    dh_iem: np.ndarray | float = 0.0
    hh_iem: np.ndarray | float = 0.0
    for d, asd_drift in enumerate(summary.asd_drift_d):
        shifted_impe = (
            summary.dh_weights_dmpb[d] * h_impb.conj() @ timeshift_dbe[d].conj()
        ) / asd_drift**2
        dh_iem = dh_iem + np.einsum("impe,pe->iem", shifted_impe, response_dpe[d])
        hh_imppe = np.einsum(
            "mpPb,impb,imPb->impP",
            summary.hh_weights_dmppb[d],
            h_impb[:, m],
            h_impb[:, mprime].conj(),
            optimize=["einsum_path", (0, 1), (0, 1)],
        )
        hh_iem = hh_iem + np.einsum(
            "impP,pPe->iem",
            hh_imppe / asd_drift**2,
            response_dpe[d, :, None] * response_dpe[d, None, :],
        )
    return np.asarray(dh_iem), np.asarray(hh_iem)


def bestfit_lnlike(dh: np.ndarray, hh: np.ndarray) -> np.ndarray:
    """Return ln L maximised over distance: 0.5 dh^2 / hh where dh > 0 and hh > 0, else 0.

    A template of no power (hh <= 0 by rounding, as for a detector that is blind to a
    linearly polarised wave) explains nothing: its likelihood is that of noise.
    """
    dh, hh = np.asarray(dh), np.asarray(hh)
    positive = (dh > 0) & (hh > 0)
    return np.where(positive, 0.5 * dh**2 / np.where(positive, hh, 1.0), 0.0)
