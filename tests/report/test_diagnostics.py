"""Warnings appear when, and only when, something is suspicious."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from dotpe_exec.report.diagnostics import diagnose, n_rows
from dotpe_exec.report.view import open_views


def titles(folder):
    (view,) = open_views([folder])
    return [finding.title for finding in diagnose(view)]


def with_bank(folder, monkeypatch, m1, m2):
    """Return the titles for a bank of these masses."""
    (view,) = open_views([folder])
    table = pd.DataFrame({"m1": m1, "m2": m2})
    monkeypatch.setattr(view, "bank_tables", {"bank_0": table}, raising=False)
    return [finding.title for finding in diagnose(view)]


def test_a_good_run_has_no_warnings(make_run):
    assert titles(make_run()) == []


@pytest.mark.parametrize(
    ("summary", "title"),
    [
        ({"n_effective": 12.3}, "Only 12.3 effective samples"),
        ({"n_effective_i": 2.0}, "Only 2.0 effective waveforms"),
        ({"n_effective_e": 3.0}, "Only 3.0 effective extrinsic samples"),
        ({"ln_evidence": None}, "No evidence"),
        ({"ln_evidence_discarded": 40.0}, "About 50% of the evidence was discarded"),
        ({"ln_evidence_error": 0.7}, "ln evidence is uncertain by 0.70"),
        (
            {"relative_binning_error": {"mean": 0.2, "largest": 0.6}},
            "Relative binning is wrong by up to 0.60 in ln likelihood",
        ),
    ],
)
def test_each_number_out_of_bounds_gives_its_warning(make_run, summary, title):
    assert titles(make_run(**summary)) == [title]


@pytest.mark.parametrize(
    "summary",
    [
        {"ln_evidence_discarded": None},
        {"ln_evidence_discarded": 36.0},
        {"relative_binning_error": None},
        {"ln_evidence_error": None},
    ],
)
def test_what_is_unknown_or_small_is_no_warning(make_run, summary):
    assert titles(make_run(**summary)) == []


def test_size_limit_that_was_reached(make_run):
    folder = make_run(n=50)
    path = folder / "run_kwargs.json"
    for limit, expected in ((50, ["The size limit of 50 samples was reached"]), (51, [])):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"size_limit": limit}))
        assert titles(folder) == expected


def test_rows_are_counted_without_reading(tmp_path):
    path = tmp_path / "x.feather"
    pd.DataFrame({"i": range(70_000)}).to_feather(path)
    assert n_rows(path) == 70_000
    assert n_rows(tmp_path / "missing.feather") == 0


@pytest.mark.parametrize(
    ("masses", "expected"),
    [
        (([20, 60], [1, 60]), []),  # chirp masses 3.5 to 52
        (([29.5, 60], [2, 60]), []),
        (([28.7, 60], [28.7, 60]), ["lower chirp-mass", "lower mass-ratio"]),
        (([5, 28.8], [0.5, 28.8]), ["upper chirp-mass"]),
        (([20, 60], [10, 60]), ["lower mass-ratio"]),
    ],
)
def test_samples_at_the_edges_of_the_bank(make_run, monkeypatch, masses, expected):
    found = with_bank(make_run(mchirp=25.0), monkeypatch, *masses)
    assert found == [f"Samples at the bank's {name} edge" for name in expected]


def test_worker_crashes_are_told(make_run):
    folder = make_run()
    report = {"stages": {}, "phases": {"coherent": {"n_worker_crashes": 2}}}
    (folder / "run_report.json").write_text(json.dumps(report))
    assert titles(folder) == ["Workers died 2 time(s)"]


@pytest.mark.parametrize(("made", "warns"), [(16, False), (8, False), (7, True)])
def test_failed_proposals_are_told_where_they_are_most(make_run, made, warns):
    folder = make_run()
    report = {"stages": {}, "n_proposals": made, "n_proposals_tried": 16}
    (folder / "run_report.json").write_text(json.dumps(report))
    assert ("Many waveforms gave no proposal" in titles(folder)) == warns
