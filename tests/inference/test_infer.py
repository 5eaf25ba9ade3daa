"""From an event to a run directory without a bank."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import warnings
from dataclasses import replace
from inspect import signature
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import psutil
import pytest
from envelopes import write_envelope
from rough_extrinsic import roughen_extrinsic

from dotpe_exec import infer, load, run_multicore
from dotpe_exec.errors import InputError, RunDirectoryError
from dotpe_exec.events import fbin_from_pn_phase_tol, load_event
from dotpe_exec.events.matched_filter import BestTemplate
from dotpe_exec.inference.infer_arguments import InferArguments
from dotpe_exec.inference.infer_event import bank_config_for
from dotpe_exec.inference.infer_stages import _at_edges
from dotpe_exec.kernels.pareto import pareto_k
from dotpe_exec.loading import load_run
from dotpe_exec.verdict import judge

# A pilot of 768 and about three rounds: a whole run in some seconds.
SMALL = {
    "event": "GW150914", "mchirp_range": (26.0, 36.0), "q_min": 0.3,
    "n_effective": 300, "max_waveforms": 3072, "pn_phase_tol": 0.5, "n_ext": 64,
    "n_phi": 16, "n_t": 16, "seed": 3, "progress": False,
}  # fmt: skip

FILES = ("summary_results.json", "samples.feather", "prob_samples.feather",
         "extrinsic_samples.feather", "banks/adapted/intrinsic_sample_bank.feather",
         "banks/adapted/bank_config.json", "banks/adapted/prob_samples.feather",
         "banks/adapted/intrinsic_samples.npz", "response_dpe.npy")  # fmt: skip

RUN = """
import json, sys
from dotpe_exec import infer
if __name__ == "__main__":
    arguments, rundir, executor = sys.argv[1:]
    infer(
        **json.loads(arguments), rundir=rundir, executor=executor, n_procs=2, resume=True
    )
"""


def content(rundir):
    return {name: (rundir / name).read_bytes() for name in FILES}


@pytest.fixture(scope="module")
def serial_run(tmp_path_factory):
    """A small run of one process, its bank's waveforms kept."""
    rundir = tmp_path_factory.mktemp("infer") / "run"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it is too small to be good
        return infer(**SMALL, rundir=rundir, executor="serial", save_waveforms=True)


@pytest.fixture(scope="module")
def rough_run(tmp_path_factory):
    """A run whose numbers are worth nothing."""
    rough = SMALL | {"n_effective": 20, "max_waveforms": 1500, "n_ext": 16}
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore", UserWarning)
        roughen_extrinsic(patch)
        rundir = tmp_path_factory.mktemp("rough") / "run"
        return infer(**rough, rundir=rundir, executor="serial")


@pytest.mark.slow
def test_it_leaves_an_ordinary_run_directory(serial_run):
    run = load_run(serial_run)
    adaptive = run.summary["adaptive"]
    assert adaptive["stopped_by"] in ("n_effective", "max_waveforms")
    assert adaptive["n_drawn"] + adaptive["n_learning"] <= SMALL["max_waveforms"]
    assert adaptive["n_effective_waveforms"] == pytest.approx(run.summary["n_effective_i"])
    assert run.summary["ln_evidence_error"] > 0
    assert not (serial_run / "adapting").exists()
    assert not (serial_run / "checkpoint").exists()
    samples = run.samples
    assert samples["mchirp"].between(26, 36).all()
    assert (samples["lnq"] > np.log(0.3)).all()
    table = pd.read_feather(serial_run / "banks/adapted/intrinsic_sample_bank.feather")
    assert len(table) == adaptive["n_drawn"] - adaptive["n_failed"]
    rows = run.prob_samples
    np.testing.assert_allclose(rows["weights"].sum(), 1)
    assert not rows.duplicated(["i", "e", "o"]).any()
    ln_z = np.logaddexp.reduce(rows["ln_weight_unnormalized"])
    assert ln_z == pytest.approx(run.summary["ln_evidence"], abs=1e-9)


@pytest.mark.slow
def test_the_verdict_is_that_of_all_waveforms(serial_run):
    """Not of the samples drawn from them; what it says of a bank is not said here."""
    run = load_run(serial_run)
    table = pd.read_feather(serial_run / "banks/adapted/intrinsic_sample_bank.feather")
    weight_i = run.prob_samples.groupby("i")["weights"].sum().to_numpy()
    k = pareto_k(weight_i, len(table))
    assert run.summary["pareto_k"] == pytest.approx(k, abs=1e-6)
    effective = 1 / (weight_i**2).sum()
    assert run.summary["n_effective_i"] == pytest.approx(effective)
    assert run.summary["diagnostics"] == judge(run.summary).to_dict()


@pytest.mark.slow
def test_exact_likelihoods_correct_the_same_samples(serial_run, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        other = infer(
            **SMALL, rundir=tmp_path / "run", executor="serial", exact_likelihoods=True
        )
    run, binned = load_run(other), load_run(serial_run)
    exact = run.summary["exact_likelihoods"]
    assert exact["ln_evidence_binned"] == binned.summary["ln_evidence"]
    change = run.samples["lnl_exact"] - run.samples["lnl"]
    assert np.log(np.exp(change).mean()) == pytest.approx(exact["ln_evidence_change"])
    np.testing.assert_array_equal(run.samples["lnl"], binned.samples["lnl"])


def test_every_key_of_the_summary_is_documented(rough_run):
    page = Path(__file__).parents[2] / "docs" / "howto" / "infer.md"
    documented = set(re.findall(r"`([A-Za-z_0-9]+)`", page.read_text(encoding="utf-8")))
    adaptive = load(rough_run).summary["adaptive"]
    assert {*adaptive, *adaptive["rounds"][0]} - documented == set()


@pytest.mark.slow
def test_calibration_weighs_the_same_samples(serial_run, tmp_path):
    envelopes = {"H1": write_envelope(tmp_path / "H1.txt")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        other = infer(
            **SMALL, rundir=tmp_path / "run", executor="serial", calibration=envelopes
        )
    run, plain = load(other), load(serial_run)
    new = plain.reweight(calibration=envelopes, seed=SMALL["seed"])
    weights = run.samples["weights"] / run.samples["weights"].sum()
    np.testing.assert_allclose(weights, new.samples["weights"], rtol=1e-6)
    np.testing.assert_array_equal(run.samples["lnl"], plain.samples["lnl"])
    assert run.ln_evidence == pytest.approx(new.ln_evidence, abs=1e-6)


def test_bins_are_those_that_the_event_needs():
    event = load_event("GW150914")
    defaults = {
        name: argument.default for name, argument in signature(infer).parameters.items()
    }
    arguments = InferArguments.of(defaults | {"event": event, "rundir": "run"})
    for lnlike, pn_phase_tol in ((230.0, 0.05), (1900.0, 0.025)):
        config = bank_config_for(event, arguments, BestTemplate(30.0, lnlike))
        assert config.info["pn_phase_tol"] == pn_phase_tol
        expected = fbin_from_pn_phase_tol(event, pn_phase_tol)
        np.testing.assert_array_equal(config.fbin, expected)
    given = bank_config_for(
        event, replace(arguments, pn_phase_tol=0.3), BestTemplate(30.0, 1900.0)
    )
    np.testing.assert_array_equal(given.fbin, fbin_from_pn_phase_tol(event, 0.3))


@pytest.mark.slow
def test_weights_integrate_the_prior(serial_run):
    table = pd.read_feather(serial_run / "banks/adapted/intrinsic_sample_bank.feather")
    weight_i = np.exp(table["log_prior_weights"])
    assert weight_i.mean() == pytest.approx(1, abs=5 * weight_i.std() / len(table) ** 0.5)


@pytest.mark.slow
def test_the_bank_gives_the_same_evidence(serial_run, tmp_path):
    """The ordinary pipeline on the adapted bank is an independent computation."""
    run = load_run(serial_run)
    par_dic_0 = json.loads((serial_run / "Posterior.json").read_text())
    par_dic_0 = par_dic_0["init_kwargs"]["likelihood"]["init_kwargs"]["par_dic_0"]
    again = run_multicore(
        "GW150914", serial_run / "banks/adapted", 256, 16, 16, seed=4, executor="serial",
        rundir=tmp_path / "again", par_dic_0=par_dic_0, max_incoherent_lnlike_drop=30,
        progress=False,
    )  # fmt: skip
    found = load_run(again)
    # Of light waveforms a part stands for the others in the run's own evidence: where few
    # count, that is not to be neglected.
    errors = [s["ln_evidence_error"] for s in (found.summary, run.summary)]
    assert found.summary["ln_evidence"] == pytest.approx(
        run.summary["ln_evidence"], abs=3 * float(np.hypot(*errors))
    )


@pytest.mark.slow
def test_same_bits_on_another_executor(serial_run, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        other = infer(
            **SMALL, rundir=tmp_path / "run", executor="loky", n_procs=2,
            save_waveforms=True,
        )  # fmt: skip
    assert content(other) == content(serial_run)


@pytest.mark.slow
@pytest.mark.parametrize("wait", ["pilot", "likelihoods", "final_likelihoods"])
def test_killed_tree_goes_on_to_the_same_bits(serial_run, tmp_path, wait):
    script, rundir = tmp_path / "run.py", tmp_path / "run"
    script.write_text(RUN)
    arguments = json.dumps(SMALL | {"save_waveforms": True})
    command = [sys.executable, script, arguments, rundir, "loky"]
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        segments = list((rundir / "checkpoint").glob(f"{wait}*-*.ckpt"))
        if any(path.stat().st_size > 1000 for path in segments):
            break
        time.sleep(0.02)
    tree = [psutil.Process(process.pid), *psutil.Process(process.pid).children(True)]
    for member in tree:
        os.kill(member.pid, signal.SIGKILL)
    process.wait()
    assert not (rundir / "summary_results.json").exists()
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    assert content(rundir) == content(serial_run)


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        ({"mchirp_range": (30, 20)}, "mchirp_range"),
        ({"mchirp_range": (30, 30)}, "mchirp_range"),
        ({"mchirp_range": (-1, 30)}, "mchirp_range"),
        ({"mchirp_range": 30}, "mchirp_range"),
        ({"q_min": 0}, "q_min"),
        ({"q_min": 1.5}, "q_min"),
        ({"n_effective": 0}, "n_effective"),
        ({"n_effective": 5000}, "max_waveforms"),
        ({"max_waveforms": 0}, "max_waveforms"),
        ({"n_ext": 1}, "n_ext"),
        ({"n_phi": -1}, "n_phi"),
        ({"seed": -1}, "seed"),
        ({"f_ref": 0}, "f_ref"),
        ({"pn_phase_tol": float("nan")}, "pn_phase_tol"),
        ({"approximant": "Nonsense"}, "Nonsense"),
        ({"event": "no_such_event"}, "no_such_event"),
        ({"save_waveforms": 1}, "save_waveforms"),
        ({"exact_likelihoods": 1}, "exact_likelihoods"),
        ({"par_dic_0": {"m1": 30.0}}, "par_dic_0"),
        ({"asd_drift": [1.0]}, "asd_drift"),
        ({"resume": True, "overwrite": True}, "resume"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(tmp_path, bad, named):
    rundir = tmp_path / "run"
    with pytest.raises((InputError, ValueError, FileNotFoundError), match=named):
        infer(**SMALL | bad, rundir=rundir, executor="serial")
    assert not rundir.exists()


def test_a_directory_is_needed():
    with pytest.raises(InputError, match="rundir"):
        infer(**SMALL)


@pytest.mark.slow
def test_noise_level_that_is_given_is_used(serial_run, tmp_path):
    rundir = infer(**SMALL, rundir=tmp_path / "run", executor="serial", asd_drift=1)
    summary, other = load(rundir).summary, load(serial_run).summary
    assert set(summary["asd_drift"].values()) == {1.0} and summary["asd_drift_given"]
    # To first order in the change of the noise level.
    change = sum(
        other["d_ln_evidence_d_ln_asd_drift"][name] * -np.log(drift)
        for name, drift in other["asd_drift"].items()
    )
    assert change == pytest.approx(
        summary["ln_evidence"] - other["ln_evidence"], abs=0.2 * abs(change) + 0.3
    )


@pytest.mark.slow
def test_results_are_not_replaced_unasked(serial_run):
    with pytest.raises(RunDirectoryError, match="overwrite"):
        infer(**SMALL, rundir=serial_run, executor="serial", save_waveforms=True)
    before = (serial_run / "summary_results.json").stat().st_mtime_ns
    finished = infer(
        **SMALL, rundir=serial_run, executor="serial", save_waveforms=True, resume=True
    )
    assert finished == serial_run
    assert (serial_run / "summary_results.json").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("quantiles", "expected"),
    [
        (np.linspace(0, 1, 1001), (False, False)),  # nothing was learnt
        (np.linspace(0.3, 0.7, 101), (False, False)),
        (np.linspace(0.9, 1.0, 400), (False, True)),
        ([0.925, 0.941, 0.874, 0.867, 0.696], (False, True)),  # few that count
        ([0.075, 0.059, 0.126, 0.133, 0.304], (True, False)),
    ],
)
def test_posterior_reaches_an_edge_also_where_few_points_count(quantiles, expected):
    n = len(quantiles)
    coordinates = SimpleNamespace(mchirp_quantiles=lambda z_ik: z_ik[:, 0])
    draws = SimpleNamespace(
        lnlike_i=np.zeros(n), ln_ratio=lambda: np.zeros(n), z_ik=np.c_[quantiles]
    )
    assert _at_edges(coordinates, draws) == expected
