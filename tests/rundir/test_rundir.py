"""Run directories: naming, taking, resuming, overwriting."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading

import pytest
from clusters import python_path
from obedience import obey_modes
from run_directories import finish, make_identity, tree

from dotpe_exec import atomic
from dotpe_exec.errors import InputError, RunDirectoryError
from dotpe_exec.rundir.directory import RunDirectory, RunState, choose

# Which directory


def test_rundir_wins_over_event_dir_with_a_warning(tmp_path, caplog):
    directory = choose(tmp_path / "mine", tmp_path / "events")
    assert directory.path == tmp_path / "mine"
    assert "rundir is used" in caplog.text
    assert not (tmp_path / "events").exists()


def test_event_dir_gives_runs_numbered_as_cogwheel_does(tmp_path):
    from cogwheel.utils import get_rundir

    for _ in range(3):
        expected = get_rundir(tmp_path)
        assert choose(None, tmp_path).path == expected
    (tmp_path / "run_7").mkdir()
    assert choose(None, tmp_path).path == get_rundir(tmp_path).parent / "run_8"


def test_neither_directory_says_which_to_give():
    with pytest.raises(InputError, match=r"rundir .* event_dir"):
        choose(None, None)


def test_concurrent_runs_never_get_the_same_directory(tmp_path):
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(choose(None, tmp_path).path))
        for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(p.name for p in found) == sorted(f"run_{k}" for k in range(16))


def test_resuming_in_event_dir_takes_the_last_run_of_ours(tmp_path):
    first = choose(None, tmp_path)
    with first:
        first.prepare(make_identity())
    (tmp_path / "run_5").mkdir()
    assert choose(None, tmp_path, resume=True).path == first.path
    assert choose(None, tmp_path / "new", resume=True).path.name == "run_0"


# Taking a directory


def test_new_directory_records_its_identity(tmp_path):
    with RunDirectory(tmp_path / "run") as directory:
        assert directory.prepare(make_identity()) is RunState.NEW
        assert directory.bank("bank_0").is_dir()
        assert directory.stored_identity() == make_identity()
        assert directory.stored_seed() == 42
    assert not (tmp_path / "run" / ".dotpe-exec.lock").exists()


def test_results_are_refused_unless_overwritten(tmp_path):
    with RunDirectory(tmp_path) as directory:
        directory.prepare(make_identity())
        finish(directory)
    before = tree(tmp_path)
    with pytest.raises(RunDirectoryError, match="overwrite=True"):
        RunDirectory(tmp_path).prepare(make_identity())
    assert tree(tmp_path) == before


def test_unfinished_run_is_refused_without_resume(tmp_path):
    with RunDirectory(tmp_path) as directory:
        directory.prepare(make_identity())
        with directory.checkpoint() as checkpoint:
            checkpoint.save("incoherent", "bank_0/0", 1.0)
    with pytest.raises(RunDirectoryError, match="unfinished run; give resume=True"):
        RunDirectory(tmp_path).prepare(make_identity())


def test_overwriting_removes_what_is_ours_and_nothing_else(tmp_path):
    with RunDirectory(tmp_path) as directory:
        directory.prepare(make_identity())
        for path in (
            directory.run_kwargs,
            directory.event("GW1"),
            directory.samples,
            directory.intrinsic_samples("bank_0"),
            directory.extrinsic_samples,
            tmp_path / "notes.txt",
            tmp_path / "other.npz",
            directory.bank("bank_0") / "mine.txt",
            tmp_path / f"{atomic.TEMPORARY_PREFIX}dead-samples.feather",
            directory.bank("gone") / "waveforms" / "phase_block_0.npy",
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("x")
        with directory.checkpoint() as checkpoint:
            checkpoint.save("incoherent", "bank_0/0", 1.0)
        finish(directory)
    with RunDirectory(tmp_path) as directory:
        state = directory.prepare(
            make_identity(banks={"b": "0"}),
            overwrite=True,
            keep=[tmp_path / "extrinsic_samples.feather"],
        )
        assert state is RunState.NEW
    assert tree(tmp_path) == [
        "banks",
        "banks/b",
        "banks/bank_0",
        "banks/bank_0/mine.txt",
        "extrinsic_samples.feather",
        "notes.txt",
        "other.npz",
        "run_identity.json",
    ]


@pytest.mark.parametrize("how", ["resume", "overwrite"])
def test_what_killed_processes_left_is_removed_wherever_files_are_written(tmp_path, how):
    with RunDirectory(tmp_path) as directory:
        directory.prepare(make_identity())
        bank = directory.bank("bank_0")
        left = [
            folder / f"{atomic.TEMPORARY_PREFIX}dead-amplitudes_block_0.npy"
            for folder in (tmp_path, bank, bank / "waveforms")
        ]
        for path in left:
            path.parent.mkdir(exist_ok=True)
            path.write_text("x")
    with RunDirectory(tmp_path) as directory:
        directory.prepare(make_identity(), **{how: True})
    assert not any(path.exists() for path in left)


@pytest.mark.parametrize("how", ["resume", "overwrite"])
def test_waveforms_behind_a_link_are_not_ours(tmp_path, how):
    """They would be removed, or others written over them."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "phase_block_0.npy").write_text("precious")
    with RunDirectory(tmp_path / "run") as directory:
        directory.prepare(make_identity())
        (directory.bank("bank_0") / "waveforms").symlink_to(outside)
    with pytest.raises(RunDirectoryError, match="waveforms is a symbolic link"):
        RunDirectory(tmp_path / "run").prepare(make_identity(), **{how: True})
    assert (outside / "phase_block_0.npy").read_text() == "precious"


def test_overwriting_does_not_follow_links_or_names_out_of_the_directory(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    for path in (outside / "prob_samples.feather", tmp_path / "victim.npz"):
        path.write_text("precious")
    run = tmp_path / "run"
    with RunDirectory(run) as directory:
        directory.prepare(make_identity())
        finish(directory)
    (run / "banks" / "linked").symlink_to(outside)
    stored = json.loads((run / "run_identity.json").read_text())
    stored["event_name"] = "../victim"
    (run / "run_identity.json").write_text(json.dumps(stored))
    with RunDirectory(run) as directory:
        assert directory.prepare(make_identity(), overwrite=True) is RunState.NEW
    assert (outside / "prob_samples.feather").read_text() == "precious"
    assert (tmp_path / "victim.npz").read_text() == "precious"


def test_the_same_run_resumes_with_the_sizes_it_began_with(tmp_path, caplog):
    with RunDirectory(tmp_path) as directory:
        directory.prepare(make_identity())
        assert directory.record_sizes({"i_batch": 512}) == {"i_batch": 512}
    with RunDirectory(tmp_path) as directory:
        assert directory.prepare(make_identity(), resume=True) is RunState.RESUMED
        sizes = directory.record_sizes({"i_batch": 64})
    assert sizes == {"i_batch": 512}
    assert "i_batch stays 512" in caplog.text


@pytest.mark.parametrize("content", ["[]", "{}", '{"i_batch": "many"}', "{"])
def test_damaged_record_of_sizes_is_an_error_of_ours(tmp_path, content):
    with RunDirectory(tmp_path) as directory:
        directory.prepare(make_identity())
        directory.record_sizes({"i_batch": 512})
        (tmp_path / "run_sizes.json").write_text(content)
        with pytest.raises(RunDirectoryError, match=r"run_sizes\.json is damaged"):
            directory.record_sizes({"i_batch": 512})


def test_finished_run_is_recognised(tmp_path):
    with RunDirectory(tmp_path) as directory:
        directory.prepare(make_identity())
        with directory.checkpoint() as checkpoint:
            checkpoint.save("coherent", "bank_0/0", 1.0)
        finish(directory)
    with RunDirectory(tmp_path) as directory:
        assert directory.prepare(make_identity(), resume=True) is RunState.FINISHED
        assert not directory.checkpoint_folder.exists()


def test_resume_without_an_earlier_run_begins_one(tmp_path):
    with RunDirectory(tmp_path / "new") as directory:
        assert directory.prepare(make_identity(), resume=True) is RunState.NEW


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        (
            {"parameters": {"n_ext": 1024, "seed": 42, "mchirp_guess": 20}},
            "n_ext.*512.*1024",
        ),
        ({"parameters": {"n_ext": 512, "seed": 42}}, "mchirp_guess.*20.*not set"),
        ({"event": "f" * 32}, "content of the event GW1"),
        ({"event_name": "GW2"}, "event's name.*GW1.*GW2"),
        ({"banks": {"bank_0": "c" * 32}}, "content of bank_0"),
        ({"banks": {"bank_0": "b" * 32, "x": "y"}}, "banks.*bank_0, x"),
        ({"version": "99.0"}, "version.*99.0"),
    ],
)
def test_resuming_another_run_names_the_difference(tmp_path, changes, named):
    with RunDirectory(tmp_path) as directory:
        directory.prepare(make_identity())
    before = tree(tmp_path)
    with pytest.raises(RunDirectoryError, match=named):
        RunDirectory(tmp_path).prepare(make_identity(**changes), resume=True)
    assert tree(tmp_path) == before


def test_directory_of_other_code_is_not_resumed(tmp_path):
    (tmp_path / "summary_results.json").write_text("{}")
    with pytest.raises(RunDirectoryError, match="does not say which run"):
        RunDirectory(tmp_path).prepare(make_identity(), resume=True)


def test_damaged_identity_is_an_error_of_ours(tmp_path):
    with RunDirectory(tmp_path) as directory:
        directory.prepare(make_identity())
    for content in ("{", "[]", "null", '{"version": 1}', "\udcff"):
        (tmp_path / "run_identity.json").write_bytes(
            content.encode(errors="surrogateescape")
        )
        with pytest.raises(RunDirectoryError, match="damaged"):
            RunDirectory(tmp_path).prepare(make_identity(), resume=True)


def test_resume_and_overwrite_exclude_each_other(tmp_path):
    with pytest.raises(InputError, match="exclude"):
        RunDirectory(tmp_path).prepare(make_identity(), resume=True, overwrite=True)


@pytest.mark.parametrize("where", ["file", "file/below", "/proc/dotpe"])
def test_unwritable_directory_is_refused(tmp_path, where):
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunDirectoryError, match=r"file|cannot be made"):
        RunDirectory(tmp_path / where).prepare(make_identity())


PREPARE = """
import sys
from run_directories import make_identity
from dotpe_exec.rundir.directory import RunDirectory
RunDirectory(sys.argv[1]).prepare(make_identity())
"""


def test_read_only_directory_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    done = subprocess.run(
        [sys.executable, "-c", PREPARE, tmp_path],
        env={**os.environ, "PYTHONPATH": python_path()},
        capture_output=True,
        text=True,
        preexec_fn=obey_modes,
    )
    tmp_path.chmod(0o700)
    said = done.stderr.splitlines()[-1]
    assert "RunDirectoryError" in said and "cannot be written" in said, done.stderr
    assert tree(tmp_path) == []


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "a\0b", "..", "a b", "-x"])
def test_names_cannot_inject_path_parts(tmp_path, name):
    directory = RunDirectory(tmp_path / "run")
    with pytest.raises(InputError, match="file name"):
        directory.prepare(make_identity(event_name=name))
    with pytest.raises(InputError, match="file name"):
        directory.prepare(make_identity(banks={name: "x"}))
    with pytest.raises(InputError, match="file name"):
        directory.bank(name)
    assert tree(tmp_path) == []
