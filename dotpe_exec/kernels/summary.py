"""Relative-binning summaries: what the likelihood kernels know about the data.

Index letters: d detector, m harmonic mode (azimuthal number), p polarisation (plus,
cross), b frequency bin, t time. Mode pairs (m, m') run in the order of
``itertools.combinations_with_replacement``; the entries with m != m' are doubled.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class LineFit:
    """What is needed to move a waveform in time onto the reference.

    Parameters
    ----------
    fbin_b : (n_b,) float
        Edges of the frequency bins [Hz].
    h2plus0_b : (n_b,) complex
        Plus polarisation of the reference waveform's m = 2 mode, ringdown stalled.
    weights_b : (n_b,) float
        Weights of the residuals of the line fit.
    m2_index : int
        Position of m = 2 in ``m_arr``.
    """

    fbin_b: np.ndarray
    h2plus0_b: np.ndarray
    weights_b: np.ndarray
    m2_index: int


@dataclass(frozen=True)
class Summary:
    """Summary data of a set of detectors, with the line fit that goes with them.

    Parameters
    ----------
    fbin_b : (n_b,) float
        Edges of the frequency bins [Hz].
    m_arr : (n_m,) int
        Azimuthal numbers of the modes, in the bank's order.
    dh_weights_dmpb : (n_d, n_m, 2, n_b) complex
        (d|h)_mp = sum_b dh_weights conj(h_mp(f_b)).
    hh_weights_dmppb : (n_d, n_mm, 2, 2, n_b) complex
        (h|h)_mm'pP = sum_b hh_weights h_mp conj(h_m'P).
    asd_drift_d : (n_d,) float
        All inner products are divided by its square.
    line_fit : LineFit
    """

    fbin_b: np.ndarray
    m_arr: np.ndarray
    dh_weights_dmpb: np.ndarray
    hh_weights_dmppb: np.ndarray
    asd_drift_d: np.ndarray
    line_fit: LineFit


@dataclass(frozen=True)
class IncoherentSummary:
    """Single-detector summaries (each made from one detector alone) and time grids.

    Parameters
    ----------
    summary : Summary
        Stacked over detectors; the line fit is the first detector's.
    times_dt : (n_d, n_t) float
        Arrival times [s] from the beginning of the data.
    """

    summary: Summary
    times_dt: np.ndarray


def mode_pairs(n_m: int) -> tuple[np.ndarray, np.ndarray]:
    """Return positions (m, m') of all mode pairs, m <= m' by position."""
    pairs = np.array(
        list(itertools.combinations_with_replacement(range(n_m), 2)), dtype=int
    )
    return pairs[:, 0], pairs[:, 1]
