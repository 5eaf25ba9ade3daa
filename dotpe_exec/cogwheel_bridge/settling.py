"""Settle where a search ended, so that what follows does not depend on how it got there.

A search stops within some tolerance of a maximum, at a place that depends on its first
guess, its random numbers and the rounding of the machine. What follows (sky positions,
climbs among many local maxima) would carry these small differences into other maxima.
Here the smooth likelihood of three numbers is maximised until it no longer moves, and the
place is rounded: from then on all guesses have the same bits, or, where the numerical noise
of an approximant has two tops, places a few hundredths of a standard deviation apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from cogwheel import gw_utils

from .ascent import newton_maximum
from .generation import delay_on_grid, interpolated_by_m

if TYPE_CHECKING:
    from .finder import FastReferenceWaveformFinder

# A detector in which the signal is weaker may peak at noise anywhere.
_MIN_SNR = 5.0
# Arrival times are followed so far from where they were [s].
_WINDOW = 2e-3
_N_TIMES = 33
# Steps of differences and of rounding: ln chirp mass, mass difference, spin angle.
_STEPS = np.array([1e-4, 1e-2, 1e-2])
_ROUND = np.array([1e-5, 1e-3, 1e-3])
_MAX_RECENTRED = 6
_MAX_MASS_DIFFERENCE = 0.99
# Standard deviations within which the best is found for a mass ratio that is only tried.
_SETTLED_AT = 1e-3


class Settler:
    """The likelihood of the (2, 2) mode of equal, aligned spins, by detector.

    It is maximised over amplitude, phase and (continuous) time in each detector that
    hears the signal; relative binning is centred where the last maximum was.

    Parameters
    ----------
    finder : FastReferenceWaveformFinder
        After a search: gives data, bins and the waveform around which to begin.
    """

    def __init__(self, finder: FastReferenceWaveformFinder):
        self._finder = finder
        # Without response or delays: each detector has a time of its own.
        peaks_d, snr_d = finder.peaks(finder.par_dic_0)
        loudest = int(np.argmax(snr_d))
        travel = gw_utils.EARTH_CROSSING_TIME / 2 + _WINDOW
        near_d = np.abs(peaks_d - peaks_d[loudest]) < travel
        self._detectors = np.flatnonzero((snr_d >= _MIN_SNR) & near_d)
        if not len(self._detectors):
            self._detectors = np.array([loudest])
        self._times_d = peaks_d[self._detectors]
        event = finder.event_data
        self._blued_df = event.blued_strain[self._detectors]
        self._wht2_df = event.wht_filter[self._detectors] ** 2
        self._offsets_t, self._spacing = np.linspace(
            -_WINDOW, _WINDOW, _N_TIMES, retstep=True
        )
        omega_b = 2j * np.pi * finder.fbin
        self._shifts_bt = np.exp(np.outer(omega_b, self._offsets_t))
        # Powers: of a sum over frequencies and its derivatives with respect to time.
        self._omega_br = omega_b[:, np.newaxis] ** np.arange(3)

    def settle(self) -> tuple[float, float, float]:
        """Return chirp mass [solar masses], symmetric mass ratio and spin, rounded."""
        x = self._coordinates()
        for _ in range(_MAX_RECENTRED):
            self._centre(x)
            moved = newton_maximum(self._lnlike, x, _STEPS)
            self._times_d = self._times_d + self._peak(moved)[1]
            settled = np.all(np.abs(moved - x) < 1e-3 * _ROUND)
            x = moved
            if settled:
                break
        return self._parameters(np.rint(x / _ROUND) * _ROUND)

    def settle_at(self, eta: float, start: tuple[float, float, float]) -> tuple:
        """Return the same for a given symmetric mass ratio, and its ln likelihood."""
        mchirp, _, chieff = start
        fixed = np.sqrt(max(0.0, 1 - 4 * eta))
        x = np.array([np.log(mchirp), fixed, np.arcsin(chieff)])
        self._centre(x)
        x[[0, 2]] = newton_maximum(
            lambda y: self._lnlike(np.array([y[0], fixed, y[1]])),
            x[[0, 2]],
            _STEPS[[0, 2]],
            tolerance=_SETTLED_AT,
        )
        rounded = np.rint(x / _ROUND) * _ROUND
        rounded[1] = fixed
        return self._parameters(rounded), self._lnlike(rounded)

    def lnlike(self, parameters: tuple[float, float, float]) -> float:
        """Return the ln likelihood of chirp mass, symmetric mass ratio and spin."""
        mchirp, eta, chieff = parameters
        difference = np.sqrt(max(0.0, 1 - 4 * eta))
        return self._lnlike(np.array([np.log(mchirp), difference, np.arcsin(chieff)]))

    def _coordinates(self) -> np.ndarray:
        """Return coordinates in which bounds are not felt: they fold there."""
        par_dic = self._finder.par_dic_0
        m1, m2 = par_dic["m1"], par_dic["m2"]
        spin = np.clip((m1 * par_dic["s1z"] + m2 * par_dic["s2z"]) / (m1 + m2), -0.99, 0.99)
        return np.array(
            [
                np.log(gw_utils.m1m2_to_mchirp(m1, m2)),
                (m1 - m2) / (m1 + m2),
                np.arcsin(spin),
            ]
        )

    def _parameters(self, x: np.ndarray) -> tuple[float, float, float]:
        return float(np.exp(x[0])), float((1 - x[1] ** 2) / 4), float(np.sin(x[2]))

    def _mode_22(self, frequencies: np.ndarray, x: np.ndarray) -> np.ndarray:
        mchirp, eta, chieff = self._parameters(x)
        par_dic = self._finder.aligned(mchirp, eta, chieff)
        return interpolated_by_m(self._finder.waveform_generator, frequencies, par_dic)[
            0, 0
        ]

    def _centre(self, x: np.ndarray) -> None:
        """Make the summary around a waveform."""
        finder, event = self._finder, self._finder.event_data
        h0_f = np.zeros(len(event.frequencies), dtype=complex)
        h0_f[event.fslice] = self._mode_22(event.frequencies[event.fslice], x)
        h0_b = self._mode_22(finder.fbin, x)
        # No stalling of the ringdown: where it begins jumps from bin to bin, and so would
        # the maximum. Above the last frequency of a waveform there is nothing to divide.
        inverse_b = np.divide(1.0, h0_b, out=np.zeros_like(h0_b), where=h0_b != 0)
        shift_df = np.array(
            [
                delay_on_grid(event.frequencies, -(time + event.tcoarse))
                for time in self._times_d
            ]
        )
        d_h_db = finder._get_summary_weights(self._blued_df * h0_f.conj() * shift_df)
        self._d_h_db = d_h_db * inverse_b.conj()
        power_f = h0_f.real**2 + h0_f.imag**2
        h_h_db = finder._get_summary_weights(self._wht2_df * power_f)
        self._h_h_db = h_h_db.real * np.abs(inverse_b) ** 2

    def _peak(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return ln likelihoods and arrival times [s] by detector, from the last ones."""
        h_b = self._mode_22(self._finder.fbin, x)
        terms_db = self._d_h_db * h_b.conj()
        power_dt = np.abs(terms_db @ self._shifts_bt) ** 2
        t_d = self._offsets_t[np.argmax(power_dt, axis=1)]
        power_d = power_dt.max(axis=1)
        for _ in range(4):  # Newton's method; the grid is within its reach
            shifted_db = terms_db * np.exp(np.outer(t_d, self._omega_br[:, 1]))
            z, z1, z2 = (shifted_db @ self._omega_br).T
            power_d = np.abs(z) ** 2
            slope = 2 * (z.conj() * z1).real
            curvature = 2 * (np.abs(z1) ** 2 + (z.conj() * z2).real)
            step_d = np.where(curvature < 0, -slope / curvature, 0.0)
            t_d = t_d + np.clip(step_d, -self._spacing, self._spacing)
        return power_d / (self._h_h_db @ np.abs(h_b) ** 2) / 2, t_d

    def _lnlike(self, x: np.ndarray) -> float:
        if abs(x[1]) > _MAX_MASS_DIFFERENCE:
            return -np.inf  # Masses that models do not know, or not positive
        try:
            lnlike = float(self._peak(x)[0].sum())
        except (RuntimeError, ValueError):
            return -np.inf  # Outside of the approximant's domain
        return lnlike if np.isfinite(lnlike) else -np.inf
