"""Likelihoods of samples under many calibration curves.

A calibration curve multiplies the signal in a detector by C_d(f), smooth in frequency, so
that relative binning holds with C_d at the bins' edges:

    (d|h C) = Re sum_b conj(C_db) dh_db,      (h|h C) = sum_b |C_db|^2 hh_db

with the terms of each bin, without curve, dh_db and hh_db. These are formed once for each
sample; all curves of all samples together are then one product of real matrices.

Index letters: d detector, m mode, p/q polarisation, c the (m, p) pairs, j pairs of these,
b frequency bin, s sample, k calibration curve, x real terms: real and imaginary parts of
dh_db, then hh_db, of all bins, of all detectors.
"""

from __future__ import annotations

import numpy as np

from .summary import Summary, mode_pairs


def bin_terms(
    summary: Summary,
    h_mpb: np.ndarray,
    response_dps: np.ndarray,
    times_ds: np.ndarray,
    phi_s: np.ndarray,
    distance_s: np.ndarray,
) -> np.ndarray:
    """Return what each bin adds to the inner products of one waveform's samples.

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

    Returns
    -------
    (n_s, n_d, 3, n_b) float
        ``asd_drift`` honoured.
    """
    n_d, n_m = len(times_ds), len(h_mpb)
    phases_sm = np.exp(1j * np.outer(phi_s, summary.m_arr)) / distance_s[:, np.newaxis]
    response_dsp = response_dps.transpose(0, 2, 1)
    factors_dsmp = phases_sm[..., np.newaxis] * response_dsp[:, :, np.newaxis]
    shifts_dsb = np.exp(2j * np.pi * times_ds[..., np.newaxis] * summary.fbin_b)
    dh_dcb = (summary.dh_weights_dmpb * h_mpb.conj()).reshape(n_d, 2 * n_m, -1)
    factors_dsc = factors_dsmp.reshape(n_d, -1, 2 * n_m)
    dh_dsb = (factors_dsc.conj() @ dh_dcb) * shifts_dsb

    m, mprime = mode_pairs(n_m)
    products_mpqb = h_mpb[m][:, :, np.newaxis] * h_mpb[mprime].conj()[:, np.newaxis]
    hh_djb = (summary.hh_weights_dmppb * products_mpqb).reshape(n_d, 4 * len(m), -1)
    pairs_dsj = (
        factors_dsmp[:, :, m][..., np.newaxis]
        * factors_dsmp[:, :, mprime].conj()[..., np.newaxis, :]
    ).reshape(n_d, -1, 4 * len(m))
    hh_dsb = (pairs_dsj @ hh_djb).real

    terms_dsxb = np.stack([dh_dsb.real, dh_dsb.imag, hh_dsb], axis=2)
    terms_dsxb /= (summary.asd_drift_d**2)[:, np.newaxis, np.newaxis, np.newaxis]
    return terms_dsxb.transpose(1, 0, 2, 3)


def curve_factors(curves_dkb: np.ndarray) -> np.ndarray:
    """Return what the terms of bins are multiplied with, (n_k, n_d, 3, n_b) float.

    Parameters
    ----------
    curves_dkb : (n_d, n_k, n_b) complex
        What the signal is multiplied with.
    """
    curves_kdb = curves_dkb.transpose(1, 0, 2)
    halves_kdb = -0.5 * np.abs(curves_kdb) ** 2
    return np.stack([curves_kdb.real, curves_kdb.imag, halves_kdb], axis=2)


def calibrated_lnlikes(
    terms_sdxb: np.ndarray, factors_kdxb: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return ln likelihoods without curve, (n_s,), and with each curve, (n_s, n_k).

    Parameters
    ----------
    terms_sdxb : (n_s, n_d, 3, n_b) float
        :func:`bin_terms` of any number of waveforms.
    factors_kdxb : (n_k, n_d, 3, n_b) float
        :func:`curve_factors`.
    """
    totals_sx = terms_sdxb.sum(axis=(1, 3))
    plain_s = totals_sx[:, 0] - totals_sx[:, 2] / 2
    n_s, n_k = len(terms_sdxb), len(factors_kdxb)
    return plain_s, terms_sdxb.reshape(n_s, -1) @ factors_kdxb.reshape(n_k, -1).T
