"""The summary of a run."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
from posterior_cases import (
    N_EXT,
    N_INT,
    N_PHI,
    load_golden,
    make_bank_posterior,
    make_posterior,
    make_probes,
    make_set,
)

from dotpe_exec.distance_table import load_distance_table
from dotpe_exec.kernels.distance import lnlike_marginalized
from dotpe_exec.stages.results import aggregate
from dotpe_exec.stages.run_summary import injection_summary, summarize
from dotpe_exec.stages.sample_rows import all_samples, draw_subset


@pytest.fixture(scope="module")
def table():
    return load_distance_table()


@pytest.fixture(scope="module")
def golden_event(golden):
    from cogwheel.data import EventData

    return EventData.from_npz(filename=golden / "event.npz")


def test_golden_summary(golden, golden_event, table):
    case = load_golden(golden, table)
    asd_drift_d = np.load(golden / "reference" / "arrays.npz")["asd_drift"]
    summary = summarize(
        all_samples(aggregate(case.banks, size_limit=10**7)),
        n_ext=96,
        n_phi=16,
        injection=injection_summary(golden_event, asd_drift_d, table),
    )
    expected = case.summary
    assert summary.keys() - expected.keys() == {
        "ln_evidence_error",
        "ln_evidence_error_parts",
        "diagnostics",
    }
    assert expected.keys() <= summary.keys()
    assert summary["n_effective"] == pytest.approx(expected["n_effective"], rel=1e-5)
    for name in ("n_effective_i", "n_effective_e"):  # the published ones are averages
        found = [bank[name] for bank in summary["per_bank_results"].values()]
        n_total = [bank["N_k"] for bank in summary["per_bank_results"].values()]
        assert np.average(found, weights=n_total) == pytest.approx(expected[name], rel=1e-5)
    for name in ("bestfit_lnlike_max", "lnl_marginalized_max"):
        assert summary[name] == pytest.approx(expected[name], abs=1e-9)
    assert summary["ln_evidence"] == pytest.approx(expected["ln_evidence"], abs=1e-6)
    assert summary["ln_evidence_discarded"] is None  # -inf in the reference
    assert summary["injection"] == pytest.approx(expected["injection"], rel=1e-9)
    assert 0.1 < summary["ln_evidence_error"] < 1
    for bank_id, bank in expected["per_bank_results"].items():
        added = {"n_effective_i", "n_effective_e"}
        assert summary["per_bank_results"][bank_id].keys() == bank.keys() | added


def test_summary_is_standard_json(table):
    with pytest.warns(UserWarning, match="no sample has any weight"):
        posterior = aggregate(
            [
                make_bank_posterior(
                    table,
                    make_set(np.random.default_rng(1), 20),
                    log_prior_weights_i=np.full(N_INT, -np.inf),
                )
            ],
            size_limit=10,
        )
    with pytest.warns(UserWarning, match="no samples are drawn"):
        selection = draw_subset(posterior, seed=1)
    summary = summarize(selection, n_ext=N_EXT, n_phi=N_PHI)
    text = json.dumps(summary, allow_nan=False)
    assert json.loads(text) == summary
    for name in ("ln_evidence", "ln_evidence_error", "bestfit_lnlike_max"):
        assert summary[name] is None
    assert summary["n_effective"] == summary["n_effective_i"] == 0
    assert summary["n_distance_marginalizations"] == 20


def split(members, first):
    """Return the members of a set that belong to the first waveforms, and the others."""
    for low, high in ((0, first), (first, N_INT)):
        keep = (low <= members.i) & (members.i < high)
        columns = {
            name: getattr(members, name)[keep]
            for name in ("e", "o", "d_h", "h_h", "bestfit_lnlike")
        }
        survives = (low <= members.inds) & (members.inds < high)
        yield (
            high - low,
            dataclasses.replace(
                members,
                i=members.i[keep] - low,
                inds=members.inds[survives] - low,
                dt_linfree=members.dt_linfree[survives],
                probes=make_probes(members.inds[survives] - low),
                **columns,
            ),
        )


def test_several_banks_are_as_one_that_holds_all_their_waveforms(table):
    members = make_set(np.random.default_rng(7), 700)
    log_prior_weights_i = np.sin(np.arange(N_INT))
    whole = make_bank_posterior(
        table, dataclasses.replace(members, probes=make_probes(members.inds))
    )
    parts, first = [], 18
    for n_int, part in split(members, first):
        start = first if parts else 0
        parts.append(
            make_bank_posterior(
                table,
                part,
                f"bank_{len(parts)}",
                n_int,
                # A bank's weights average to its share of the prior.
                log_prior_weights_i=log_prior_weights_i[start : start + n_int]
                + np.log(n_int / N_INT),
            )
        )
    one, several = (
        summarize(all_samples(aggregate(banks, size_limit=10**7)), n_ext=N_EXT, n_phi=N_PHI)
        for banks in ([whole], parts)
    )
    for name in ("n_effective", "n_effective_i", "n_effective_e", "ln_evidence",
                 "ln_evidence_error", "n_distance_marginalizations"):  # fmt: skip
        assert several[name] == pytest.approx(one[name], rel=1e-12), name
    for bank_id, bank in zip(several["per_bank_results"], parts, strict=True):
        result = several["per_bank_results"][bank_id]
        assert result["n_effective_i"] == bank.n_effective_i < several["n_effective_i"]


def test_largest_likelihoods_are_those_of_the_samples_written(table):
    posterior = make_posterior(table)
    drawn = draw_subset(posterior, seed=1, n_draws=2)
    summary = summarize(drawn, n_ext=N_EXT, n_phi=N_PHI)
    expected = max(
        bank.coherent_set.bestfit_lnlike[rows].max()
        for bank, rows in zip(posterior.banks, drawn.rows, strict=True)
        if len(rows)
    )
    assert summary["bestfit_lnlike_max"] == expected
    every = summarize(all_samples(posterior), n_ext=N_EXT, n_phi=N_PHI)
    assert every["bestfit_lnlike_max"] > expected
    assert every["n_effective"] == summary["n_effective"]


def test_counts(table):
    posterior = make_posterior(table, sizes=(400, 300), size_limit=100)
    summary = summarize(all_samples(posterior), n_ext=N_EXT, n_phi=N_PHI)
    assert summary["n_i_inds_used"] == 20
    assert summary["n_distance_marginalizations"] == 700
    assert summary["per_bank_results"]["bank_1"]["N_k"] == N_PHI * N_EXT * (N_INT + 10)


def test_relative_binning_error_is_passed_on(table):
    error = {"mean": 0.1, "max": 0.3}
    summary = summarize(
        all_samples(make_posterior(table)),
        n_ext=N_EXT,
        n_phi=N_PHI,
        relative_binning_error=error,
    )
    assert summary["relative_binning_error"] == error
    assert "injection" not in summary


def test_exact_likelihoods_change_the_evidence_and_add_to_its_error(table):
    samples = all_samples(make_posterior(table))
    exact = {"ln_evidence_change": 0.25, "ln_evidence_change_error": 0.1, "n_samples": 7}
    plain, corrected = (
        summarize(samples, n_ext=N_EXT, n_phi=N_PHI, exact=e) for e in (None, exact)
    )
    assert corrected["ln_evidence"] == pytest.approx(plain["ln_evidence"] + 0.25)
    assert corrected["ln_evidence_error"] == pytest.approx(
        np.hypot(plain["ln_evidence_error"], 0.1)
    )
    expected = exact | {"ln_evidence_binned": plain["ln_evidence"]}
    assert corrected["exact_likelihoods"] == expected


def test_calibration_changes_the_evidence_after_exact_likelihoods(table):
    samples = all_samples(make_posterior(table))
    exact = {"ln_evidence_change": 0.25, "ln_evidence_change_error": 0.1}
    calibration = {"ln_evidence_change": -0.5, "ln_evidence_change_error": 0.2}
    plain = summarize(samples, n_ext=N_EXT, n_phi=N_PHI)
    both = summarize(
        samples, n_ext=N_EXT, n_phi=N_PHI, exact=exact, calibration=calibration
    )
    assert both["ln_evidence"] == pytest.approx(plain["ln_evidence"] - 0.25)
    uncalibrated = both["calibration"]["ln_evidence_uncalibrated"]
    assert uncalibrated == pytest.approx(plain["ln_evidence"] + 0.25)
    assert both["ln_evidence_error"] == pytest.approx(
        np.sqrt(plain["ln_evidence_error"] ** 2 + 0.1**2 + 0.2**2)
    )


def test_injection_is_scaled_to_one_megaparsec(table):
    injection = {"d_h": np.array([30.0, 50.0]), "h_h": np.array([40.0, 60.0]),
                 "par_dic": {"d_luminosity": 800.0}}  # fmt: skip
    event = SimpleNamespace(injection=injection)
    result = injection_summary(event, np.array([1.0, 2.0]), table)
    d_h, h_h = 30 + 50 / 4, 40 + 60 / 4
    assert result["bestfit_lnlike"] == pytest.approx(d_h**2 / h_h / 2)
    expected = lnlike_marginalized(d_h * 800, h_h * 800**2, table)
    assert result["lnl_marginalized"] == pytest.approx(float(expected))


@pytest.mark.parametrize("injection", [None, {}, {"par_dic": {"d_luminosity": 1.0}}])
def test_event_without_injection_has_none(table, injection):
    event = SimpleNamespace(injection=injection)
    assert injection_summary(event, np.ones(2), table) is None
