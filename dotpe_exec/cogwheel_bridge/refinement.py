"""Refine a reference waveform to the top of the likelihood.

The noise level near the event (``asd_drift``) is estimated with the reference waveform, and
every inner product is divided by its square: two references that both fit well give
evidences that differ by more than their errors. So the reference must be a well-defined
one: the maximum of the likelihood of all modes over masses, aligned spins, inclination,
place, polarisation, time, phase and distance.

Spins in the plane of the orbit are left out at first. With them the likelihood of a signal
of ordinary strength has dozens of maxima within a few units of each other, which fit noise:
which one is found depends on the way there, and none is a better estimate of the noise.
Only where samples fit better than such a waveform can, by more than that, they are freed
(:mod:`.sample_refinement`), to centre binning; the noise level stays.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from .climb import Climber
from .coordinates import Coordinates
from .local_search import PhaseMaximizedLikelihood

logger = logging.getLogger(__name__)

# Refined when the maximum has moved by less than this in ln likelihood.
LNLIKE_TOLERANCE = 0.003
_MAX_CENTRED = 6
# A climb ends where a step gains less than this.
_LEAST_GAIN = 3e-4
_INPLANE = dict.fromkeys(("s1x_n", "s1y_n", "s2x_n", "s2y_n"), 0.0)


@dataclass(frozen=True)
class Refined:
    """A refined reference.

    Parameters
    ----------
    par_dic : dict
        Parameters of the waveform.
    lnlike : float
        Its ln likelihood, of all modes.
    moved : float
        Gain in ln likelihood of the last climb.
    """

    par_dic: dict[str, float]
    lnlike: float
    moved: float


def refine(
    likelihood: PhaseMaximizedLikelihood,
    par_dic_0: Mapping[str, float],
    coordinates: Coordinates,
    least_distance: float,
) -> Refined:
    """Climb from a waveform to the next maximum for aligned spins.

    Parameters
    ----------
    likelihood : PhaseMaximizedLikelihood
        Of all modes, centred on a waveform near by.
    par_dic_0 : dict
        Where to begin; spins in the plane are set to zero, the others to their mean.
    coordinates : Coordinates
        Of aligned spins.
    least_distance : float
        [Mpc]

    Returns
    -------
    Refined
    """
    return climb_and_centre(
        likelihood, dict(par_dic_0) | _INPLANE, coordinates, least_distance
    )


def climb_and_centre(
    likelihood: PhaseMaximizedLikelihood,
    par_dic: dict[str, float],
    coordinates: Coordinates,
    least_distance: float,
) -> Refined:
    """Climb from a waveform to the next maximum of the likelihood.

    Relative binning is centred where each climb ended, until a climb gains next to nothing.

    Parameters
    ----------
    likelihood : PhaseMaximizedLikelihood
        Of all modes, centred on a waveform near by.
    par_dic : dict
        Where to begin.
    coordinates : Coordinates
        What may change.
    least_distance : float
        See :class:`.climb.Climber`.

    Returns
    -------
    Refined
    """
    for attempt in range(_MAX_CENTRED):
        if attempt > 0:
            likelihood.par_dic_0 = par_dic  # Makes the summary anew
        climber = Climber(
            likelihood,
            coordinates,
            par_dic,
            two_sided=True,
            least_distance=least_distance,
        )
        before = climber.lnlike(par_dic)
        par_dic, after = climber.climb(par_dic, _LEAST_GAIN)
        logger.debug("refined reference, climb %s: lnL = %s -> %s", attempt, before, after)
        if attempt > 0 and after - before < LNLIKE_TOLERANCE:
            break
    place_k = coordinates.of(par_dic)
    odd_k = coordinates.with_odd_modes(place_k)
    if odd_k is not place_k:  # at equal masses there is nothing to divide modes of odd m by
        par_dic = par_dic | coordinates.par_dic(odd_k)
        par_dic |= likelihood.maximize_phase_and_distance(par_dic)[1]
    return Refined(par_dic, after, after - before)
