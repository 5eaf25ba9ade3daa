"""The coherent likelihood of all modes, maximised over phase and distance."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from cogwheel import gw_utils, waveform
from cogwheel.data import EventData

from ..waveforms.dense import TOLERANCE
from .generation import hplus_hcross_by_m
from .likelihood import FastRelativeBinningLikelihood


class PhaseMaximizedLikelihood(FastRelativeBinningLikelihood):
    """All modes and detectors, maximised over orbital phase and distance.

    Parameters
    ----------
    given_asd_drift : (n_d,) float, optional
        The noise level near the event where it is not to be estimated.
    event_data, waveform_generator, par_dic_0, **kwargs
        As for cogwheel's ``RelativeBinningLikelihood``.
    """

    tolerance = TOLERANCE
    _N_PHI = 64

    _same_waveform: tuple[tuple, np.ndarray, np.ndarray] | None = None

    def __init__(
        self,
        event_data: EventData,
        waveform_generator: waveform.WaveformGenerator,
        par_dic_0: dict[str, float],
        given_asd_drift: np.ndarray | None = None,
        **kwargs: Any,
    ):
        self.given_asd_drift = given_asd_drift
        super().__init__(event_data, waveform_generator, par_dic_0, **kwargs)

    def compute_asd_drift(self, par_dic: dict, **kwargs: Any) -> np.ndarray:
        """Return the noise level that was given, or cogwheel's estimate."""
        if self.given_asd_drift is not None:
            return np.array(self.given_asd_drift, dtype=float)
        return super().compute_asd_drift(par_dic, **kwargs)

    def with_noise_level_kept(self) -> PhaseMaximizedLikelihood:
        """Return this likelihood, its noise level no longer following the reference.

        Estimates of neighbouring waveforms may jump by a part in a thousand, since samples
        near a loud one are rejected; likelihoods of maxima can be compared, and climbed
        to, with the same level only.
        """
        self.given_asd_drift = np.array(self.asd_drift)
        return self

    def _set_summary(self) -> None:
        self._same_waveform = None  # Its products were made with the summary of before
        super()._set_summary()

    def maximize_phase_and_distance(self, par_dic: dict) -> tuple[float, dict]:
        """Return the largest ln likelihood, and where it is.

        Parameters
        ----------
        par_dic : dict
            Its phi_ref and d_luminosity do not matter.

        Returns
        -------
        lnlike : float
            -inf if out of physical bounds.
        phase_and_distance : dict
            phi_ref [rad] and d_luminosity [Mpc].
        """
        fiducial = par_dic | self._FIDUCIAL_CONFIGURATION
        if not waveform.within_bounds(fiducial):
            return -np.inf, dict(self._FIDUCIAL_CONFIGURATION)
        d_h_m, h_h_m = self._products(fiducial)
        modes, differences = self._phases
        d_h_o = (modes.turns_ok @ d_h_m).real
        h_h_o = (differences.turns_ok @ h_h_m).real
        o = np.argmax(np.maximum(d_h_o, 0) ** 2 / h_h_o)
        if d_h_o[o] <= 0:
            return -np.inf, dict(self._FIDUCIAL_CONFIGURATION)
        phi, d_h, h_h = 2 * np.pi * o / self._N_PHI, d_h_o[o], h_h_o[o]
        # Newton's method for the logarithm, so that the maximum is a smooth function of
        # the other parameters; the grid is dense for modes up to m = 8.
        for _ in range(4):
            d_h, d_h_1, d_h_2 = modes.derivatives(phi, d_h_m)
            h_h, h_h_1, h_h_2 = differences.derivatives(phi, h_h_m)
            slope = 2 * d_h_1 / d_h - h_h_1 / h_h
            curvature = 2 * (d_h_2 / d_h - (d_h_1 / d_h) ** 2)
            curvature -= h_h_2 / h_h - (h_h_1 / h_h) ** 2
            if not curvature < 0 or abs(slope) < 1e-12 * abs(curvature):
                break
            phi += float(np.clip(-slope / curvature, -np.pi / 64, np.pi / 64))
        return float(d_h**2 / h_h / 2), {
            "phi_ref": float(phi % (2 * np.pi)),
            "d_luminosity": float(h_h / d_h),
        }

    @functools.cached_property
    def _phases(self) -> tuple[_Turns, _Turns]:
        """How modes, and products of two modes, turn with the orbital phase."""
        m_arr = self.waveform_generator.m_arr
        m_inds, mprime_inds = self.waveform_generator.get_m_mprime_inds()
        return (
            _Turns(-m_arr, self._N_PHI),
            _Turns(m_arr[m_inds] - m_arr[mprime_inds], self._N_PHI),
        )

    def _products(self, par_dic: dict) -> tuple[np.ndarray, np.ndarray]:
        """Return (d|h) by mode and (h|h) by pair of modes, complex, at phase 0 and 1 Mpc.

        Place and time change neither (h|h) of a mode and polarisation in a detector nor
        the terms of which (d|h) is the sum, but for a phase.
        """
        generator = self.waveform_generator
        slow = tuple(par_dic[name] for name in generator.slow_params)
        if self._same_waveform is None or self._same_waveform[0] != slow:
            self._same_waveform = slow, *self._products_of_waveform(par_dic)
        _, terms_dcb, h_h_pairs_dp = self._same_waveform
        place = generator.detector_names, par_dic["ra"], par_dic["dec"]
        response_pd = gw_utils.fplus_fcross(*place, par_dic["psi"], generator.tgps)
        times_d = (
            gw_utils.time_delay_from_geocenter(*place, generator.tgps)
            + par_dic["t_geocenter"]
            + generator.tcoarse
        )
        shift_db = np.exp(2j * np.pi * np.outer(times_d, self.fbin))
        d_h_dmp = np.matmul(terms_dcb, shift_db[..., np.newaxis]).reshape(
            len(times_d), -1, 2
        )
        response2_dp = np.einsum("pd,Pd->dpP", response_pd, response_pd).reshape(-1)
        return np.einsum("dmp,pd->m", d_h_dmp, response_pd), h_h_pairs_dp @ response2_dp

    def _products_of_waveform(self, par_dic: dict) -> tuple[np.ndarray, np.ndarray]:
        """Return terms of (d|h), (n_d, 2 n_m, n_b), and (h|h), (n_mm, 4 n_d)."""
        h_mpb = hplus_hcross_by_m(self.waveform_generator, self.fbin, par_dic)
        m_inds, mprime_inds = self.waveform_generator.get_m_mprime_inds()
        inverse_drift2_d = self.asd_drift**-2
        terms_dmpb = (
            np.moveaxis(self._d_h_weights, 1, 0)[:, :, np.newaxis]
            * inverse_drift2_d[:, np.newaxis, np.newaxis, np.newaxis]
            * h_mpb.conj()
        )
        h_h_ppb = h_mpb[m_inds][:, :, np.newaxis] * h_mpb[mprime_inds][:, np.newaxis].conj()
        n_mm, n_b = len(m_inds), len(self.fbin)
        h_h_dp = np.matmul(
            self._h_h_weights * inverse_drift2_d[:, np.newaxis],
            np.moveaxis(h_h_ppb.reshape(n_mm, 4, n_b), 2, 1),
        )
        return terms_dmpb.reshape(*terms_dmpb.shape[:1], -1, n_b), h_h_dp.reshape(n_mm, -1)


class _Turns:
    """Sums of exp(i k phi) z_k over k, their real parts.

    Parameters
    ----------
    k : (n_k,) int
    n_phi : int
        Of the grid of phases.

    Attributes
    ----------
    turns_ok : (n_phi, n_k) complex
        exp(i k phi) on the grid.
    """

    def __init__(self, k: np.ndarray, n_phi: int):
        phi_o = np.linspace(0, 2 * np.pi, n_phi, endpoint=False)
        self.turns_ok = np.exp(1j * np.outer(phi_o, k))
        self._ik = 1j * k
        # Powers of i k: of the sum itself and of its first two derivatives.
        self._powers_rk = np.array([np.ones(len(k)), self._ik, self._ik**2])

    def derivatives(self, phi: float, z_k: np.ndarray) -> list[float]:
        """Return the sum at a phase, and its first two derivatives."""
        return (self._powers_rk @ (np.exp(phi * self._ik) * z_k)).real.tolist()
