"""Amplitudes and phases of waveforms by mode, each made the fastest way there is.

There are three ways: ``fast`` (see :mod:`.xphm`), ``direct`` (LALSimulation, one mode at a
time, see :mod:`.direct`) and ``cogwheel`` for the approximants that are cogwheel's own.
The direct way gives the same bits as cogwheel's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..logged_prints import prints_logged
from .direct import Source, check_spins, generate_modes
from .parameters import PARAMETERS
from .xphm import FastGenerator, FastWayError, has_fast_way

#: The ways to make a waveform, the fastest first.
WAYS = ("fast", "direct", "cogwheel")


class NoWaveformError(Exception):
    """The approximant has no waveform for these parameters."""


@dataclass(frozen=True)
class WaveformSet:
    """Waveforms for several sets of parameters.

    Parameters
    ----------
    amplitudes_impb, phases_impb : (n_i, n_m, 2, n_b) float
        At 1 Mpc and orbital phase 0; phases [rad] unwrapped along b. Zero where there is
        no waveform.
    ok_i : (n_i,) bool
        Whether there is a waveform.
    ways_i : (n_i,) str
        Which way made it.
    problems : dict of str
        By index, why there is none.
    """

    amplitudes_impb: np.ndarray
    phases_impb: np.ndarray
    ok_i: np.ndarray
    ways_i: np.ndarray
    problems: dict[int, str]


@dataclass(frozen=True)
class ModeGenerator:
    """Makes waveforms of one approximant at fixed frequencies.

    Parameters
    ----------
    approximant : str
    harmonic_modes : tuple of (l, m)
        Of the co-precessing frame.
    f_ref : float
        Reference frequency of the spins [Hz].
    fbin_b : (n_b,) float
        Frequencies [Hz], above zero.
    way : str
        Of ``WAYS``: see :func:`generation_way`.
    lal_options : tuple of (str, int)
        LALSimulation functions that set an option, and what to; not used by cogwheel's
        own approximants.
    """

    approximant: str
    harmonic_modes: tuple[tuple[int, int], ...]
    f_ref: float
    fbin_b: np.ndarray
    way: str
    lal_options: tuple[tuple[str, int], ...] = ()
    _made: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def n_m(self) -> int:
        """Number of azimuthal numbers."""
        return len({m for _, m in self.harmonic_modes})

    def __call__(self, parameters_k: Iterable[float]) -> tuple[np.ndarray, np.ndarray, str]:
        """Return amplitudes and phases (n_m, 2, n_b) of a waveform, and the way taken.

        Parameters
        ----------
        parameters_k : (9,) float
            As ``PARAMETERS``.

        Raises
        ------
        NoWaveformError
            The approximant fails, or gives NaN, infinity or nothing but zero.
        """
        parameters = dict(zip(PARAMETERS, map(float, parameters_k), strict=True))
        if self.way == "fast":
            made = self._fast(parameters)
            if made is not None:
                return *made, "fast"
        h_mpb = self._polarizations(parameters)
        if not np.all(np.isfinite(h_mpb)):
            raise NoWaveformError("NaN or infinite values")
        if not np.any(h_mpb):
            raise NoWaveformError("zero at all frequencies")
        amplitude_mpb, phase_mpb = amplitude_and_phase(h_mpb)
        return amplitude_mpb, phase_mpb, "cogwheel" if self.way == "cogwheel" else "direct"

    def _fast(self, parameters: dict[str, float]) -> tuple[np.ndarray, np.ndarray] | None:
        """Return amplitudes and phases, or None where the fast way has none."""
        try:
            check_spins(parameters)
            if "fast" not in self._made:
                self._made["fast"] = FastGenerator(
                    self.approximant, self.harmonic_modes, self.f_ref, self.fbin_b
                )
            amplitude_mpb, phase_mpb = self._made["fast"](parameters)
        except (FastWayError, ArithmeticError, RuntimeError, ValueError):
            # The parameters' fault, or LALSimulation's; the direct way says what is wrong.
            return None
        size = amplitude_mpb.sum()
        usable = 0 < size < math.inf and math.isfinite(phase_mpb.sum())
        return (amplitude_mpb, phase_mpb) if usable else None

    def _polarizations(self, parameters: dict[str, float]) -> np.ndarray:
        """Return h_mpb of the slower ways."""
        make = self._cogwheel if self.way == "cogwheel" else self._direct
        try:
            return make(parameters | {"l1": 0.0, "l2": 0.0, "f_ref": self.f_ref})
        except Exception as error:
            # What an approximant raises is its own.
            raise NoWaveformError(f"{type(error).__name__}: {error}") from error

    def _direct(self, parameters: dict[str, float]) -> np.ndarray:
        source = Source(self.approximant, self.harmonic_modes, self.lal_options, parameters)
        return generate_modes(self.fbin_b, source)

    def _cogwheel(self, parameters: dict[str, float]) -> np.ndarray:
        if "cogwheel" not in self._made:
            self._made["cogwheel"] = _cogwheel_generator(
                self.approximant, self.harmonic_modes
            )
        make: Callable = self._made["cogwheel"].get_hplus_hcross
        with prints_logged():  # cogwheel prints at which parameters an approximant failed
            return make(
                self.fbin_b, parameters | {"d_luminosity": 1.0, "phi_ref": 0.0}, by_m=True
            )


def generate_waveform_set(
    generator: ModeGenerator, parameters_ik: np.ndarray
) -> WaveformSet:
    """Return the waveforms for each row of parameters.

    Parameters
    ----------
    generator : ModeGenerator
    parameters_ik : (n_i, 9) float
        Columns as ``PARAMETERS``.
    """
    n_i = len(parameters_ik)
    shape = (n_i, generator.n_m, 2, len(generator.fbin_b))
    made = WaveformSet(
        amplitudes_impb=np.zeros(shape),
        phases_impb=np.zeros(shape),
        ok_i=np.zeros(n_i, dtype=bool),
        ways_i=np.full(n_i, "", dtype="<U8"),
        problems={},
    )
    for i, parameters_k in enumerate(parameters_ik):
        try:
            waveform = generator(parameters_k)
        except NoWaveformError as error:
            made.problems[i] = str(error)
            continue
        made.amplitudes_impb[i], made.phases_impb[i], made.ways_i[i] = waveform
        made.ok_i[i] = True
    return made


def generation_way(
    approximant: str,
    harmonic_modes: tuple[tuple[int, int], ...],
    lal_options: tuple[tuple[str, int], ...] = (),
) -> str:
    """Return the fastest way to make waveforms of an approximant that cogwheel knows.

    Loads cogwheel, so that those who make the waveforms need not.
    """
    from cogwheel import waveform

    # Some register themselves when they are first used.
    entry = waveform.APPROXIMANTS.get(approximant)
    lal = waveform.compute_hplus_hcross_by_mode
    if entry is None or entry.hplus_hcross_by_mode_func is not lal:
        return "cogwheel"
    return "fast" if has_fast_way(approximant, harmonic_modes, lal_options) else "direct"


def amplitude_and_phase(h_mpb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return amplitudes and phases of waveforms, the phases unwrapped along b."""
    return np.abs(h_mpb), np.unwrap(np.angle(h_mpb), axis=-1)


def _cogwheel_generator(
    approximant: str, harmonic_modes: tuple[tuple[int, int], ...]
) -> Any:
    from cogwheel.waveform import WaveformGenerator

    # Its cache takes parameters within 1e-6 for the same: without it each waveform
    # depends on its own parameters alone.
    return WaveformGenerator(
        detector_names=(),
        tgps=0.0,
        tcoarse=0.0,
        approximant=approximant,
        harmonic_modes=harmonic_modes,
        n_cached_waveforms=0,
    )
