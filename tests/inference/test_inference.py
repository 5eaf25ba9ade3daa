"""The whole pipeline on reference data and on small cases made here."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pandas as pd
import pytest
from envelopes import write_envelope
from golden_runs import arguments_of_run, assert_same_files

from dotpe_exec import load, run, run_multicore
from dotpe_exec.errors import InputError, RunDirectoryError

pytestmark = pytest.mark.filterwarnings("ignore:.*samples are drawn from a posterior")


@pytest.fixture(scope="session")
def golden_arguments(golden):
    """Arguments of the reference run."""
    return arguments_of_run(golden, mchirp_guess=25.0, draw_subset=False)


@pytest.fixture(scope="session")
def golden_run(golden_arguments, tmp_path_factory):
    """The run directory of the reference case, by our serial executor."""
    return run(**golden_arguments, rundir=tmp_path_factory.mktemp("golden") / "serial")


def above_cut(frame):
    """Rows of the reference tables' cut (over both banks), by bank, i, e, o."""
    frame = frame[frame["bestfit_lnlike"] > frame["bestfit_lnlike"].max() - 20]
    return frame.set_index(["bank_id", "i", "e", "o"]).sort_index()


def test_golden_accepted_set_and_posterior(golden, golden_run):
    ours = above_cut(pd.read_feather(golden_run / "prob_samples.feather"))
    reference = pd.read_feather(golden / "reference/prob_samples_above_cut.feather")
    reference = reference.set_index(["bank_id", "i", "e", "o"]).sort_index()
    assert ours.index.equals(reference.index)
    for column in ("d_h_1Mpc", "h_h_1Mpc"):
        np.testing.assert_allclose(ours[column], reference[column], rtol=1e-6)
    for column in (
        "lnl_marginalized",
        "ln_posterior",
        "bestfit_lnlike",
        "ln_weight_unnormalized",
    ):
        np.testing.assert_allclose(ours[column], reference[column], atol=1e-6)


def test_golden_standardised_columns(golden, golden_run):
    ours = above_cut(pd.read_feather(golden_run / "samples.feather"))
    reference = pd.read_feather(golden / "reference/samples_above_cut.feather")
    reference = reference.set_index(["bank_id", "i", "e", "o"]).sort_index()
    assert set(ours.columns) == set(reference.columns)
    drawn = {"d_luminosity", "lnl", "d_hat", "weights"}
    for column in sorted(set(reference.columns) - drawn):
        np.testing.assert_allclose(
            ours[column], reference[column], rtol=1e-6, atol=1e-8, err_msg=column
        )


def test_golden_single_detector_likelihoods_and_survivors(golden, golden_run):
    reference = np.load(golden / "reference/arrays.npz")
    best = max(reference[f"bank_{k}_lnlike_di"].sum(axis=0).max() for k in range(2))
    for k in range(2):
        lnlike_di = reference[f"bank_{k}_lnlike_di"]
        expected = np.flatnonzero(lnlike_di.sum(axis=0) >= best - 20)
        ours = np.load(golden_run / f"banks/bank_{k}/intrinsic_samples.npz")
        np.testing.assert_array_equal(ours["inds"], expected)
        np.testing.assert_allclose(ours["lnlikes_di"], lnlike_di[:, expected], atol=1e-6)


def test_golden_summary(golden, golden_run):
    ours = json.loads((golden_run / "summary_results.json").read_text())
    reference = json.loads(
        (golden / "reference/summary_results.json").read_text(),
        parse_constant=lambda name: None,
    )
    assert set(reference) <= set(ours)
    for key in ("bestfit_lnlike_max", "lnl_marginalized_max", "ln_evidence"):
        assert ours[key] == pytest.approx(reference[key], abs=1e-6)
    assert ours["n_effective"] == pytest.approx(reference["n_effective"], rel=1e-5)
    # The published code's are averages of the banks' own numbers; ours count all together.
    banks = ours["per_bank_results"].values()
    for key in ("n_effective_i", "n_effective_e"):
        average = np.average([b[key] for b in banks], weights=[b["N_k"] for b in banks])
        assert average == pytest.approx(reference[key], rel=1e-5)
    assert ours["n_i_inds_used"] == reference["n_i_inds_used"]
    assert ours["injection"] == pytest.approx(reference["injection"], abs=1e-6)
    for bank_id, results in reference["per_bank_results"].items():
        mine = ours["per_bank_results"][bank_id]
        assert mine["ln_evidence"] == pytest.approx(results["ln_evidence"], abs=1e-6)
        assert (mine["N_k"], mine["n_inds_used"]) == (
            results["N_k"],
            results["n_inds_used"],
        )


@pytest.mark.parametrize(
    "executor", ["loky", pytest.param("process", marks=pytest.mark.slow)]
)
def test_executors_give_the_same_bits(executor, golden_arguments, golden_run, tmp_path):
    rundir = run_multicore(
        **golden_arguments, rundir=tmp_path / "run", executor=executor, n_procs=2
    )
    assert_same_files(rundir, golden_run)


def test_drawn_extrinsic_samples_do_not_depend_on_the_executor(golden_arguments, tmp_path):
    arguments = golden_arguments | {"extrinsic_samples": None, "draw_subset": True}
    serial = run(**arguments, rundir=tmp_path / "serial")
    loky = run_multicore(**arguments, rundir=tmp_path / "loky", executor="loky", n_procs=2)
    assert_same_files(loky, serial)
    report = json.loads((loky / "run_report.json").read_text())
    assert 0 < report["n_proposals"] <= report["n_proposals_tried"]
    for name in ("incoherent", "scores", "coherent"):
        phase = report["phases"][name]
        ratio = phase["peak_worker_memory_bytes"] / phase["predicted_worker_memory_bytes"]
        assert 0.5 < ratio < 1.5, name


@pytest.mark.slow  # test_extrinsic.py compares smaller ones with the integral
def test_golden_evidence_with_extrinsic_samples_of_our_own(golden_arguments, tmp_path):
    # The published weights leave ln evidence low by about 3: ours is not comparable with
    # the reference run's, but independent draws must agree with each other.
    summaries = []
    for seed in (1, 2):
        rundir = run(
            **golden_arguments | {"extrinsic_samples": None, "n_ext": 512, "seed": seed},
            rundir=tmp_path / str(seed),
        )
        summaries.append(json.loads((rundir / "summary_results.json").read_text()))
    assert summaries[0]["ln_evidence"] == pytest.approx(
        summaries[1]["ln_evidence"], abs=0.5
    )
    assert all(summary["n_effective_e"] > 100 for summary in summaries)


def test_preselected_indices_in_any_order_and_their_evidence(golden_arguments, tmp_path):
    indices = {"bank_0": [300, 7, 112, 106], "bank_1": np.array([5, 380, 17, 60])}
    whole = run(**golden_arguments, preselected_indices=indices, rundir=tmp_path / "all")
    summary = json.loads((whole / "summary_results.json").read_text())
    used = np.concatenate(
        [np.load(whole / f"banks/bank_{k}/intrinsic_samples.npz")["inds"] for k in range(2)]
    )
    assert set(used) <= {300, 7, 112, 106, 5, 380, 17, 60}
    assert summary["per_bank_results"]["bank_0"]["N_k"] == 16 * 96 * 384


def test_indices_of_an_earlier_run(golden_arguments, golden_run, tmp_path):
    again = run(
        **golden_arguments,
        load_inds=True,
        inds_path={
            f"bank_{k}": golden_run / f"banks/bank_{k}/intrinsic_samples.npz"
            for k in range(2)
        },
        rundir=tmp_path / "again",
    )
    ours, first = (
        pd.read_feather(rundir / "prob_samples.feather") for rundir in (again, golden_run)
    )
    pd.testing.assert_frame_equal(ours[["i", "e", "o"]], first[["i", "e", "o"]])
    np.testing.assert_allclose(ours["ln_posterior"], first["ln_posterior"], rtol=1e-10)


def test_bank_that_loses_all_its_waveforms(golden_arguments, tmp_path):
    arguments = golden_arguments | {"max_incoherent_lnlike_drop": 0.0}
    rundir = run(**arguments, rundir=tmp_path / "run")
    summary = json.loads((rundir / "summary_results.json").read_text())
    used = [r["n_inds_used"] for r in summary["per_bank_results"].values()]
    assert sorted(used) == [0, 1]
    empty = next(k for k, n in enumerate(used) if n == 0)
    assert summary["per_bank_results"][f"bank_{empty}"]["ln_evidence"] is None
    assert summary["ln_evidence"] is not None
    assert len(pd.read_feather(rundir / f"banks/bank_{empty}/prob_samples.feather")) == 0


def test_log_weights_of_the_bank_can_be_replaced(golden_arguments, golden_run, tmp_path):
    tables = [
        pd.read_feather(folder / "intrinsic_sample_bank.feather")["log_prior_weights"]
        for folder in golden_arguments["bank_folder"]
    ]
    shifted = run(
        **golden_arguments,
        bank_logw_override={f"bank_{k}": table + 1.5 for k, table in enumerate(tables)},
        rundir=tmp_path / "run",
    )
    ours, first = (
        json.loads((rundir / "summary_results.json").read_text())
        for rundir in (shifted, golden_run)
    )
    assert ours["ln_evidence"] == pytest.approx(first["ln_evidence"] + 1.5, abs=1e-9)


def test_event_dir_numbers_its_runs(golden_arguments, tmp_path):
    arguments = golden_arguments | {"n_int": 40, "n_ext": 16}
    first = run(**arguments, event_dir=tmp_path)
    second = run(**arguments, event_dir=tmp_path)
    assert (first.name, second.name) == ("run_0", "run_1")
    assert_same_files(first, second)


def test_two_detectors_one_mode_and_a_short_last_block(tmp_path):
    # IMRPhenomXAS has only m = 2.
    from dotpe_exec.banks.build import build_bank
    from dotpe_exec.events import simulate_event

    par_dic = {
        "m1": 36.0, "m2": 29.0, "s1z": 0.1, "s2z": 0.0, "iota": 0.6, "d_luminosity": 900.0,
        "ra": 1.0, "dec": -0.5, "psi": 0.4, "phi_ref": 1.0, "t_geocenter": 0.0,
        "f_ref": 50.0,
    }  # fmt: skip
    event = simulate_event(
        "two_detectors", "HL", duration=8.0, fmin=20.0, fmax=512.0, injection=par_dic,
        approximant="IMRPhenomXAS", seed=3,
    )  # fmt: skip
    bank = build_bank(
        tmp_path / "bank", bank_size=150, blocksize=64, mchirp_range=(25, 31), event=event,
        pn_phase_tol=0.3, approximant="IMRPhenomXAS", seed=4, executor="serial",
        progress=False,
    )  # fmt: skip
    rundir = run(event, bank, 128, 16, 64, seed=5, rundir=tmp_path / "run", progress=False)
    summary = json.loads((rundir / "summary_results.json").read_text())
    samples = pd.read_feather(rundir / "samples.feather")
    # An injection of SNR about 20 is found, and no sample is far from it.
    assert summary["bestfit_lnlike_max"] > 0.8 * summary["injection"]["bestfit_lnlike"]
    assert samples["mchirp"].between(25, 31).all()
    assert np.isfinite(samples.select_dtypes("number")).all(axis=None)


def test_tasks_of_every_phase_are_small(golden_arguments, tmp_path, monkeypatch):
    from dotpe_exec.executors.phases import PhaseRunner

    largest: dict[str, int] = {}
    run_tasks = PhaseRunner.map

    def spy(self, phase, function, tasks, **options):
        tasks = list(tasks)
        largest[phase] = max(len(pickle.dumps((function, task))) for task in tasks)
        return run_tasks(self, phase, function, tasks, **options)

    monkeypatch.setattr(PhaseRunner, "map", spy)
    run_multicore(  # a serial run sends nothing
        executor="process",
        n_procs=1,
        **golden_arguments | {"extrinsic_samples": None, "n_ext": 64, "draw_subset": True},
        preselected_indices={"bank_0": np.arange(384)[::-1], "bank_1": [5, 380, 17, 60]},
        rundir=tmp_path / "run",
    )
    assert {"incoherent", "proposals", "coherent"} <= set(largest)
    assert max(largest.values()) < 64_000


@pytest.fixture
def counted(monkeypatch):
    """Releases and ends of executors that runs make, by name."""
    from dotpe_exec.executors.serial import SerialExecutor

    counts = []

    class Counted(SerialExecutor):
        def __init__(self):
            counts.append(0)
            self.number = len(counts) - 1

        def shutdown(self):
            counts[self.number] += 1

    monkeypatch.setattr("dotpe_exec.executors.serial.SerialExecutor", Counted)
    return counts, Counted


def test_executors_of_runs_are_released_exactly_once_however_they_end(
    golden_arguments, golden_run, tmp_path, monkeypatch, counted
):
    from dotpe_exec.errors import DotpeExecError

    counts, _ = counted
    arguments = golden_arguments | {"executor": "serial"}
    run_multicore(**arguments, rundir=golden_run, resume=True)  # nothing left to do
    assert counts == [1]
    with pytest.raises(DotpeExecError):
        run_multicore(**arguments, rundir=golden_run)  # neither resume nor overwrite
    assert counts == [1, 1]
    run_multicore(**arguments, rundir=tmp_path / "run")
    assert counts == [1, 1, 1]

    def fail(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("dotpe_exec.inference.entry.run_stages", fail)
    with pytest.raises(KeyboardInterrupt):
        run_multicore(**arguments, rundir=tmp_path / "interrupted")
    assert counts == [1, 1, 1, 1]


def test_executors_of_the_caller_are_not_released(golden_arguments, golden_run, counted):
    counts, Counted = counted
    run_multicore(
        **golden_arguments | {"executor": Counted()}, rundir=golden_run, resume=True
    )
    assert counts == [0]


def test_exact_likelihoods_of_drawn_samples(golden_arguments, tmp_path):
    """On every executor the same bits, and to first order what the plain run says."""
    arguments = golden_arguments | {"draw_subset": True, "n_draws": 30}
    plain = run(**arguments, rundir=tmp_path / "plain")
    serial = run(**arguments, exact_likelihoods=True, rundir=tmp_path / "serial")
    loky = run_multicore(
        **arguments,
        exact_likelihoods=True,
        rundir=tmp_path / "loky",
        executor="loky",
        n_procs=2,
    )
    assert_same_files(loky, serial)
    summaries = [
        json.loads((rundir / "summary_results.json").read_text())
        for rundir in (plain, serial)
    ]
    change = summaries[1]["ln_evidence"] - summaries[0]["ln_evidence"]
    correction = summaries[0]["relative_binning_error"]
    assert change == pytest.approx(
        correction["ln_evidence_correction"],
        abs=0.03 + 4 * correction["ln_evidence_correction_error"],
    )
    samples = pd.read_feather(serial / "samples.feather")
    ratios = np.exp(samples["lnl_exact"] - samples["lnl"])
    np.testing.assert_allclose(samples["weights"], ratios / ratios.mean(), rtol=1e-9)
    np.testing.assert_array_equal(
        samples["lnl"], pd.read_feather(plain / "samples.feather")["lnl"]
    )


def test_exact_likelihoods_are_those_of_drawn_samples(golden_arguments, tmp_path):
    with pytest.raises(ValueError, match="expected draw_subset=True"):
        run(**golden_arguments, exact_likelihoods=True, rundir=tmp_path / "run")


@pytest.fixture(scope="module")
def calibrated_arguments(golden_arguments, tmp_path_factory):
    folder = tmp_path_factory.mktemp("envelopes")
    envelopes = {name: write_envelope(folder / f"{name}.txt", seed)
                 for seed, name in enumerate(("H1", "L1"))}  # fmt: skip
    return golden_arguments | {
        "draw_subset": True,
        "n_draws": 60,
        "calibration": envelopes,
    }


@pytest.fixture(scope="module")
def calibrated_run(calibrated_arguments, tmp_path_factory):
    return run(**calibrated_arguments, rundir=tmp_path_factory.mktemp("calibrated") / "run")


def test_calibration_is_what_reweighting_makes_of_it(
    calibrated_arguments, calibrated_run, tmp_path
):
    plain = calibrated_arguments | {"calibration": None}
    plain = load(run(**plain, rundir=tmp_path / "plain"))
    calibrated = load(calibrated_run)
    new = plain.reweight(
        calibration=calibrated_arguments["calibration"], seed=plain.kwargs["seed"]
    )
    weights = calibrated.samples["weights"] / calibrated.samples["weights"].sum()
    np.testing.assert_allclose(weights, new.samples["weights"], rtol=1e-6)
    assert calibrated.ln_evidence == pytest.approx(new.ln_evidence, abs=1e-6)
    np.testing.assert_array_equal(
        calibrated.samples["calibration_curve"], new.samples["calibration_curve"]
    )
    found = calibrated.summary["calibration"]
    assert found["ln_evidence_uncalibrated"] == plain.ln_evidence
    assert set(found["envelopes"]) == {"H", "L"}
    assert 1 < found["n_effective_curves"] < found["n_curves"] == 200
    with np.load(calibrated_run / "calibration_curves.npz") as curves:
        for name in "HLV":
            np.testing.assert_allclose(curves[name], new.curves[name])
        assert curves["frequencies"].shape == curves["H"].shape[1:]


def test_a_run_with_other_envelopes_is_another(calibrated_arguments, calibrated_run):
    finished = run(**calibrated_arguments, rundir=calibrated_run, resume=True)
    assert finished == calibrated_run
    path = calibrated_arguments["calibration"]["H1"]
    before = path.read_text()
    write_envelope(path, seed=5)
    try:
        with pytest.raises(RunDirectoryError, match="calibration"):
            run(**calibrated_arguments, rundir=calibrated_run, resume=True)
    finally:
        path.write_text(before)
    with pytest.raises(RunDirectoryError, match="calibration"):
        run(**calibrated_arguments, calibration_correction="template",
            rundir=calibrated_run, resume=True)  # fmt: skip


def test_calibration_is_not_averaged_over_twice(calibrated_arguments, calibrated_run):
    with pytest.raises(InputError, match="averaged over calibration already"):
        load(calibrated_run).reweight(calibration=calibrated_arguments["calibration"])
    assert load(calibrated_run).reweight(distance="comoving").n_effective > 1


def test_calibration_is_of_drawn_samples(calibrated_arguments, tmp_path):
    with pytest.raises(ValueError, match="expected draw_subset=True"):
        run(**calibrated_arguments | {"draw_subset": False}, rundir=tmp_path / "run")
