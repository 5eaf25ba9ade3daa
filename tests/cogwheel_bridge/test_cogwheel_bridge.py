"""What goes to cogwheel and comes back: summaries, their operator, the search's parts."""

from __future__ import annotations

import json
import logging
import sys
import threading

import numpy as np
import pytest
from cogwheel import gw_utils, waveform
from cogwheel.likelihood import ReferenceWaveformFinder, RelativeBinningLikelihood

from dotpe_exec.cogwheel_bridge import (
    check_par_dic,
    make_incoherent_summary,
    make_likelihood,
    make_summary,
    prints_logged,
    single_detector_event,
)
from dotpe_exec.cogwheel_bridge.finder import FastReferenceWaveformFinder
from dotpe_exec.cogwheel_bridge.likelihood import FastRelativeBinningLikelihood
from dotpe_exec.cogwheel_bridge.local_search import PhaseMaximizedLikelihood
from dotpe_exec.cogwheel_bridge.mode_summary import ModeSummary
from dotpe_exec.errors import InputError
from dotpe_exec.events import fbin_from_pn_phase_tol, load_event, simulate_event

APPROXIMANT = "IMRPhenomXPHM"


@pytest.fixture(scope="module")
def reference_arrays(golden):
    with np.load(golden / "reference" / "arrays.npz") as archive:
        return dict(archive)


@pytest.fixture(scope="module")
def likelihood(golden, reference_arrays):
    """The likelihood of the golden case."""
    par_dic_0 = json.loads((golden / "reference" / "par_dic_0.json").read_text())
    event = load_event(golden / "event.npz")
    return make_likelihood(event, APPROXIMANT, par_dic_0, reference_arrays["fbin"])


@pytest.fixture(scope="module")
def summary(likelihood):
    return make_summary(likelihood)


@pytest.fixture(scope="module")
def incoherent(likelihood):
    return make_incoherent_summary(likelihood, 64)


@pytest.fixture(scope="module")
def finders():
    """Ours and cogwheel's on the same event, around the same waveform."""
    signal = {
        "m1": 30.0, "m2": 20.0, "ra": 1.0, "dec": 0.3, "iota": 0.8, "psi": 0.2,
        "phi_ref": 0.7, "s1z": 0.3, "s2z": 0.1, "f_ref": 50.0, "d_luminosity": 700.0,
        "t_geocenter": 0.013,
    }  # fmt: skip
    event = simulate_event("parts", "HL", duration=8.0, fmax=512.0, injection=signal)
    par_dic_0 = check_par_dic(signal | {"t_geocenter": 0.0, "iota": 1.0}, "signal")

    def make(cls):
        generator = waveform.WaveformGenerator.from_event_data(
            event,
            APPROXIMANT,
            harmonic_modes=[(2, 2)],
            lalsimulation_commands=waveform.FORCE_NNLO_ANGLES,
        )
        kwargs = {"pn_phase_tol": 0.05, "time_range": (-0.1, 0.1)}
        return cls(event, generator, dict(par_dic_0), **kwargs)

    return make(FastReferenceWaveformFinder), make(ReferenceWaveformFinder)


def mode_summary(likelihood):
    generator = likelihood.waveform_generator.reinstantiate(n_cached_waveforms=4)
    return ModeSummary(
        likelihood.event_data, generator, likelihood.par_dic_0, fbin=likelihood.fbin
    )


class TestGoldenSummaries:
    def test_weights_of_all_detectors(self, summary, reference_arrays):
        for name, weights in (
            ("dh_weights_dmpb", summary.dh_weights_dmpb),
            ("hh_weights_dmppb", summary.hh_weights_dmppb),
        ):
            np.testing.assert_allclose(weights, reference_arrays[name], rtol=1e-10)

    def test_drift_bins_and_modes(self, summary, reference_arrays):
        np.testing.assert_allclose(summary.asd_drift_d, reference_arrays["asd_drift"])
        np.testing.assert_array_equal(summary.fbin_b, reference_arrays["fbin"])
        np.testing.assert_array_equal(summary.m_arr, reference_arrays["m_arr"])

    @pytest.mark.parametrize(("d", "name"), list(enumerate("HLV")))
    def test_weights_of_each_detector_alone(self, incoherent, reference_arrays, d, name):
        np.testing.assert_allclose(
            incoherent.summary.dh_weights_dmpb[d],
            reference_arrays[f"single_{name}_dh_weights_mpb"],
            rtol=1e-10,
        )
        np.testing.assert_allclose(
            incoherent.summary.hh_weights_dmppb[d],
            reference_arrays[f"single_{name}_hh_weights_mppb"],
            rtol=1e-10,
        )

    @pytest.mark.parametrize(("d", "name"), list(enumerate("HLV")))
    def test_time_grids(self, incoherent, reference_arrays, d, name):
        np.testing.assert_allclose(
            incoherent.times_dt[d], reference_arrays[f"single_{name}_t_grid"], atol=1e-9
        )

    @pytest.mark.parametrize("bank", [0, 1])
    def test_line_fit_moves_waveforms_as_published(
        self, golden, summary, reference_arrays, bank
    ):
        fit, block = summary.line_fit, "block_0.npy"
        waveforms = golden / f"bank_{bank}" / "waveforms"
        amplitude_ib = np.load(waveforms / f"amplitudes_{block}")[:, fit.m2_index, 0]
        phase_ib = np.load(waveforms / f"phase_{block}")[:, fit.m2_index, 0]
        ratio_ib = amplitude_ib * np.exp(1j * phase_ib) / fit.h2plus0_b
        for i, ratio_b in enumerate(ratio_ib):
            slope, _ = np.polyfit(
                fit.fbin_b,
                np.unwrap(np.angle(ratio_b)),
                1,
                w=fit.weights_b * np.sqrt(np.abs(ratio_b)),
            )
            expected = reference_arrays[f"bank_{bank}_dt_linfree"][i]
            assert -slope / (2 * np.pi) == pytest.approx(expected, abs=1e-9)

    def test_line_fit_of_the_incoherent_stage_is_the_first_detectors(
        self, likelihood, incoherent
    ):
        first = single_detector_event(likelihood.event_data, 0)
        alone = make_likelihood(first, APPROXIMANT, likelihood.par_dic_0, likelihood.fbin)
        expected = make_summary(alone).line_fit
        fit = incoherent.summary.line_fit
        np.testing.assert_allclose(fit.weights_b, expected.weights_b, rtol=1e-10)
        np.testing.assert_allclose(fit.h2plus0_b, expected.h2plus0_b, rtol=1e-10)


class TestOperator:
    @pytest.mark.parametrize("spline_degree", [1, 2, 3, 4])
    @pytest.mark.parametrize("fmax", [512.0, 490.0])
    def test_weights_are_those_of_cogwheel(self, likelihood, spline_degree, fmax):
        fbin = likelihood.fbin[likelihood.fbin <= fmax]
        event, generator = likelihood.event_data, likelihood.waveform_generator
        # Heavy enough to have ended below the last bin.
        arguments = (event, generator, likelihood.par_dic_0 | {"m1": 70.0, "m2": 60.0})
        kwargs = {"fbin": fbin, "spline_degree": spline_degree}
        fast = FastRelativeBinningLikelihood(*arguments, **kwargs)
        slow = RelativeBinningLikelihood(*arguments, **kwargs)
        rng = np.random.default_rng(0)
        shape = (2, len(likelihood.event_data.frequencies))
        integrand = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
        expected = slow._get_summary_weights(integrand)
        weights, scale = fast._get_summary_weights(integrand), np.abs(expected).max()
        np.testing.assert_allclose(weights, expected, atol=1e-11 * scale)

    @pytest.mark.parametrize("time", [0.0, 4.0])
    @pytest.mark.parametrize("n_rows", [(), (2, 3)])
    def test_ringdown_is_stalled_as_cogwheel_does(self, likelihood, n_rows, time):
        event, generator = likelihood.event_data, likelihood.waveform_generator
        fast = FastRelativeBinningLikelihood(
            event, generator, likelihood.par_dic_0, fbin=likelihood.fbin
        )
        rng, n_f = np.random.default_rng(1), len(event.frequencies)
        decay_f = np.exp(-event.frequencies / rng.uniform(50, 300, (*n_rows, 1)))
        h_f = decay_f * np.exp(1j * rng.uniform(0, 6, (*n_rows, n_f)))
        h_b = np.array(h_f[..., np.searchsorted(event.frequencies, likelihood.fbin)])
        advance_f, advance_b = (
            np.exp(2j * np.pi * f * time) for f in (event.frequencies, likelihood.fbin)
        )
        expected_f, expected_b = h_f * advance_f, h_b * advance_b
        likelihood._stall_ringdown(expected_f, expected_b)
        fast._stall_ringdown(h_f, h_b, time)
        scale = np.abs(h_f).max()
        np.testing.assert_allclose(h_f * advance_f, expected_f, atol=1e-11 * scale)
        np.testing.assert_allclose(h_b * advance_b, expected_b, atol=1e-11 * scale)

    def test_plain_likelihood_is_cogwheels_own(self, likelihood):
        assert type(likelihood) is RelativeBinningLikelihood
        slow = likelihood.reinstantiate()
        par_dic = likelihood.par_dic_0 | {"psi": 0.3, "m1": 41.0}
        assert likelihood.lnlike(par_dic) == pytest.approx(slow.lnlike(par_dic), abs=1e-8)
        # Its splines are there for those who change the reference waveform.
        likelihood.par_dic_0 = dict(likelihood.par_dic_0)
        assert likelihood.lnlike(par_dic) == pytest.approx(slow.lnlike(par_dic), abs=1e-8)


class TestModeSummary:
    def test_drift_of_a_detector_is_the_one_it_has_alone(self, likelihood):
        event = likelihood.event_data
        for i_det, drift in enumerate(likelihood.asd_drift):
            single = single_detector_event(event, i_det)
            generator = likelihood.waveform_generator.reinstantiate(
                detector_names=single.detector_names
            )
            alone = ModeSummary(
                single, generator, likelihood.par_dic_0, fbin=likelihood.fbin
            )
            np.testing.assert_allclose(alone.asd_drift, [drift], rtol=1e-12)

    def test_reproduces_the_exact_likelihood(self, likelihood):
        binned = mode_summary(likelihood)
        for change in (
            {},
            {"psi": 0.4, "phi_ref": 2.0},
            {"m1": 40.5, "d_luminosity": 1500.0},
        ):
            par_dic = likelihood.par_dic_0 | change
            exact = likelihood.lnlike_fft(par_dic)
            assert binned.lnlike(par_dic) == pytest.approx(exact, abs=0.5)

    def test_vanishing_mode_of_the_reference_is_refused(self, likelihood):
        par_dic_0 = likelihood.par_dic_0 | {"iota": 0.0}
        event = likelihood.event_data
        face_on = make_likelihood(event, "IMRPhenomXPHM", par_dic_0, likelihood.fbin)
        with pytest.raises(InputError, match="mode m = "):
            make_summary(face_on)

    def test_one_mode_and_two_detectors(self):
        event = load_event("GW150914")
        par_dic_0 = {
            "m1": 39.0, "m2": 34.0, "s1z": 0.0, "s2z": 0.0, "iota": 2.1, "phi_ref": 0.0,
            "ra": 1.6, "dec": -1.2, "t_geocenter": 0.01, "f_ref": 50.0,
            "d_luminosity": 400.0,
        }  # fmt: skip
        fbin = fbin_from_pn_phase_tol(event, 0.2)
        xas = make_likelihood(event, "IMRPhenomXAS", par_dic_0, fbin)
        summary = make_summary(xas)
        assert summary.dh_weights_dmpb.shape == (2, 1, 2, len(fbin))
        assert summary.hh_weights_dmppb.shape == (2, 1, 2, 2, len(fbin))
        assert make_incoherent_summary(xas, 7).times_dt.shape == (2, 7)

    def test_bank_modes_decide_the_order(self, likelihood, summary):
        modes = [(3, 3), (2, 2)]
        swapped = make_summary(likelihood, harmonic_modes=modes)
        np.testing.assert_array_equal(swapped.m_arr, [3, 2])
        assert swapped.line_fit.m2_index == 1
        np.testing.assert_allclose(
            swapped.dh_weights_dmpb[:, 0], summary.dh_weights_dmpb[:, 2], rtol=1e-9
        )

    def test_times_need_a_positive_number(self, likelihood):
        with pytest.raises(InputError, match="n_t"):
            make_incoherent_summary(likelihood, 0)


def test_bins_that_leave_out_the_signal_are_refused(likelihood):
    event, par_dic_0 = likelihood.event_data, likelihood.par_dic_0
    fbin = likelihood.fbin[likelihood.fbin < 100]
    with pytest.raises(InputError, match="99% of its signal"):
        make_likelihood(event, APPROXIMANT, par_dic_0, fbin)


class TestSearchParts:
    def test_time_series_is_that_of_cogwheel(self, finders):
        series = [
            np.abs(finder._matched_filter_timeseries_rb(finder.par_dic_0))
            for finder in finders
        ]
        np.testing.assert_allclose(series[0], series[1], atol=2e-3 * series[1].max())

    def test_incoherent_likelihoods_are_those_of_cogwheel(self, finders):
        ours, theirs = finders
        rng = np.random.default_rng(1)
        points = rng.uniform([18, 0.1, -0.5], [24, 0.24, 0.6], (20, 3))
        expected = [theirs._lnlike_incoherent(*point) for point in points]
        np.testing.assert_allclose(ours.lnlike_incoherent(points.T), expected, rtol=3e-3)

    def test_inplane_spins_of_a_given_reference_do_not_disturb(self, finders):
        ours, _ = finders
        points = np.array([[20.0, 0.2, 0.9], [21.0, 0.24, -0.95]])
        aligned = ours.lnlike_incoherent(points.T)
        before = ours.par_dic_0
        try:
            ours.par_dic_0 = before | {"s1x_n": 0.6, "s2y_n": -0.7}
            precessing = ours.lnlike_incoherent(points.T)
        finally:
            ours.par_dic_0 = before
        # Binned relative to another waveform.
        np.testing.assert_allclose(precessing, aligned, rtol=0.1)

    def test_phase_and_distance_maximise_the_likelihood(self, finders):
        ours, _ = finders
        generator = waveform.WaveformGenerator.from_event_data(ours.event_data, APPROXIMANT)
        likelihood = PhaseMaximizedLikelihood(
            ours.event_data, generator, dict(ours.par_dic_0), fbin=ours.fbin
        )
        # Another place with the same waveform, and another waveform in the same place.
        for change in ({"ra": 1.1, "dec": 0.2, "t_geocenter": 0.0129}, {"m1": 30.5}, {}):
            par_dic = ours.par_dic_0 | {"t_geocenter": 0.013} | change
            lnlike, best = likelihood.maximize_phase_and_distance(par_dic)
            assert lnlike > 0
            assert likelihood.lnlike(par_dic | best) == pytest.approx(lnlike, abs=1e-6)
        rng = np.random.default_rng(2)
        for phi_ref, factor in zip(
            rng.uniform(0, 2 * np.pi, 50), rng.uniform(0.8, 1.25, 50), strict=True
        ):
            other = {"phi_ref": phi_ref, "d_luminosity": best["d_luminosity"] * factor}
            assert likelihood.lnlike(par_dic | other) <= lnlike + 1e-3

    def test_chirp_mass_range_is_that_of_cogwheel(self, finders):
        for finder in finders:
            finder._mchirp_range = None
            finder.par_dic_0 = finder.par_dic_0 | {"t_geocenter": 0.0}
            with prints_logged():
                finder.set_mchirp_range()
        ours, theirs = finders
        np.testing.assert_allclose(ours.mchirp_range, theirs.mchirp_range, rtol=1e-3)
        mchirp = gw_utils.m1m2_to_mchirp(30.0, 20.0)
        assert ours.mchirp_range[0] < mchirp < ours.mchirp_range[1]


class TestParameters:
    def test_absent_tides_and_inplane_spins_are_zero(self, likelihood):
        par_dic = {
            key: value
            for key, value in likelihood.par_dic_0.items()
            if key not in {"l1", "l2", "s1x_n", "s1y_n", "s2x_n", "s2y_n"}
        }
        assert check_par_dic(par_dic | {"tgps": 0.0}, "par_dic_0") == likelihood.par_dic_0

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"m1": np.nan}, "m1 is nan"),
            ({"iota": "face-on"}, "iota must be a number"),
            ({"m2": -1.0}, "m2 must be positive"),
            ({"iota": 4.0}, "physical bounds"),
            ({"s1z": 1.5}, "physical bounds"),
        ],
    )
    def test_unphysical_values_are_refused(self, likelihood, change, message):
        with pytest.raises(InputError, match=message):
            check_par_dic(likelihood.par_dic_0 | change, "par_dic_0")


def test_prints_of_cogwheel_become_log_records_and_those_of_others_stay(caplog, capsys):
    """Also in other threads, whose standard output is the same object throughout."""
    from cogwheel import data

    stdout = sys.stdout
    with caplog.at_level(logging.DEBUG, "dotpe_exec.cogwheel"), prints_logged():
        vars(data)["print"]("two\nlines")
        vars(data)["print"]("no newline", end="")
        print("the caller's")
        other = threading.Thread(target=vars(data)["print"], args=("another thread's",))
        other.start()
        other.join()
        assert sys.stdout is stdout
    vars(data)["print"]("as ever")
    assert [record.message for record in caplog.records] == ["two", "lines", "no newline"]
    assert capsys.readouterr().out == "the caller's\nanother thread's\nas ever\n"
