"""Inner products of one waveform with the data on the FFT grid, for many samples at once.

    dh_ds = sum_f conj(h_dsf) blued_strain_df,      hh_ds = sum_f weight_df |h_dsf|^2
    h_dsf = sum_{m,p} response_dps exp(i m phi_s) / distance_s h_mpf exp(-2 pi i f time_ds)

The modes are added up for each sample, then compared with the data: of a waveform there
are a few samples, fewer than products of modes. Nothing is left out or interpolated: the
sums are those of the full grid.

Index letters: d detector, m mode, p polarisation, c the (m, p) pairs, f frequency of the
FFT grid, s sample (sky position, polarisation angle, time, phase and distance), r the
(d, s) pairs.
"""

from __future__ import annotations

import numpy as np

# Waveform values at a time that stay in the processor's cache, and frequencies at least.
_VALUES, _LEAST, _SUB_BLOCK = 2**15, 2048, 64


def overlaps(
    h_mpf: np.ndarray,
    m_arr: np.ndarray,
    frequencies_f: np.ndarray,
    blued_strain_df: np.ndarray,
    weight_df: np.ndarray,
    response_dps: np.ndarray,
    times_ds: np.ndarray,
    phi_s: np.ndarray,
    distance_s: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return sums over frequencies of data times waveforms, and of waveforms squared.

    Parameters
    ----------
    h_mpf : (n_m, 2, n_f) complex
        Waveform at 1 Mpc, phase 0 and time 0.
    m_arr : (n_m,) int
    frequencies_f : (n_f,) float
        Equally spaced [Hz].
    blued_strain_df : (n_d, n_f) complex
        Strain times the squared whitening filter.
    weight_df : (n_d, n_f) float
        Squared whitening filter.
    response_dps : (n_d, 2, n_s) float
        Antenna responses.
    times_ds : (n_d, n_s) float
        Arrival times from the beginning of the data [s].
    phi_s, distance_s : (n_s,) float
        Orbital phases [rad]; distances [Mpc].

    Returns
    -------
    dh_ds, hh_ds : (n_d, n_s) float
        Multiplied by four times the frequency step: (d|h) and (h|h).
    """
    n_m, n_p, n_f = h_mpf.shape
    n_d, n_s = times_ds.shape
    h_cf = h_mpf.reshape(n_m * n_p, n_f)
    phases_ms = np.exp(1j * np.outer(m_arr, phi_s)) / distance_s
    factor_dsmp = np.einsum("ms,dps->dsmp", phases_ms, response_dps)
    factor_rc = factor_dsmp.reshape(n_d * n_s, -1)
    dh_ds, hh_ds = np.zeros((2, n_d, n_s))
    block = max(_VALUES // max(n_d * n_s, 1), _LEAST)
    for start in range(0, n_f, block):
        part = slice(start, start + block)
        h_dsf = (factor_rc @ h_cf[:, part]).reshape(n_d, n_s, -1)
        for d, h_sf in enumerate(h_dsf):
            hh_ds[d] += (h_sf.real**2 + h_sf.imag**2) @ weight_df[d, part]
            h_sf *= _phases(frequencies_f[part], -times_ds[d])
            dh_ds[d] += (h_sf @ blued_strain_df[d, part].conj()).real
    return dh_ds, hh_ds


def _phases(frequencies_f: np.ndarray, times_s: np.ndarray) -> np.ndarray:
    """Return exp(2 pi i f t), (n_s, n_f): products of those of two short grids."""
    n_f = len(frequencies_f)
    coarse_f = frequencies_f[::_SUB_BLOCK]
    fine_f = frequencies_f[:_SUB_BLOCK] - frequencies_f[0]
    coarse_sf = np.exp(2j * np.pi * np.outer(times_s, coarse_f))
    fine_sf = np.exp(2j * np.pi * np.outer(times_s, fine_f))
    phases_sf = coarse_sf[:, :, np.newaxis] * fine_sf[:, np.newaxis]
    return phases_sf.reshape(len(times_s), -1)[:, :n_f]
