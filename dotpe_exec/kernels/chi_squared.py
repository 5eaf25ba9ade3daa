"""Whether a waveform fits the data in every band of frequencies: chi-squared.

With z_j the complex matched-filter output of the normalised waveform in band j, q_j the
band's share of (h|h), sum_j q_j = 1, and z = sum_j z_j,

    chi^2 = sum_j |z_j - q_j z|^2 / q_j = sum_j |z_j|^2 / q_j - |z|^2.

In Gaussian noise real and imaginary part of z_j are independent with variance q_j, and a
signal of the waveform's shape adds q_j times its amplitude, which drops out: chi^2 has the
chi-squared distribution with 2 p - 2 degrees of freedom for p bands, whatever amplitude
and phase are (Allen 2005, gr-qc/0405045, for bands of unequal shares).

Index letters: d detector, f frequency, c cell of frequencies, j band of cells.
"""

from __future__ import annotations

import numpy as np


def cell_overlaps(
    h_df: np.ndarray,
    blued_strain_df: np.ndarray,
    weight_df: np.ndarray,
    cell_f: np.ndarray,
    n_cells: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return sums over the frequencies of each cell.

    Parameters
    ----------
    h_df : (n_d, n_f) complex
        Waveform at the detectors.
    blued_strain_df : (n_d, n_f) complex
        Strain times the squared whitening filter.
    weight_df : (n_d, n_f) float
        Squared whitening filter.
    cell_f : (n_f,) int
        The cell that a frequency belongs to.
    n_cells : int

    Returns
    -------
    dh_dc, hh_dc : (n_d, n_cells) complex, float
        Of data times conjugate waveform, and of the waveform squared; multiplied by four
        times the frequency step they are inner products.
    """
    dh_df = blued_strain_df * h_df.conj()
    hh_df = weight_df * (h_df.real**2 + h_df.imag**2)

    def sums(values_df: np.ndarray) -> np.ndarray:
        return np.array([np.bincount(cell_f, row, n_cells) for row in values_df])

    return sums(dh_df.real) + 1j * sums(dh_df.imag), sums(hh_df)


def equal_bands(hh_c: np.ndarray, n_bands: int) -> np.ndarray:
    """Return the cells that bands of equal (h|h) begin with, ascending from 0.

    Fewer bands than asked for where single cells hold more than a band's share.

    Parameters
    ----------
    hh_c : (n_c,) float
    n_bands : int

    Returns
    -------
    (n_j,) int
        For :func:`numpy.add.reduceat`; no band is without (h|h).
    """
    total_c = np.cumsum(hh_c)
    wanted_j = total_c[-1] * np.arange(1, n_bands) / n_bands
    ends_j = np.unique(np.searchsorted(total_c, wanted_j) + 1)
    # What follows the last cell with power belongs to the last band.
    last = int(np.flatnonzero(hh_c)[-1])
    return np.concatenate([[0], ends_j[ends_j <= last]])


def chi_squared(dh_j: np.ndarray, hh_j: np.ndarray) -> tuple[float, float]:
    """Return chi-squared of one detector, and |z|, its matched-filter SNR.

    Parameters
    ----------
    dh_j : (n_j,) complex
        (d|h) by band, the data's noise of the variance that the inner product says.
    hh_j : (n_j,) float
        (h|h) by band, above zero.
    """
    hh = hh_j.sum()
    z_j, q_j = dh_j / np.sqrt(hh), hh_j / hh
    z = z_j.sum()
    return float(np.sum(np.abs(z_j - q_j * z) ** 2 / q_j)), float(abs(z))
