"""Run directories: naming, who may write, resuming, overwriting, reading old ones."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dotpe_exec import atomic
from dotpe_exec.errors import InputError, MissingFileError, RunDirectoryError
from dotpe_exec.identity import RunIdentity, array_digest, event_digest, fingerprint
from dotpe_exec.loading import load_run
from dotpe_exec.lock import DirectoryLock
from dotpe_exec.rundir import RunDirectory, RunState, choose


def make_identity(**changes):
    values = {
        "event_name": "GW1",
        "event": "e" * 32,
        "banks": {"bank_0": "b" * 32},
        "parameters": {"n_ext": 512, "seed": 42, "mchirp_guess": 20.0},
    }
    return RunIdentity(**{**values, **changes})


def finish(directory: RunDirectory, summary=None):
    atomic.write_json(directory.summary, summary or {"ln_evidence": 1.0})


def tree(folder: Path):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


# Atomic files


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old")
    with pytest.raises(KeyError), atomic.atomic_write(path) as temporary:
        temporary.write_text("new")
        raise KeyError
    assert path.read_text() == "old"
    assert tree(tmp_path) == ["a.json"]


def test_temporary_file_is_private_and_the_final_one_follows_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        with atomic.atomic_write(tmp_path / "x.npy") as temporary:
            assert temporary.stat().st_mode & 0o777 == 0o600
            assert temporary.suffix == ".npy" and temporary.parent == tmp_path
    finally:
        os.umask(old)
    assert (tmp_path / "x.npy").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Quota exceeded"),
        OSError("1000000 requested and 331776 written"),
    ],
)
def test_full_disk_names_the_file_and_what_to_do(tmp_path, error):
    path = tmp_path / "samples.feather"
    full = pytest.raises(RunDirectoryError, match=r"samples\.feather .* full; make space")
    with full, atomic.atomic_write(path):
        raise error
    assert tree(tmp_path) == []


def test_json_is_standard_whatever_the_numbers(tmp_path):
    value = {
        "a": -np.inf,
        "b": np.float64("nan"),
        "c": np.arange(3),
        "d": (np.int64(1), np.bool_(True), None),
        "e": Path("x") / "y",
        "f": np.array([np.inf, 1.5]),
    }
    atomic.write_json(tmp_path / "x.json", value)
    text = (tmp_path / "x.json").read_text()
    assert json.loads(text, parse_constant=lambda name: pytest.fail(name)) == {
        "a": None,
        "b": None,
        "c": [0, 1, 2],
        "d": [1, True, None],
        "e": "x/y",
        "f": [None, 1.5],
    }


def test_arrays_and_frames_are_read_back(tmp_path):
    frame = pd.DataFrame({"x": [1.0, 2.0]}, index=[5, 7])
    atomic.write_feather(tmp_path / "f.feather", frame)
    atomic.write_npz(tmp_path / "a.npz", inds=np.arange(3))
    atomic.write_npy(tmp_path / "a.npy", np.eye(2))
    assert pd.read_feather(tmp_path / "f.feather")["x"].tolist() == [1.0, 2.0]
    assert np.load(tmp_path / "a.npz")["inds"].tolist() == [0, 1, 2]
    assert np.array_equal(np.load(tmp_path / "a.npy"), np.eye(2))
    assert tree(tmp_path) == ["a.npy", "a.npz", "f.feather"]


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
        ):
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


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_directory_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(RunDirectoryError, match="cannot be written"):
        RunDirectory(tmp_path).prepare(make_identity())


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


# The lock


HOLDER = """
import sys, time
from dotpe_exec.lock import DirectoryLock
lock = DirectoryLock(sys.argv[1])
lock.acquire()
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    path = tmp_path / ".dotpe-exec.lock"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline().strip() == "held"
    yield process
    process.kill()
    process.wait()


def test_second_process_is_refused_and_told_who_holds_it(tmp_path, holder):
    with pytest.raises(RunDirectoryError, match=f"in use by process {holder.pid} on "):
        RunDirectory(tmp_path).prepare(make_identity())


def test_lock_of_a_killed_process_is_free(tmp_path, holder):
    holder.kill()
    holder.wait()
    with RunDirectory(tmp_path) as directory:
        assert directory.prepare(make_identity()) is RunState.NEW


def test_taking_over_from_a_killed_process_is_logged(tmp_path, holder, caplog):
    holder.kill()
    holder.wait()
    with caplog.at_level("INFO"), DirectoryLock(tmp_path / ".dotpe-exec.lock"):
        assert f"left behind in use by process {holder.pid}" in caplog.text


def test_second_run_in_the_same_process_is_refused(tmp_path):
    with RunDirectory(tmp_path) as directory:
        directory.prepare(make_identity())
        with pytest.raises(RunDirectoryError, match="by this process"):
            RunDirectory(tmp_path).prepare(make_identity(), resume=True)
    with RunDirectory(tmp_path) as directory:
        directory.prepare(make_identity(), resume=True)


def test_orphaned_forked_child_does_not_hold_the_lock(tmp_path):
    script = textwrap.dedent("""
        import os, sys, time
        from dotpe_exec.lock import DirectoryLock
        DirectoryLock(sys.argv[1]).acquire()
        if os.fork() == 0:
            time.sleep(5)
        print(os.getpid(), flush=True)
        os._exit(0)
    """)
    path = tmp_path / "lock"
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True
    )
    process.stdout.readline()
    process.wait()
    with DirectoryLock(path) as lock:
        assert lock.held


def write_record(path: Path, **record):
    path.write_text(json.dumps(record))


def test_record_of_another_host_that_beats_is_believed(tmp_path):
    path = tmp_path / "lock"
    write_record(path, host="elsewhere", pid=1)
    stop = threading.Event()

    def beat():
        while not stop.wait(0.05):
            os.utime(path)

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        with pytest.raises(RunDirectoryError, match="process 1 on elsewhere"):
            DirectoryLock(path, heartbeat=0.2).acquire()
    finally:
        stop.set()
        thread.join()


def test_silent_record_of_another_host_is_taken_over(tmp_path):
    path = tmp_path / "lock"
    write_record(path, host="elsewhere", pid=1)
    with DirectoryLock(path, heartbeat=0.05) as lock:
        assert lock.held
        assert json.loads(path.read_text())["pid"] == os.getpid()


def test_holder_gives_signs_of_life(tmp_path):
    path = tmp_path / "lock"
    with DirectoryLock(path, heartbeat=0.02):
        os.utime(path, (0, 0))
        deadline = time.monotonic() + 5
        while path.stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert path.stat().st_mtime > 0


NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)


def without_locks(monkeypatch, number=errno.ENOLCK, settle=0.05):
    def lockf(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("dotpe_exec.lock.fcntl.lockf", lockf)
    monkeypatch.setattr("dotpe_exec.lock.SETTLE", settle)


@pytest.mark.parametrize("number", NO_LOCKS, ids=errno.errorcode.get)
def test_file_system_without_locks_is_used_with_a_warning(
    tmp_path, monkeypatch, caplog, number
):
    without_locks(monkeypatch, number)
    path = tmp_path / "lock"
    with DirectoryLock(path):
        assert json.loads(path.read_text())["pid"] == os.getpid()
    assert f"has no locks ({os.strerror(number)})" in caplog.text
    assert not path.exists()


def test_other_errors_of_locking_are_not_taken_for_that(tmp_path, monkeypatch):
    without_locks(monkeypatch, errno.EIO)
    with pytest.raises(RunDirectoryError, match="lock cannot be locked"):
        DirectoryLock(tmp_path / "lock").acquire()


def test_without_locks_the_one_that_wrote_its_record_last_stays(tmp_path, monkeypatch):
    without_locks(monkeypatch, settle=0.5)
    path = tmp_path / "lock"
    writer = threading.Timer(
        0.2, write_record, args=[path], kwargs={"host": "elsewhere", "pid": 1}
    )
    writer.start()
    with pytest.raises(RunDirectoryError, match="process 1 on elsewhere"):
        DirectoryLock(path).acquire()
    writer.join()
    assert json.loads(path.read_text())["pid"] == 1  # which is left alone


def test_without_locks_a_record_of_another_host_that_beats_is_believed(
    tmp_path, monkeypatch
):
    without_locks(monkeypatch)
    test_record_of_another_host_that_beats_is_believed(tmp_path)


def test_threads_of_one_process_exclude_each_other(tmp_path):
    """Locks of the system do not: they belong to a process."""
    path, outcomes, gate = tmp_path / "lock", [], threading.Barrier(8)

    def take():
        lock = DirectoryLock(path)
        gate.wait()
        try:
            lock.acquire()
        except RunDirectoryError:
            outcomes.append(None)
        else:
            outcomes.append(lock)

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (holder,) = (lock for lock in outcomes if lock is not None)
    holder.release()


@pytest.mark.parametrize("alive", [True, False])
def test_file_system_without_locks_goes_by_the_record(tmp_path, monkeypatch, alive):
    import socket

    import psutil

    without_locks(monkeypatch)
    parent = psutil.Process(os.getppid())
    started = parent.create_time() - (0 if alive else 1000)
    path = tmp_path / "lock"
    write_record(path, host=socket.gethostname(), pid=parent.pid, process_started=started)
    lock = DirectoryLock(path)
    if alive:
        with pytest.raises(RunDirectoryError, match=f"process {parent.pid} on"):
            lock.acquire()
    else:
        with lock:
            assert lock.held


# Identity


def test_identity_depends_on_content_not_on_form():
    a = make_identity(parameters={"inds": [3, 1, 2] * 10, "cut": 20})
    b = make_identity(
        parameters={"cut": np.float64(20.0), "inds": np.array([3, 1, 2] * 10)}
    )
    c = make_identity(parameters={"cut": 20, "inds": np.array([3, 2, 1] * 10, np.int32)})
    assert a == b and a.digest == b.digest
    assert a.digest != c.digest
    assert a.differences(b) == []
    assert [d.split()[0] for d in a.differences(c)] == ["inds"]


def test_identity_survives_json():
    identity = make_identity(parameters={"x": [1, 2.5, "a", None], "y": {"k": np.inf}})
    read = RunIdentity.from_dict(json.loads(json.dumps(identity.to_dict())))
    assert read == identity and read.digest == identity.digest


def test_unknown_objects_have_no_identity():
    with pytest.raises(TypeError, match="identity of a object"):
        fingerprint({"x": object()})


def test_array_digest_sees_values_and_shapes():
    x = np.arange(6.0)
    assert array_digest(x) == array_digest(x.copy()[::1])
    assert array_digest(x) != array_digest(x.reshape(2, 3))
    assert array_digest(x) != array_digest(np.nextafter(x, 9))


def test_event_digest_sees_every_part_of_the_event(golden):
    from cogwheel.data import EventData

    def digest(**changes):
        event = EventData.from_npz(filename=golden / "event.npz")
        for name, value in changes.items():
            setattr(event, name, value)
        return event_digest(event)

    event = EventData.from_npz(filename=golden / "event.npz")
    strain = event.strain.copy()
    strain[0, 100] *= 1 + 1e-12
    reference = digest()
    assert reference == digest()
    assert len({reference, digest(strain=strain), digest(tgps=1.0), digest(injection=None),
                digest(tcoarse=event.tcoarse + 1e-3)}) == 5  # fmt: skip


# Reading


@pytest.fixture
def published(golden, tmp_path):
    """A run directory laid out as the published code leaves it."""
    reference = golden / "reference"
    for name in ("Posterior.json", "summary_results.json", "extrinsic_samples.feather"):
        (tmp_path / name).write_bytes((reference / name).read_bytes())
    kwargs = json.loads((reference / "run_kwargs.json").read_text())
    kwargs["mchirp_guess"] = "None"
    kwargs["some_older_option"] = 3
    del kwargs["n_draws"]
    (tmp_path / "run_kwargs.json").write_text(json.dumps(kwargs))
    samples = (reference / "samples_above_cut.feather").read_bytes()
    (tmp_path / "samples.feather").write_bytes(samples)
    bank = tmp_path / "banks" / "bank_0"
    bank.mkdir(parents=True)
    np.savez(bank / "intrinsic_samples.npz", inds=np.arange(4), lnlikes_di=np.ones((3, 4)))
    (bank / "intrinsic_sample_processor_cache.json").write_text('{"3": 1e-3}')
    (tmp_path / "golden_hlv.npz").write_bytes(b"")
    (tmp_path / "unrelated.npz").write_bytes(b"")
    return tmp_path


def test_published_run_directory_is_read(published):
    run = load_run(published)
    assert run.kwargs["mchirp_guess"] is None
    assert run.kwargs["n_ext"] == 96
    assert run.kwargs["some_older_option"] == 3
    assert run.summary["n_i_inds_used"] == 75
    assert len(run.samples) and "d_luminosity" in run.samples
    assert len(run.extrinsic_samples) == 96
    assert run.bank_ids == ["bank_0"]
    assert run.intrinsic_samples("bank_0")["inds"].tolist() == [0, 1, 2, 3]
    assert run.linfree_timeshifts("bank_0") == {3: 1e-3}
    assert run.event_file == published / "golden_hlv.npz"
    assert run.report is None and run.tasks is None


def test_missing_and_foreign_directories_are_named(tmp_path):
    with pytest.raises(MissingFileError, match="nowhere does not exist"):
        load_run(tmp_path / "nowhere")
    with pytest.raises(RunDirectoryError, match="not a run directory"):
        load_run(tmp_path)


def test_missing_files_are_named_when_asked_for(tmp_path):
    (tmp_path / "run_kwargs.json").write_text("{}")
    run = load_run(tmp_path)
    with pytest.raises(MissingFileError, match=r"samples\.feather"):
        _ = run.samples
    with pytest.raises(MissingFileError, match=r"summary_results\.json"):
        _ = run.summary


def test_damaged_files_are_named(published):
    run = load_run(published)
    (published / "samples.feather").write_bytes(b"ARROW1 and then nothing")
    with pytest.raises(RunDirectoryError, match=r"samples\.feather is damaged"):
        _ = run.samples
    (published / "run_kwargs.json").write_text("[1, 2")
    with pytest.raises(RunDirectoryError, match=r"run_kwargs\.json is damaged"):
        _ = run.kwargs
    npz = published / "banks" / "bank_0" / "intrinsic_samples.npz"
    npz.write_bytes(npz.read_bytes()[:-200])
    with pytest.raises(RunDirectoryError, match=r"intrinsic_samples\.npz is damaged"):
        run.intrinsic_samples("bank_0")


def test_pickled_arrays_are_never_opened(published):
    path = published / "banks" / "bank_0" / "intrinsic_samples.npz"
    np.savez(path, inds=np.array([{"a": 1}], dtype=object))
    with pytest.raises(RunDirectoryError, match="damaged"):
        load_run(published).intrinsic_samples("bank_0")
