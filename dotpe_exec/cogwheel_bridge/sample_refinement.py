"""Refine a reference waveform over all parameters, from samples that fit well.

Where spins precess strongly no waveform of aligned spins fits: the best samples are far
likelier. Then all six components of the spins are free, and the way to the maximum begins
at several of those samples. Signals that need this are loud enough for most ways to end in
the same place; of those that do not, the highest is taken.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from cogwheel import waveform

from .local_search import PhaseMaximizedLikelihood
from .refinement import (
    MAX_SPIN,
    Coordinates,
    Refined,
    climb_and_centre,
    max_mass_difference,
)

logger = logging.getLogger(__name__)

# Of the bins of the climb [rad]: their error vanishes where the reference is.
_PN_PHASE_TOL = 0.1
# Climbs whose ends differ by less in ln likelihood have found the same maximum.
_SAME_MAXIMUM = 0.01
_SPIN_STEP = 0.1
_BODIES = ("1", "2")


def refine_from_samples(
    likelihood: Any, samples: Sequence[Mapping[str, float]], q_min: float | None = None
) -> Refined:
    """Return the highest maximum of the likelihood over all parameters near samples.

    Parameters
    ----------
    likelihood : cogwheel.likelihood.RelativeBinningLikelihood
        Gives event, approximant and harmonic modes.
    samples : sequence of dict
        Where to begin, most promising first; phase and distance do not matter. Once two
        climbs have ended at the highest maximum so far the others are not made.
    q_min : float, optional
        Where mass ratios end.

    Returns
    -------
    Refined
    """
    event, given = likelihood.event_data, likelihood.waveform_generator
    generator = waveform.WaveformGenerator.from_event_data(
        event, given.approximant, harmonic_modes=given.harmonic_modes
    )
    aligned = waveform.APPROXIMANTS[given.approximant].aligned_spins
    make = Coordinates if aligned else SpinCoordinates
    best: Refined | None = None
    for number, sample in enumerate(samples):
        start = {name: float(sample[name]) for name in waveform.WaveformGenerator.params}
        around = PhaseMaximizedLikelihood(
            event,
            generator,
            start,
            pn_phase_tol=_PN_PHASE_TOL,
            spline_degree=likelihood.spline_degree,
        )
        start |= around.maximize_phase_and_distance(start)[1]
        coordinates = make(
            event.tgps, _loudest_detector(around), max_mass_difference(q_min)
        )
        found = climb_and_centre(around, start, coordinates)
        logger.debug("reference from sample %s: lnL = %s", number, found.lnlike)
        if best is None:
            best = found
            continue
        again = abs(found.lnlike - best.lnlike) < _SAME_MAXIMUM
        if found.lnlike > best.lnlike:
            best = found
        if again:
            break
    assert best is not None
    return best


class SpinCoordinates(Coordinates):
    """Coordinates without bounds for all parameters but phase and distance.

    A spin is a vector s = MAX_SPIN sin(v) v / |v|: it turns back where it is largest, and
    where the lighter body would be the heavier the bodies are exchanged with their spins.
    """

    steps: ClassVar[Mapping[str, float]] = {
        **{name: step for name, step in Coordinates.steps.items() if name != "chieff"},
        **{f"spin{body}_{axis}": _SPIN_STEP for body in _BODIES for axis in "xyz"},
    }

    def of(self, par_dic: Mapping[str, float]) -> np.ndarray:
        """Return the coordinates (n_k,) of a waveform."""
        ln_mchirp, difference, _, *others = super().of(par_dic)
        return np.concatenate(
            [
                [ln_mchirp, difference, *others],
                *(_folded(_spin(par_dic, body)) for body in _BODIES),
            ]
        )

    def par_dic(self, place_k: np.ndarray) -> dict[str, float]:
        """Return the parameters of coordinates, all but phase and distance."""
        par_dic = super().par_dic(np.insert(place_k[:7], 2, 0.0))
        folded = [place_k[7:10], place_k[10:]]
        if place_k[1] < 0:
            folded.reverse()
        for body, folded_x in zip(_BODIES, folded, strict=True):
            # np.sinc(x) is sin(pi x) / (pi x)
            spin_x = MAX_SPIN * np.sinc(np.linalg.norm(folded_x) / np.pi) * folded_x
            par_dic |= dict(zip(_spin_names(body), spin_x.tolist(), strict=True))
        return par_dic


def _spin_names(body: str) -> tuple[str, str, str]:
    return f"s{body}x_n", f"s{body}y_n", f"s{body}z"


def _spin(par_dic: Mapping[str, float], body: str) -> np.ndarray:
    return np.array([par_dic[name] for name in _spin_names(body)])


def _folded(spin_x: np.ndarray) -> np.ndarray:
    """Return the vector v of a spin."""
    size = float(np.linalg.norm(spin_x))
    if size == 0:
        return np.zeros(3)
    return spin_x * float(np.arcsin(min(size / MAX_SPIN, 1.0)) / size)


def _loudest_detector(likelihood: PhaseMaximizedLikelihood) -> str:
    """Return the detector in which the reference waveform has most power."""
    h_f = likelihood._get_h_f(likelihood.par_dic_0)
    power_d = likelihood._compute_h_h(h_f)
    return likelihood.event_data.detector_names[int(np.argmax(power_d))]
