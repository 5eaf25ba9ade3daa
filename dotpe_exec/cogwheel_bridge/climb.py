"""Climb the coherent likelihood by the slopes of waveforms.

The likelihood of Gaussian noise is a sum of squares, so its curvature follows from the
slopes of the waveform (the Fisher matrix), and one set of slopes gives both a direction and
how far to go (Levenberg, Marquardt). Slopes are differences; in place, polarisation
and time they need no new waveform. So a climb costs some tens of milliseconds,
and many can begin in different places.

Approximants have numerical noise, through which the last bits of a place, which are a
machine's own, would lead a climb another way: every place is rounded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from cogwheel import gw_utils

from .coordinates import Coordinates
from .generation import hplus_hcross_by_m
from .local_search import PhaseMaximizedLikelihood

# Differences are over so much of a coordinate's step, one-sided and two-sided.
_DIFFERENCE = 0.02
_DIFFERENCE_TWO_SIDED = 0.1
_MAX_STEPS = 100
# Relative to the curvature: how much a step is damped at first, and by what factor more or
# less after a failure or a success; beyond the last there is no way up.
_DAMPING = 0.1
_DAMPING_FACTOR = 6.0
_MAX_DAMPING = 1e4
# Curvature, per step of a coordinate squared, below which a direction is flat.
_FLATTEST = 0.1
# Ends of climbs of the same maximum differ by less than so many of a coordinate's steps and
# in ln likelihood by less than that; so many others are kept, if they are at most so much
# lower: around another waveform relative binning may be off by as much.
_SAME_STEPS = 2.0
_SAME_LNLIKE = 0.1
_MAX_ENDS = 4
_MAX_DROP = 4.0


def distinct_ends(
    ends: Sequence[tuple[dict[str, float], float]], coordinates: Coordinates
) -> list[dict[str, float]]:
    """Return the highest ends of climbs, those of the same maximum once.

    Parameters
    ----------
    ends : sequence of (dict, float)
        Parameters and ln likelihoods.
    coordinates : Coordinates

    Returns
    -------
    list of dict
        Highest first, at least one.
    """
    ranked = sorted(ends, key=lambda end: -np.nan_to_num(end[1], nan=-np.inf))
    chosen: list[tuple[np.ndarray, dict[str, float], float]] = []
    for par_dic, lnlike in ranked:
        if chosen and not lnlike >= ranked[0][1] - _MAX_DROP:
            break
        if len(chosen) == _MAX_ENDS:
            break
        place_k = coordinates.of(par_dic) / coordinates.steps_k
        if not any(
            np.abs(place_k - other_k).max() < _SAME_STEPS
            and other_lnlike - lnlike < _SAME_LNLIKE
            for other_k, _, other_lnlike in chosen
        ):
            chosen.append((place_k, par_dic, lnlike))
    return [par_dic for _, par_dic, _ in chosen]


def turned(par_dic: Mapping[str, float]) -> dict[str, float]:
    """Return a waveform whose polarisation is at right angles.

    With another orbital phase its modes of m = 2 are as before, and those of odd m are not.
    """
    return dict(par_dic) | {"psi": (par_dic["psi"] + np.pi / 2) % np.pi}


class Climber:
    """Climbs to a maximum of a likelihood, nearly.

    Parameters
    ----------
    likelihood : PhaseMaximizedLikelihood
        Of all modes, centred on a waveform near by.
    coordinates : Coordinates
        What may change.
    par_dic : dict
        What does not change: tides, reference frequency.
    two_sided : bool
        Whether slopes are two-sided differences: twice the cost, and the end is where the
        likelihood is largest, whatever the noise in the data does to one-sided ones.
    least_distance : float
        Of the source [Mpc]. Two detectors, nearly deaf to a source that is very near, can
        have any signal from it; and nearly no source is so near.
    """

    def __init__(
        self,
        likelihood: PhaseMaximizedLikelihood,
        coordinates: Coordinates,
        par_dic: Mapping[str, Any],
        *,
        two_sided: bool,
        least_distance: float,
    ):
        self._two_sided = two_sided
        self._least_distance = least_distance
        self._likelihood = likelihood
        self._coordinates = coordinates
        self._fixed = dict(par_dic)
        drift2_d = likelihood.asd_drift[:, np.newaxis] ** -2
        self._d_h_mdb = likelihood._d_h_weights * drift2_d
        self._h_h_pdb = likelihood._h_h_weights * drift2_d
        self._pairs = [
            np.asarray(inds) for inds in likelihood.waveform_generator.get_m_mprime_inds()
        ]
        same = np.flatnonzero(self._pairs[0] == self._pairs[1])
        self._root_mdb = np.sqrt(np.maximum(self._h_h_pdb[same].real, 0.0))

    def lnlike(self, par_dic: Mapping[str, Any]) -> float:
        """Return the ln likelihood, maximised over phase and distance."""
        return self._lnlike(self._coordinates.of(par_dic))[0]

    def climb(
        self, par_dic: Mapping[str, Any], least_gain: float
    ) -> tuple[dict[str, float], float]:
        """Climb from a waveform.

        Parameters
        ----------
        par_dic : dict
            Where to begin; phase and distance do not matter.
        least_gain : float
            The climb ends where a step gains less than this in ln likelihood.

        Returns
        -------
        par_dic : dict
            Where it ended, with the phase and distance that fit best.
        lnlike : float
        """
        place_k = self._coordinates.rounded(self._coordinates.of(par_dic))
        lnlike, best = self._lnlike(place_k)
        damping = _DAMPING
        for _ in range(_MAX_STEPS):
            if not np.isfinite(lnlike):
                break
            slope_kn, gradient_k = self._slopes(place_k, best)
            fisher_kk = (slope_kn @ slope_kn.conj().T).real
            before = lnlike
            while damping < _MAX_DAMPING:
                moved_k = self._moved(place_k, fisher_kk, gradient_k, damping)
                moved_lnlike, moved_best = self._lnlike(moved_k)
                if moved_lnlike > lnlike:
                    place_k, lnlike, best = moved_k, moved_lnlike, moved_best
                    damping /= _DAMPING_FACTOR
                    break
                damping *= _DAMPING_FACTOR
            if lnlike - before < least_gain:
                break
        return self._par_dic(place_k) | best, lnlike

    def _par_dic(self, place_k: np.ndarray) -> dict[str, Any]:
        return self._fixed | self._coordinates.par_dic(place_k)

    def _lnlike(self, place_k: np.ndarray) -> tuple[float, dict]:
        par_dic = self._par_dic(place_k)
        try:
            lnlike, best = self._likelihood.maximize_phase_and_distance(par_dic)
        except (RuntimeError, ValueError):
            return -np.inf, {}  # Outside of the approximant's domain
        return lnlike if best["d_luminosity"] >= self._least_distance else -np.inf, best

    def _moved(
        self,
        place_k: np.ndarray,
        fisher_kk: np.ndarray,
        gradient_k: np.ndarray,
        damping: float,
    ) -> np.ndarray:
        """Return where a damped step leads; phase and distance are the last two numbers."""
        diagonal_k = np.maximum(np.diag(fisher_kk), _FLATTEST)
        move_k = np.linalg.solve(fisher_kk + np.diag(damping * diagonal_k), gradient_k)
        step_k = self._coordinates.steps_k * move_k[: len(place_k)]
        return self._coordinates.rounded(place_k + step_k)

    def _slopes(self, place_k: np.ndarray, best: Mapping[str, float]) -> tuple:
        """Return slopes of the whitened waveform and of ln likelihood.

        They are per step of a coordinate, then per rad of phase and per unit of the
        logarithm of the amplitude.

        Returns
        -------
        slope_kn : (n_k + 2, n_m n_d n_b) complex
        gradient_k : (n_k + 2,) float
        """
        likelihood = self._likelihood
        m_arr = likelihood.waveform_generator.m_arr
        factor_m = np.exp(1j * m_arr * best["phi_ref"]) / best["d_luminosity"]
        par_dic = self._par_dic(place_k)
        modes_mpb = self._modes(par_dic)
        h_mdb = self._strain(par_dic, modes_mpb, factor_m)

        def moved_strain(move_k: np.ndarray, shapes: bool) -> np.ndarray:
            moved = self._par_dic(place_k + move_k)
            return self._strain(
                moved, self._modes(moved) if shapes else modes_mpb, factor_m
            )

        difference = _DIFFERENCE_TWO_SIDED if self._two_sided else _DIFFERENCE
        moves_kk = np.diag(difference * self._coordinates.steps_k)
        slopes = []
        for move_k, shapes in zip(moves_kk, self._coordinates.shapes_k, strict=True):
            try:
                up_mdb = moved_strain(move_k, shapes)
                if self._two_sided:
                    down_mdb = moved_strain(-move_k, shapes)
                    slopes.append((up_mdb - down_mdb) / (2 * difference))
                else:
                    slopes.append((up_mdb - h_mdb) / difference)
            except (RuntimeError, ValueError):
                slopes.append(np.zeros_like(h_mdb))  # At the edge of the domain: as if flat
        slopes += [1j * m_arr[:, np.newaxis, np.newaxis] * h_mdb, h_mdb]
        slope_kmdb = np.array(slopes)
        # ln L = Re sum_m (d_m conj(h_m)) - Re sum_p (w_p h_m conj(h_m')) / 2
        residual_mdb = self._d_h_mdb.copy()
        for weights_db, m, mprime in zip(self._h_h_pdb, *self._pairs, strict=True):
            residual_mdb[mprime] -= weights_db * h_mdb[m] / 2
            residual_mdb[m] -= weights_db.conj() * h_mdb[mprime] / 2
        gradient_k = np.einsum("mdb,kmdb->k", residual_mdb, slope_kmdb.conj()).real
        return (self._root_mdb * slope_kmdb).reshape(len(slope_kmdb), -1), gradient_k

    def _modes(self, par_dic: dict) -> np.ndarray:
        generator = self._likelihood.waveform_generator
        return hplus_hcross_by_m(generator, self._likelihood.fbin, par_dic)

    def _strain(
        self, par_dic: dict, modes_mpb: np.ndarray, factor_m: np.ndarray
    ) -> np.ndarray:
        generator = self._likelihood.waveform_generator
        place = generator.detector_names, par_dic["ra"], par_dic["dec"]
        response_pd = gw_utils.fplus_fcross(*place, par_dic["psi"], generator.tgps)
        times_d = gw_utils.time_delay_from_geocenter(*place, generator.tgps)
        times_d = times_d + generator.tcoarse + par_dic["t_geocenter"]
        shift_db = np.exp(-2j * np.pi * np.outer(times_d, self._likelihood.fbin))
        modes_mpb = modes_mpb * factor_m[:, np.newaxis, np.newaxis]
        return np.einsum("pd,mpb->mdb", response_pd, modes_mpb) * shift_db
