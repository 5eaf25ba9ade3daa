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
(:mod:`.sample_refinement`).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from cogwheel import gw_utils

from .ascent import quasi_newton_maximum
from .local_search import PhaseMaximizedLikelihood

logger = logging.getLogger(__name__)

# Refined when the maximum has moved by less than this in ln likelihood.
LNLIKE_TOLERANCE = 0.003
_MAX_CENTRED = 6
# At these, spins, mass differences and inclinations fold: beyond, waveforms are not trusted
# or lack modes, and could not serve as a reference.
MAX_SPIN = 0.99
MAX_MASS_DIFFERENCE = 0.9
_MIN_MASS_DIFFERENCE = 0.02
_MAX_COS_IOTA = np.cos(0.1)

# Coordinates, and how far they move for a change that is noticed but small.
_STEPS = {
    "ln_mchirp": 1e-3, "mass_difference": 0.02, "chieff": 0.05, "iota": 0.1, "ra": 0.03,
    "dec": 0.03, "psi": 0.1, "t_refdet": 1e-4,
}  # fmt: skip
# Differences are made over this fraction of the width of the maximum: approximants have
# numerical noise (1e-4 in ln likelihood for IMRPhenomXPHM) that smaller ones would see.
_DIFFERENCE = 0.2
# Curvature, per step of a coordinate squared, below which a direction is flat.
_FLATTEST = 0.1
# A place is found when the next step would be so many standard deviations.
_TOLERANCE = 3e-3
# Directions of a climb are made anew at most so often.
_MAX_SCALED = 15
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


def max_mass_difference(q_min: float | None) -> float:
    """Return the largest (m1 - m2) / (m1 + m2) where mass ratios end at ``q_min``."""
    if q_min is None:
        return MAX_MASS_DIFFERENCE
    widest = max((1 - q_min) / (1 + q_min), 2 * _MIN_MASS_DIFFERENCE)
    return min(MAX_MASS_DIFFERENCE, widest)


def refine(
    likelihood: PhaseMaximizedLikelihood,
    par_dic_0: Mapping[str, float],
    ref_det_name: str,
    q_min: float | None = None,
) -> Refined:
    """Climb from a waveform to the next maximum for aligned spins.

    Parameters
    ----------
    likelihood : PhaseMaximizedLikelihood
        Of all modes, centred on a waveform near by.
    par_dic_0 : dict
        Where to begin; spins in the plane are set to zero, the others to their mean.
    ref_det_name : str
        The detector whose arrival time is a coordinate: the loudest.
    q_min : float, optional
        Where mass ratios end.

    Returns
    -------
    Refined
    """
    coordinates = Coordinates(
        likelihood.event_data.tgps, ref_det_name, max_mass_difference(q_min)
    )
    return climb_and_centre(likelihood, dict(par_dic_0) | _INPLANE, coordinates)


def climb_and_centre(
    likelihood: PhaseMaximizedLikelihood,
    par_dic: dict[str, float],
    coordinates: Coordinates,
) -> Refined:
    """Climb from a waveform to the next maximum of the likelihood.

    Relative binning is centred, and the noise level estimated, where each climb ended,
    until a climb gains next to nothing.

    Parameters
    ----------
    likelihood : PhaseMaximizedLikelihood
        Of all modes, centred on a waveform near by.
    par_dic : dict
        Where to begin.
    coordinates : Coordinates
        What may change.

    Returns
    -------
    Refined
    """
    for attempt in range(_MAX_CENTRED):
        if attempt > 0:
            likelihood.par_dic_0 = par_dic  # Makes the summary anew
        climb = _Climb(likelihood, coordinates, par_dic)
        before = climb.lnlike(climb.start_k)
        par_dic, after = climb.climb()
        logger.debug("refined reference, climb %s: lnL = %s -> %s", attempt, before, after)
        if attempt > 0 and after - before < LNLIKE_TOLERANCE:
            break
    return Refined(par_dic, after, after - before)


class Coordinates:
    """Coordinates without bounds for aligned spins: all parameters but phase and distance.

    Where a parameter is bounded they fold smoothly: a spin beyond its largest comes back,
    and where the lighter body would be the heavier, names are exchanged.

    Parameters
    ----------
    tgps : float
        GPS time of the event [s].
    ref_det_name : str
        The detector whose arrival time is a coordinate.
    max_mass_difference : float
        Largest (m1 - m2) / (m1 + m2).
    """

    steps: ClassVar[Mapping[str, float]] = _STEPS

    @property
    def steps_k(self) -> np.ndarray:
        """How far each moves for a change that is noticed but small, (n_k,)."""
        return np.array(list(self.steps.values()))

    def __init__(
        self,
        tgps: float,
        ref_det_name: str,
        max_mass_difference: float = MAX_MASS_DIFFERENCE,
    ):
        self._place = ref_det_name, tgps
        self.max_mass_difference = max_mass_difference

    def _delay(self, ra: float, dec: float) -> float:
        name, tgps = self._place
        return float(gw_utils.time_delay_from_geocenter(name, ra, dec, tgps)[0])

    def of(self, par_dic: Mapping[str, float]) -> np.ndarray:
        """Return the coordinates (n_k,) of a waveform."""
        m1, m2 = par_dic["m1"], par_dic["m2"]
        cos_iota = np.clip(np.cos(par_dic["iota"]) / _MAX_COS_IOTA, -1.0, 1.0)
        chieff = (m1 * par_dic["s1z"] + m2 * par_dic["s2z"]) / (m1 + m2)
        return np.array(
            [
                np.log(gw_utils.m1m2_to_mchirp(m1, m2)),
                (m1 - m2) / (m1 + m2),
                np.arcsin(np.clip(chieff / MAX_SPIN, -1.0, 1.0)),
                np.arccos(cos_iota),
                par_dic["ra"],
                par_dic["dec"],
                par_dic["psi"],
                par_dic["t_geocenter"] + self._delay(par_dic["ra"], par_dic["dec"]),
            ]
        )

    def par_dic(self, place_k: np.ndarray) -> dict[str, float]:
        """Return the parameters of coordinates, all but phase and distance."""
        ln_mchirp, difference, spin, iota, ra, dec, psi, t_refdet = place_k.tolist()
        total = np.exp(ln_mchirp) / ((1 - difference**2) / 4) ** 0.6
        chieff = MAX_SPIN * np.sin(spin)
        ra, dec = ra % (2 * np.pi), np.arcsin(np.sin(dec))
        par_dic = {
            "m1": total * (1 + abs(difference)) / 2,
            "m2": total * (1 - abs(difference)) / 2,
            "s1z": chieff,
            "s2z": chieff,
            "iota": np.arccos(_MAX_COS_IOTA * np.cos(iota)),
            "ra": ra,
            "dec": dec,
            "psi": psi % np.pi,
            "t_geocenter": t_refdet - self._delay(ra, dec),
        }
        return {name: float(value) for name, value in par_dic.items()}


class _Climb:
    """One climb, with relative binning and noise level as they are."""

    def __init__(
        self,
        likelihood: PhaseMaximizedLikelihood,
        coordinates: Coordinates,
        par_dic: Mapping[str, float],
    ):
        self._likelihood = likelihood
        self._coordinates = coordinates
        self._fixed = dict(par_dic)  # Tides, reference frequency
        self.start_k = coordinates.of(par_dic)

    def _par_dic(self, place_k: np.ndarray) -> dict[str, Any]:
        return self._fixed | self._coordinates.par_dic(place_k)

    def lnlike(self, place_k: np.ndarray) -> float:
        """Return the ln likelihood, maximised over phase and distance."""
        if abs(place_k[1]) > self._coordinates.max_mass_difference:
            return -np.inf
        try:
            return self._likelihood.maximize_phase_and_distance(self._par_dic(place_k))[0]
        except (RuntimeError, ValueError):
            return -np.inf  # Outside of the approximant's domain

    def climb(self) -> tuple[dict[str, float], float]:
        """Return the parameters at the top, rounded, and their ln likelihood."""
        place_k = self.start_k
        for _ in range(_MAX_SCALED):
            # Ridges bend: the widths of one place are not those of the next.
            widths_kr = self._widths(place_k)
            top_r, found = quasi_newton_maximum(
                lambda y_r, at_k=place_k, widths_kr=widths_kr: self.lnlike(  # type: ignore[misc]
                    at_k + widths_kr @ y_r
                ),
                np.zeros(len(place_k)),
                _DIFFERENCE,
                _TOLERANCE,
            )
            place_k = place_k + widths_kr @ top_r
            if found:
                break
        if abs(place_k[1]) < _MIN_MASS_DIFFERENCE:
            # Modes of odd m must not vanish.
            place_k[1] = np.copysign(_MIN_MASS_DIFFERENCE, place_k[1])
        # Less than anybody could measure, and more than the noise of the climb.
        rounding_k = 1e-3 * self._coordinates.steps_k
        place_k = np.rint(place_k / rounding_k) * rounding_k
        par_dic = self._par_dic(place_k)
        lnlike, phase_and_distance = self._likelihood.maximize_phase_and_distance(par_dic)
        return par_dic | phase_and_distance, lnlike

    def _widths(self, place_k: np.ndarray) -> np.ndarray:
        """Return directions (n_k, n_r), as long as a unit of ln likelihood allows.

        They are those of the Fisher matrix, of each mode by itself, phase and distance
        being those that fit best; in nearly flat directions a few steps of the coordinates
        are enough.
        """
        likelihood, steps_k = self._likelihood, self._coordinates.steps_k
        m_inds, mprime_inds = likelihood.waveform_generator.get_m_mprime_inds()
        same = np.flatnonzero(np.equal(m_inds, mprime_inds))
        weights_mdb = likelihood._h_h_weights[same].real
        weights_mdb = weights_mdb * likelihood.asd_drift[:, np.newaxis] ** -2
        root_mdb = np.sqrt(np.maximum(weights_mdb, 0.0))
        h0_mdb = root_mdb * self._strain(place_k)
        norm = np.vdot(h0_mdb, h0_mdb).real
        slopes = []
        for move_k in np.diag(0.1 * steps_k):
            try:
                moved_mdb = root_mdb * self._strain(place_k + move_k)
            except (RuntimeError, ValueError):
                moved_mdb = h0_mdb  # Outside of the approximant's domain: as if flat
            slope_mdb = (moved_mdb - h0_mdb) / 0.1
            slope_mdb -= h0_mdb * np.vdot(h0_mdb, slope_mdb).real / norm
            slopes.append(slope_mdb.ravel())
        slopes_kn = np.array(slopes)
        eigenvalues_r, vectors_kr = np.linalg.eigh((slopes_kn @ slopes_kn.conj().T).real)
        return (
            steps_k[:, np.newaxis]
            * vectors_kr
            / np.sqrt(np.maximum(eigenvalues_r, 0.0) + _FLATTEST)
        )

    def _strain(self, place_k: np.ndarray) -> np.ndarray:
        par_dic = self._par_dic(place_k)
        best = self._likelihood.maximize_phase_and_distance(par_dic)[1]
        return self._likelihood.waveform_generator.get_strain_at_detectors(
            self._likelihood.fbin, par_dic | best, by_m=True
        )
