"""Arguments that cannot be used are refused before work starts, in one sentence."""

from __future__ import annotations

import numpy as np
import pytest
from banks.synthetic_banks import N_WAVEFORMS
from refusals import N_EXT, PAR_DIC, WorkStarted, good_arguments, refused

from dotpe_exec import run_multicore
from dotpe_exec.errors import (
    InputError,
    MissingFileError,
    RunDirectoryError,
    UnknownExecutorError,
)
from dotpe_exec.executors.serial import SerialExecutor


def test_good_input_reaches_the_first_stage(folder):
    with pytest.raises(WorkStarted):
        run_multicore(**good_arguments(folder))


@pytest.mark.parametrize(
    "arguments",
    [
        {"load_inds": True, "inds_path": "intrinsic_samples.npz"},
        {"bank_folder": "bank_0,bank_1", "n_int": [3, 4]},
        {"preselected_indices": [3, 1]},
        {"par_dic_0": PAR_DIC, "extrinsic_samples": None},
    ],
    ids=lambda arguments: next(iter(arguments)),
)
def test_other_good_input_reaches_the_first_stage(folder, monkeypatch, arguments):
    monkeypatch.chdir(folder)
    with pytest.raises(WorkStarted):
        run_multicore(**good_arguments(folder) | arguments)


COUNTS = ("n_ext", "n_phi", "n_t", "blocksize", "single_detector_blocksize", "size_limit",
          "n_draws", "n_phi_incoherent", "n_procs", "i_batch", "batches_per_task",
          "pairs_per_task", "e_blocksize")  # fmt: skip
NUMBERS = ("coherent_score_min_n_effective_prior", "max_incoherent_lnlike_drop",
           "max_bestfit_lnlike_diff", "mchirp_guess")  # fmt: skip
FLAGS = ("load_inds", "draw_subset", "resume", "overwrite", "progress")


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize(
    "value",
    [0, -1, 2.5, "four", True, float("nan"), [3], 10**400],
    ids=lambda v: str(v)[:9],
)
def test_counts_are_positive_integers(folder, name, value):
    refused(folder, {name: value}, InputError, name)


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [-1, float("nan"), "x", True, [1.0]], ids=str)
def test_thresholds_are_numbers(folder, name, value):
    refused(folder, {name: value}, InputError, name)


@pytest.mark.parametrize("name", FLAGS)
@pytest.mark.parametrize("value", ["yes", 1, None], ids=str)
def test_flags_are_true_or_false(folder, name, value):
    refused(folder, {name: value}, InputError, name)


VALUES = [
    ("seed", -1, InputError, "seed is -1"),
    ("seed", 1.5, InputError, "seed is 1.5"),
    ("seed", "abc", InputError, "seed is 'abc'"),
    ("i_int_start", -1, InputError, "i_int_start is -1"),
    ("i_int_start", "two", InputError, "i_int_start is 'two'"),
    ("i_int_start", N_WAVEFORMS, InputError, "i_int_start is 11"),
    ("n_int", 0, InputError, "n_int is 0"),
    ("n_int", -5, InputError, "n_int is -5"),
    ("n_int", N_WAVEFORMS + 1, InputError, "n_int is 12 for bank_0"),
    ("n_int", "many", InputError, "n_int is 'many'"),
    ("n_int", True, InputError, "n_int is True"),
    ("n_int", [1, 2], InputError, "n_int has 2 entries"),
    ("n_int", {"bank_9": 3}, InputError, "'bank_9'"),
    ("n_int", {"bank_0": 1.5}, InputError, "n_int is 1.5"),
    ("n_ext", N_EXT + 1, InputError, "has 8 rows, n_ext is 9"),
    ("mchirp_guess", 0, InputError, "mchirp_guess is 0"),
    ("mchirp_guess", float("inf"), InputError, "mchirp_guess is inf"),
    ("multicore_config", [1], InputError, "multicore_config is a list"),
    ("multicore_config", "auto", InputError, "multicore_config is a str"),
    ("multicore_config", {"nprocs": 1}, InputError, "multicore_config has no nprocs"),
    ("multicore_config", {"i_tile": 0}, InputError, "i_tile"),
    ("multicore_config", {"max_memory_gb": -1}, InputError, "max_memory_gb"),
    ("executor", "gpu", UnknownExecutorError, "executor='gpu'"),
    ("executor", 5, UnknownExecutorError, "not a int"),
    ("executor", {}, UnknownExecutorError, "not a dict"),
    ("executor", SerialExecutor, UnknownExecutorError, "class SerialExecutor"),
    ("event", None, InputError, "event is a NoneType"),
    ("event", 5, InputError, "event is a int"),
    ("event", "nowhere.npz", MissingFileError, "nowhere.npz"),
    ("event", "", MissingFileError, "event"),
    ("event", "a\0b", MissingFileError, "event"),
    ("bank_folder", None, InputError, "bank_folder"),
    ("bank_folder", 5, InputError, "bank_folder"),
    ("bank_folder", [], InputError, "bank_folder"),
    ("bank_folder", {}, InputError, "bank_folder"),
    ("bank_folder", "", InputError, "bank_folder"),
    ("bank_folder", ["bank", 5], InputError, "bank_folder"),
    ("bank_folder", "nowhere", MissingFileError, "nowhere"),
    ("bank_folder", {"../up": "bank_0"}, InputError, "'../up'"),
    ("bank_folder", {1: "bank_0"}, InputError, "1"),
    ("rundir", 5, InputError, "rundir is a int"),
    ("rundir", "", InputError, "rundir is ''"),
    ("rundir", "a\0b", InputError, "rundir"),
    ("rundir", "run\udcff", InputError, "expected a path that is UTF-8 text"),
    ("max_bestfit_lnlike_diff", 0, InputError, "max_bestfit_lnlike_diff is 0"),
    ("bank_logw_override", [1e17] * N_WAVEFORMS, InputError, "is 1e+17 for waveform 0"),
    ("bank_logw_override", [-1e300] * N_WAVEFORMS, InputError, "is -1e+300 for waveform"),
    ("rundir", None, InputError, "neither rundir nor event_dir"),
    ("rundir", "/dev/null/run", RunDirectoryError, "/dev/null/run"),
    ("rundir", "/proc/no/run", RunDirectoryError, "/proc/no/run"),
    ("event_dir", 5, InputError, "event_dir is a int"),
    ("extrinsic_samples", 5, InputError, "extrinsic_samples is a int"),
    ("extrinsic_samples", "", InputError, "extrinsic_samples is ''"),
    ("extrinsic_samples", "nowhere", MissingFileError, "extrinsic_samples"),
    ("par_dic_0", "nowhere.json", MissingFileError, "par_dic_0 file nowhere.json"),
    ("par_dic_0", [1, 2], InputError, "par_dic_0 is a list"),
    ("par_dic_0", 3, InputError, "par_dic_0 is a int"),
    ("par_dic_0", {}, InputError, "par_dic_0 lacks"),
    ("par_dic_0", {**PAR_DIC, "m1": "big"}, InputError, "m1 is 'big'"),
    ("par_dic_0", {**PAR_DIC, "m1": np.nan}, InputError, "m1 is nan"),
    ("par_dic_0", {**PAR_DIC, "m1": 10**400}, InputError, "m1"),
    ("par_dic_0", {**PAR_DIC, "m2": -3.0}, InputError, "m2 must be positive"),
    ("par_dic_0", {**PAR_DIC, "s1z": 1.5}, InputError, "out of physical bounds"),
    ("par_dic_0", {**PAR_DIC, "m1": 1e9}, InputError, "IMRPhenomXPHM has no waveform"),
    ("par_dic_0", {**PAR_DIC, "m1": 9e4, "m2": 9e4}, InputError, "m1 = 90000"),
    ("par_dic_0", {**PAR_DIC, "f_ref": 20.0}, InputError, "f_ref is 20.0 Hz"),
    ("calibration", "H1.txt", InputError, "calibration is a dictionary"),
    ("calibration", {}, InputError, "calibration is a dictionary"),
    ("calibration", {"H1": "nowhere.txt"}, MissingFileError, "nowhere.txt"),
    ("calibration", {"H1": 5}, InputError, "calibration of H1 is a int"),
    ("coherent_posterior_kwargs", [1], InputError, "coherent_posterior_kwargs is a list"),
    ("coherent_posterior_kwargs", {"prior": 1}, InputError, "coherent_posterior_kwargs"),
    (
        "coherent_posterior_kwargs",
        {"likelihood_kwargs": 1},
        InputError,
        "likelihood_kwargs",
    ),
    (
        "coherent_posterior_kwargs",
        {"likelihood_kwargs": {"fbins": 1}},
        InputError,
        "likelihood_kwargs has fbins, expected some of fbin,",
    ),
    (
        "coherent_posterior_kwargs",
        {"ref_wf_finder_kwargs": {"time": 1}},
        InputError,
        "ref_wf_finder_kwargs has time, expected some of f_ref,",
    ),
    ("coherent_posterior_kwargs", {"prior_class": "Flat"}, InputError, "prior_class"),
    ("coherent_posterior_kwargs", {"approximant": "Newton"}, InputError, "Newton"),
    ("load_inds", True, InputError, "inds_path is None"),
    ("preselected_indices", "nowhere.npy", MissingFileError, "nowhere.npy"),
    ("preselected_indices", [], InputError, "preselected_indices"),
    ("preselected_indices", [0, 0], InputError, "preselected_indices"),
    ("preselected_indices", [-1], InputError, "preselected_indices"),
    ("preselected_indices", [N_WAVEFORMS], InputError, "preselected_indices"),
    ("preselected_indices", [0.5], InputError, "preselected_indices"),
    ("preselected_indices", [[0, 1]], InputError, "preselected_indices"),
    ("preselected_indices", [[0], [0, 1]], InputError, "preselected_indices"),
    ("preselected_indices", ["a"], InputError, "preselected_indices"),
    ("preselected_indices", {"bank_7": [0]}, InputError, "'bank_7'"),
    ("bank_logw_override", [0.0], InputError, "bank_logw_override of bank_0 has shape"),
    ("bank_logw_override", "x", InputError, "bank_logw_override"),
    ("bank_logw_override", [np.nan] * N_WAVEFORMS, InputError, "bank_logw_override"),
    ("bank_logw_override", {"bank_7": [0.0]}, InputError, "'bank_7'"),
]


@pytest.mark.parametrize(
    ("name", "value", "error_class", "sentence"),
    VALUES,
    ids=[f"{name}-{str(value)[:24]!r}" for name, value, *_ in VALUES],
)
def test_values_that_cannot_be_used(folder, name, value, error_class, sentence):
    refused(folder, {name: value}, error_class, sentence)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"resume": True, "overwrite": True}, "resume and overwrite exclude each other"),
        ({"load_inds": True, "inds_path": "x", "preselected_indices": [1]}, "load_inds"),
        ({"preselected_indices": [1], "i_int_start": 1}, "i_int_start is 1"),
        ({"i_int_start": 8, "n_int": 4}, "i_int_start is 8 and n_int 4"),
        ({"load_inds": True, "inds_path": 3}, "inds_path is a int"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_arguments_that_contradict_each_other(folder, arguments, sentence):
    refused(folder, arguments, InputError, sentence)


def test_event_dir_gets_no_folder_when_the_arguments_are_refused(folder):
    arguments = {"rundir": None, "event_dir": folder / "runs", "resume": True}
    refused(folder, {**arguments, "overwrite": True}, InputError, "exclude each other")
