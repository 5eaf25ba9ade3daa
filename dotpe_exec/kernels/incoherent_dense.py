"""Single-detector likelihoods, written as the formulas stand: the reference kernel.

For waveform i in detector d, with M the 2 x 2 matrix of (h|h) by polarisation:

    z_mp(t)   = sum_b dh_weights_mpb conj(h_mpb) exp(2 pi i f_b t) / asd_drift_d^2
    u_p(o,t)  = Re sum_m z_mp(t) exp(-i m phi_o),          phi_o = 2 pi o / n_phi
    M_pP(o)   = Re sum_{m<=m'} exp(i (m-m') phi_o) sum_b hh_weights h_mp conj(h_m'P)
                / asd_drift_d^2
    lnlike_di = max over o, t of  0.5 u^T M^{-1} u

which is the likelihood maximised over the response of the detector (any two real
numbers), the arrival time and the orbital phase.
"""

from __future__ import annotations

import numpy as np

from .summary import IncoherentSummary, mode_pairs
from .waveforms import linear_free_shift

# Waveforms at a time: keeps the temporary arrays within the processor's caches.
_CHUNK = 8


def singular_rcond(n_mm: int, n_b: int) -> float:
    """Return the ratio of singular values below which M is singular to rounding.

    The entries of M are sums of ``n_mm * n_b`` products; this is the bound on their
    relative rounding error.
    """
    return n_mm * n_b * float(np.finfo(float).eps)


def symmetric_inverse(m_pp: np.ndarray, rcond: float) -> np.ndarray:
    """Return the matrices of the quadratic forms u^T M^{-1} u.

    Parameters
    ----------
    m_pp : (..., 2, 2) float
        Not necessarily symmetric.
    rcond : float
        Where the ratio of M's singular values is less, the smaller one counts as zero
        and M^{-1} is the pseudo-inverse: the form then contains only the polarisation
        that M constrains, and is zero if it constrains none.

    Returns
    -------
    s_xyz : (..., 3) float
        s with u^T M^{-1} u = s_0 u_+^2 + s_1 u_x^2 + s_2 u_+ u_x.
    """
    a, b = m_pp[..., 0, 0], m_pp[..., 0, 1]
    c, d = m_pp[..., 1, 0], m_pp[..., 1, 1]
    det = a * d - b * c
    norm2 = a * a + b * b + c * c + d * d
    # sigma_1 sigma_2 = |det| and sigma_1^2 + sigma_2^2 = norm2, so that where sigma_2 is
    # small their ratio is |det| / norm2; the pseudo-inverse of rank one is M^T / norm2.
    singular = np.abs(det) <= rcond * norm2
    adjugate = np.stack([d, a, -(b + c)], axis=-1)
    transpose = np.stack([a, d, b + c], axis=-1)
    denominator = np.where(singular, np.where(norm2 == 0, 1.0, norm2), det)
    return np.where(singular[..., None], transpose, adjugate) / denominator[..., None]


def incoherent_lnlike_dense(
    amplitudes_impb: np.ndarray,
    phases_impb: np.ndarray,
    incoherent_summary: IncoherentSummary,
    n_phi: int,
) -> np.ndarray:
    """Return the single-detector likelihoods of waveforms.

    Per waveform, detector and mode, 16 n_b n_t operations for the matched filter and
    8 n_phi n_t for the phases.

    Parameters
    ----------
    amplitudes_impb, phases_impb : (n_i, n_m, 2, n_b) float
        Amplitudes [1/Hz] and phases [rad] at 1 Mpc, as a bank keeps them.
    incoherent_summary : IncoherentSummary
    n_phi : int
        Number of orbital phases.

    Returns
    -------
    lnlike_di : (n_d, n_i) float
        NaN where the waveform or the likelihood is not finite.
    """
    summary = incoherent_summary.summary
    m_inds, mprime_inds = mode_pairs(len(summary.m_arr))
    rcond = singular_rcond(len(m_inds), len(summary.fbin_b))
    phi_o = 2 * np.pi * np.arange(n_phi) / n_phi
    mode_phasor_mo = np.exp(-1j * np.outer(summary.m_arr, phi_o))
    pair_phasor_ko = np.exp(
        1j * np.outer(summary.m_arr[m_inds] - summary.m_arr[mprime_inds], phi_o)
    )
    timeshift_dbt = np.exp(
        2j * np.pi * summary.fbin_b[:, None] * incoherent_summary.times_dt[:, None, :]
    )
    drift2_d = np.square(summary.asd_drift_d)

    lnlike_di = np.empty((len(drift2_d), len(amplitudes_impb)))
    for start in range(0, len(amplitudes_impb), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        dt_i = linear_free_shift(
            amplitudes_impb[chunk], phases_impb[chunk], summary.line_fit
        )
        shift_ib = 2 * np.pi * summary.fbin_b * dt_i[:, None]
        h_impb = amplitudes_impb[chunk] * np.exp(
            1j * (phases_impb[chunk] + shift_ib[:, None, None, :])
        )
        for d, drift2 in enumerate(drift2_d):
            z_impt = summary.dh_weights_dmpb[d] * h_impb.conj() @ timeshift_dbt[d] / drift2
            u_ipot = np.einsum("impt,mo->ipot", z_impt, mode_phasor_mo, optimize=True).real
            hh_ikpp = (
                np.einsum(
                    "kpPb,ikpb,ikPb->ikpP",
                    summary.hh_weights_dmppb[d],
                    h_impb[:, m_inds],
                    h_impb[:, mprime_inds].conj(),
                )
                / drift2
            )
            m_iopp = np.einsum("ikpP,ko->iopP", hh_ikpp, pair_phasor_ko).real
            s_xio = np.moveaxis(symmetric_inverse(m_iopp, rcond), -1, 0)[..., None]
            up_iot, uc_iot = u_ipot[:, 0], u_ipot[:, 1]
            lnlike_iot = 0.5 * (
                s_xio[0] * up_iot**2 + s_xio[1] * uc_iot**2 + s_xio[2] * up_iot * uc_iot
            )
            lnlike_di[d, chunk] = lnlike_iot.max(axis=(1, 2))
    return lnlike_di
