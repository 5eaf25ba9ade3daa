"""Tasks that make one waveform on the whole frequency grid.

Their workers load LALSimulation, which takes a fifth of a second, and nothing of cogwheel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..executors.store import BundleHandle
from ..kernels.chi_squared import cell_overlaps
from ..kernels.overlaps import overlaps
from ..waveforms.dense import dense_modes
from ..waveforms.direct import Source


@dataclass(frozen=True)
class FullData:
    """The data of all detectors between the lowest and the highest frequency.

    Parameters
    ----------
    frequencies_f : (n_f,) float
        [Hz], above zero.
    blued_strain_df : (n_d, n_f) complex
    weight_df : (n_d, n_f) float
        Squared whitening filter.
    """

    frequencies_f: np.ndarray
    blued_strain_df: np.ndarray
    weight_df: np.ndarray


@dataclass(frozen=True)
class SamplePoints:
    """Where samples of one waveform lie in the other parameters; see :func:`.overlaps`.

    Parameters
    ----------
    response_dps : (n_d, 2, n_s) float
    times_ds : (n_d, n_s) float
        Arrival times from the beginning of the data [s].
    phi_s, distance_s : (n_s,) float
        Orbital phase [rad] and luminosity distance [Mpc].
    """

    response_dps: np.ndarray
    times_ds: np.ndarray
    phi_s: np.ndarray
    distance_s: np.ndarray


@dataclass(frozen=True)
class ExactTask:
    """Compare samples that share a waveform with the data.

    Parameters
    ----------
    source : Source
    data : BundleHandle
        Of :class:`FullData`.
    points : SamplePoints
    """

    source: Source
    data: BundleHandle
    points: SamplePoints


@dataclass(frozen=True)
class Overlaps:
    """Sums over frequencies: (d|h) and (h|h), (n_d, n_s), without 4 df."""

    dh_ds: np.ndarray
    hh_ds: np.ndarray


def exact_overlaps(task: ExactTask) -> Overlaps:
    """Make the waveform at all frequencies and compare it with the data."""
    data: FullData = task.data.load()
    dh_ds, hh_ds = np.zeros((2, *task.points.times_ds.shape))
    for part, h_mpf in dense_modes(data.frequencies_f, task.source):
        dh_part_ds, hh_part_ds = overlaps(
            h_mpf,
            task.source.m_arr,
            data.frequencies_f[part],
            data.blued_strain_df[:, part],
            data.weight_df[:, part],
            task.points.response_dps,
            task.points.times_ds,
            task.points.phi_s,
            task.points.distance_s,
        )
        dh_ds += dh_part_ds
        hh_ds += hh_part_ds
    return Overlaps(dh_ds, hh_ds)


@dataclass(frozen=True)
class CellTask:
    """Compare one sample with the data, cell by cell.

    Parameters
    ----------
    source, data
        As of :class:`ExactTask`.
    points : SamplePoints
        Of one sample.
    n_cells : int
    """

    source: Source
    data: BundleHandle
    points: SamplePoints
    n_cells: int


def detector_signals(
    frequencies_f: np.ndarray, h_mpf: np.ndarray, m_arr: np.ndarray, points: SamplePoints
) -> np.ndarray:
    """Return the signal of a single sample in each detector, (n_d, n_f) [1/Hz]."""
    phase_m = np.exp(1j * m_arr * points.phi_s[0]) / points.distance_s[0]
    h_df = np.einsum(
        "m,dp,mpf->df", phase_m, points.response_dps[..., 0], h_mpf, optimize=True
    )
    h_df *= np.exp(-2j * np.pi * points.times_ds * frequencies_f)
    return h_df


@dataclass(frozen=True)
class CellOverlaps:
    """Sums of :func:`.cell_overlaps`, (n_d, n_c)."""

    dh_dc: np.ndarray
    hh_dc: np.ndarray


def frequency_cells(
    frequencies_f: np.ndarray, ends: np.ndarray, n_cells: int
) -> np.ndarray:
    """Return the cell of each frequency: of equal width in the logarithm, (n_f,) int."""
    low, high = np.log(ends)
    cell_f = np.floor((np.log(frequencies_f) - low) / (high - low) * n_cells)
    return np.clip(cell_f, 0, n_cells - 1).astype(int)


def waveform_cells(task: CellTask) -> CellOverlaps:
    """Make the waveform at all frequencies and add up its cells."""
    data: FullData = task.data.load()
    points = task.points
    n_d = len(points.times_ds)
    dh_dc, hh_dc = np.zeros((n_d, task.n_cells), complex), np.zeros((n_d, task.n_cells))
    ends = data.frequencies_f[[0, -1]]
    for part, h_mpf in dense_modes(data.frequencies_f, task.source):
        frequencies_f = data.frequencies_f[part]
        h_df = detector_signals(frequencies_f, h_mpf, task.source.m_arr, points)
        dh_part_dc, hh_part_dc = cell_overlaps(
            h_df,
            data.blued_strain_df[:, part],
            data.weight_df[:, part],
            frequency_cells(frequencies_f, ends, task.n_cells),
            task.n_cells,
        )
        dh_dc += dh_part_dc
        hh_dc += hh_part_dc
    return CellOverlaps(dh_dc, hh_dc)
