"""The noise level near the event: how it is given, its error, what it moves."""

from __future__ import annotations

from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest

from dotpe_exec.cogwheel_bridge import asd_drift_error, make_likelihood
from dotpe_exec.errors import InputError
from dotpe_exec.events import fbin_from_pn_phase_tol, simulate_event
from dotpe_exec.stages.noise_drift import (
    drift_by_detector,
    drift_differences,
    drift_summary,
)
from dotpe_exec.stages.reference import find_reference

PAR_DIC = {
    "m1": 36.0, "m2": 24.0, "ra": 1.0, "dec": 0.3, "iota": 0.8, "psi": 0.2, "phi_ref": 0.7,
    "s1z": 0.3, "s2z": 0.1, "f_ref": 50.0, "d_luminosity": 700.0, "t_geocenter": 0.013,
}  # fmt: skip


def simulated(duration=32.0, seed=2):
    return simulate_event(
        "drift", "HL", duration=duration, fmax=512.0, injection=PAR_DIC, seed=seed
    )


@pytest.fixture(scope="module")
def event():
    return simulated()


@pytest.fixture(scope="module")
def likelihood(event):
    return make_likelihood(
        event, "IMRPhenomXPHM", PAR_DIC, fbin_from_pn_phase_tol(event, 0.2)
    )


class TestGiven:
    @pytest.mark.parametrize(
        "given", [1.02, [1.02, 1.02], (1.02, 1.02), {"L": 1.02, "H": 1.02}]
    )
    def test_in_any_form(self, given):
        np.testing.assert_array_equal(drift_by_detector(given, "HL"), [1.02, 1.02])

    def test_order_is_the_events(self):
        given = {"L": 0.98, "H": 1.02}
        np.testing.assert_array_equal(drift_by_detector(given, ("H", "L")), [1.02, 0.98])

    def test_none_is_estimated(self):
        assert drift_by_detector(None, "HL") is None

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ("1", "expected a number"),
            (True, "expected a number"),
            ([1.0], "1 numbers, expected one for each"),
            ({"H": 1.0}, "has the detectors H, expected the event's: H, L"),
            ({"H": 1.0, "V": 1.0}, "expected the event's: H, L"),
            ([1.0, 0.0], "asd_drift of L is 0.0"),
            ([np.nan, 1.0], "asd_drift of H is nan"),
            ([1.0, None], "asd_drift of L is None"),
        ],
    )
    def test_nonsense_is_refused(self, given, message):
        with pytest.raises(InputError, match=message):
            drift_by_detector(given, "HL")

    def test_is_what_the_likelihoods_use(self, event):
        config = SimpleNamespace(
            approximant="IMRPhenomXPHM",
            f_ref=50.0,
            fbin=fbin_from_pn_phase_tol(event, 0.2),
            harmonic_modes=[(2, 2), (2, 1), (3, 3), (3, 2), (4, 4)],
        )
        given_d = np.array([1.02, 0.97])
        reference = find_reference(
            event, config, n_t=64, par_dic_0=PAR_DIC, asd_drift=given_d
        )
        for asd_drift in (
            reference.posterior.likelihood.asd_drift,
            reference.summary.asd_drift_d,
            reference.incoherent.summary.asd_drift_d,
        ):
            np.testing.assert_array_equal(asd_drift, given_d)
        assert reference.asd_drift_error_d is None


class TestError:
    def test_is_half_the_tolerance_where_data_suffice(self, likelihood):
        relative_d = asd_drift_error(likelihood) / likelihood.asd_drift
        np.testing.assert_allclose(relative_d, 0.01, rtol=1e-3)

    def test_is_the_scatter_over_noise(self):
        """With as many times as there are, so that few realisations tell."""
        drifts, errors = [], []
        for seed in range(30):
            event = simulate_event("noise", "HL", duration=8.0, fmax=512.0, seed=seed)
            fbin = fbin_from_pn_phase_tol(event, 0.3)
            likelihood = make_likelihood(event, "IMRPhenomXAS", PAR_DIC, fbin)
            drifts.append(likelihood.asd_drift)
            errors.append(asd_drift_error(likelihood))
        assert np.mean(errors) > 0.012  # more than with longer data
        # 60 values: their scatter is known to 9%.
        assert np.std(drifts) == pytest.approx(np.mean(errors), rel=0.4)


class TestSensitivity:
    def test_is_the_derivative_of_ln_evidence(self, likelihood):
        """Of an evidence that is a sum over few samples, by differences."""
        params = list(likelihood.params)
        base = dict.fromkeys(params, 0.0) | PAR_DIC
        samples = [base | {"d_luminosity": d} for d in (650.0, 720.0, 800.0, 800.0)]
        frame = pd.DataFrame(samples)[params]
        lnlikes_sd = np.array(
            [likelihood.lnlike_detectors_no_asd_drift(sample) for sample in samples]
        )
        drift_d = likelihood.asd_drift

        def ln_evidence(ln_factor_d):
            # The frame's rows are draws: weights are those at this drift.
            change_s = lnlikes_sd @ (
                drift_d**-2 * (np.exp(-2 * np.asarray(ln_factor_d)) - 1)
            )
            return np.log(np.mean(np.exp(change_s)))

        summary = drift_summary(likelihood, frame, error_d=asd_drift_error(likelihood))
        for d, name in enumerate("HL"):
            step_d = 1e-6 * np.eye(2)[d]
            slope = (ln_evidence(step_d) - ln_evidence(-step_d)) / 2e-6
            assert summary["d_ln_evidence_d_ln_asd_drift"][name] == pytest.approx(
                slope, rel=1e-4
            )

    def test_without_samples_there_is_none(self, likelihood):
        empty = pd.DataFrame(columns=list(likelihood.params))
        summary = drift_summary(likelihood, empty, error_d=None)
        assert summary["d_ln_evidence_d_ln_asd_drift"] is None
        assert summary["asd_drift_given"]
        assert summary["asd_drift_error"] is None
        assert list(summary["asd_drift"]) == ["H", "L"]


class TestComparison:
    one: ClassVar = {"asd_drift": {"H": 1.01, "L": 1.0}}

    def test_same_drifts_need_no_word(self):
        assert drift_differences({"a": self.one, "b": self.one}) == []

    def test_differences_are_named_and_weighed(self):
        slopes = {"d_ln_evidence_d_ln_asd_drift": {"H": -100.0, "L": -300.0}}
        other = {"asd_drift": {"H": 1.01, "L": 1.002}}
        (sentence,) = drift_differences({"a": self.one | slopes, "b": other})
        assert "a and b differ in asd_drift" in sentence
        assert "L 1.0000 and 1.0020" in sentence
        assert sentence.endswith("changes ln evidence by -0.60")

    def test_runs_that_do_not_say_are_left_out(self):
        assert drift_differences({"a": self.one, "published": {}}) == []
