"""Run directories that a run cannot use are refused and stay as they are."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from damaged_files import Damage, each, remove, rewrite_event, rewrite_table, write
from refusals import WorkStarted, good_arguments, refused, snapshot

from dotpe_exec import run_multicore
from dotpe_exec.errors import RunDirectoryError
from dotpe_exec.executors.serial import SerialExecutor
from dotpe_exec.rundir.lock import DirectoryLock


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
    table = "bank_0/intrinsic_sample_bank.feather"
    rewrite_table(table, lambda t: t.assign(log_prior_weights=0.0))(folder)


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


@each(RUN_DIRECTORIES)
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
