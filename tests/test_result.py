"""The result object: what it says is what is in the files."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest

import dotpe_exec
from dotpe_exec import load
from dotpe_exec.errors import InputError, MissingFileError


@pytest.fixture
def copy(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "copy")


def diagnosed(copy, status, *findings):
    """Write a summary that diagnoses its run; return the run."""
    path = copy / "summary_results.json"
    summary = json.loads(path.read_text())
    summary["diagnostics"] = {"status": status, "findings": list(findings)}
    path.write_text(json.dumps(summary))
    return load(copy)


def test_evidence_and_columns_are_those_of_the_files(finished):
    run = load(finished)
    assert run.ln_evidence == run.summary["ln_evidence"]
    assert run.ln_evidence_error == run.summary["ln_evidence_error"]
    table = run.table("mchirp", "q", "mass_1_source", "H1_optimal_snr")
    assert list(table) == ["mchirp", "q", "mass_1_source", "H1_optimal_snr", "weights"]
    np.testing.assert_allclose(table["q"], run.samples["m2"] / run.samples["m1"])
    assert {"m1", "mass_1_source", "final_spin"} <= set(run.table())
    with pytest.raises(InputError, match="no column 'spam', expected one of m1"):
        run.table("spam")


def test_quantiles_honour_weights(finished):
    run = load(finished)
    heaviest = run.samples["m1"].iloc[-1]
    weights = np.zeros(len(run.samples))
    weights[-1] = 1
    run.samples["weights"] = weights
    assert run.quantiles("m1")[1] == pytest.approx(heaviest)


def test_the_runs_own_diagnosis_counts(copy):
    finding = {"key": "n_effective_i", "status": "unusable", "number": 3.2, "threshold": 10,
               "title": "few", "advice": "a larger <b>bank</b>"}  # fmt: skip
    run = diagnosed(copy, "unusable", finding)
    assert run.diagnostics.status == "unusable"
    page = run._repr_html_()
    assert page.index(run.diagnostics.sentence) < page.index("ln evidence")
    assert "&lt;b&gt;" in page and "<b>" not in page


def test_each_status_has_a_colour_of_its_own(copy):
    pages = [diagnosed(copy, s)._repr_html_() for s in ("reliable", "limited", "unusable")]
    assert len({page.split("solid ")[1][:7] for page in pages}) == 3


def test_an_unfinished_run_shows_its_path(copy):
    (copy / "summary_results.json").unlink()
    assert "does not exist" in load(copy)._repr_html_()
    with pytest.raises(MissingFileError):
        _ = load(copy).ln_evidence


def test_corner_takes_derived_columns_prior_truth_and_other_runs(finished, copy):
    run = load(finished)
    figure = run.plot_corner(["mass_1_source", "chi_eff"], compare=[copy])
    (legend,) = figure.legends
    assert [t.get_text() for t in legend.get_texts()] == [finished.name, "copy", "prior"]
    injected = run.event.injection["par_dic"]
    chi_eff = (injected["m1"] * injected["s1z"] + injected["m2"] * injected["s2z"]) / (
        injected["m1"] + injected["m2"]
    )
    lines = figure.axes[3].get_lines()
    assert any(np.allclose(line.get_xdata(), chi_eff) for line in lines)


def test_runs_of_different_events_are_not_compared(finished, copy):
    load(copy).event_file.rename(copy / "other.npz")
    with pytest.raises(InputError, match="different events: golden_hlv, other"):
        load(finished).plot_corner(compare=[copy])


def test_reweighting_by_one_changes_nothing(finished):
    run = load(finished)
    same = run.reweight(lambda table: np.full(len(table), 2.0))
    assert same.ln_evidence == pytest.approx(run.ln_evidence + np.log(2))
    weights = run.samples["weights"] / run.samples["weights"].sum()
    np.testing.assert_allclose(same.samples["weights"], weights)
    assert same.ln_evidence_ratio_error == pytest.approx(0, abs=1e-12)


def test_reweighted_samples_have_the_mean_under_the_new_prior(copy):
    # Made so that the answer is known: uniform in m1 from 10 to 20, weighed by m1.
    m1 = np.linspace(10, 20, 4001)
    samples = load(copy).samples
    samples = samples.iloc[np.zeros(len(m1), int)].reset_index(drop=True)
    samples = samples.assign(m1=m1, i=np.arange(len(m1)), weights=1.0)
    samples.to_feather(copy / "samples.feather")
    new = load(copy).reweight(lambda table: table["mass_1"])
    mean = np.average(new.samples["m1"], weights=new.samples["weights"])
    assert mean == pytest.approx((20**3 - 10**3) / 3 / 150, rel=1e-3)
    assert new.ln_evidence - load(copy).ln_evidence == pytest.approx(np.log(15), abs=1e-3)
    assert new.n_effective == pytest.approx(4001 * 15**2 / (700 / 3), rel=1e-3)
    assert new.trustworthy


def test_comoving_distance_prefers_near_sources(finished):
    run = load(finished)
    new = run.reweight(distance="comoving")
    before = np.average(run.samples["d_luminosity"], weights=run.samples["weights"])
    after = np.average(new.samples["d_luminosity"], weights=new.samples["weights"])
    assert after < before
    assert "Not to be trusted" in new.verdict  # a tiny bank


@pytest.mark.parametrize(
    ("ratio", "message"),
    [
        (lambda table: 1.0, "shape"),
        (lambda table: -table["m1"], "negative"),
        (lambda table: table["m1"] * np.nan, "NaN"),
        (lambda table: 0 * table["m1"], "vanishes"),
        (lambda table: ["x"] * len(table), "not made of numbers"),
    ],
)
def test_ratios_that_cannot_be_are_refused(finished, ratio, message):
    with pytest.raises(InputError, match=message):
        load(finished).reweight(ratio)


def test_reweighting_needs_something_new(finished):
    with pytest.raises(InputError, match="give a ratio"):
        load(finished).reweight()
    with pytest.raises(InputError, match="expected 'comoving'"):
        load(finished).reweight(distance="euclidean")


def test_public_names_complete_and_import_nothing_heavy():
    import subprocess
    import sys

    assert {"load", "Run"} <= set(dir(dotpe_exec))
    code = (
        "import sys, dotpe_exec, dotpe_exec.export, dotpe_exec.result\n"
        "assert not {'pandas', 'cogwheel', 'lal', 'matplotlib', 'jinja2', 'corner',"
        " 'h5py'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_samples_are_a_frame(finished):
    assert isinstance(load(finished).samples, pd.DataFrame)
