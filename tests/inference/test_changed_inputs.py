"""A result depends on what is on disk when the run starts, and a run notices changes."""

from __future__ import annotations

import functools
import os
import shutil

import numpy as np
import pytest
from golden_runs import arguments_of_run, assert_same_files

from dotpe_exec import run, run_multicore
from dotpe_exec.errors import InputError, RunDirectoryError
from dotpe_exec.inference import pipeline

PHASE = "waveforms/phase_block_1.npy"


@pytest.fixture
def bank(golden, tmp_path):
    return shutil.copytree(golden / "bank_0", tmp_path / "bank")


def arguments(golden, tmp_path, bank, name="run", **changes):
    kwargs = arguments_of_run(golden, bank_folder=bank, n_ext=16, n_phi=8, n_t=16)
    return kwargs | {"rundir": tmp_path / name} | changes


def change(path):
    """Change waveforms of a block but the first, which the bank's identity looks at."""
    array = np.load(path)
    array[1:] += 0.3
    np.save(path, array)


@pytest.fixture(scope="module")
def fresh(golden, tmp_path_factory):
    """Return a run of one of the banks that nothing happened to."""

    @functools.cache
    def run_of(name):
        return run(**arguments(golden, tmp_path_factory.mktemp(name), golden / name))

    return run_of


@pytest.mark.parametrize(
    "executor", ["serial", "loky", pytest.param("process", marks=pytest.mark.slow)]
)
def test_bank_built_anew_in_place_is_what_is_analysed(
    golden, tmp_path, bank, fresh, executor
):
    """In the same process, and by workers that are warm."""
    options = {"executor": executor, "n_procs": 2}
    run_multicore(**arguments(golden, tmp_path, bank, "first"), **options)
    shutil.rmtree(bank)
    shutil.copytree(golden / "bank_1", bank)
    again = run_multicore(**arguments(golden, tmp_path, bank, "again"), **options)
    assert_same_files(again, fresh("bank_1"))


def test_finished_run_is_not_returned_for_other_waveforms(golden, tmp_path, bank):
    kwargs = arguments(golden, tmp_path, bank)
    folder = run(**kwargs)
    summary = (folder / "summary_results.json").read_bytes()
    assert run(**kwargs, resume=True) == folder
    change(bank / PHASE)
    with pytest.raises(RunDirectoryError, match=r"phase_block_1\.npy changed since"):
        run(**kwargs, resume=True)
    assert (folder / "summary_results.json").read_bytes() == summary


def test_finished_run_is_returned_for_a_bank_that_was_only_copied(golden, tmp_path, bank):
    kwargs = arguments(golden, tmp_path, bank)
    folder = run(**kwargs)
    times = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    bank.rename(tmp_path / "moved")
    shutil.copytree(tmp_path / "moved", bank, copy_function=shutil.copy)
    assert run(**kwargs, resume=True) == folder
    times.pop(folder / "run_inputs.json")
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())


class Killed(BaseException):
    """In place of a signal."""


def interrupt(monkeypatch, name):
    def stop(*args, **kwargs):
        raise Killed

    monkeypatch.setattr(pipeline, name, stop)


def test_resumed_run_does_not_mix_waveforms(golden, tmp_path, bank, fresh, monkeypatch):
    kwargs = arguments(golden, tmp_path, bank)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        interrupt(patch, "coherent_sets")
        run(**kwargs)
    change(bank / PHASE)
    with pytest.raises(RunDirectoryError, match=r"phase_block_1\.npy changed since"):
        run(**kwargs, resume=True)
    shutil.copy(golden / "bank_0" / PHASE, bank / PHASE)
    resumed = run(**kwargs, resume=True)
    assert_same_files(resumed, fresh("bank_0"))


def test_run_killed_before_all_waveforms_were_read_begins_anew(
    golden, tmp_path, bank, monkeypatch, caplog
):
    kwargs = arguments(golden, tmp_path, bank)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        interrupt(patch, "select")
        patch.setattr("dotpe_exec.inference.input_record.block_digests", lambda *_: {})
        run(**kwargs)
    change(bank / PHASE)
    resumed = run(**kwargs, resume=True)
    assert "the run begins anew" in caplog.text
    assert_same_files(resumed, run(**arguments(golden, tmp_path, bank, "fresh")))


@pytest.mark.parametrize("name", [PHASE, "intrinsic_sample_bank.feather"])
def test_file_that_changes_during_a_run_ends_it(golden, tmp_path, bank, monkeypatch, name):
    kwargs = arguments(golden, tmp_path, bank)
    select = pipeline.select

    def meddle(*args, **options):
        os.utime(bank / name)
        return select(*args, **options)

    monkeypatch.setattr(pipeline, "select", meddle)
    with pytest.raises(InputError, match=f"{name} changed while the run read it"):
        run(**kwargs)
    assert not (tmp_path / "run" / "summary_results.json").exists()


def test_arrays_beside_the_extrinsic_samples_are_part_of_the_run(golden, tmp_path, bank):
    folder = shutil.copytree(golden / "reference", tmp_path / "reference")
    for name in ("response_dpe.npy", "timeshift_dbe.npy"):
        assert (folder / name).is_file()
    kwargs = arguments(
        golden, tmp_path, bank, extrinsic_samples=folder / "extrinsic_samples.feather"
    )
    run(**kwargs)
    response_dpe = np.load(folder / "response_dpe.npy")
    np.save(folder / "response_dpe.npy", -response_dpe)
    with pytest.raises(RunDirectoryError, match="what differs: extrinsic_samples"):
        run(**kwargs, resume=True)
