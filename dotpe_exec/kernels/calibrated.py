"""Likelihoods of samples of one waveform under many calibration curves.

A calibration curve multiplies the signal in a detector by C_d(f), smooth in frequency, so
that relative binning holds with C_d at the bins' edges:

    (d|h C) = Re sum_b conj(C_db) dh_db,      (h|h C) = sum_b |C_db|^2 hh_db

with the terms of each bin, without curve, dh_db and hh_db. These are formed once for each
sample; all curves together are then two matrix products.

Index letters: d detector, m mode, p/q polarisation, c the (m, p) pairs, b frequency bin,
s sample, k calibration curve.
"""

from __future__ import annotations

import numpy as np

from .summary import Summary, mode_pairs


def calibrated_lnlikes(
    summary: Summary,
    h_mpb: np.ndarray,
    response_dps: np.ndarray,
    times_ds: np.ndarray,
    phi_s: np.ndarray,
    distance_s: np.ndarray,
    curves_dkb: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return ln likelihoods without curve, (n_s,), and with each curve, (n_k, n_s).

    Parameters
    ----------
    summary : Summary
        Relative-binning summary of all detectors.
    h_mpb : (n_m, 2, n_b) complex
        Waveform at 1 Mpc, phase 0 and time 0.
    response_dps : (n_d, 2, n_s) float
        Antenna responses.
    times_ds : (n_d, n_s) float
        Arrival times from the beginning of the data [s].
    phi_s, distance_s : (n_s,) float
        Orbital phases [rad]; distances [Mpc].
    curves_dkb : (n_d, n_k, n_b) complex
        What the signal is multiplied with.
    """
    n_d, n_m = len(times_ds), len(h_mpb)
    phases_ms = np.exp(1j * np.outer(summary.m_arr, phi_s)) / distance_s
    factors_dmps = phases_ms[:, np.newaxis] * response_dps[:, np.newaxis]
    factors_dcs = factors_dmps.reshape(n_d, 2 * n_m, -1)
    shifts_dbs = np.exp(
        2j * np.pi * summary.fbin_b[:, np.newaxis] * times_ds[:, np.newaxis]
    )
    dh_dcb = (summary.dh_weights_dmpb * h_mpb.conj()).reshape(n_d, 2 * n_m, -1)
    dh_dbs = (dh_dcb.transpose(0, 2, 1) @ factors_dcs.conj()) * shifts_dbs

    m, mprime = mode_pairs(n_m)
    products_kpqb = h_mpb[m][:, :, np.newaxis] * h_mpb[mprime].conj()[:, np.newaxis]
    hh_djb = (summary.hh_weights_dmppb * products_kpqb).reshape(
        n_d, 4 * len(m), -1
    )  # j: pairs of (m, p)
    pairs_djs = (
        factors_dmps[:, m][:, :, :, np.newaxis]
        * factors_dmps[:, mprime].conj()[:, :, np.newaxis]
    ).reshape(n_d, 4 * len(m), -1)
    hh_dbs = (hh_djb.transpose(0, 2, 1) @ pairs_djs).real

    weight_d = summary.asd_drift_d**-2.0
    plain_s = weight_d @ (dh_dbs.real - hh_dbs / 2).sum(axis=1)
    # Re(conj(C) dh) as one product of real matrices.
    both_dkx = np.concatenate(
        [curves_dkb.real, curves_dkb.imag, -0.5 * np.abs(curves_dkb) ** 2], axis=2
    )
    terms_dxs = np.concatenate([dh_dbs.real, dh_dbs.imag, hh_dbs], axis=1)
    curved_ks = np.einsum("d,dks->ks", weight_d, both_dkx @ terms_dxs)
    return plain_s, curved_ks
