"""Exact likelihoods, and what relative binning makes of them."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from dotpe_exec.events import load_event, simulate_event
from dotpe_exec.executors.phases import PhaseRunner
from dotpe_exec.executors.store import ArrayStore
from dotpe_exec.stages import binning_error
from dotpe_exec.stages.binning_error import exact_lnlikes, relative_binning_error

PRECESSING = {
    "m1": 36.0, "m2": 24.0, "ra": 1.0, "dec": 0.3, "iota": 0.8, "psi": 0.2, "phi_ref": 0.7,
    "s1x_n": 0.3, "s1y_n": -0.2, "s1z": 0.3, "s2x_n": 0.1, "s2y_n": 0.4, "s2z": 0.1,
    "l1": 0.0, "l2": 0.0, "f_ref": 50.0, "d_luminosity": 700.0, "t_geocenter": 0.013,
}  # fmt: skip


@pytest.fixture(scope="module")
def runner():
    with tempfile.TemporaryDirectory() as folder, PhaseRunner(ArrayStore(folder)) as runner:
        yield runner


@pytest.fixture(scope="module")
def event():
    return simulate_event("two", "HL", duration=4.0, fmax=512.0, injection=PRECESSING)


@pytest.fixture(scope="module")
def golden_posterior(golden):
    from dotpe_exec.cogwheel_bridge import make_likelihood

    par_dic_0 = json.loads((golden / "reference" / "par_dic_0.json").read_text())
    with np.load(golden / "reference" / "arrays.npz") as arrays:
        fbin = arrays["fbin"]
    event = load_event(golden / "event.npz")
    return SimpleNamespace(
        likelihood=make_likelihood(event, "IMRPhenomXPHM", par_dic_0, fbin)
    )


@pytest.fixture(scope="module")
def samples(golden):
    return pd.read_feather(golden / "reference" / "samples_above_cut.feather")


def cbc_likelihood(event, approximant="IMRPhenomXPHM", **kwargs):
    from cogwheel.likelihood import CBCLikelihood
    from cogwheel.waveform import WaveformGenerator

    likelihood = CBCLikelihood(
        event, WaveformGenerator.from_event_data(event, approximant, **kwargs)
    )
    likelihood.asd_drift = np.linspace(0.9, 1.1, len(event.detector_names))
    return likelihood


def assert_cogwheels(runner, likelihood, par_dics):
    expected = [likelihood.lnlike_fft(par_dic) for par_dic in par_dics]
    exact = exact_lnlikes(runner, likelihood, par_dics)
    np.testing.assert_allclose(exact, expected, rtol=1e-9, atol=1e-9)


class TestExactLikelihoods:
    def test_are_cogwheels_with_waveforms_shared_or_not(self, runner, event, monkeypatch):
        monkeypatch.setattr(binning_error, "N_FREQUENCIES", 700)  # several tasks
        par_dics = [
            PRECESSING,
            PRECESSING | {"m1": 37.0, "s1x_n": -0.1},
            PRECESSING | {"ra": 2.0, "dec": -0.4, "psi": 1.1, "phi_ref": 4.0},
            PRECESSING | {"t_geocenter": -0.01, "d_luminosity": 300.0},
        ]
        assert_cogwheels(runner, cbc_likelihood(event), par_dics)

    @pytest.mark.parametrize(
        ("approximant", "changes"),
        [
            ("IMRPhenomXAS", {}),
            ("IMRPhenomD", {}),
            ("IMRPhenomXP", {"s1x_n": 0.3, "s2y_n": 0.2}),
            ("IMRPhenomD_NRTidalv2", {"m1": 1.7, "m2": 1.4, "l1": 400.0, "l2": 600.0}),
        ],
    )
    def test_of_any_approximant_of_lalsimulation(self, runner, event, approximant, changes):
        in_plane = dict.fromkeys(("s1x_n", "s1y_n", "s2x_n", "s2y_n"), 0.0)
        likelihood = cbc_likelihood(event, approximant)
        assert_cogwheels(runner, likelihood, [PRECESSING | in_plane | changes])

    def test_honour_the_options_of_the_waveform_generator(self, runner, event):
        from cogwheel.waveform import FORCE_NNLO_ANGLES

        plain = exact_lnlikes(runner, cbc_likelihood(event), [PRECESSING])
        for options in (
            {"harmonic_modes": [(3, 3), (2, 2)]},
            {"lalsimulation_commands": FORCE_NNLO_ANGLES},
            {"disable_precession": True},
        ):
            likelihood = cbc_likelihood(event, **options)
            # A copy: where precession is disabled, cogwheel changes what it is given.
            assert_cogwheels(runner, likelihood, [dict(PRECESSING)])
            assert abs(exact_lnlikes(runner, likelihood, [PRECESSING]) - plain) > 1e-3

    def test_of_waveforms_that_end_well_below_the_highest_frequency(
        self, runner, event, monkeypatch
    ):
        monkeypatch.setattr(binning_error, "N_FREQUENCIES", 200)
        heavy = PRECESSING | {"m1": 200.0, "m2": 150.0}
        assert_cogwheels(runner, cbc_likelihood(event), [heavy])

    def test_of_data_from_zero_frequency_on(self, runner):
        event = simulate_event("low", "H", duration=4.0, fmax=256.0, injection=PRECESSING)
        event.fslice = slice(0, event.fslice.stop)
        assert_cogwheels(runner, cbc_likelihood(event), [PRECESSING])

    def test_of_a_likelihood_with_its_own_are_its_own(self, runner, event):
        from cogwheel.likelihood import CBCLikelihood

        class Own(CBCLikelihood):
            def lnlike_fft(self, par_dic):
                return par_dic["m1"]

        likelihood = Own(event, cbc_likelihood(event).waveform_generator)
        assert exact_lnlikes(runner, likelihood, [PRECESSING]) == [36.0]


class TestRelativeBinningError:
    def test_is_the_known_one_of_the_golden_case(self, runner, golden_posterior, samples):
        mean, largest = relative_binning_error(runner, golden_posterior, samples)
        assert mean == pytest.approx(0.30, abs=0.02)
        assert mean < largest < 1

    def test_is_that_of_the_heaviest(self, runner, golden_posterior, samples):
        heaviest = samples.sort_values("weights").iloc[-1]
        exact = golden_posterior.likelihood.lnlike_fft(dict(heaviest))
        mean, largest = relative_binning_error(runner, golden_posterior, samples, 1)
        assert mean == largest == pytest.approx(abs(exact - heaviest["lnl"]))

    def test_counts_a_sample_drawn_twice_once(self, runner, golden_posterior, samples):
        few = samples.head(3).assign(weights=1.0)
        drawn = few.iloc[[0, 1, 1, 1, 2]]
        assert relative_binning_error(runner, golden_posterior, drawn) == pytest.approx(
            relative_binning_error(runner, golden_posterior, few)
        )
        assert relative_binning_error(runner, golden_posterior, drawn, 1) == pytest.approx(
            relative_binning_error(runner, golden_posterior, few.iloc[[1]])
        )

    def test_is_nothing_without_samples(self, runner, golden_posterior, samples):
        nothing = samples.head(0)
        assert relative_binning_error(runner, golden_posterior, nothing) is None


def test_workers_generate_waveforms_without_cogwheel():
    """LALSimulation alone: what the workers import is what a task costs them."""
    code = (
        "import sys, numpy as np\n"
        "from dotpe_exec.waveforms.direct import Source, generate_modes\n"
        f"source = Source('IMRPhenomXPHM', ((2, 2), (3, 3)), (), {PRECESSING!r})\n"
        "h_mpf = generate_modes(np.arange(20.0, 300.0), source)\n"
        "assert h_mpf.shape == (2, 2, 280) and np.all(h_mpf != 0)\n"
        "print([m for m in ('cogwheel', 'pandas', 'matplotlib') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
