"""Waveforms from LALSimulation, by mode, without cogwheel in between.

cogwheel generates the same, for one set of parameters at a time, and spends longer on
their conversion than LALSimulation on a waveform at a few hundred frequencies. Importing
this imports nothing heavy; calling it loads LALSimulation, a fifth of a second.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

_SPIN_ROUNDING = 1e-12  # nearer to 1 LALSimulation decides


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


def generate_modes(frequencies_f: np.ndarray, source: Source) -> np.ndarray:
    """Return a waveform by azimuthal number, (n_m, 2, n_f), at 1 Mpc and phase 0.

    LALSimulation's polarisations with one mode at a time, as cogwheel's waveform generator
    adds them up; the values at a frequency do not depend on the others.

    Parameters
    ----------
    frequencies_f : (n_f,) float
        [Hz], above zero.
    source : Source

    Raises
    ------
    ValueError
        A spin is above 1, which LALSimulation would say on the terminal, too.
    RuntimeError
        LALSimulation has no waveform.
    """
    import lal
    import lalsimulation

    check_spins(source.parameters)
    approximant = _approximant(source.approximant)
    m_arr = source.m_arr.tolist()
    sequence = lal.CreateREAL8Sequence(len(frequencies_f))
    sequence.data = frequencies_f
    h_mpf = np.zeros((len(m_arr), 2, len(frequencies_f)), dtype=complex)
    for mode in source.harmonic_modes:
        plus, cross = lalsimulation.SimInspiralChooseFDWaveformSequence(
            *_lal_arguments(source, mode), approximant, sequence
        )
        h_mpf[m_arr.index(mode[1])] += plus.data.data, cross.data.data
    return h_mpf


def check_spins(parameters: Mapping[str, float]) -> None:
    """Raise ValueError if a spin is above 1, before LALSimulation complains of it."""
    for body in "12":
        spin2 = sum(parameters[f"s{body}{end}"] ** 2 for end in ("x_n", "y_n", "z"))
        if spin2 > 1 + _SPIN_ROUNDING:
            raise ValueError(f"spin {body} is {spin2**0.5:.6g}, expected at most 1")


@functools.cache
def _approximant(name: str) -> int:
    """Return LALSimulation's number of an approximant."""
    import lalsimulation

    return int(lalsimulation.GetApproximantFromString(name))


def _lal_arguments(source: Source, mode: tuple[int, int]) -> list:
    """Return the arguments of LALSimulation before approximant and frequencies."""
    import lal

    par = source.parameters
    options = _lal_dictionary(source.lal_options, mode, par["l1"], par["l2"])
    spins = [par[s] for s in ("s1x_n", "s1y_n", "s1z", "s2x_n", "s2y_n", "s2z")]
    masses = [par["m1"] * lal.MSUN_SI, par["m2"] * lal.MSUN_SI]
    megaparsec = 1e6 * lal.PC_SI
    return [0.0, *masses, *spins, par["f_ref"], megaparsec, par["iota"], options]


@functools.lru_cache(maxsize=64)
def _lal_dictionary(
    lal_options: tuple[tuple[str, int], ...], mode: tuple[int, int], l1: float, l2: float
) -> Any:
    """Return LALSimulation's options, which it does not change."""
    import lal
    import lalsimulation

    options = lal.CreateDict()
    for function, value in lal_options:
        getattr(lalsimulation, function)(options, value)
    lalsimulation.SimInspiralWaveformParamsInsertTidalLambda1(options, l1)
    lalsimulation.SimInspiralWaveformParamsInsertTidalLambda2(options, l2)
    array = lalsimulation.SimInspiralCreateModeArray()
    lalsimulation.SimInspiralModeArrayActivateMode(array, *mode)
    lalsimulation.SimInspiralWaveformParamsInsertModeArray(options, array)
    return options
