"""Damage to what a run left behind is noticed: records of the run, final files, inputs."""

from __future__ import annotations

import json

import pytest

from dotpe_exec.atomic import write_json
from dotpe_exec.errors import InputError, RunDirectoryError
from dotpe_exec.rundir.checksums import (
    CHECKSUMS_NAME,
    damaged_files,
    record_checksums,
    refuse_damaged_input,
    seal,
    unseal,
)
from dotpe_exec.rundir.directory import RunDirectory, RunState
from dotpe_exec.rundir.identity import RunIdentity

IDENTITY = RunIdentity("event", "e" * 8, {"bank_0": "b" * 8}, {"seed": 42, "n_ext": 64})


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_sealed_content_comes_back(tmp_path):
    content = {"i_batch": 64, "names": ["a", "b"], "x": 0.1}
    write_json(tmp_path / "sealed", seal(content))
    assert unseal(tmp_path / "sealed") == content


def test_no_flipped_bit_of_sealed_content_goes_unnoticed(tmp_path):
    path = tmp_path / "sealed"
    write_json(path, seal({"i_batch": 64, "e_blocksize": 512}))
    whole = path.read_bytes()
    expected = unseal(path)
    for at in range(len(whole)):
        flip(path, at)
        try:
            assert unseal(path) == expected  # white space
        except RunDirectoryError as error:
            assert str(path) in str(error)
        path.write_bytes(whole)


@pytest.fixture
def finished(tmp_path):
    """A finished run of which only the files matter."""
    with RunDirectory(tmp_path / "run") as directory:
        directory.prepare(IDENTITY)
        directory.record_sizes({"i_batch": 64})
        (directory.path / "event.npz").write_bytes(b"event" * 9)
        directory.samples.write_bytes(b"samples" * 9)
        directory.extrinsic_samples.write_bytes(b"extrinsic" * 9)
        directory.intrinsic_samples("bank_0").write_bytes(b"intrinsic" * 9)
        directory.finish({"ln_evidence": 12.5})
    return directory


@pytest.mark.parametrize(
    "name",
    [
        "samples.feather",
        "event.npz",
        "extrinsic_samples.feather",
        "banks/bank_0/intrinsic_samples.npz",
        "summary_results.json",
        CHECKSUMS_NAME,
    ],
)
def test_finished_run_with_a_damaged_file_is_done_again(finished, caplog, name):
    flip(finished.path / name, 20)
    with RunDirectory(finished.path) as directory:
        assert directory.prepare(IDENTITY, resume=True) is RunState.RESUMED
    assert name in caplog.text
    assert not finished.summary.exists()  # so that nobody takes it for finished meanwhile


def test_finished_run_is_finished_without_what_a_person_removed(finished):
    finished.extrinsic_samples.unlink()
    with RunDirectory(finished.path) as directory:
        assert directory.prepare(IDENTITY, resume=True) is RunState.FINISHED


def test_finished_run_without_checksums_is_finished(finished):
    finished.checksums.unlink()
    with RunDirectory(finished.path) as directory:
        assert directory.prepare(IDENTITY, resume=True) is RunState.FINISHED


def test_results_of_tasks_cut_otherwise_are_not_taken(tmp_path, caplog):
    """Where the record of batch sizes is lost, the checkpoint still knows its own."""
    for size in (64, 32):
        with RunDirectory(tmp_path / "run") as directory:
            directory.prepare(IDENTITY, resume=True)
            directory.record_sizes({"i_batch": size})
            with directory.checkpoint() as checkpoint:
                assert checkpoint.load("incoherent", "bank_0/0") is None
                checkpoint.save("incoherent", "bank_0/0", 1.5)
        directory.sizes.unlink()
    assert "belongs to another run" in caplog.text


def test_changed_seed_in_the_identity_is_damage_not_another_seed(tmp_path):
    with RunDirectory(tmp_path / "run") as directory:
        directory.prepare(IDENTITY)
    content = json.loads(directory.identity.read_text())
    content["parameters"]["seed"] = 43
    directory.identity.write_text(json.dumps(content))
    with pytest.raises(RunDirectoryError, match=r"run_identity.json is damaged"):
        directory.stored_seed()


def test_folder_in_the_place_of_a_file_is_refused(tmp_path):
    (tmp_path / "run" / "Posterior.json").mkdir(parents=True)
    with pytest.raises(RunDirectoryError, match=r"Posterior.json is a folder"):
        RunDirectory(tmp_path / "run").prepare(IDENTITY)


def test_damaged_input_of_an_earlier_run_is_refused(finished):
    path = finished.extrinsic_samples
    refuse_damaged_input("extrinsic_samples", path)
    flip(path, 5)
    with pytest.raises(InputError, match=r"extrinsic_samples: .* damaged or was changed"):
        refuse_damaged_input("extrinsic_samples", path)
    finished.checksums.unlink()
    refuse_damaged_input("extrinsic_samples", path)


def test_files_without_a_record_are_not_judged(tmp_path):
    (tmp_path / "known").write_text("x")
    (tmp_path / "unknown").write_text("x")
    record_checksums(tmp_path, [tmp_path / "known", tmp_path / "missing"])
    (tmp_path / "unknown").write_text("y")
    refuse_damaged_input("input", tmp_path / "unknown")
    assert damaged_files(tmp_path) == []
