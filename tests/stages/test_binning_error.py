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
from dotpe_exec.stages.binning_error import (
    binning_differences,
    evidence_change,
    exact_lnlikes,
    reweighted,
)
from dotpe_exec.waveforms import dense

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


def assert_cogwheels(runner, likelihood, par_dics, precision=1e-9):
    expected = [likelihood.lnlike_fft(par_dic) for par_dic in par_dics]
    exact = exact_lnlikes(runner, likelihood, par_dics)
    np.testing.assert_allclose(exact, expected, rtol=precision, atol=precision)


class TestExactLikelihoods:
    def test_are_cogwheels_with_waveforms_shared_or_not(self, runner, event):
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
        monkeypatch.setattr(dense, "_BLOCK", 200)  # several parts
        heavy = PRECESSING | {"m1": 200.0, "m2": 150.0}
        assert_cogwheels(runner, cbc_likelihood(event), [heavy])

    def test_of_long_data_whose_waveforms_are_interpolated(self, runner):
        event = simulate_event("long", "HV", duration=64.0, fmax=512.0)
        far = PRECESSING | {"m1": 12.0}
        assert_cogwheels(runner, cbc_likelihood(event), [far], precision=1e-8)

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


class TestDifferences:
    def test_are_exact_minus_binned(self, runner, golden_posterior, samples):
        few = samples.sort_values("weights").tail(3)
        likelihood = golden_posterior.likelihood
        expected = [
            likelihood.lnlike_fft(dict(sample)) - sample["lnl"]
            for _, sample in few.iterrows()
        ]
        found = binning_differences(runner, likelihood, few)
        np.testing.assert_allclose(found, expected, atol=1e-8)

    def test_of_samples_drawn_twice_are_computed_once(
        self, runner, golden_posterior, samples, monkeypatch
    ):
        drawn = samples.iloc[[5, 2, 2, 7, 5]]
        lengths = []

        def counting(runner, likelihood, par_dics):
            lengths.append(len(par_dics))
            return exact_lnlikes(runner, likelihood, par_dics)

        monkeypatch.setattr(binning_error, "exact_lnlikes", counting)
        likelihood = golden_posterior.likelihood
        found = binning_differences(runner, likelihood, drawn)
        once = binning_differences(runner, likelihood, samples.iloc[[5, 2, 7]])
        np.testing.assert_array_equal(found, once[[0, 1, 1, 2, 0]])
        assert lengths == [3, 3]

    def test_are_the_known_ones_of_the_golden_case(self, runner, golden_posterior, samples):
        heavy = samples.nlargest(50, "weights")
        error = binning_error.binning_error(
            binning_differences(runner, golden_posterior.likelihood, heavy)
        )
        assert error["mean"] == pytest.approx(0.30, abs=0.02)
        assert error["mean"] < error["largest"] < 1
        assert error["ln_evidence_correction"] == pytest.approx(0.30, abs=0.02)

    def test_of_nothing_are_none(self, runner, golden_posterior, samples):
        nothing = samples.head(0)
        differences = binning_differences(runner, golden_posterior.likelihood, nothing)
        assert len(differences) == 0
        assert binning_error.binning_error(differences) is None


class TestEvidence:
    """Gaussian differences over a posterior: exp D has a known mean."""

    def test_change_and_its_error(self):
        rng = np.random.default_rng(1)
        changes, errors = [], []
        for _ in range(300):
            change = evidence_change(rng.normal(0.2, 0.3, 400))
            changes.append(change["ln_evidence_change"])
            errors.append(change["ln_evidence_change_error"])
        assert np.mean(changes) == pytest.approx(0.2 + 0.3**2 / 2, abs=0.003)
        assert np.mean(errors) == pytest.approx(np.std(changes), rel=0.1)

    def test_change_of_weighed_samples(self):
        rng = np.random.default_rng(1)
        changes, errors = [], []
        for _ in range(300):
            # Under weights exp(0.3 x), x has the mean 0.3.
            x = rng.normal(size=400)
            change = evidence_change(0.2 * x, 0.3 * x)
            changes.append(change["ln_evidence_change"])
            errors.append(change["ln_evidence_change_error"])
        assert np.mean(changes) == pytest.approx(0.2 * 0.3 + 0.2**2 / 2, abs=0.003)
        assert np.mean(errors) == pytest.approx(np.std(changes), rel=0.1)

    def test_first_order_correction_and_its_error(self):
        rng = np.random.default_rng(2)
        found = [binning_error.binning_error(rng.normal(0.2, 0.1, 50)) for _ in range(300)]
        corrections = [error["ln_evidence_correction"] for error in found]
        errors = [error["ln_evidence_correction_error"] for error in found]
        assert np.mean(corrections) == pytest.approx(0.2, abs=0.003)
        assert np.mean(errors) == pytest.approx(np.std(corrections), rel=0.1)

    def test_large_differences_are_warned_of(self):
        with pytest.warns(UserWarning, match="exact_likelihoods=True"):
            binning_error.binning_error(np.full(5, -0.6))

    def test_weights_follow_chunk_by_chunk(self):
        chunks = [
            {"lnl": np.array([1.0, 2.0]), "weights": np.ones(2)},
            {"lnl": np.array([3.0]), "weights": np.ones(1)},
        ]
        differences = np.log([1.0, 2.0, 3.0])
        exact = np.array([1.0, 2.0, 3.0]) + differences
        found = list(reweighted(chunks, differences, {"lnl_exact": exact}))
        weights = np.concatenate([chunk["weights"] for chunk in found])
        np.testing.assert_allclose(weights, [0.5, 1.0, 1.5])
        written = np.concatenate([chunk["lnl_exact"] for chunk in found])
        np.testing.assert_array_equal(written, exact)


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
