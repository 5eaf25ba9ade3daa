"""The verdict says what is wrong, when, and only when, something is."""

from __future__ import annotations

import pytest

from dotpe_exec.verdict import LIMITED, RELIABLE, UNUSABLE, judge, verdict_of

GOOD = {
    "n_effective": 5000.0,
    "n_effective_i": 800.0,
    "n_effective_e": 300.0,
    "bestfit_lnlike_max": 60.0,
    "reference_bestfit_lnlike": 62.0,
    "ln_evidence": 40.0,
    "ln_evidence_error": 0.04,
    "ln_evidence_discarded": 20.0,
    "relative_binning_error": {"mean": 0.02, "largest": 0.2},
    "pareto_k": 0.4,
    "largest_waveform_share": 0.01,
    "edges": {"lower_q_edge": {"value": 0.1, "share": 0.001}},
    "size_limit_reached": False,
    "asd_drift": {"H1": 1.02, "L1": 0.99},
    "n_proposals": 16,
    "n_proposals_tried": 17,
}


def keys(summary):
    return [finding.key for finding in judge(summary).findings]


def test_a_good_run_is_reliable():
    verdict = judge(GOOD)
    assert (verdict.status, verdict.findings) == (RELIABLE, ())


@pytest.mark.parametrize(
    ("n_effective_i", "status"),
    [(2.0, UNUSABLE), (5.0, UNUSABLE), (50.0, LIMITED), (5000.0, RELIABLE)],
)
def test_effective_waveforms(n_effective_i, status):
    verdict = judge(GOOD | {"n_effective_i": n_effective_i})
    assert verdict.status == status
    for finding in verdict.findings:
        assert (finding.key, finding.number) == ("n_effective_i", n_effective_i)
        assert finding.number < finding.threshold


@pytest.mark.parametrize(
    ("change", "key", "status"),
    [
        ({"n_effective": 12.3}, "n_effective", LIMITED),
        ({"n_effective_e": 3.0}, "n_effective_e", UNUSABLE),
        ({"ln_evidence": None}, "nothing_found", UNUSABLE),
        ({"ln_evidence": -0.5, "ln_evidence_discarded": -9.0}, "nothing_found", UNUSABLE),
        ({"ln_evidence": 0.5, "ln_evidence_discarded": -9.0}, "nothing_found", LIMITED),
        ({"ln_evidence": 4.9, "ln_evidence_discarded": -9.0}, "nothing_found", LIMITED),
        ({"ln_evidence_discarded": 38.0}, "discarded_evidence", LIMITED),
        ({"ln_evidence_discarded": 41.0}, "discarded_evidence", UNUSABLE),
        ({"ln_evidence_error": 0.7}, "ln_evidence_error", LIMITED),
        ({"relative_binning_error": {"mean": 0.2}}, "relative_binning_error", LIMITED),
        ({"relative_binning_error": {"mean": 2.0}}, "relative_binning_error", UNUSABLE),
        ({"pareto_k": 0.9}, "pareto_k", LIMITED),
        ({"largest_waveform_share": 0.3}, "largest_waveform_share", LIMITED),
        ({"edges": {"lower_q_edge": {"value": 0.1, "share": 0.2}}}, "edge_lower_q_edge",
         LIMITED),
        ({"size_limit_reached": True}, "size_limit", LIMITED),
        ({"reference_bestfit_lnlike": 50.0}, "reference", LIMITED),
        ({"reference_bestfit_lnlike": 75.0}, "bank_misses_peak", LIMITED),
        ({"asd_drift": {"H1": 1.2}}, "asd_drift_H1", LIMITED),
        ({"n_proposals": 7, "n_proposals_tried": 16}, "proposals", LIMITED),
    ],
)  # fmt: skip
def test_each_number_out_of_bounds_is_found(change, key, status):
    verdict = judge(GOOD | change)
    assert [finding.key for finding in verdict.findings] == [key]
    assert verdict.status == verdict.findings[0].status == status
    assert verdict.findings[0].title and verdict.findings[0].advice


def test_a_peak_that_many_waveforms_do_not_reach_was_missed():
    below = GOOD | {"reference_bestfit_lnlike": 66.0}
    (found,) = judge(below | {"adaptive": {}}).findings
    assert (found.key, found.number, found.threshold) == ("misses_peak", 6.0, 5.0)
    assert "another seed" in found.advice
    assert keys(below) == ["bank_misses_peak"]
    assert "bank_misses_peak" not in keys(below | {"n_effective_i": 60.0})


def test_a_weak_signal_may_be_noise():
    """A signal-to-noise ratio of 8 under a wide prior: ln evidence 3."""
    (found,) = judge(GOOD | {"ln_evidence": 3.1, "ln_evidence_discarded": -9.0}).findings
    assert "may be noise" in found.title
    assert (found.number, found.threshold) == (3.1, 5.0)
    (found,) = judge(GOOD | {"ln_evidence": -3.5, "ln_evidence_discarded": -20.0}).findings
    assert "No signal was found" in found.title and "describe noise" in found.advice


def test_what_is_not_known_is_not_judged():
    assert keys({}) == []
    unknown = dict.fromkeys(GOOD) | {"ln_evidence": 40.0}
    assert keys(unknown) == []
    assert keys(GOOD | {"pareto_k": float("nan"), "edges": {"x": {}}}) == []


@pytest.mark.parametrize(
    ("edge", "argument"),
    [("upper_mchirp_edge", "a wider mchirp_range"), ("lower_q_edge", "a smaller q_min")],
)
def test_where_the_run_chose_its_waveforms_the_argument_is_named(edge, argument):
    at_edge = {"edges": {edge: {"value": 0.1, "share": 0.2}}}
    (finding,) = judge(GOOD | at_edge).findings
    assert "a bank or a prior that reaches further" in finding.advice
    (finding,) = judge(GOOD | at_edge | {"adaptive": {}}).findings
    assert argument in finding.advice


@pytest.mark.parametrize("edge", ["upper_mchirp_edge", "lower_q_edge"])
def test_a_posterior_that_is_dense_at_an_edge_goes_on_beyond(edge):
    thin = {"value": 0.5, "share": 0.005, "density": 0.09, "density_error": 0.001}
    assert keys(GOOD | {"edges": {edge: thin}}) == []
    assert keys(GOOD | {"edges": {edge: thin | {"density": 0.2}}}) == [f"edge_{edge}"]
    uncertain = thin | {"density": 0.5, "density_error": 0.25}
    assert keys(GOOD | {"edges": {edge: uncertain}}) == []


def test_advice_is_that_of_a_run_without_a_bank():
    few = {"n_effective_i": 30.0, "pareto_k": 0.9, "largest_waveform_share": 0.3}
    for finding in judge(GOOD | few | {"adaptive": {"n_drawn": 100}}).findings:
        assert "max_waveforms" in finding.advice
        assert "bank" not in finding.advice
    for finding in judge(GOOD | few).findings:
        assert "bank" in finding.advice


def test_worst_comes_first():
    verdict = judge(GOOD | {"n_effective": 12.0, "n_effective_i": 3.0})
    assert [f.status for f in verdict.findings] == [UNUSABLE, LIMITED]
    assert verdict.status == UNUSABLE


def test_corrected_binning_is_no_finding():
    wrong = {"relative_binning_error": {"mean": 2.0}}
    assert keys(GOOD | wrong | {"exact_likelihoods": {"n_samples": 10}}) == []


def test_few_calibration_curves_are_found():
    many, few = ({"n_curves": 200, "n_effective_curves": n} for n in (50.0, 3.0))
    assert keys(GOOD | {"calibration": many}) == []
    assert keys(GOOD | {"calibration": few}) == ["calibration_curves"]


def test_recorded_verdict_is_returned_as_it_is():
    recorded = judge(GOOD | {"n_effective_i": 3.0})
    assert verdict_of(GOOD | {"diagnostics": recorded.to_dict()}) == recorded


@pytest.mark.parametrize(
    "damaged",
    [None, 3, {}, {"status": "fine", "findings": []},
     {"status": LIMITED, "findings": [{"x": 1}]}],
)  # fmt: skip
def test_without_a_readable_record_the_numbers_are_judged(damaged):
    summary = GOOD | {"n_effective_i": 3.0, "diagnostics": damaged}
    assert verdict_of(summary) == judge(summary)
