"""Chi-squared of a waveform in each detector: Gaussian noise, glitches, whole runs."""

from __future__ import annotations

import tempfile

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from dotpe_exec import load
from dotpe_exec.events import simulate_event
from dotpe_exec.executors.phases import PhaseRunner
from dotpe_exec.executors.store import ArrayStore
from dotpe_exec.stages.goodness_of_fit import N_BANDS, goodness_of_fit
from dotpe_exec.verdict import LIMITED, judge
from dotpe_exec.waveforms import dense

SIGNAL = {
    "m1": 36.0, "m2": 24.0, "ra": 1.0, "dec": 0.3, "iota": 0.8, "psi": 0.2, "phi_ref": 0.7,
    "s1x_n": 0.3, "s1y_n": -0.2, "s1z": 0.3, "s2x_n": 0.1, "s2y_n": 0.4, "s2z": 0.1,
    "l1": 0.0, "l2": 0.0, "f_ref": 50.0, "d_luminosity": 700.0, "t_geocenter": 0.013,
}  # fmt: skip
SAMPLE = pd.DataFrame([SIGNAL])


@pytest.fixture(scope="module")
def runner():
    with tempfile.TemporaryDirectory() as folder, PhaseRunner(ArrayStore(folder)) as runner:
        yield runner


def likelihood_of(event, approximant="IMRPhenomXPHM"):
    from cogwheel.likelihood import CBCLikelihood
    from cogwheel.waveform import WaveformGenerator

    likelihood = CBCLikelihood(event, WaveformGenerator.from_event_data(event, approximant))
    likelihood.asd_drift = np.ones(len(event.detector_names))
    return likelihood


def with_strain(event, strain_df):
    """The event with other data."""
    return type(event)(
        event.eventname, event.frequencies, strain_df, event.wht_filter,
        event.detector_names, event.tgps, event.tcoarse,
    )  # fmt: skip


def unwhitened(event, whitened_df):
    """Strain from whitened strain."""
    strain_df = np.zeros_like(event.strain)
    used = event.wht_filter > 0
    strain_df[used] = whitened_df[used] / event.wht_filter[used]
    return strain_df


@pytest.fixture(scope="module")
def event():
    return simulate_event("two", "HL", duration=4.0, fmax=512.0, injection=SIGNAL)


@pytest.fixture(scope="module")
def glitched(event):
    """The same data with a burst in L, at the time of the signal."""
    moments = event.times - event.tcoarse - SIGNAL["t_geocenter"]
    burst = np.exp(-((moments / 0.02) ** 2)) * np.sin(2 * np.pi * 120 * moments)
    whitened_df = np.fft.rfft([0 * burst, burst]) * (event.wht_filter > 0)
    norm = np.sqrt(4 * event.df * np.sum(np.abs(whitened_df) ** 2))
    return with_strain(event, event.strain + 12 * unwhitened(event, whitened_df) / norm)


def test_gaussian_noise_has_the_distribution_of_chi_squared(runner, event):
    likelihood = likelihood_of(event)
    signal_df = likelihood._get_h_f(SIGNAL)
    rng = np.random.default_rng(3)
    deviation = 0.5 / np.sqrt(event.df)  # of both parts of whitened strain
    p_values, snrs = [], []
    for _ in range(200):
        real_df, imaginary_df = rng.normal(scale=deviation, size=(2, *event.strain.shape))
        noise_df = unwhitened(event, real_df + 1j * imaginary_df)
        likelihood.event_data = with_strain(event, noise_df + signal_df)
        fit = goodness_of_fit(runner, likelihood, SAMPLE)
        assert fit["H"]["n_degrees_of_freedom"] == 2 * N_BANDS - 2
        p_values += [fit[name]["p_value"] for name in "HL"]
        snrs.append([fit[name]["snr"] for name in "HL"])
    assert stats.kstest(p_values, "uniform").pvalue > 0.01
    optimal_d = np.sqrt(likelihood._compute_h_h(signal_df))
    np.testing.assert_allclose(np.mean(snrs, axis=0), optimal_d, atol=0.3)


def test_a_glitch_is_found_where_it_is(runner, event, glitched):
    clean = goodness_of_fit(runner, likelihood_of(event), SAMPLE)
    fit = goodness_of_fit(runner, likelihood_of(glitched), SAMPLE)
    assert fit["H"] == clean["H"]
    assert clean["L"]["p_value"] > 0.01
    assert fit["L"]["p_value"] < 1e-6
    verdict = judge({"goodness_of_fit": fit})
    (finding,) = verdict.findings
    assert (verdict.status, finding.key) == (LIMITED, "goodness_of_fit_L")
    assert "The data of L do not fit the waveform" in finding.title
    assert judge({"goodness_of_fit": clean}).findings == ()


def test_noise_that_is_louder_than_its_spectrum_is_accounted_for(runner, event):
    likelihood = likelihood_of(event)
    expected = goodness_of_fit(runner, likelihood, SAMPLE)
    likelihood.event_data = with_strain(event, 1.3 * event.strain)
    likelihood.asd_drift = np.array([1.3, 1.3])
    fit = goodness_of_fit(runner, likelihood, SAMPLE)
    for name in "HL":
        assert fit[name] == pytest.approx(expected[name])


def test_parts_of_the_grid_add_up(runner, event, monkeypatch):
    likelihood = likelihood_of(event)
    whole = goodness_of_fit(runner, likelihood, SAMPLE)
    monkeypatch.setattr(dense, "_BLOCK", 300)
    parts = goodness_of_fit(runner, likelihood, SAMPLE)
    for name in "HL":
        assert parts[name] == pytest.approx(whole[name], rel=1e-9)


def test_waveforms_that_are_not_lalsimulations_give_the_same(runner, event, monkeypatch):
    from dotpe_exec import cogwheel_bridge

    likelihood = likelihood_of(event)
    expected = goodness_of_fit(runner, likelihood, SAMPLE)
    monkeypatch.setattr(cogwheel_bridge, "lal_source", lambda *_: None)
    fit = goodness_of_fit(runner, likelihood, SAMPLE)
    for name in "HL":
        assert fit[name] == pytest.approx(expected[name], rel=1e-9)


def test_without_samples_there_is_none(runner, event):
    assert goodness_of_fit(runner, likelihood_of(event), SAMPLE.iloc[:0]) is None


def test_runs_say_how_well_the_best_sample_fits(finished):
    fits = load(finished).summary["goodness_of_fit"]
    assert set(fits) == {"H", "L", "V"}
    for fit in fits.values():
        assert fit["n_degrees_of_freedom"] == 2 * fit["n_bands"] - 2 > 20
        assert 1e-3 < fit["p_value"] <= 1
    network = np.sqrt(sum(fit["snr"] ** 2 for fit in fits.values()))
    best = load(finished).summary["bestfit_lnlike_max"]
    assert network**2 / 2 == pytest.approx(best, rel=0.2)
