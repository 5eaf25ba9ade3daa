"""The task of bank building: waveforms of a few rows of the table.

Its workers load LAL, and cogwheel for the approximants that are its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from .. import seeds
from ..errors import BankError
from ..executors.store import ArrayHandle
from ..waveforms import ModeGenerator, NoWaveformError
from ..waveforms.parameters import PARAMETERS


class Draws(Protocol):
    """What parameters are drawn from."""

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Return parameters (n, 9)."""


#: Draws for one place in the bank before the build gives up.
MOST_ATTEMPTS = 20


@dataclass(frozen=True)
class GenerateTask:
    """Waveforms to make: consecutive rows of a bank.

    Parameters
    ----------
    approximant : str
    harmonic_modes : tuple of (l, m)
    way : str
        How waveforms are made, see :mod:`dotpe_exec.waveforms`.
    f_ref : float
        [Hz]
    fbin : ArrayHandle
        Frequencies (n_b,) [Hz].
    proposal : Proposal or TravellingPrior
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
    way: str
    f_ref: float
    fbin: ArrayHandle
    proposal: Draws
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
    ways_i : (n_i,) str
        Which way made each.
    """

    amplitudes_impb: np.ndarray
    phases_impb: np.ndarray
    attempts_i: np.ndarray
    ways_i: np.ndarray


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
    generator = ModeGenerator(
        approximant=task.approximant,
        harmonic_modes=task.harmonic_modes,
        f_ref=task.f_ref,
        fbin_b=np.array(task.fbin.load()),
        way=task.way,
    )
    made = [
        _generate_row(generator, task, row, parameters)
        for row, parameters in enumerate(task.parameters_ik)
    ]
    amplitudes, phases, attempts, ways = zip(*made, strict=True)
    return GeneratedWaveforms(
        np.array(amplitudes), np.array(phases), np.array(attempts), np.array(ways)
    )


def _generate_row(
    generator: ModeGenerator, task: GenerateTask, row: int, parameters: np.ndarray
) -> tuple[np.ndarray, np.ndarray, int, str]:
    """Return amplitudes, phases, draws before and way of one waveform."""
    for attempt in range(MOST_ATTEMPTS):
        if attempt:
            parameters = redraw(task.proposal, task.seed, task.start + row, attempt)
        try:
            amplitude_mpb, phase_mpb, way = generator(parameters)
        except NoWaveformError as error:
            problem = str(error)
        else:
            return amplitude_mpb, phase_mpb, attempt, way
    values = dict(zip(PARAMETERS, parameters.tolist(), strict=True))
    raise BankError(
        f"{task.approximant} gave no waveform for {MOST_ATTEMPTS} draws in a row "
        f"for waveform {task.start + row}, the last with {values}: {problem}"
    )


def redraw(proposal: Draws, seed: int, index: int, attempt: int) -> np.ndarray:
    """Return the parameters (9,) of a further draw for row ``index`` of a bank."""
    rng = seeds.generator(seed, "bank redraw", index, attempt)
    return proposal.draw(1, rng)[0]
