"""Runs with reference waveforms that are off: the right evidence, or a word about it."""

from __future__ import annotations

import json
import warnings

import pytest
from golden_runs import arguments_of_run

from dotpe_exec import run
from dotpe_exec.errors import InputError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def par_dic_0(golden):
    return json.loads((golden / "reference" / "par_dic_0.json").read_text())


def summary_of(rundir):
    return json.loads((rundir / "summary_results.json").read_text())


@pytest.fixture(scope="module")
def right(golden, tmp_path_factory):
    """Run with the reference case's own reference waveform, extrinsic samples drawn."""
    rundir = tmp_path_factory.mktemp("right") / "run"
    return run(**arguments_of_run(golden, rundir=rundir, extrinsic_samples=None))


@pytest.mark.parametrize(
    ("factor", "change"),
    [
        (1.0, {"t_geocenter": 0.0}),
        (1.0, {"t_geocenter": -0.07}),
        (1.0, {"s1z": 0.0, "s2z": 0.0}),
        (1.05, {}),
        (0.95, {}),
        (2.0, {}),
        (0.5, {}),
    ],
)
def test_evidence_is_right_or_the_cause_is_named(
    golden, tmp_path, par_dic_0, right, factor, change
):
    masses = {name: factor * par_dic_0[name] for name in ("m1", "m2")}
    arguments = arguments_of_run(
        golden,
        rundir=tmp_path / "run",
        extrinsic_samples=None,
        par_dic_0=par_dic_0 | masses | change,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of time and binning
        summary = summary_of(run(**arguments))
    expected = summary_of(right)
    correct = abs(summary["ln_evidence"] - expected["ln_evidence"]) < 0.5
    causes = {"reference", "relative_binning_error"}
    named = causes & {finding["key"] for finding in summary["diagnostics"]["findings"]}
    assert correct or named


def test_extrinsic_samples_of_another_reference_are_refused(
    golden, tmp_path, par_dic_0, right
):
    arguments = arguments_of_run(
        golden,
        rundir=tmp_path / "run",
        extrinsic_samples=right / "extrinsic_samples.feather",
        par_dic_0=par_dic_0 | {"s1z": 0.0, "s2z": 0.0},
    )
    with pytest.raises(
        InputError, match="drawn with another reference waveform, whose s1z"
    ):
        run(**arguments)


def test_own_extrinsic_samples_give_the_same_evidence(golden, tmp_path, right):
    again = run(
        **arguments_of_run(
            golden,
            rundir=tmp_path / "run",
            extrinsic_samples=right / "extrinsic_samples.feather",
        )
    )
    assert summary_of(again)["ln_evidence"] == summary_of(right)["ln_evidence"]
