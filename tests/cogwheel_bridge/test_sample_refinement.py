"""A reference waveform from samples: all spins are free."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from dotpe_exec.cogwheel_bridge import (
    arrival_offset,
    make_likelihood,
    make_summary,
    refine_from_samples,
    sample_refinement,
)
from dotpe_exec.cogwheel_bridge.coordinates import SpinCoordinates
from dotpe_exec.cogwheel_bridge.mode_summary import _generator_for_summaries, _mode_summary
from dotpe_exec.cogwheel_bridge.refinement import Refined
from dotpe_exec.events import fbin_from_pn_phase_tol, simulate_event

SIGNAL = {
    "m1": 45.0, "m2": 15.0, "s1x_n": 0.6, "s1y_n": 0.3, "s1z": 0.2, "s2x_n": 0.1,
    "s2y_n": -0.3, "s2z": 0.2, "l1": 0.0, "l2": 0.0, "iota": 1.1, "psi": 0.6,
    "phi_ref": 1.0, "ra": 1.2, "dec": -0.4, "t_geocenter": 0.0, "d_luminosity": 200.0,
    "f_ref": 50.0,
}  # fmt: skip
CHANGED = {"m1": 45.5, "s1x_n": 0.55, "s1y_n": 0.35, "s2z": 0.1, "iota": 1.15, "psi": 0.65}
ALIGNED = dict.fromkeys(("s1x_n", "s1y_n", "s2x_n", "s2y_n"), 0.0)


@pytest.fixture(scope="module")
def event():
    settings = {"duration": 8.0, "fmax": 512.0, "injection": SIGNAL, "seed": 5}
    return simulate_event("precessing", "HLV", **settings)


@pytest.fixture(scope="module")
def around_aligned(event):
    """The likelihood around a waveform that fits as badly as one without precession."""
    fbin = fbin_from_pn_phase_tol(event, 0.1)
    return make_likelihood(event, "IMRPhenomXPHM", SIGNAL | ALIGNED, fbin)


@pytest.fixture(scope="module")
def refined(around_aligned):
    return refine_from_samples(around_aligned, [SIGNAL])


def best_exact(likelihood, par_dic):
    """Exact ln likelihood, maximised over distance."""
    h_f = likelihood._get_h_f(par_dic)
    d_h = likelihood._compute_d_h(h_f).real.sum()
    return d_h**2 / likelihood._compute_h_h(h_f).sum() / 2


class TestRefinedFromSamples:
    def test_fits_better_than_the_signal_itself(self, event, around_aligned, refined):
        fbin = fbin_from_pn_phase_tol(event, 0.1)
        around = make_likelihood(event, "IMRPhenomXPHM", refined.par_dic, fbin)
        around.asd_drift = around_aligned.asd_drift  # The climb keeps the noise level
        exact = best_exact(around, refined.par_dic)
        assert exact == pytest.approx(refined.lnlike, abs=0.05)
        assert exact > best_exact(around, SIGNAL) + 1

    @pytest.mark.slow
    def test_does_not_depend_on_the_sample(self, around_aligned, refined):
        other = refine_from_samples(around_aligned, [SIGNAL | CHANGED])
        assert other.lnlike == pytest.approx(refined.lnlike, abs=0.05)
        for name in ("m1", "m2", "iota", "s1x_n", "s1y_n"):
            assert other.par_dic[name] == pytest.approx(refined.par_dic[name], abs=0.02)

    def test_ends_once_the_highest_is_found_again(self, around_aligned, monkeypatch):
        tops = iter([3.0, 5.0, 4.995, 9.0])
        monkeypatch.setattr(
            sample_refinement,
            "climb_and_centre",
            lambda _, par_dic, *__: Refined(par_dic, next(tops), 0.0),
        )
        assert refine_from_samples(around_aligned, [SIGNAL] * 4).lnlike == 5.0
        assert next(tops) == 9.0


class TestSpinCoordinates:
    coordinates = SpinCoordinates(1126259462.4, "H")

    def test_there_and_back(self):
        place_k = self.coordinates.of(SIGNAL)
        assert len(place_k) == len(self.coordinates.steps_k) == 13
        again = self.coordinates.par_dic(place_k)
        assert again == pytest.approx({name: SIGNAL[name] for name in again})

    def test_no_spin_is_a_place_like_others(self):
        none = SIGNAL | dict.fromkeys((name for name in SIGNAL if name[0] == "s"), 0.0)
        again = self.coordinates.par_dic(self.coordinates.of(none))
        assert again == pytest.approx({name: none[name] for name in again})

    def test_bodies_are_exchanged_with_their_spins(self):
        place_k = self.coordinates.of(SIGNAL)
        place_k[1] *= -1
        exchanged = self.coordinates.par_dic(place_k)
        assert exchanged["m1"] == pytest.approx(SIGNAL["m1"])
        for axis in ("x_n", "y_n", "z"):
            assert exchanged[f"s1{axis}"] == pytest.approx(SIGNAL[f"s2{axis}"])
            assert exchanged[f"s2{axis}"] == pytest.approx(SIGNAL[f"s1{axis}"])

    def test_spins_stay_below_one_anywhere(self):
        rng = np.random.default_rng(1)
        start_k = self.coordinates.of(SIGNAL)
        for far_k in rng.normal(size=(50, 13)) * [0.3, 0.1, *[5.0] * 4, 0.01, *[4.0] * 6]:
            par_dic = self.coordinates.par_dic(start_k + far_k)
            for body in "12":
                spin = [par_dic[f"s{body}{axis}"] for axis in ("x_n", "y_n", "z")]
                assert np.linalg.norm(spin) <= 0.99 + 1e-12


def test_summaries_of_a_precessing_reference_are_precise(event):
    """Its own modes vanish at some frequencies; those that are binned with do not."""
    fbin = fbin_from_pn_phase_tol(event, 0.05)
    likelihood = make_likelihood(event, "IMRPhenomXPHM", SIGNAL, fbin)
    generator = _generator_for_summaries(likelihood, None)
    summary = _mode_summary(likelihood, event, generator, likelihood.asd_drift)
    aligned = make_likelihood(event, "IMRPhenomXPHM", SIGNAL | ALIGNED, fbin)
    np.testing.assert_array_equal(
        make_summary(likelihood).dh_weights_dmpb, make_summary(aligned).dh_weights_dmpb
    )
    for change in ({}, CHANGED, {"s1x_n": -0.4, "s1z": 0.5}, {"iota": 2.0, "psi": 0.1}):
        par_dic = SIGNAL | change
        exact = likelihood.lnlike_fft(par_dic)
        assert summary.lnlike(par_dic) == pytest.approx(exact, abs=0.03)


class TestArrival:
    def offset(self, peaks_dt, allowed=0.005):
        """Of a waveform that each detector hears at these times with these SNRs."""
        n, dt = 4096, 1 / 1024
        z_dt = np.zeros((len(peaks_dt), n))
        for z_t, peaks in zip(z_dt, peaks_dt, strict=True):
            for time, snr in peaks.items():
                z_t[round(time / dt) % n] = snr
        ones = np.ones(len(peaks_dt))
        likelihood = SimpleNamespace(
            event_data=SimpleNamespace(times=np.arange(n) * dt, nfft=n),
            par_dic_0={},
            asd_drift=ones,
            _get_h_f=lambda _: np.ones((len(peaks_dt), 1)),
            _compute_h_h=lambda _: ones,
            _matched_filter_timeseries=lambda _: (z_dt, 0 * z_dt),
        )
        return arrival_offset(likelihood, 0.1, allowed)

    def test_is_that_of_the_signal(self):
        assert self.offset([{0.03: 9.0}, {0.031: 8.0}]) == pytest.approx(0.03, abs=2e-3)

    def test_one_detector_that_peaks_elsewhere_does_not_move_it(self):
        """A waveform that fits badly, as one without precession may."""
        assert self.offset([{0.0: 12.0}, {0.016: 8.5, 0.001: 8.0}]) == 0.0

    def test_noise_moves_nothing(self):
        assert self.offset([{0.05: 4.0}, {-0.03: 4.5}]) == 0.0
