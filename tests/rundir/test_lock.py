"""Who may write to a run directory: locks between processes, threads and hosts."""

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

import pytest
from run_directories import make_identity

from dotpe_exec.atomic import write_json
from dotpe_exec.errors import RunDirectoryError
from dotpe_exec.rundir.directory import RunDirectory, RunState
from dotpe_exec.rundir.lock import DirectoryLock

HOLDER = """
import sys, time
from dotpe_exec.rundir.lock import DirectoryLock
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
        from dotpe_exec.rundir.lock import DirectoryLock
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


@pytest.mark.parametrize("locks", [True, False], ids=["locks", "no locks"])
def test_record_of_another_host_that_beats_is_believed(tmp_path, monkeypatch, locks):
    if not locks:
        without_locks(monkeypatch)
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
    def take_lock(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("dotpe_exec.rundir.lock._take_lock", take_lock)
    monkeypatch.setattr("dotpe_exec.rundir.lock.SETTLE", settle)


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
    holders = [lock for lock in outcomes if lock is not None]
    assert len(outcomes) == 8
    assert [lock.held for lock in holders] == [True]
    holders[0].release()


@pytest.mark.parametrize("alive", [True, False])
def test_file_system_without_locks_goes_by_the_record(tmp_path, monkeypatch, alive):
    import socket

    import psutil

    without_locks(monkeypatch)
    parent = psutil.Process(os.getppid())
    started = parent.create_time() - (0 if alive else 1000)
    path = tmp_path / "lock"
    write_record(path, host=socket.gethostname(), pid=parent.pid, process_started=started)
    lock = DirectoryLock(path, heartbeat=0.1)
    if alive:
        with pytest.raises(RunDirectoryError, match=f"process {parent.pid} on"):
            lock.acquire()
    else:
        with lock:
            assert lock.held


OPEN_AND_CLOSE = """
import sys
from dotpe_exec.rundir.lock import DirectoryLock
with DirectoryLock(sys.argv[1]):
    open(sys.argv[1]).close()  # as a backup, or a search, in the same process does
    print("held", flush=True)
    sys.stdin.read()
"""


def test_lock_outlasts_that_its_holder_opens_and_closes_the_file(tmp_path):
    path = tmp_path / ".dotpe-exec.lock"
    process = subprocess.Popen(
        [sys.executable, "-c", OPEN_AND_CLOSE, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline().strip() == "held"
        with pytest.raises(RunDirectoryError, match=f"by process {process.pid} on "):
            DirectoryLock(path).acquire()
    finally:
        process.communicate("")
    assert process.returncode == 0


@pytest.mark.parametrize("how", ["symlink_to", "hardlink_to", "copy", "pipe"])
def test_file_that_is_no_lock_is_not_overwritten(tmp_path, how):
    precious = tmp_path / "thesis.txt"
    precious.write_text("years of work")
    path = tmp_path / ".dotpe-exec.lock"
    if how == "copy":
        path.write_text("years of work")
    elif how == "pipe":
        os.mkfifo(path)
    else:
        getattr(path, how)(precious)
    with pytest.raises(RunDirectoryError, match=r"lock is (a symbolic|not a lock)"):
        DirectoryLock(path).acquire()
    assert precious.read_text() == "years of work"
    assert how == "pipe" or path.read_text() == "years of work"


def test_lock_file_emptied_by_a_crash_is_taken_over(tmp_path):
    for content in (b"", bytes(80)):
        path = tmp_path / "lock"
        path.write_bytes(content)
        with DirectoryLock(path) as lock:
            assert lock.held


@pytest.fixture
def hold():
    """Start processes that hold a lock."""
    processes = []

    def start(path):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True
        )
        processes.append(process)
        assert process.stdout.readline().strip() == "held"

    yield start
    for process in processes:
        process.kill()
        process.wait()


@pytest.mark.parametrize("how", ["moved", "replaced", "taken by another run"])
def test_nothing_is_written_where_the_directory_was_replaced(tmp_path, hold, how):
    folder = tmp_path / "run"
    with RunDirectory(folder) as directory:
        directory.prepare(make_identity())
        folder.rename(tmp_path / "elsewhere")
        if how != "moved":
            folder.mkdir()
        if how == "taken by another run":
            hold(directory.lock)
        before = sorted(folder.rglob("*"))
        with pytest.raises(RunDirectoryError, match="removed, moved or replaced"):
            write_json(directory.run_kwargs, {})
        with pytest.raises(RunDirectoryError, match="removed, moved or replaced"):
            directory.checkpoint().save("incoherent", "0", 1)
    assert sorted(folder.rglob("*")) == before  # the other's lock is left alone


def test_lock_taken_by_another_run_ends_the_first(tmp_path, hold):
    with RunDirectory(tmp_path) as directory:
        directory.prepare(make_identity())
        directory.lock.unlink()
        hold(directory.lock)
        with pytest.raises(RunDirectoryError, match="removed or replaced"):
            write_json(directory.run_kwargs, {})
    assert directory.lock.exists()


def test_sign_of_life_does_not_touch_a_file_that_was_opened_after_the_release(
    tmp_path, monkeypatch
):
    """The number of a closed descriptor is given to the file that is opened next."""
    other = tmp_path / "other"
    other.write_text("of somebody else")
    os.utime(other, (1, 1))
    release, touch = threading.Event(), os.utime
    touching = threading.Event()

    def touch_late(descriptor):
        touching.set()
        release.wait(1.0)
        touch(descriptor)

    lock = DirectoryLock(tmp_path / "lock", heartbeat=0.01)
    lock.acquire()
    monkeypatch.setattr("dotpe_exec.rundir.lock.os.utime", touch_late)
    assert touching.wait(5)
    threading.Timer(0.2, release.set).start()
    lock.release()
    with other.open("rb"):
        release.wait(5)
        time.sleep(0.1)
    assert other.stat().st_mtime == 1


def test_holder_whose_clock_was_set_is_believed_by_its_signs_of_life(tmp_path, monkeypatch):
    """Times at which processes started move with the clock; there are no locks here."""

    def no_locks(*_):
        raise OSError(errno.ENOSYS, "not here")

    monkeypatch.setattr("dotpe_exec.rundir.lock._take_lock", no_locks)
    monkeypatch.setattr("dotpe_exec.rundir.lock.SETTLE", 0.01)
    path = tmp_path / "lock"
    with DirectoryLock(path, heartbeat=0.05) as holder:
        record = json.loads(path.read_text())
        path.write_text(json.dumps(record | {"process_started": 1e9}))
        monkeypatch.setattr("dotpe_exec.rundir.lock._held", set())
        with pytest.raises(RunDirectoryError, match=f"in use by process {os.getpid()}"):
            DirectoryLock(path, heartbeat=0.5).acquire()
        assert holder.held
    path.write_text(json.dumps(record | {"process_started": 1e9}))
    with DirectoryLock(path, heartbeat=0.05):
        pass
