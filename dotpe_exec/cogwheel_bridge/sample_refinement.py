"""Refine a reference waveform over all parameters, from samples that fit well.

Where spins precess strongly no waveform of aligned spins fits: the best samples are far
likelier. Then all six components of the spins are free, and the way to the maximum begins
at several of those samples. Signals that need this are loud enough for most ways to end in
the same place; of those that do not, the highest is taken.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from cogwheel import waveform

from .coordinates import Coordinates, SpinCoordinates, max_mass_difference
from .local_search import PhaseMaximizedLikelihood
from .refinement import Refined, climb_and_centre

logger = logging.getLogger(__name__)

# Of the bins of the climb [rad]: their error vanishes where the reference is.
_PN_PHASE_TOL = 0.1
# Climbs whose ends differ by less in ln likelihood have found the same maximum.
_SAME_MAXIMUM = 0.01
# Of the sample's distance: what a climb may not go below.
_LEAST_DISTANCE = 0.1


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
            given_asd_drift=likelihood.asd_drift,
            pn_phase_tol=_PN_PHASE_TOL,
            spline_degree=likelihood.spline_degree,
        )
        start |= around.maximize_phase_and_distance(start)[1]
        coordinates = make(
            event.tgps, _loudest_detector(around), max_mass_difference(q_min)
        )
        found = climb_and_centre(
            around, start, coordinates, _LEAST_DISTANCE * start["d_luminosity"]
        )
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


def _loudest_detector(likelihood: PhaseMaximizedLikelihood) -> str:
    """Return the detector in which the reference waveform has most power."""
    h_f = likelihood._get_h_f(likelihood.par_dic_0)
    power_d = likelihood._compute_h_h(h_f)
    return likelihood.event_data.detector_names[int(np.argmax(power_d))]
