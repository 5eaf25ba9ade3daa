"""The task of exact likelihoods: one waveform at some of the frequencies of the grid.

Its workers load LALSimulation, which takes a fifth of a second, and nothing of cogwheel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..executors.store import BundleHandle
from ..kernels.overlaps import overlaps


@dataclass(frozen=True)
class Source:
    """What the shape of a waveform depends on.

    Parameters
    ----------
    approximant : str
        Of LALSimulation.
    harmonic_modes : tuple of (l, m)
        Of the co-precessing frame.
    lal_options : tuple of (str, int)
        LALSimulation functions that set an option, and what to.
    parameters : dict of float
        ``m1, m2`` [solar masses]`, s1x_n, s1y_n, s1z, s2x_n, s2y_n, s2z, l1, l2, iota``
        [rad]`, f_ref`` [Hz]; in-plane spins as cogwheel has them, that is LAL's at
        orbital phase 0.
    """

    approximant: str
    harmonic_modes: tuple[tuple[int, int], ...]
    lal_options: tuple[tuple[str, int], ...]
    parameters: Mapping[str, float]

    @property
    def m_arr(self) -> np.ndarray:
        """Azimuthal numbers, in order of first appearance."""
        return np.array(list(dict.fromkeys(m for _, m in self.harmonic_modes)))


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
class ExactTask:
    """Compare samples that share a waveform with the data at some frequencies.

    Parameters
    ----------
    source : Source
    data : BundleHandle
        Of :class:`FullData`.
    start, step : int
        The task's part of the grid: every ``step``-th frequency from ``start`` on. Such
        parts are alike in work, and reach down to where every waveform has power (that
        one ends below all of its frequencies LALSimulation takes for an error).
    response_dps, times_ds, phi_s, distance_s
        As in :func:`.overlaps`.
    """

    source: Source
    data: BundleHandle
    start: int
    step: int
    response_dps: np.ndarray
    times_ds: np.ndarray
    phi_s: np.ndarray
    distance_s: np.ndarray


@dataclass(frozen=True)
class Overlaps:
    """Sums over some frequencies: (d|h) and (h|h), (n_d, n_s), without 4 df."""

    dh_ds: np.ndarray
    hh_ds: np.ndarray


def exact_overlaps(task: ExactTask) -> Overlaps:
    """Generate the waveform at the task's frequencies and compare it with the data."""
    data: FullData = task.data.load()
    part = slice(task.start, None, task.step)
    frequencies_f = np.array(data.frequencies_f[part])
    dh_ds, hh_ds = overlaps(
        generate_modes(frequencies_f, task.source),
        task.source.m_arr,
        frequencies_f,
        data.blued_strain_df[:, part],
        data.weight_df[:, part],
        task.response_dps,
        task.times_ds,
        task.phi_s,
        task.distance_s,
    )
    return Overlaps(dh_ds, hh_ds)


def generate_modes(frequencies_f: np.ndarray, source: Source) -> np.ndarray:
    """Return a waveform by azimuthal number, (n_m, 2, n_f), at 1 Mpc and phase 0.

    LALSimulation's polarisations with one mode at a time, as cogwheel's waveform generator
    adds them up; the values at a frequency do not depend on the others.

    Parameters
    ----------
    frequencies_f : (n_f,) float
        [Hz], above zero.
    source : Source
    """
    import lal
    import lalsimulation

    m_arr = source.m_arr.tolist()
    sequence = lal.CreateREAL8Sequence(len(frequencies_f))
    sequence.data = frequencies_f
    h_mpf = np.zeros((len(m_arr), 2, len(frequencies_f)), dtype=complex)
    for mode in source.harmonic_modes:
        plus, cross = lalsimulation.SimInspiralChooseFDWaveformSequence(
            *_lal_arguments(source, [mode]),
            lalsimulation.GetApproximantFromString(source.approximant),
            sequence,
        )
        h_mpf[m_arr.index(mode[1])] += plus.data.data, cross.data.data
    return h_mpf


def _lal_arguments(source: Source, modes: Sequence[tuple[int, int]]) -> list:
    """Return the arguments of LALSimulation before approximant and frequencies."""
    import lal
    import lalsimulation

    options = lal.CreateDict()
    for function, value in source.lal_options:
        getattr(lalsimulation, function)(options, value)
    par = source.parameters
    lalsimulation.SimInspiralWaveformParamsInsertTidalLambda1(options, par["l1"])
    lalsimulation.SimInspiralWaveformParamsInsertTidalLambda2(options, par["l2"])
    array = lalsimulation.SimInspiralCreateModeArray()
    for ell, m in modes:
        lalsimulation.SimInspiralModeArrayActivateMode(array, ell, m)
    lalsimulation.SimInspiralWaveformParamsInsertModeArray(options, array)
    spins = [par[s] for s in ("s1x_n", "s1y_n", "s1z", "s2x_n", "s2y_n", "s2z")]
    masses = [par["m1"] * lal.MSUN_SI, par["m2"] * lal.MSUN_SI]
    megaparsec = 1e6 * lal.PC_SI
    return [0.0, *masses, *spins, par["f_ref"], megaparsec, par["iota"], options]
