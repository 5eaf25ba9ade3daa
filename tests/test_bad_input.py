"""Bad input ends before work starts, in one sentence, and changes nothing.

Every case damages a good set of inputs in one way. The same inputs undamaged do reach the
first stage, which is replaced here, so that each case fails if what it damages were not
looked at.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from banks.synthetic_banks import N_WAVEFORMS, write_bank

from dotpe_exec import inference, run_multicore
from dotpe_exec.errors import (
    BankError,
    DotpeExecError,
    EventError,
    ExecutorError,
    InputError,
    MissingFileError,
    RunDirectoryError,
    UnknownExecutorError,
)
from dotpe_exec.executors.serial import SerialExecutor
from dotpe_exec.lock import DirectoryLock

N_EXT = 8
PAR_DIC = {
    "m1": 34.5, "m2": 24.2, "ra": 0.5, "dec": 0.5, "iota": 1.0, "psi": 1.0, "phi_ref": 0.7,
    "s1z": 0.3, "s2z": 0.3, "f_ref": 50.0, "d_luminosity": 1500.0, "t_geocenter": 0.0,
}  # fmt: skip


class WorkStarted(BaseException):
    """Raised in place of the first stage; nothing catches it by accident."""


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """Good inputs: an event of two detectors, two banks, extrinsic samples, indices."""
    from dotpe_exec.events import simulate_event

    folder = tmp_path_factory.mktemp("template")
    event = simulate_event("tiny", "HL", duration=4.0, fmax=128.0, seed=1)
    event.to_npz(filename=folder / "event.npz")
    for k in range(2):
        write_bank(folder / f"bank_{k}", seed=k)
    rng = np.random.default_rng(0)
    pd.DataFrame(
        {
            "lat": rng.uniform(-1, 1, N_EXT),
            "lon": rng.uniform(0, 6, N_EXT),
            "psi": rng.uniform(0, 3, N_EXT),
            "t_geocenter": rng.normal(0, 0.01, N_EXT),
            "weights": rng.uniform(0.1, 1, N_EXT),
            "log_prior_weights": rng.normal(0, 1, N_EXT),
        }
    ).to_feather(folder / "extrinsic_samples.feather")
    np.savez(folder / "intrinsic_samples.npz", inds=np.arange(4))
    (folder / "par_dic_0.json").write_text(json.dumps(PAR_DIC))
    return folder


@pytest.fixture
def folder(template, tmp_path, monkeypatch):
    """A copy of the good inputs that a test may damage."""

    def work_starts(*args, **kwargs):
        raise WorkStarted

    monkeypatch.setattr(inference, "run_stages", work_starts)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return shutil.copytree(template, tmp_path / "inputs")


def good_arguments(folder: Path) -> dict[str, Any]:
    return {
        "event": folder / "event.npz",
        "bank_folder": folder / "bank_0",
        "n_ext": N_EXT,
        "n_phi": 4,
        "n_t": 8,
        "seed": 1,
        "par_dic_0": folder / "par_dic_0.json",
        "extrinsic_samples": folder / "extrinsic_samples.feather",
        "rundir": folder / "run",
        "executor": "serial",
        "progress": False,
    }


def snapshot(folder: Path) -> dict[str, Any]:
    """Everything below a folder: names, content, and when each was last changed."""
    return {
        str(path.relative_to(folder)): (
            path.lstat().st_mtime_ns,
            path.read_bytes() if path.is_file() else None,
        )
        for path in sorted(folder.rglob("*"))
    }


def refused(folder, arguments, error_class, sentence):
    """Run; expect one sentence and no trace."""
    before = snapshot(folder)
    with pytest.raises(DotpeExecError) as caught:
        run_multicore(**good_arguments(folder) | arguments)
    message = str(caught.value)
    assert isinstance(caught.value, error_class), repr(caught.value)
    builtin = {MissingFileError: FileNotFoundError, ExecutorError: RuntimeError}
    assert isinstance(caught.value, builtin.get(error_class, ValueError))
    assert sentence in message
    assert "\n" not in message.strip() and 10 < len(message) < 600
    assert snapshot(folder) == before


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


# Values of arguments

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
    ("par_dic_0", {**PAR_DIC, "f_ref": 20.0}, InputError, "f_ref is 20.0 Hz"),
    ("coherent_posterior_kwargs", [1], InputError, "coherent_posterior_kwargs is a list"),
    ("coherent_posterior_kwargs", {"prior": 1}, InputError, "coherent_posterior_kwargs"),
    (
        "coherent_posterior_kwargs",
        {"likelihood_kwargs": 1},
        InputError,
        "likelihood_kwargs",
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


# Files


@dataclass(frozen=True)
class Damage:
    """A change to the good inputs, and what is said of it."""

    name: str
    do: Callable[[Path], Any]
    error_class: type[Exception]
    sentence: str
    arguments: dict[str, Any] = field(default_factory=dict)


def rewrite_event(**replaced: Any) -> Callable[[Path], None]:
    """Replace arrays of the event; None leaves one out, a function changes it."""

    def do(folder: Path) -> None:
        with np.load(folder / "event.npz") as archive:
            content = dict(archive)
        for key, value in replaced.items():
            content[key] = value(content[key]) if callable(value) else value
        kept = {key: value for key, value in content.items() if value is not None}
        np.savez(folder / "event.npz", **kept)

    return do


def truncate(name: str, n_bytes: int) -> Callable[[Path], None]:
    """Keep the first bytes of a file, or leave out the last ones."""
    return lambda folder: (folder / name).write_bytes(
        (folder / name).read_bytes()[:n_bytes]
    )


def write(name: str, content: bytes) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_bytes(content)


def remove(name: str) -> Callable[[Path], None]:
    def do(folder: Path) -> None:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return do


def replace_by_folder(name: str) -> Callable[[Path], None]:
    def do(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).mkdir()

    return do


def rewrite_array(name: str, change: Callable) -> Callable[[Path], None]:
    return lambda folder: np.save(folder / name, change(np.load(folder / name)))


def rewrite_table(name: str, change: Callable) -> Callable[[Path], None]:
    return lambda folder: change(pd.read_feather(folder / name)).to_feather(folder / name)


def rewrite_config(bank: str = "bank_0", **replaced: Any) -> Callable[[Path], None]:
    def do(folder: Path) -> None:
        path = folder / bank / "bank_config.json"
        content = json.loads(path.read_text()) | replaced
        path.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))

    return do


def with_value(value: float, *index: int) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        array = array.copy()
        array[index] = value
        return array

    return change


class Pickled:
    """What must never be unpickled."""

    def __reduce__(self):
        return os.abort, ()


EVENTS = [
    Damage("empty", write("event.npz", b""), EventError, "event.npz"),
    Damage("text", write("event.npz", b"strain"), EventError, "event.npz"),
    Damage("truncated", truncate("event.npz", -100), EventError, "event.npz"),
    Damage("half", truncate("event.npz", 5000), EventError, "event.npz"),
    Damage("folder", replace_by_folder("event.npz"), MissingFileError, "event.npz"),
    Damage(
        "one array",
        lambda f: np.save((f / "event.npz").open("wb"), np.ones(3)),
        EventError,
        "event.npz",
    ),
    *(
        Damage(f"without {key}", rewrite_event(**{key: None}), EventError, f"lacks {key}")
        for key in (
            "eventname",
            "frequencies",
            "strain",
            "wht_filter",
            "detector_names",
            "tgps",
            "tcoarse",
        )
    ),
    Damage(
        "objects",
        rewrite_event(strain=np.array([Pickled()], dtype=object)),
        EventError,
        "event.npz",
    ),
    Damage(
        "NaN in strain",
        rewrite_event(strain=with_value(np.nan, 0, 100)),
        EventError,
        "strain of detector H",
    ),
    Damage(
        "infinity in filter",
        rewrite_event(wht_filter=with_value(np.inf, 1, 100)),
        EventError,
        "wht_filter of detector L",
    ),
    Damage("all zero", rewrite_event(strain=lambda a: 0 * a), EventError, "all zero"),
    Damage(
        "strain of one detector",
        rewrite_event(strain=lambda a: a[:1]),
        EventError,
        "strain has shape (1,",
    ),
    Damage(
        "short strain",
        rewrite_event(strain=lambda a: a[:, :-1]),
        EventError,
        "strain has shape",
    ),
    Damage(
        "integer strain",
        rewrite_event(strain=lambda a: a.real.astype(int)),
        EventError,
        "type int64",
    ),
    Damage(
        "complex filter",
        rewrite_event(wht_filter=lambda a: a + 0j),
        EventError,
        "wht_filter has shape",
    ),
    Damage(
        "frequencies as matrix",
        rewrite_event(frequencies=lambda a: a[None]),
        EventError,
        "frequencies have shape",
    ),
    Damage(
        "frequencies from 20 Hz",
        rewrite_event(frequencies=lambda a: a + 20),
        EventError,
        "frequencies must start at 0",
    ),
    Damage(
        "NaN in frequencies",
        rewrite_event(frequencies=with_value(np.nan, 7)),
        EventError,
        "frequencies",
    ),
    Damage(
        "unknown detector",
        rewrite_event(detector_names=np.array(["H", "X"])),
        EventError,
        "detector 'X'",
    ),
    Damage(
        "detector twice",
        rewrite_event(detector_names=np.array(["H", "H"])),
        EventError,
        "a detector twice",
    ),
    Damage(
        "one name",
        rewrite_event(detector_names=np.array("HL")),
        EventError,
        "detector_names",
    ),
    Damage(
        "no detectors",
        rewrite_event(detector_names=np.array([], dtype=str)),
        EventError,
        "no detectors",
    ),
    Damage("tcoarse outside", rewrite_event(tcoarse=100.0), EventError, "tcoarse is 100.0"),
    Damage("tcoarse NaN", rewrite_event(tcoarse=np.nan), EventError, "tcoarse is"),
    Damage("tgps as text", rewrite_event(tgps="now"), EventError, "tgps is"),
    Damage("tgps as array", rewrite_event(tgps=np.zeros(2)), EventError, "tgps is"),
    Damage("name with a path", rewrite_event(eventname="../../x"), EventError, "'../../x'"),
    Damage("name with a space", rewrite_event(eventname="a b"), InputError, "'a b'"),
    Damage("empty name", rewrite_event(eventname=""), EventError, "its name ''"),
    Damage("injection not JSON", rewrite_event(injection="{"), EventError, "not JSON"),
    Damage("injection a list", rewrite_event(injection="[1]"), EventError, "par_dic"),
    Damage(
        "injection of other detectors",
        rewrite_event(injection='{"par_dic": {}, "d_h": [1.0]}'),
        EventError,
        "d_h",
    ),
    Damage(
        "coarser grid",
        rewrite_event(
            frequencies=lambda a: a[:-1:3],
            strain=lambda a: a[:, :-1:3],
            wht_filter=lambda a: a[:, :-1:3],
            tcoarse=0.5,
        ),
        BankError,
        "are not frequencies of tiny",
    ),
    Damage(
        "too few frequencies",
        rewrite_event(
            frequencies=lambda a: a[:300],
            strain=lambda a: a[:, :300],
            wht_filter=lambda a: a[:, :300],
        ),
        BankError,
        "the bank's bins reach 100.0 Hz",
    ),
]

BLOCK = "bank_0/waveforms/amplitudes_block_1.npy"
TABLE = "bank_0/intrinsic_sample_bank.feather"
CONFIG = "bank_0/bank_config.json"
TWO = {"bank_folder": ["bank_0", "bank_1"]}

BANKS = [
    Damage("no folder", remove("bank_0"), MissingFileError, "bank_0"),
    Damage("no configuration", remove(CONFIG), MissingFileError, "bank_config.json"),
    Damage("no table", remove(TABLE), MissingFileError, "intrinsic_sample_bank"),
    Damage("no waveforms", remove("bank_0/waveforms"), MissingFileError, "block_0"),
    Damage("missing block", remove(BLOCK), MissingFileError, "amplitudes_block_1"),
    Damage(
        "missing phase",
        remove("bank_0/waveforms/phase_block_2.npy"),
        MissingFileError,
        "phase_block_2",
    ),
    Damage("truncated block", truncate(BLOCK, -8), BankError, "amplitudes_block_1"),
    Damage("header alone", truncate(BLOCK, 128), BankError, "amplitudes_block_1"),
    Damage("empty block", write(BLOCK, b""), BankError, "amplitudes_block_1"),
    Damage("text for block", write(BLOCK, b"waves" * 100), BankError, "amplitudes_block_1"),
    Damage(
        "single precision",
        rewrite_array(BLOCK, lambda a: a.astype("f4")),
        BankError,
        "dtype <f4",
    ),
    Damage(
        "complex block", rewrite_array(BLOCK, lambda a: a + 0j), BankError, "dtype <c16"
    ),
    Damage("fewer rows", rewrite_array(BLOCK, lambda a: a[:-1]), BankError, "shape (3, 2"),
    Damage("fewer bins", rewrite_array(BLOCK, lambda a: a[..., 1:]), BankError, "2, 5)"),
    Damage("Fortran order", rewrite_array(BLOCK, np.asfortranarray), BankError, "Fortran"),
    Damage("folder for block", replace_by_folder(BLOCK), BankError, "amplitudes_block_1"),
    Damage("configuration not JSON", write(CONFIG, b"{"), BankError, "bank_config.json"),
    Damage("configuration a list", write(CONFIG, b"[]"), BankError, "bank_config.json"),
    Damage("configuration not text", write(CONFIG, b"\xff\xfe"), BankError, "bank_config"),
    Damage("deep configuration", write(CONFIG, b"[" * 100_000), BankError, "bank_config"),
    *(
        Damage(f"without {key}", rewrite_config(**{key: None}), BankError, key)
        for key in ("f_ref", "fbin", "approximant", "m_arr", "blocksize")
    ),
    Damage("negative f_ref", rewrite_config(f_ref=-50), BankError, "f_ref is -50"),
    Damage(
        "unknown approximant", rewrite_config(approximant="X"), BankError, "approximant"
    ),
    Damage(
        "falling bins", rewrite_config(fbin=[20, 25, 31, 40, 100, 60]), BankError, "fbin"
    ),
    Damage(
        "bins off the grid",
        rewrite_config(fbin=[20, 25, 31, 40.1, 60, 100]),
        BankError,
        "40.1 Hz",
    ),
    Damage(
        "bins beyond the data",
        rewrite_config(fbin=[20, 25, 31, 40, 60, 300]),
        BankError,
        "300.0 Hz",
    ),
    Damage("blocks of 0", rewrite_config(blocksize=0), BankError, "blocksize is 0"),
    Damage("other blocksize", rewrite_config(blocksize=5), BankError, "block_0"),
    Damage("modes that do not fit", rewrite_config(m_arr=[2, 7]), BankError, "m_arr"),
    Damage("table truncated", truncate(TABLE, -200), BankError, "intrinsic_sample_bank"),
    Damage("table empty", write(TABLE, b""), BankError, "intrinsic_sample_bank"),
    Damage(
        "table without weights",
        rewrite_table(TABLE, lambda t: t.drop(columns="log_prior_weights")),
        BankError,
        "log_prior_weights",
    ),
    Damage(
        "table without mass",
        rewrite_table(TABLE, lambda t: t.drop(columns="m1")),
        BankError,
        "m1",
    ),
    Damage(
        "NaN in weights",
        rewrite_table(TABLE, lambda t: t.assign(log_prior_weights=[np.nan] * N_WAVEFORMS)),
        BankError,
        "log_prior_weights",
    ),
    Damage(
        "negative mass",
        rewrite_table(TABLE, lambda t: t.assign(m1=-t["m1"])),
        BankError,
        "m1",
    ),
    Damage(
        "text in table",
        rewrite_table(TABLE, lambda t: t.assign(m1="heavy")),
        BankError,
        "m1",
    ),
    Damage("no rows", rewrite_table(TABLE, lambda t: t[:0]), BankError, "no rows"),
    Damage(
        "banks of other f_ref",
        rewrite_config("bank_1", f_ref=40.0),
        BankError,
        "f_ref",
        TWO,
    ),
    Damage(
        "banks of other bins",
        rewrite_config("bank_1", fbin=[20, 25, 31, 40, 61, 100]),
        BankError,
        "fbin",
        TWO,
    ),
    Damage(
        "banks of other approximants",
        rewrite_config("bank_1", approximant="IMRPhenomXHM"),
        BankError,
        "approximant",
        TWO,
    ),
]

EXTRINSIC = "extrinsic_samples.feather"
SAMPLES = [
    Damage("missing", remove(EXTRINSIC), MissingFileError, EXTRINSIC),
    Damage("empty", write(EXTRINSIC, b""), InputError, EXTRINSIC),
    Damage("text", write(EXTRINSIC, b"lat,lon\n"), InputError, EXTRINSIC),
    Damage("truncated", truncate(EXTRINSIC, -50), InputError, EXTRINSIC),
    Damage("few rows", rewrite_table(EXTRINSIC, lambda t: t[:5]), InputError, "has 5 rows"),
    *(
        Damage(
            f"without {name}",
            rewrite_table(EXTRINSIC, lambda t, n=name: t.drop(columns=n)),
            InputError,
            f"lacks the columns {name}",
        )
        for name in ("lat", "lon", "psi", "t_geocenter")
    ),
    *(
        Damage(
            f"{value} in {name}",
            rewrite_table(EXTRINSIC, lambda t, n=name, v=value: t.assign(**{n: v})),
            InputError,
            name,
        )
        for name in ("lat", "t_geocenter", "weights")
        for value in (np.nan, np.inf)
    ),
    Damage(
        "NaN log weight",
        rewrite_table(EXTRINSIC, lambda t: t.assign(log_prior_weights=np.nan)),
        InputError,
        "weights that are negative or not finite",
    ),
    Damage(
        "negative weight",
        rewrite_table(EXTRINSIC, lambda t: t.assign(weights=-1.0)),
        InputError,
        "weights that are negative",
    ),
    Damage(
        "weights all zero",
        rewrite_table(
            EXTRINSIC, lambda t: t.assign(weights=0.0, log_prior_weights=-np.inf)
        ),
        InputError,
        "weights that are all zero",
    ),
    Damage(
        "lat in degrees",
        rewrite_table(EXTRINSIC, lambda t: t.assign(lat=45.0)),
        InputError,
        "has 45.0 in column lat, row 0",
    ),
    Damage(
        "text in lat",
        rewrite_table(EXTRINSIC, lambda t: t.assign(lat="north")),
        InputError,
        "column lat",
    ),
]

INDICES = "intrinsic_samples.npz"
LOAD = {"load_inds": True, "inds_path": INDICES}
NPY = {"preselected_indices": "inds.npy"}
INDEX_FILES = [
    Damage("missing", remove(INDICES), MissingFileError, INDICES, LOAD),
    Damage("empty", write(INDICES, b""), InputError, INDICES, LOAD),
    Damage("truncated", truncate(INDICES, -30), InputError, INDICES, LOAD),
    Damage("no inds", lambda f: np.savez(f / INDICES, i=[1]), InputError, "'inds'", LOAD),
    *(
        Damage(
            name,
            lambda f, inds=inds: np.savez(f / INDICES, inds=inds),
            InputError,
            INDICES,
            LOAD,
        )
        for name, inds in {
            "out of range": [0, 11],
            "negative": [-1],
            "twice": [1, 1],
            "fractions": [0.5],
            "matrix": [[1]],
        }.items()
    ),
    Damage(
        "none",
        lambda f: np.savez(f / INDICES, inds=[]),
        InputError,
        "inds_path is empty",
        LOAD,
    ),
    Damage(
        "objects",
        lambda f: np.savez(f / INDICES, inds=np.array([Pickled()], dtype=object)),
        InputError,
        INDICES,
        LOAD,
    ),
    Damage(
        "unknown bank",
        lambda f: None,
        InputError,
        "'bank_5'",
        {"load_inds": True, "inds_path": {"bank_5": INDICES}},
    ),
    Damage(
        "npy truncated",
        lambda f: (np.save(f / "inds.npy", np.arange(4)), truncate("inds.npy", -4)(f)),
        InputError,
        "inds.npy",
        NPY,
    ),
    Damage(
        "npy objects",
        lambda f: np.save(f / "inds.npy", np.array([Pickled()], dtype=object)),
        InputError,
        "inds.npy",
        NPY,
    ),
    Damage(
        "npy out of range",
        lambda f: np.save(f / "inds.npy", [99]),
        InputError,
        "inds.npy",
        NPY,
    ),
]

PAR_FILE = "par_dic_0.json"
PAR_DICS = [
    Damage("not JSON", write(PAR_FILE, b"{m1: 3}"), InputError, PAR_FILE),
    Damage("a list", write(PAR_FILE, b"[1]"), InputError, PAR_FILE),
    Damage("not text", write(PAR_FILE, b"\xff"), InputError, PAR_FILE),
    Damage("deep", write(PAR_FILE, b"[" * 100_000), InputError, PAR_FILE),
    Damage("NaN", write(PAR_FILE, b'{"m1": NaN}'), InputError, "m1 is nan"),
    Damage(
        "a number too large",
        write(PAR_FILE, b'{"m1": 1' + b"0" * 400 + b"}"),
        InputError,
        "m1",
    ),
    Damage("a folder", replace_by_folder(PAR_FILE), MissingFileError, PAR_FILE),
]

ALL = {
    "event": EVENTS,
    "bank": BANKS,
    "extrinsic": SAMPLES,
    "indices": INDEX_FILES,
    "par_dic_0": PAR_DICS,
}


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(damage, id=f"{kind}-{damage.name}".replace(" ", "-"))
        for kind, damages in ALL.items()
        for damage in damages
    ],
)
def test_damaged_files_are_named(folder, monkeypatch, damage):
    monkeypatch.chdir(folder)
    damage.do(folder)
    refused(folder, damage.arguments, damage.error_class, damage.sentence)


# Run directories


def begin(folder: Path, **arguments: Any) -> None:
    """Leave an unfinished run behind."""
    with pytest.raises(WorkStarted):
        run_multicore(**good_arguments(folder) | arguments)


def finish(folder: Path) -> None:
    begin(folder)
    (folder / "run" / "summary_results.json").write_text("{}")


def leave_checkpoint(folder: Path) -> None:
    begin(folder)
    (folder / "run" / "checkpoint").mkdir(exist_ok=True)
    (folder / "run" / "checkpoint" / "incoherent-0001.ckpt").write_bytes(b"x")


def other_weights(folder: Path) -> None:
    leave_checkpoint(folder)
    rewrite_table(TABLE, lambda t: t.assign(log_prior_weights=0.0))(folder)


RESUME = {"resume": True}
RUN_DIRECTORIES = [
    Damage("a file in the way", write("run", b"notes"), RunDirectoryError, "is a file"),
    Damage("results", finish, RunDirectoryError, "holds the results of a run"),
    Damage(
        "unfinished run", leave_checkpoint, RunDirectoryError, "holds an unfinished run"
    ),
    Damage(
        "other seed",
        leave_checkpoint,
        RunDirectoryError,
        "seed (1, now 2)",
        {**RESUME, "seed": 2},
    ),
    Damage(
        "other n_ext",
        leave_checkpoint,
        RunDirectoryError,
        "n_ext (8, now 4)",
        {**RESUME, "n_ext": 4},
    ),
    Damage(
        "other bank",
        leave_checkpoint,
        RunDirectoryError,
        "the content of bank_0",
        {**RESUME, "bank_folder": "bank_1"},
    ),
    Damage(
        "another bank more",
        leave_checkpoint,
        RunDirectoryError,
        "the banks (bank_0, now",
        {**RESUME, "bank_folder": "bank_0,bank_1"},
    ),
    Damage("other weights", other_weights, RunDirectoryError, "what differs", RESUME),
    Damage(
        "other event",
        lambda f: (leave_checkpoint(f), rewrite_event(strain=lambda a: 2 * a)(f)),
        RunDirectoryError,
        "content of the event",
        RESUME,
    ),
    Damage(
        "finished with other arguments",
        finish,
        RunDirectoryError,
        "n_phi (4, now 5)",
        {**RESUME, "n_phi": 5},
    ),
    *(
        Damage(
            f"identity {name}",
            lambda f, c=content: (
                leave_checkpoint(f),
                write("run/run_identity.json", c)(f),
            ),
            RunDirectoryError,
            "damaged",
            RESUME,
        )
        for name, content in {
            "cut off": b'{"version": "0.',
            "a list": b"[]",
            "empty": b"",
            "incomplete": b'{"version": "0.1.0"}',
        }.items()
    ),
    Damage(
        "identity missing",
        lambda f: (leave_checkpoint(f), remove("run/run_identity.json")(f)),
        RunDirectoryError,
        "does not say which run it belongs to",
        RESUME,
    ),
]


@pytest.mark.parametrize(
    "damage", RUN_DIRECTORIES, ids=[d.name.replace(" ", "-") for d in RUN_DIRECTORIES]
)
def test_run_directories_that_cannot_be_used(folder, monkeypatch, damage):
    monkeypatch.chdir(folder)
    damage.do(folder)
    before = snapshot(folder)
    with pytest.raises(damage.error_class, match="run") as caught:
        run_multicore(**good_arguments(folder) | damage.arguments)
    assert damage.sentence in str(caught.value)
    after = snapshot(folder)
    before.pop("run", None), after.pop("run", None)  # the lock came and went
    assert after == before


def test_run_directory_in_use_is_left_alone(folder):
    (folder / "run").mkdir()
    with DirectoryLock(folder / "run" / ".dotpe-exec.lock"):
        refused(folder, {}, RunDirectoryError, "in use")


def test_resumed_run_makes_folders_that_somebody_removed(folder):
    leave_checkpoint(folder)
    remove("run/banks")(folder)
    begin(folder, resume=True)
    assert (folder / "run" / "banks" / "bank_0").is_dir()


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"i_batch": "x"}', b"\xff"])
def test_damaged_sizes_are_named_on_resuming(folder, content):
    leave_checkpoint(folder)
    (folder / "run" / "run_sizes.json").write_bytes(content)
    with pytest.raises(RunDirectoryError, match=r"run_sizes.json is damaged"):
        run_multicore(**good_arguments(folder) | RESUME)


@pytest.mark.parametrize(
    "content", [b"{", b"[]", b"\xff", b'{"format": 9}', b"[" * 100_000]
)
def test_damaged_cached_configuration_is_never_fatal(folder, content, caplog):
    from dotpe_exec.config import get_shared_config_cache_path

    path = get_shared_config_cache_path()
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(WorkStarted):
        run_multicore(**good_arguments(folder) | {"executor": SerialExecutor()})
    assert str(path) in caplog.text


def test_overwriting_never_removes_inputs(folder):
    """Here extrinsic samples of the run that is overwritten are the input of the next."""
    finish(folder)
    inputs = folder / "run" / "extrinsic_samples.feather"
    shutil.copy(folder / "extrinsic_samples.feather", inputs)
    with pytest.raises(WorkStarted):
        run_multicore(
            **good_arguments(folder) | {"overwrite": True, "extrinsic_samples": inputs}
        )
    assert inputs.read_bytes() == (folder / "extrinsic_samples.feather").read_bytes()
    assert not (folder / "run" / "summary_results.json").exists()
