"""From where, when and at which orientation a waveform fits best, on a grid.

Of the (2, 2) mode of aligned spins the two polarisations are the same function of
frequency, so that amplitude, phase, inclination and polarisation angle are two complex
numbers, in which the likelihood is quadratic: it is maximised over them in closed form
(the F-statistic of Jaranowski, Krolak & Schutz, gr-qc/9804014), by direction and time.

Index letters as in the package, and n direction, k time.
"""

from __future__ import annotations

import logging
from typing import Any

import lal
import numpy as np
from cogwheel import gw_utils, skyloc_angles

from ..kernels.proposals import halton
from .generation import hplus_hcross_by_m

logger = logging.getLogger(__name__)

# Grid of arrival times for the sky [s]; the matched filter turns by a few degrees in it.
_FINE_STEP = 2**-14
_N_SKY = 2**12
# How far from its peak in the reference detector the signal may lie [s].
_REFDET_WINDOW = 2e-3

# Places to climb from, at least so far apart [rad], and at most so much below the best.
_N_STARTS = 12
_STARTS_APART = 0.3
_MAX_DROP = 10.0
# Detectors that hear but one polarisation leave the other one free: it is kept small.
_LEAST_HEARD = 1e-3


def _distinct(lnlike_n: np.ndarray, direction_nx: np.ndarray) -> list[int]:
    """Return the indices of the best directions, none too close to a better one."""
    chosen: list[int] = []
    for n in np.argsort(-lnlike_n, kind="stable"):
        if lnlike_n[n] < lnlike_n.max() - _MAX_DROP or len(chosen) == _N_STARTS:
            break
        if np.all(direction_nx[chosen] @ direction_nx[n] < np.cos(_STARTS_APART)):
            chosen.append(int(n))
    return chosen


def orientation(amplitude_np: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return inclination and polarisation angle [rad] of two polarisations' amplitudes.

    With the (2, 2) mode h_x = -i s h_+, s = 2 cos(iota) / (1 + cos(iota)^2): in detectors
    at psi = 0 the parts of opposite circular polarisation have amplitudes proportional to
    exp(2 i psi) (1 + s) and exp(-2 i psi) (1 - s).

    Parameters
    ----------
    amplitude_np : (n, 2) complex
        Of the responses F_+ and F_x at psi = 0.

    Returns
    -------
    iota_n, psi_n : (n,) float
    """
    right_n = amplitude_np[:, 0] + 1j * amplitude_np[:, 1]
    left_n = amplitude_np[:, 0] - 1j * amplitude_np[:, 1]
    psi_n = np.angle(right_n * left_n.conj()) / 4
    right_n, left_n = np.abs(right_n), np.abs(left_n)
    s_n = (right_n - left_n) / (right_n + left_n)
    # The root of s cos^2 - 2 cos + s = 0 that is below 1.
    cos_iota_n = s_n / (1 + np.sqrt(np.maximum(1 - s_n**2, 0.0)))
    return np.arccos(cos_iota_n), psi_n % np.pi


class SkySearch:
    """The part of the search that needs its summaries at central times, and no more."""

    # Of cogwheel's likelihood and of the search.
    event_data: Any
    par_dic_0: dict
    waveform_generator: Any
    fbin: np.ndarray
    _times: np.ndarray
    _centres_c: np.ndarray
    _timeseries_weights_cdb: np.ndarray
    _h_h_weights: np.ndarray
    _matched_filter_timeseries_rb: Any

    def _search_skyloc_time_and_orientation(
        self, ref_det_name: str, seed: int
    ) -> list[dict]:
        """Return the best few of a grid of sky positions and times, with orientations."""
        event, par_dic = self.event_data, self.par_dic_0
        i_ref = event.detector_names.index(ref_det_name)
        delay0_d = gw_utils.time_delay_from_geocenter(
            event.detector_names, par_dic["ra"], par_dic["dec"], event.tgps
        )
        t_peak = self._time_at(par_dic, ref_det_name) + delay0_d[i_ref]

        # Arrival times at any detector, and at the reference detector.
        half = gw_utils.EARTH_CROSSING_TIME / 2 + 2 * _REFDET_WINDOW
        times_k = np.arange(t_peak - 2 * half, t_peak + 2 * half, _FINE_STEP)
        offsets_t = np.arange(-_REFDET_WINDOW, _REFDET_WINDOW, 2 * _FINE_STEP)

        shift_u = np.random.default_rng(seed).random(2)
        u_dec, u_ra = ((halton(_N_SKY, 2) + shift_u) % 1.0).T
        ra_n, dec_n = 2 * np.pi * u_ra, np.arcsin(2 * u_dec - 1)
        delay_nd, response_ndp = self._sky_geometry(ra_n, dec_n)
        # Differences of delays alone matter: the time at the reference detector is given.
        arrival_ntd = (
            t_peak
            + offsets_t[:, np.newaxis]
            + (delay_nd - delay_nd[:, [i_ref]])[:, np.newaxis]
        )
        index_ntd = np.rint((arrival_ntd - times_k[0]) / _FINE_STEP).astype(int)
        index_ntd = np.clip(index_ntd, 0, len(times_k) - 1)

        d_h_dk, h_h_d = self._products_of_plus(par_dic, times_k)
        d_h_ntp = np.zeros((*index_ntd.shape[:2], 2), dtype=complex)
        for d, d_h_k in enumerate(d_h_dk):
            d_h_ntp += response_ndp[:, np.newaxis, d] * d_h_k[index_ntd[..., d], np.newaxis]
        h_h_npp = np.einsum("d,ndp,ndP->npP", h_h_d, response_ndp, response_ndp)
        heard_n = np.trace(h_h_npp, axis1=1, axis2=2)
        h_h_npp += _LEAST_HEARD * heard_n[:, np.newaxis, np.newaxis] * np.eye(2)
        inverse_npp = np.linalg.inv(h_h_npp)
        amplitude_ntp = np.einsum("npP,ntP->ntp", inverse_npp, d_h_ntp)
        lnlike_nt = np.einsum("ntp,ntp->nt", d_h_ntp.conj(), amplitude_ntp).real / 2
        t_n = lnlike_nt.argmax(axis=1)
        n_all = np.arange(_N_SKY)
        iota_n, psi_n = orientation(amplitude_ntp[n_all, t_n])
        t_geocenter_n = t_peak + offsets_t[t_n] - delay_nd[:, i_ref]

        cos_dec_n = np.cos(dec_n)
        direction_nx = np.stack(
            [cos_dec_n * np.cos(ra_n), cos_dec_n * np.sin(ra_n), np.sin(dec_n)], axis=1
        )
        lnlike_n = lnlike_nt[n_all, t_n]
        logger.debug("sky position and time: lnL = %s", lnlike_n.max())
        return [
            par_dic
            | {
                "ra": ra_n[n], "dec": dec_n[n], "t_geocenter": t_geocenter_n[n],
                "iota": iota_n[n], "psi": psi_n[n],
            }
            for n in _distinct(lnlike_n, direction_nx)
        ]  # fmt: skip

    def _time_at(self, par_dic: dict, ref_det_name: str) -> float:
        """Return when, on ``_times``, the reference detector fits a waveform best [s]."""
        i_ref = self.event_data.detector_names.index(ref_det_name)
        place = {par: self.par_dic_0[par] for par in ("ra", "dec", "psi")}
        z_td = self._matched_filter_timeseries_rb(par_dic | place | {"t_geocenter": 0.0})
        return float(self._times[np.argmax(np.abs(z_td[:, i_ref]))])

    def _sky_geometry(self, ra_n: np.ndarray, dec_n: np.ndarray) -> tuple:
        """Return delays (n, n_d) [s] and antenna responses (n, n_d, 2) at psi = 0."""
        names, tgps = self.event_data.detector_names, self.event_data.tgps
        lon_n = skyloc_angles.ra_to_lon(ra_n, lal.GreenwichMeanSiderealTime(tgps))
        delay_nd = gw_utils.get_geocenter_delays(names, dec_n, lon_n).T
        return delay_nd, gw_utils.get_fplus_fcross_0(names, dec_n, lon_n)

    def _products_of_plus(self, par_dic: dict, times_k: np.ndarray) -> tuple:
        """Return (d|h_+) at arrival times on ``_times``, (n_d, n_k), and (h_+|h_+), (n_d,).

        The first is complex, both without response.
        """
        h_b = hplus_hcross_by_m(self.waveform_generator, self.fbin, par_dic)[0, 0]
        h_b = h_b * np.exp(-2j * np.pi * self.fbin * self.waveform_generator.tcoarse)
        n_d = len(self.event_data.detector_names)
        d_h_dk = np.empty((n_d, len(times_k)), dtype=complex)
        # The nearest central time, or the outermost.
        c_k = np.abs(times_k[:, np.newaxis] - self._centres_c).argmin(axis=1)
        for c in np.unique(c_k):
            at = np.flatnonzero(c_k == c)
            # Times are equidistant: each exponential is the one before times the same.
            first_b = 2j * np.pi * self.fbin * (times_k[at[0]] - self._centres_c[c])
            shifts_bk = np.exp(
                first_b[:, np.newaxis]
                + 2j * np.pi * _FINE_STEP * np.outer(self.fbin, at - at[0])
            )
            terms_db = self._timeseries_weights_cdb[c] * h_b.conj()
            d_h_dk[:, at] = terms_db @ shifts_bk
        h_h_d = self._h_h_weights[0].real @ (h_b.real**2 + h_b.imag**2)
        return d_h_dk, h_h_d
