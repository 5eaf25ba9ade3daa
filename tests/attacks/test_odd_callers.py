"""What callers do that nobody thought of: the right result, or one sentence."""

from __future__ import annotations

import copy
import json
import os
import random
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from clusters import python_path
from golden_runs import run_files
from small_runs import arguments, summary_of

from dotpe_exec import load, run
from dotpe_exec.errors import EventError, RunDirectoryError
from dotpe_exec.events import load_event

SCRIPT = """
import sys
from pathlib import Path
from small_runs import arguments
from dotpe_exec import run_multicore
folder, rundir, executor = sys.argv[1:]
run_multicore(**arguments(Path(folder), rundir=rundir), executor=executor, n_procs=2)
"""


@pytest.fixture(scope="module")
def undisturbed(undisturbed_run):
    """The files of a run."""
    return run_files(undisturbed_run)


def test_floating_point_errors_that_raise_in_the_caller_end_no_run(
    undamaged, undisturbed, tmp_path
):
    with np.errstate(all="raise"):
        rundir = run(**arguments(undamaged, rundir=tmp_path / "run"))
    assert run_files(rundir) == undisturbed


def test_global_random_numbers_are_neither_used_nor_advanced(undamaged, tmp_path):
    drawn = []
    for seed in (1, 2):
        np.random.seed(seed)  # noqa: NPY002
        random.seed(seed)
        before = np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
        kwargs = arguments(undamaged, extrinsic_samples=None, rundir=tmp_path / str(seed))
        drawn.append(run_files(run(**kwargs)))
        assert np.array_equal(np.random.get_state()[1], before[0])  # noqa: NPY002
        assert random.getstate() == before[1]
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize(
    "name",
    ["a b%20", "new\nline", "-rf", "~", "$HOME", "x" * 200, "{}", "a,b", "[1]*?", "日"],
)
def test_odd_names_of_run_directories(name, undamaged, undisturbed, tmp_path):
    rundir = run(**arguments(undamaged, rundir=tmp_path / name))
    assert rundir == tmp_path / name
    assert run_files(rundir) == undisturbed
    assert run(**arguments(undamaged, rundir=tmp_path / name, resume=True)) == rundir


def exchange_detectors(event):
    event.strain, event.wht_filter = event.strain[::-1], event.wht_filter[::-1]
    event.detector_names = event.detector_names[::-1]
    event.injection = None


CHANGES = {
    "detectors in another order": exchange_detectors,
    "a list of detectors": lambda e: setattr(e, "detector_names", list(e.detector_names)),
    "in Fortran's order": lambda e: setattr(e, "strain", np.asfortranarray(e.strain)),
    "single precision": lambda e: setattr(e, "strain", e.strain.astype(np.complex64)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_same_event_otherwise_written_has_the_same_evidence(
    name, undamaged, expected, tmp_path
):
    event = copy.copy(load_event(undamaged / "event.npz"))
    CHANGES[name](event)
    summary = summary_of(run(**arguments(undamaged, event=event, rundir=tmp_path / "run")))
    # Sums in another order: a draw whose place a last bit decides may be another one.
    assert summary["ln_evidence"] == pytest.approx(expected["ln_evidence"], abs=1e-3)


@pytest.mark.parametrize("name", ["strain", "wht_filter"])
def test_event_object_is_what_its_arrays_say_now(name, undamaged, tmp_path):
    """Not what cogwheel derived from them when it made the object."""
    event = copy.copy(load_event(undamaged / "event.npz"))
    blued = event.blued_strain
    array = getattr(event, name).copy()
    array[:, event.frequencies > 120] = 0
    setattr(event, name, array)
    assert event.blued_strain is blued
    event.to_npz(filename=tmp_path / "event.npz")
    evidences = {
        summary_of(run(**arguments(undamaged, event=given, rundir=tmp_path / str(i))))[
            "ln_evidence"
        ]
        for i, given in enumerate((event, tmp_path / "event.npz"))
    }
    assert len(evidences) == 1
    assert event.blued_strain is blued, "the caller's object is left alone"


def test_masked_data_are_refused(undamaged, tmp_path):
    event = copy.copy(load_event(undamaged / "event.npz"))
    event.strain = np.ma.masked_array(event.strain, mask=np.abs(event.strain) > 1e-30)
    with pytest.raises(EventError, match="strain is a masked array"):
        run(**arguments(undamaged, event=event, rundir=tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_loaded_result_does_not_mix_two_runs(undamaged, tmp_path):
    result = load(run(**arguments(undamaged, rundir=tmp_path / "run")))
    ln_evidence = result.ln_evidence
    run(**arguments(undamaged, rundir=tmp_path / "run", seed=99, overwrite=True))
    assert result.ln_evidence == ln_evidence
    with pytest.raises(RunDirectoryError, match="done again, after it was loaded"):
        _ = result.samples
    assert len(load(tmp_path / "run").samples)


def test_bank_of_one_waveform(undamaged, tmp_path):
    bank = shutil.copytree(undamaged / "bank", tmp_path / "bank")
    for name in ("checksums.json", "waveform_digests.npy", "build.json"):
        (bank / name).unlink()
    table = pd.read_feather(bank / "intrinsic_sample_bank.feather")
    table.iloc[5:6].reset_index(drop=True).to_feather(
        bank / "intrinsic_sample_bank.feather"
    )
    for kind in ("amplitudes", "phase"):
        path = bank / "waveforms" / f"{kind}_block_0.npy"
        np.save(path, np.load(path)[5:6])
        (bank / "waveforms" / f"{kind}_block_1.npy").unlink()
    config = json.loads((bank / "bank_config.json").read_text())
    (bank / "bank_config.json").write_text(json.dumps(config | {"bank_size": 1}))
    of_one = summary_of(
        run(**arguments(undamaged, bank_folder=bank, rundir=tmp_path / "one"))
    )
    weight = table["log_prior_weights"][5]
    of_many = summary_of(
        run(
            **arguments(
                undamaged,
                preselected_indices=[5],
                n_int=1,
                rundir=tmp_path / "many",
                bank_logw_override=np.full(64, weight),
            )
        )
    )
    assert of_one["ln_evidence"] == pytest.approx(of_many["ln_evidence"], abs=1e-9)
    assert of_one["diagnostics"]["status"] == "unusable"


def test_files_behind_symbolic_links_are_not_the_runs_to_remove(undamaged, tmp_path):
    precious = tmp_path / "precious"
    (precious / "bank_0").mkdir(parents=True)
    for name in ("samples.feather", "bank_0/prob_samples.feather"):
        (precious / name).write_text("precious")
    rundir = tmp_path / "run"
    rundir.mkdir()
    (rundir / "banks").symlink_to(precious)
    (rundir / "samples.feather").symlink_to(precious / "samples.feather")
    (rundir / "summary_results.json").write_text("{}")
    with pytest.raises(RunDirectoryError, match="banks is a symbolic link"):
        run(**arguments(undamaged, rundir=rundir, overwrite=True))
    for name in ("samples.feather", "bank_0/prob_samples.feather"):
        assert (precious / name).read_text() == "precious"


def started(undamaged, rundir, *flags, executor="serial", **options):
    """Run in an interpreter of its own."""
    script = rundir.parent / "script.py"
    script.write_text(SCRIPT)
    variables = options.pop("variables", {})
    return subprocess.run(
        [sys.executable, *flags, str(script), str(undamaged), str(rundir), executor],
        env={**os.environ, "PYTHONPATH": python_path(), **variables},
        capture_output=True,
        text=True,
        timeout=120,
        **options,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "variables",
    [
        {"PYTHONHASHSEED": "1"},
        {"PYTHONHASHSEED": "2", "PYTHONIOENCODING": "ascii"},
        {"OMP_NUM_THREADS": "2", "NUMBA_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "2"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
    ids=["hashes", "ASCII", "threads", "C locale"],
)
def test_environment_does_not_change_a_bit(variables, undamaged, undisturbed, tmp_path):
    done = started(undamaged, tmp_path / "run", "-bb", variables=variables)
    assert done.returncode == 0, done.stderr
    assert run_files(tmp_path / "run") == undisturbed


@pytest.mark.slow
def test_removed_working_directory_is_named(undamaged, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    done = started(
        undamaged, tmp_path / "run", executor="loky", cwd=gone, preexec_fn=gone.rmdir
    )
    assert done.returncode == 1
    assert "(the working directory was removed)" in done.stderr.splitlines()[-1]
    assert started(undamaged, tmp_path / "again").returncode == 0
