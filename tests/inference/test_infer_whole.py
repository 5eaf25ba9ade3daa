"""Whole runs of ``infer`` off the beaten track; each small."""

import json
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
from clusters import environment_of_runs, program
from cogwheel.gw_prior import IntrinsicLVCPrior

from dotpe_exec import infer
from dotpe_exec.banks.build import build_bank
from dotpe_exec.errors import DotpeExecError, InputError
from dotpe_exec.events import simulate_event
from dotpe_exec.events.matched_filter import BestTemplate
from dotpe_exec.inference import infer_stages
from dotpe_exec.loading import load_run

pytestmark = pytest.mark.slow

PAR_DIC_0 = {
    "m1": 42.3, "m2": 28.2, "s1x_n": 0.0, "s1y_n": 0.0, "s1z": -0.1, "s2x_n": 0.0,
    "s2y_n": 0.0, "s2z": -0.1, "l1": 0.0, "l2": 0.0, "iota": 2.1416, "d_luminosity": 327.4,
    "phi_ref": 3.95, "psi": 0.0, "ra": 1.6933, "dec": -1.2897, "t_geocenter": 0.00939,
    "f_ref": 50.0,
}  # fmt: skip

SMALL = {
    "event": "GW150914", "mchirp_range": (26.0, 36.0), "q_min": 0.3,
    "n_effective": 100, "max_waveforms": 2400, "pn_phase_tol": 0.5, "n_ext": 64,
    "n_phi": 16, "n_t": 16, "seed": 3, "progress": False, "par_dic_0": PAR_DIC_0,
}  # fmt: skip

RUN = """
import json, sys
from dotpe_exec import infer
if __name__ == "__main__":
    arguments, rundir, executor = sys.argv[1:]
    infer(**json.loads(arguments), rundir=rundir, executor=executor, n_procs=2)
"""


def run(tmp_path, **changes):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it is too small to be good
        rundir = infer(
            **{**SMALL, "executor": "serial", "rundir": tmp_path / "run", **changes}
        )
    return load_run(rundir)


def test_a_range_that_was_found_widens_where_the_posterior_reaches_its_edge(
    tmp_path, monkeypatch
):
    """The best template is much too light: the range around it ends in the posterior."""
    monkeypatch.setattr(
        infer_stages, "best_template_for", lambda *_: BestTemplate(20.0, 230.0)
    )
    found = run(tmp_path, mchirp_range=None, max_waveforms=6000)
    low, high = found.summary["adaptive"]["mchirp_range"]
    assert low == 13 and high > 34
    assert found.summary["adaptive"]["mchirp_range_found"]
    assert 28 < np.average(found.samples["mchirp"]) < 33


def test_it_begins_with_the_users_bank(tmp_path):
    bank = build_bank(
        tmp_path / "bank", bank_size=768, mchirp_range=(26, 36), q_min=0.3,
        event="GW150914", pn_phase_tol=0.5, seed=1, executor="serial", progress=False,
    )  # fmt: skip
    more = {"max_waveforms": 5000}
    found = run(tmp_path, mchirp_range=None, bank_folder=bank, **more)
    adaptive = found.summary["adaptive"]
    assert adaptive["mchirp_range"] == [26, 36] and not adaptive["mchirp_range_found"]
    other = run(tmp_path / "without", **more)
    errors = [each.summary["ln_evidence_error"] for each in (found, other)]
    assert found.summary["ln_evidence"] == pytest.approx(
        other.summary["ln_evidence"], abs=4 * np.hypot(*errors)
    )


def test_an_event_without_a_signal_says_so(tmp_path):
    noise = simulate_event("noise", "HL", duration=8.0, seed=4)
    with pytest.warns(UserWarning, match="no signal here"):
        rundir = infer(
            **{**SMALL, "event": noise}, executor="serial", rundir=tmp_path / "run"
        )
    summary = json.loads((rundir / "summary_results.json").read_text())
    assert summary["adaptive"]["information"] < 0.5
    assert summary["ln_evidence"] < 1


@pytest.mark.parametrize("approximant", ["IMRPhenomXAS", "IMRPhenomD", "IMRPhenomXP"])
def test_other_approximants(approximant, tmp_path):
    found = run(tmp_path, approximant=approximant)
    assert found.summary["adaptive"]["n_effective_waveforms"] > 4
    inplane = [name for name in ("s1x_n", "s2y_n") if name in found.samples]
    some = bool((found.samples[inplane].to_numpy() != 0).any())
    assert some == (approximant == "IMRPhenomXP")
    # Of a few waveforms that count: intervals end at 28.5 and 32.8.
    assert 27 < np.average(found.samples["mchirp"]) < 35


def test_an_approximant_that_is_not_known_is_refused(tmp_path):
    with pytest.raises(DotpeExecError, match="IMRPhenomXHM"):
        run(tmp_path, approximant="IMRPhenomXHM")
    assert not (tmp_path / "run").exists()


def test_a_prior_of_ones_own(tmp_path):
    """Spins of isotropic direction: posterior and bank are those under it."""
    found = run(tmp_path, prior=IntrinsicLVCPrior)
    assert found.summary["adaptive"]["n_effective_waveforms"] > 4
    config = json.loads((tmp_path / "run/banks/adapted/bank_config.json").read_text())
    assert "IntrinsicLVCPrior" in config["prior"]["physical"]
    assert "IntrinsicLVCPrior" in json.dumps(found.kwargs["prior"])
    table = pd.read_feather(tmp_path / "run/banks/adapted/intrinsic_sample_bank.feather")
    # The prior's own mean of a spin's square along L, 1/9, by the weights of the bank.
    weight_i = np.exp(table["log_prior_weights"])
    error = (weight_i.std() / weight_i.mean()) / np.sqrt(len(table))
    mean = np.average(table["s1z"] ** 2, weights=weight_i)
    assert mean == pytest.approx(1 / 9, abs=5 * error / 9)


def test_a_prior_needs_a_range(tmp_path):
    with pytest.raises(InputError, match="mchirp_range is missing"):
        run(tmp_path, prior=IntrinsicLVCPrior, mchirp_range=None)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("executor", ["dask", "mpi", "process"])
def test_same_bits_on_every_executor(executor, tmp_path):
    expected = run(tmp_path)
    script, other = tmp_path / "script.py", tmp_path / "other"
    script.write_text(RUN)
    command = [sys.executable]
    if executor == "mpi":
        launcher = program("mpiexec")
        version = subprocess.run([launcher, "--version"], capture_output=True, text=True)
        options = ["--oversubscribe"] if "Open MPI" in version.stdout else []
        command = [launcher, *options, "-n", "3", sys.executable, "-m", "mpi4py.futures"]
    subprocess.run(
        [*command, str(script), json.dumps(SMALL), str(other), executor],
        check=True, env=environment_of_runs(), timeout=300,
    )  # fmt: skip
    for name in ("summary_results.json", "samples.feather", "prob_samples.feather"):
        assert (other / name).read_bytes() == (tmp_path / "run" / name).read_bytes()
    assert expected.summary["ln_evidence"] > 0
