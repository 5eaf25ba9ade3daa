"""``infer`` where no waveform of aligned spins fits: its reference comes from samples."""

import json
import warnings

import numpy as np
import pytest

from dotpe_exec import infer, run_multicore
from dotpe_exec.banks.config import read_config
from dotpe_exec.events import simulate_event
from dotpe_exec.inference import infer_reference, infer_stages
from dotpe_exec.loading import load_run
from dotpe_exec.stages.reference import find_reference

pytestmark = pytest.mark.slow

SIGNAL = {
    "m1": 45.0, "m2": 12.0, "s1x_n": 0.7, "s1y_n": 0.3, "s1z": 0.2, "s2x_n": 0.0,
    "s2y_n": 0.0, "s2z": 0.0, "l1": 0.0, "l2": 0.0, "iota": 1.2, "psi": 0.6,
    "phi_ref": 1.0, "ra": 1.2, "dec": -0.4, "t_geocenter": 0.0, "d_luminosity": 270.0,
    "f_ref": 50.0,
}  # fmt: skip

SMALL = {
    "mchirp_range": (17.0, 23.0), "q_min": 0.15, "n_effective": 60, "max_waveforms": 2000,
    "pn_phase_tol": 0.2, "n_ext": 64, "n_phi": 16, "n_t": 16, "seed": 3, "progress": False,
    "save_waveforms": True,
}  # fmt: skip

FILES = ("summary_results.json", "samples.feather", "prob_samples.feather",
         "extrinsic_samples.feather", "Posterior.json",
         "banks/adapted/intrinsic_sample_bank.feather")  # fmt: skip

INPLANE = ("s1x_n", "s1y_n", "s2x_n", "s2y_n")


@pytest.fixture(scope="module")
def event():
    settings = {"duration": 8.0, "fmax": 512.0, "injection": SIGNAL, "seed": 5}
    return simulate_event("precessing", "HL", **settings)


@pytest.fixture(scope="module", autouse=True)
def few_starts():
    """One way to the maximum is enough here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(infer_reference, "N_STARTS", 1)
        yield


def run(event, rundir, **changes):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it is too small to be good
        return infer(event, **{**SMALL, "executor": "serial", "rundir": rundir, **changes})


def reference_of(rundir):
    content = json.loads((rundir / "Posterior.json").read_text())
    return content["init_kwargs"]["likelihood"]["init_kwargs"]["par_dic_0"]


@pytest.fixture(scope="module")
def serial_run(event, tmp_path_factory):
    return run(event, tmp_path_factory.mktemp("infer") / "run")


def test_the_reference_is_refined_from_samples(serial_run):
    summary = load_run(serial_run).summary
    refined = summary["adaptive"]["reference_refined"]
    assert 1 <= len(refined) <= infer_reference.MAX_REFINED
    first, last = refined[0], refined[-1]
    assert first["lnlike_of_best_sample"] > first["lnlike_before"] + 5
    assert last["lnlike"] > first["lnlike_of_best_sample"]
    assert summary["reference_bestfit_lnlike"] == pytest.approx(last["lnlike"])
    assert any(abs(last["par_dic"][name]) > 0.1 for name in INPLANE)
    named = {finding["key"] for finding in summary["diagnostics"]["findings"]}
    assert not {"reference", "relative_binning_error"} & named


def test_what_is_left_gives_the_same_evidence(event, serial_run, tmp_path):
    """With the waveform of ``Posterior.json``, of aligned spins, and with the other."""
    summary = load_run(serial_run).summary
    refined = summary["adaptive"]["reference_refined"][-1]["par_dic"]
    assert not any(reference_of(serial_run)[name] for name in INPLANE)
    for name, given in {
        "aligned": {"par_dic_0": reference_of(serial_run)},
        "refined": {"par_dic_0": refined, "asd_drift": summary["asd_drift"]},
    }.items():
        again = run_multicore(
            event, serial_run / "banks/adapted", 256, 16, 16, seed=4, executor="serial",
            rundir=tmp_path / name, max_incoherent_lnlike_drop=40, progress=False, **given,
        )  # fmt: skip
        other = load_run(again).summary
        assert other["asd_drift"] == pytest.approx(summary["asd_drift"], rel=1e-12)
        errors = [s["ln_evidence_error_parts"]["extrinsic"] for s in (summary, other)]
        assert other["ln_evidence"] == pytest.approx(
            summary["ln_evidence"], abs=4 * float(np.hypot(*errors))
        ), name


def test_the_noise_level_is_what_any_search_gives(event, serial_run):
    summary = load_run(serial_run).summary
    bank_config = read_config(serial_run / "banks/adapted" / "bank_config.json")
    found = find_reference(event, bank_config, n_t=16, mchirp_guess=21.0, q_min=0.15)
    for values_d, name in (
        (found.posterior.likelihood.asd_drift, "asd_drift"),
        (found.asd_drift_error_d, "asd_drift_error"),
    ):
        expected = dict(zip("HL", values_d, strict=True))
        assert summary[name] == pytest.approx(expected, rel=1e-9), name
    assert not summary["asd_drift_given"]


def test_same_bits_on_another_executor(event, serial_run, tmp_path):
    other = run(event, tmp_path / "run", executor="process", n_procs=2)
    for name in FILES:
        assert (other / name).read_bytes() == (serial_run / name).read_bytes(), name


class Killed(BaseException):
    """Ends a run where nothing is tidied up."""


def test_a_run_that_ended_after_it_goes_on_to_the_same_bits(
    event, serial_run, tmp_path, monkeypatch
):
    def end(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(infer_stages, "_produce", end)
        with pytest.raises(Killed):
            run(event, tmp_path / "run")
    run(event, tmp_path / "run", resume=True)
    for name in FILES:
        content = (tmp_path / "run" / name).read_bytes()
        assert content == (serial_run / name).read_bytes(), name


def test_one_that_was_given_stays(event, serial_run, tmp_path):
    given = reference_of(serial_run)
    rundir = run(event, tmp_path / "run", par_dic_0=given)
    assert load_run(rundir).summary["adaptive"]["reference_refined"] == []
    found = reference_of(rundir) | {"t_geocenter": given["t_geocenter"]}  # moved a little
    assert found == pytest.approx(given)
