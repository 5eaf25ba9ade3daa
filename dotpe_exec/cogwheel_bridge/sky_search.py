"""Where on the sky, when and from which side a waveform fits best, on grids.

Index letters as in the package, and n direction, k time.
"""

from __future__ import annotations

import logging
from typing import Any

import lal
import numpy as np
from cogwheel import gw_utils, skyloc_angles

from ..kernels.proposals import halton, rotate_response

logger = logging.getLogger(__name__)

# Grid of arrival times for the sky [s]; the matched filter turns by a few degrees in it.
_FINE_STEP = 2**-14
_N_SKY = 2**12
# How far from its peak in the reference detector the signal may lie [s].
_REFDET_WINDOW = 2e-3

# Starting points of the last climb, at least so far apart [rad].
_N_STARTS = 4
_STARTS_APART = 0.3


def _distinct(lnlike_n: np.ndarray, place_n: list[dict]) -> list[dict]:
    """Return the best places, none too close to a better one of the same inclination."""
    chosen: list[dict] = []
    for n in np.argsort(-lnlike_n):
        place = place_n[n]
        if not any(
            place["iota"] == other["iota"] and _angle_between(place, other) < _STARTS_APART
            for other in chosen
        ):
            chosen.append(place)
            if len(chosen) == _N_STARTS:
                break
    return chosen


def _angle_between(place: dict, other: dict) -> float:
    cosine = np.sin(place["dec"]) * np.sin(other["dec"]) + np.cos(place["dec"]) * np.cos(
        other["dec"]
    ) * np.cos(place["ra"] - other["ra"])
    return float(np.arccos(np.clip(cosine, -1, 1)))


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

    def _search_skyloc_time_and_inclination(
        self, ref_det_name: str, seed: int
    ) -> list[dict]:
        """Return the best few of a grid of sky positions, times and signs of cos(iota)."""
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
        delay_nd, response_npd = self._sky_geometry(ra_n, dec_n)
        # Differences of delays alone matter: the time at the reference detector is given.
        arrival_ntd = (
            t_peak
            + offsets_t[:, np.newaxis]
            + (delay_nd - delay_nd[:, [i_ref]])[:, np.newaxis]
        )
        index_ntd = np.rint((arrival_ntd - times_k[0]) / _FINE_STEP).astype(int)
        index_ntd = np.clip(index_ntd, 0, len(times_k) - 1)

        lnlike_in: list[float] = []
        place_in: list[dict] = []
        for iota in (par_dic["iota"], np.pi - par_dic["iota"]):
            d_h_pdk, h_h_ppd = self._polarisation_products(
                par_dic | {"iota": iota}, times_k - delay0_d[:, np.newaxis]
            )
            d_h_nt = np.zeros(index_ntd.shape[:2], dtype=complex)
            for d, p in np.ndindex(len(event.detector_names), 2):
                d_h_nt += response_npd[:, [p], d] * d_h_pdk[p, d][index_ntd[..., d]]
            h_h_n = np.einsum(
                "npd,nPd,pPd->n", response_npd, response_npd, h_h_ppd, optimize=True
            )
            lnlike_nt = np.abs(d_h_nt) ** 2 / (2 * h_h_n[:, np.newaxis])
            t_n = lnlike_nt.argmax(axis=1)
            lnlike_in.extend(lnlike_nt.max(axis=1))
            t_geocenter_n = t_peak + offsets_t[t_n] - delay_nd[:, i_ref]
            place_in.extend(
                {"ra": ra, "dec": dec, "t_geocenter": t_geocenter, "iota": iota}
                for ra, dec, t_geocenter in zip(ra_n, dec_n, t_geocenter_n, strict=True)
            )
        places = _distinct(np.array(lnlike_in), place_in)
        logger.debug("sky position and time: lnL = %s", max(lnlike_in))
        return [par_dic | place for place in places]

    def _time_at(self, par_dic: dict, ref_det_name: str) -> float:
        """Return when, on ``_times``, the reference detector fits a waveform best [s]."""
        i_ref = self.event_data.detector_names.index(ref_det_name)
        place = {par: self.par_dic_0[par] for par in ("ra", "dec", "psi")}
        z_td = self._matched_filter_timeseries_rb(par_dic | place | {"t_geocenter": 0.0})
        return float(self._times[np.argmax(np.abs(z_td[:, i_ref]))])

    def _sky_geometry(self, ra_n: np.ndarray, dec_n: np.ndarray) -> tuple:
        """Return delays (n, n_d) [s] and antenna responses (n, 2, n_d) at psi = 0."""
        names, tgps = self.event_data.detector_names, self.event_data.tgps
        psi = self.par_dic_0["psi"]
        lon_n = skyloc_angles.ra_to_lon(ra_n, lal.GreenwichMeanSiderealTime(tgps))
        delay_nd = gw_utils.get_geocenter_delays(names, dec_n, lon_n).T
        response_ndp = gw_utils.get_fplus_fcross_0(names, dec_n, lon_n)
        response_npd = np.moveaxis(
            rotate_response(response_ndp, np.full(len(ra_n), psi)), 2, 1
        )
        return delay_nd, response_npd

    def _polarisation_products(self, par_dic: dict, times_dk: np.ndarray) -> tuple:
        """Return (d|h_p) at times relative to ``_times``, (2, n_d, n_k), and (h_p|h_P).

        The first is complex, without response; the second real, (2, 2, n_d).
        """
        par_dic = par_dic | {"t_geocenter": 0.0}
        h_pdb = self.waveform_generator.get_hplus_hcross_at_detectors(self.fbin, par_dic)
        d_h_pdk = np.empty((*h_pdb.shape[:2], times_dk.shape[1]), dtype=complex)
        for d, times_k in enumerate(times_dk):
            # The nearest central time, or the outermost.
            c_k = np.abs(times_k[:, np.newaxis] - self._centres_c).argmin(axis=1)
            for c in np.unique(c_k):
                at = c_k == c
                shifts_bk = np.exp(
                    2j * np.pi * np.outer(self.fbin, times_k[at] - self._centres_c[c])
                )
                terms_pb = self._timeseries_weights_cdb[c, d] * h_pdb[:, d].conj()
                d_h_pdk[:, d, at] = terms_pb @ shifts_bk
        h_h_ppd = np.einsum(
            "db,pdb,Pdb->pPd", self._h_h_weights[0], h_pdb, h_pdb.conj(), optimize=True
        ).real
        return d_h_pdk, h_h_ppd
