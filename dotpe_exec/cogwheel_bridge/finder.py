"""The search for a reference waveform: cogwheel's, with its slow parts done in bulk.

cogwheel's ``ReferenceWaveformFinder`` compares the data with the reference waveform at
every time of a millisecond grid and evaluates likelihoods one by one. Here the data are
compared at a few central times, around which relative binning itself carries the shift,
and likelihoods are evaluated for whole populations of candidates at once.

Index letters as in the package, and n candidate, c central time, k offset from it.
"""

from __future__ import annotations

import functools
import itertools
import logging
import operator
from typing import Any

import numpy as np
from cogwheel import gw_utils, waveform
from cogwheel.likelihood import ReferenceWaveformFinder
from scipy.optimize import differential_evolution

from ..kernels.proposals import halton
from ..waveforms.dense import TOLERANCE
from .climb import Climber, distinct_ends, turned
from .coordinates import Coordinates, max_mass_difference
from .generation import delay_on_grid, hplus_hcross_by_m
from .likelihood import FastRelativeBinningLikelihood
from .local_search import PhaseMaximizedLikelihood
from .refinement import refine
from .settling import Settler
from .sky_search import SkySearch

logger = logging.getLogger(__name__)

# Grid of arrival times [s], the same as cogwheel's.
_TIME_STEP = 2**-10
# Central times are so many steps apart: a shift by half of it is smooth within a bin.
_STEPS_PER_CENTRE = 32
# With aligned spins up to 1, those in the plane of a reference that was given (the search
# has none) might make black holes spin faster than they can.
_NO_INPLANE = dict.fromkeys(("s1x_n", "s1y_n", "s2x_n", "s2y_n"), 0.0)

# Of the bins of the last climb [rad]: their error vanishes where the reference is.
_CLIMB_PN_PHASE_TOL = 0.1

_N_POPULATION = 64
_MAX_GENERATIONS = 40
# Mass ratios to be tried with all modes, if their (2, 2) mode is not much worse.
_N_ETA_RANGES = 5
_MAX_DROP = 20.0
# How far within the prior the search's mass ratios end: climbs begin there.
_WITHIN = 0.01

# Climbs from many places end where a step gains less than this in ln likelihood.
_LEAST_GAIN = 0.003

# Of the distances at which the places that were found would be, the largest, times this is
# the least: a thousandth of all sources in that volume are nearer.
_LEAST_DISTANCE = 0.1

# Below, the rule for the range of chirp masses leads beyond its table.
_LEAST_SNR = 2.0


def _spread(bounds: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Return points (n, n_k) that fill a box evenly, bounds (n_k, 2)."""
    shift_k = np.random.default_rng(seed).random(len(bounds))
    unit_nk = (halton(n, len(bounds)) + shift_k) % 1.0
    return bounds[:, 0] + unit_nk * (bounds[:, 1] - bounds[:, 0])


class FastReferenceWaveformFinder(
    SkySearch, FastRelativeBinningLikelihood, ReferenceWaveformFinder
):
    """Cogwheel's search for a reference waveform, faster and at least as good.

    The first restrictions are cogwheel's: (2, 2) mode, aligned and equal spins. Sky
    position, arrival time and orientation are searched together, and from the best of them
    everything climbs together on the coherent likelihood of all modes.
    """

    tolerance = TOLERANCE
    # Whether the search ends at the maximum of the likelihood, or near it.
    refine = True
    # The noise level near the event where it is given.
    given_asd_drift: np.ndarray | None = None
    # Where mass ratios end.
    q_min: float | None = None

    def compute_asd_drift(self, par_dic: dict, **kwargs: Any) -> np.ndarray:
        """Return ones: nothing in the search depends on it, and it costs a waveform."""
        return np.ones(len(self.event_data.detector_names))

    def _set_summary(self) -> None:
        # Skipping ReferenceWaveformFinder's, which goes through all times one by one.
        FastRelativeBinningLikelihood._set_summary(self)
        start, stop = self.time_range
        self._times = np.arange(start, stop, _TIME_STEP)
        self._centres_c = self._times[_STEPS_PER_CENTRE // 2 :: _STEPS_PER_CENTRE]
        if not len(self._centres_c):
            self._centres_c = self._times[len(self._times) // 2 :][:1]
        frequencies = self.event_data.frequencies
        d_h0_df = self.event_data.blued_strain * self._h0_f[0].conj()
        # One exponential of the whole grid: the others are its powers.
        shift_f = delay_on_grid(frequencies, -self._centres_c[0])
        step_f = delay_on_grid(frequencies, -_STEPS_PER_CENTRE * _TIME_STEP)
        self._timeseries_weights_cdb = np.empty(
            (len(self._centres_c), len(d_h0_df), len(self.fbin)), dtype=complex
        )
        for weights_db in self._timeseries_weights_cdb:
            weights_db[:] = self._get_summary_weights(d_h0_df * shift_f)
            shift_f *= step_f
        self._timeseries_weights_cdb /= self._h0_fbin[0].conj()
        # By central time: the times that are nearest, the last ones with the one before if
        # they are too few for one of their own; and the shifts to them.
        self._shifts_c = []
        last = len(self._centres_c) - 1
        for c, centre in enumerate(self._centres_c):
            start = c * _STEPS_PER_CENTRE
            near = slice(start, start + _STEPS_PER_CENTRE if c < last else None)
            phase_bk = 2 * np.pi * np.outer(self.fbin, self._times[near] - centre)
            self._shifts_c.append((near, np.exp(1j * phase_bk).astype(np.complex64)))

    def _whiten(self, h_ndb: np.ndarray) -> np.ndarray:
        """Return normalised waveforms: (h|h) is 1 in each detector."""
        power_ndb = h_ndb.real**2 + h_ndb.imag**2
        h_h_nd = np.einsum("db,ndb->nd", self._h_h_weights[0].real, power_ndb)
        return h_ndb / np.sqrt(h_h_nd)[..., np.newaxis]

    def _timeseries(self, h_ndb: np.ndarray) -> np.ndarray:
        """Return complex signal-to-noise ratios (n, n_d, n_times) on ``_times``."""
        n, n_d, n_b = h_ndb.shape
        z_ndt = np.empty((n, n_d, len(self._times)), dtype=np.complex64)
        normalised_ndb = self._whiten(h_ndb).conj()
        for c, (near, shifts_bk) in enumerate(self._shifts_c):
            # Everything is of order one by now: single precision is enough to rank.
            terms_ndb = (self._timeseries_weights_cdb[c] * normalised_ndb).astype(
                np.complex64
            )
            # One product for all candidates: a product for each takes four times as long.
            z_ndt[..., near] = (terms_ndb.reshape(-1, n_b) @ shifts_bk).reshape(n, n_d, -1)
        return z_ndt

    def _matched_filter_timeseries_rb(self, par_dic: dict) -> np.ndarray:
        h_db = self.waveform_generator.get_strain_at_detectors(self.fbin, par_dic)
        return self._timeseries(h_db[np.newaxis])[0].T

    def lnlike_incoherent(self, mchirp_eta_chieff_n: np.ndarray) -> np.ndarray:
        """Return ln likelihoods maximised over amplitude, phase and time by detector.

        Parameters
        ----------
        mchirp_eta_chieff_n : (3, n) float

        Returns
        -------
        (n,) float
        """
        generator, par_dic = self.waveform_generator, self.par_dic_0
        h_npb = np.array(
            [
                hplus_hcross_by_m(
                    generator, self.fbin, self._updated_intrinsic(*point) | _NO_INPLANE
                ).sum(axis=0)
                for point in mchirp_eta_chieff_n.T
            ]
        )
        place = generator.detector_names, par_dic["ra"], par_dic["dec"]
        response_pd = gw_utils.fplus_fcross(*place, par_dic["psi"], generator.tgps)
        times_d = generator.tcoarse + gw_utils.time_delay_from_geocenter(
            *place, generator.tgps
        )
        shift_db = np.exp(-2j * np.pi * np.outer(times_d, self.fbin))
        h_ndb = np.einsum("pd,npb->ndb", response_pd, h_npb) * shift_db
        z2_nd = np.max(np.abs(self._timeseries(h_ndb)), axis=-1).astype(float) ** 2
        lnlike_n = z2_nd.sum(axis=-1) / 2
        return np.where(np.isfinite(lnlike_n), lnlike_n, -np.inf)

    def find_bestfit_pars(self, seed: int = 0, freeze_f_ref: bool = False) -> None:
        """Find a waveform that fits, and set ``par_dic_0`` and ``mchirp_range`` from it."""
        self._par_dic_0 = self._search_intrinsic(seed)
        # All that follows begins at the same place whatever the guess was.
        candidates = self._settle()
        self.par_dic_0 = candidates[0]
        kwargs = self.get_coordinate_system_kwargs()
        if not freeze_f_ref:
            self.par_dic_0["f_ref"] = kwargs["f_avg"]
        ref_det_name = kwargs["ref_det_name"]
        places = self._search_skyloc_time_and_orientation(ref_det_name, seed)
        likelihood = self._all_modes(places[0])
        coordinates = Coordinates(
            self.event_data.tgps, ref_det_name, max_mass_difference(self.q_min)
        )
        least_distance = _LEAST_DISTANCE * max(
            likelihood.maximize_phase_and_distance(place)[1]["d_luminosity"]
            for place in places
        )
        best = self._climb(
            likelihood, places, candidates[1:], ref_det_name, coordinates, least_distance
        )
        if self.refine:
            likelihood.par_dic_0 = best
            best = refine(likelihood, best, coordinates, least_distance).par_dic
        self._par_dic_0 = best
        if not self._mchirp_range:
            self.set_mchirp_range()

    def aligned(self, mchirp: float, eta: float, chieff: float) -> dict:
        """Return ``par_dic_0`` with other masses and equal, aligned spins."""
        return self._updated_intrinsic(mchirp, eta, chieff) | _NO_INPLANE

    def peaks(self, par_dic: dict) -> tuple[np.ndarray, np.ndarray]:
        """Return when a waveform fits best in each detector [s], and its SNR there."""
        z_td = np.abs(self._matched_filter_timeseries_rb(par_dic | {"t_geocenter": 0.0}))
        delay_d = gw_utils.time_delay_from_geocenter(
            self.event_data.detector_names, par_dic["ra"], par_dic["dec"],
            self.event_data.tgps,
        )  # fmt: skip
        return self._times[z_td.argmax(axis=0)] + delay_d, z_td.max(axis=0)

    def _settle(self) -> list[dict]:
        """Return the best of each of several ranges of mass ratio, best first.

        The restriction to the (2, 2) mode may prefer a mass ratio of which the other modes
        would disappoint.
        """
        settler = Settler(self)
        best = settler.settle()
        low, high = self._eta_range()
        best_in_range = best[0], min(max(best[1], low), high), best[2]
        edges = np.linspace(low, high, _N_ETA_RANGES + 1)
        others = [
            settler.settle_at(eta, best)
            for left, right in itertools.pairwise(edges)
            for eta in [(left + right) / 2]
            if not left <= best_in_range[1] <= right
        ]
        others.sort(key=lambda other: other[1], reverse=True)
        return [self.aligned(*best_in_range)] + [
            self.aligned(*parameters)
            for parameters, lnlike in others
            if lnlike > settler.lnlike(best) - _MAX_DROP
        ]

    def _eta_range(self) -> tuple[float, float]:
        """Return the range of m1 m2 / (m1 + m2)^2."""
        low, high = self.eta_range
        if self.q_min is not None:
            q = self.q_min + _WITHIN * (1 - self.q_min)
            low = max(low, q / (1 + q) ** 2)
            high = max(high, (low + 0.25) / 2)
        return low, high

    def _bounds(self) -> np.ndarray:
        return np.array([self.mchirp_range, self._eta_range(), self.chieff_range])

    def _search_intrinsic(self, seed: int) -> dict:
        """Maximise the incoherent likelihood over chirp mass, mass ratio and spin."""
        bounds = self._bounds()
        points = _spread(bounds, _N_POPULATION, seed)
        result = differential_evolution(
            lambda points_3n: -self.lnlike_incoherent(points_3n),
            bounds=bounds,
            init=points,
            seed=seed,
            vectorized=True,
            updating="deferred",
            maxiter=_MAX_GENERATIONS,
            polish=False,
        )
        logger.debug("incoherent: lnL = %s after %s steps", -result.fun, result.nit)
        return self._updated_intrinsic(*result.x)

    def _all_modes(self, par_dic: dict) -> PhaseMaximizedLikelihood:
        """Return the coherent likelihood of all modes around a waveform."""
        generator = waveform.WaveformGenerator.from_event_data(
            self.event_data, self.waveform_generator.approximant
        )
        return PhaseMaximizedLikelihood(
            self.event_data,
            generator,
            par_dic,
            given_asd_drift=self.given_asd_drift,
            pn_phase_tol=_CLIMB_PN_PHASE_TOL,
            spline_degree=self.spline_degree,
        ).with_noise_level_kept()

    def _climb(
        self,
        likelihood: PhaseMaximizedLikelihood,
        places: list[dict],
        others: list[dict],
        ref_det_name: str,
        coordinates: Coordinates,
        least_distance: float,
    ) -> dict:
        """Return the highest of the maxima of the coherent likelihood of all modes, nearly.

        Parameters
        ----------
        likelihood : PhaseMaximizedLikelihood
        places : list of dict
            Where to start, with the best intrinsic parameters; the best first.
        others : list of dict
            Other intrinsic parameters, to be tried where the best climb ended.
        ref_det_name : str
            The detector in which these are brought to the same time.
        coordinates : Coordinates
            In which to climb.
        least_distance : float
            [Mpc]
        """
        self.asd_drift = likelihood.asd_drift
        make_climber = functools.partial(
            Climber,
            likelihood,
            coordinates,
            two_sided=False,
            least_distance=least_distance,
        )
        climber = make_climber(places[0])
        # Of two polarisations at right angles the (2, 2) mode, by which places were found,
        # does not know which it is.
        likelier = (max(place, turned(place), key=climber.lnlike) for place in places)
        ends = [climber.climb(place, _LEAST_GAIN) for place in likelier]
        best = max(ends, key=operator.itemgetter(1))[0]
        delay = best["t_geocenter"] - self._time_at(places[0], ref_det_name)
        trials = [
            best
            | {par: other[par] for par in ("m1", "m2", "s1z", "s2z")}
            | {"t_geocenter": delay + self._time_at(other, ref_det_name)}
            for other in others
        ]
        trials.append(turned(best))
        ends += [climber.climb(trial, _LEAST_GAIN) for trial in trials]
        again = []
        for start in distinct_ends(ends, coordinates):
            # The value of another maximum is known where the likelihood is centred there.
            likelihood.par_dic_0 = start
            again.append(make_climber(start).climb(start, _LEAST_GAIN))
        best, lnlike = max(again, key=operator.itemgetter(1))
        logger.debug("coherent solution, all modes: lnL = %s", lnlike)
        return best

    def set_mchirp_range(
        self, lnl_drop: float = 5.0, max_doublings: int = 2, seed: int = 0
    ) -> None:
        """Set bounds of chirp mass by cogwheel's rule.

        They are those expected for the signal-to-noise ratio (2 to 8), widened up to
        ``max_doublings`` times until the likelihood there, maximised over mass ratio and
        spin, is by ``lnl_drop`` below that of the reference waveform. Without a signal
        they end where the masses end for which there are waveforms.
        """
        mchirp_0 = gw_utils.m1m2_to_mchirp(self.par_dic_0["m1"], self.par_dic_0["m2"])
        lnl_0 = self.lnlike_max_amp_phase_time(self.par_dic_0)
        snr = np.clip(np.sqrt(2 * max(lnl_0, 0.0)), _LEAST_SNR, 8)
        mchirp_range = gw_utils.estimate_mchirp_range(mchirp_0, snr=snr)
        for i in range(2):
            for _ in range(max_doublings):
                try:
                    if not self._reaches(lnl_0 - lnl_drop, mchirp_range[i], seed):
                        break
                    mchirp_range[i] = gw_utils.estimate_mchirp_range.expand_range(
                        mchirp_0, mchirp_range[i]
                    )
                except (RuntimeError, ValueError):
                    break  # beyond the masses of LAL's waveforms, or of cogwheel's rule
        self._mchirp_range = tuple(float(mchirp) for mchirp in mchirp_range)

    def _reaches(self, lnlike: float, mchirp: float, seed: int) -> bool:
        """Return whether some mass ratio and spin have that incoherent ln likelihood."""
        bounds = self._bounds()[1:]
        points = _spread(bounds, 32, seed)

        def evaluate(points_n: np.ndarray) -> np.ndarray:
            mchirp_n = np.full(len(points_n), mchirp)
            return self.lnlike_incoherent(np.vstack([mchirp_n, points_n.T]))

        for _ in range(4):
            lnlike_n = evaluate(points)
            if np.max(lnlike_n) >= lnlike:
                return True
            # Again around the best, in a box of a quarter of the length.
            best = points[np.argmax(lnlike_n)]
            quarter = (bounds[:, 1] - bounds[:, 0]) / 8
            bounds = np.clip(
                np.array([best - quarter, best + quarter]).T, *bounds.T[..., np.newaxis]
            )
            points = _spread(bounds, 16, seed)
        return False
