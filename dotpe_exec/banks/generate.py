"""The task of bank building: waveforms of a few rows of the table.

The only task function of this package whose workers load LAL and cogwheel.
"""

from __future__ import annotations

import contextlib
import functools
import io
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import seeds
from ..errors import BankError
from ..executors.store import ArrayHandle
from .prior import Proposal
from .table import PARAMETERS

#: Draws for one place in the bank before the build gives up.
MOST_ATTEMPTS = 20


@dataclass(frozen=True)
class GenerateTask:
    """Waveforms to make: consecutive rows of a bank.

    Parameters
    ----------
    approximant : str
    harmonic_modes : tuple of (l, m)
    f_ref : float
        [Hz]
    fbin : ArrayHandle
        Frequencies (n_b,) [Hz].
    proposal : Proposal
        Where parameters come from again if there is no waveform for them.
    seed : int
        Of the bank.
    start : int
        Index of the first row.
    parameters_ik : (n_i, 9) float
        Columns as ``PARAMETERS``.
    """

    approximant: str
    harmonic_modes: tuple[tuple[int, int], ...]
    f_ref: float
    fbin: ArrayHandle
    proposal: Proposal
    seed: int
    start: int
    parameters_ik: np.ndarray


@dataclass(frozen=True)
class GeneratedWaveforms:
    """Waveforms of consecutive rows of a bank.

    Parameters
    ----------
    amplitudes_impb, phases_impb : (n_i, n_m, 2, n_b) float
        At 1 Mpc and phi_ref 0; phases [rad] unwrapped along b.
    attempts_i : (n_i,) int
        Draws before one with a waveform was found: 0 where the first had it.
    """

    amplitudes_impb: np.ndarray
    phases_impb: np.ndarray
    attempts_i: np.ndarray


def generate_waveforms(task: GenerateTask) -> GeneratedWaveforms:
    """Return the waveforms of a task.

    Parameters for which the approximant fails, or gives NaN, infinity or no amplitude,
    are drawn again from the same proposal: :func:`redraw` names the draws by bank seed
    and row, so the result depends on nothing else.

    Raises
    ------
    BankError
        ``MOST_ATTEMPTS`` draws in a row had no waveform.
    """
    fbin = np.array(task.fbin.load())
    generator = _waveform_generator(task.approximant, task.harmonic_modes)
    h_impb, attempts_i = [], []
    for row, parameters in enumerate(task.parameters_ik):
        for attempt in range(MOST_ATTEMPTS):
            if attempt:
                parameters = redraw(task.proposal, task.seed, task.start + row, attempt)
            h_mpb, problem = _try_waveform(generator, fbin, task.f_ref, parameters)
            if h_mpb is not None:
                break
        else:
            values = dict(zip(PARAMETERS, parameters.tolist(), strict=True))
            raise BankError(
                f"{task.approximant} gave no waveform for {MOST_ATTEMPTS} draws in a row "
                f"for waveform {task.start + row}, the last with {values}: {problem}"
            )
        h_impb.append(h_mpb)
        attempts_i.append(attempt)
    amplitudes_impb, phases_impb = amplitude_and_phase(np.array(h_impb))
    return GeneratedWaveforms(amplitudes_impb, phases_impb, np.array(attempts_i))


def amplitude_and_phase(h_impb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return amplitudes and phases of waveforms, the phases unwrapped along b."""
    return np.abs(h_impb), np.unwrap(np.angle(h_impb), axis=-1)


def redraw(proposal: Proposal, seed: int, index: int, attempt: int) -> np.ndarray:
    """Return the parameters (9,) of a further draw for row ``index`` of a bank."""
    rng = seeds.generator(seed, "bank redraw", index, attempt)
    return proposal.draw(1, rng)[0]


def _try_waveform(
    generator: Any, fbin: np.ndarray, f_ref: float, parameters: np.ndarray
) -> tuple[np.ndarray | None, str]:
    """Return h_mpb or None, and what was wrong."""
    par_dic = dict(zip(PARAMETERS, parameters.tolist(), strict=True))
    par_dic |= {"l1": 0.0, "l2": 0.0, "f_ref": f_ref, "d_luminosity": 1.0, "phi_ref": 0.0}
    try:
        with _quiet():
            h_mpb = generator.get_hplus_hcross(fbin, par_dic, by_m=True)
    except Exception as error:
        # What an approximant raises is its own; too many of them end the build.
        return None, f"{type(error).__name__}: {error}"
    if not np.all(np.isfinite(h_mpb)):
        return None, "NaN or infinite values"
    if not np.any(h_mpb):
        return None, "zero at all frequencies"
    return h_mpb, ""


def _quiet() -> contextlib.AbstractContextManager:
    """Keep cogwheel from printing the parameters at which LAL failed."""
    # Threads that swap the standard output at the same time may lose it.
    if threading.current_thread() is threading.main_thread():
        return contextlib.redirect_stdout(io.StringIO())
    return contextlib.nullcontext()


@functools.lru_cache(maxsize=4)
def _waveform_generator(
    approximant: str, harmonic_modes: tuple[tuple[int, int], ...]
) -> Any:
    from cogwheel.waveform import WaveformGenerator

    # Its cache takes parameters within 1e-6 for the same: without it each waveform
    # depends on its own row alone.
    return WaveformGenerator(
        detector_names=(),
        tgps=0.0,
        tcoarse=0.0,
        approximant=approximant,
        harmonic_modes=harmonic_modes,
        n_cached_waveforms=0,
    )
