"""Notes of running tasks: by process and thread, without a trace among open files."""

from __future__ import annotations

import os
import threading

from dotpe_exec.executors import running_task
from dotpe_exec.executors.running_task import OUTSIDE


def test_last_note_is_what_is_read(tmp_path):
    with running_task.noting(str(tmp_path), 7) as note:
        note(3)
        (found,) = running_task.read_local(str(tmp_path)).values()
        assert found[:2] == (7, 3)
        assert found.loading_since > 0
        running_task.loaded()
        note(4)
        assert running_task.read(str(tmp_path)) == [(7, 4, 0.0)]
    assert running_task.read_local(str(tmp_path)) == {os.getpid(): (7, OUTSIDE, 0.0)}


def test_workers_of_other_hosts_with_the_same_number_are_not_ours(tmp_path):
    with running_task.noting(str(tmp_path), 1) as note:
        note(0)
    (file,) = tmp_path.iterdir()
    file.rename(tmp_path / file.name.replace(os.uname().nodename, "elsewhere"))
    assert running_task.read_local(str(tmp_path)) == {}
    assert len(running_task.read(str(tmp_path))) == 1


def test_folder_that_is_not_there_is_nothing_to_note_in(tmp_path):
    with running_task.noting(str(tmp_path / "elsewhere"), 1) as note:
        note(0)
    assert not list(tmp_path.iterdir())


def test_threads_note_at_once_and_leave_the_files_of_others_alone(tmp_path):
    """Each in folders that change, as threads of a worker that serves several runs do."""
    folders = [tmp_path / str(number) for number in range(3)]
    for folder in folders:
        folder.mkdir()
    failed, done = [], threading.Event()
    # All alive together: the name of a thread that ended is used again.
    together = threading.Barrier(6)

    def work(first):
        together.wait()
        try:
            for number in range(300):
                folder = str(folders[(first + number) % 3])
                with running_task.noting(folder, number) as note:
                    for position in range(3):
                        note(position)
        except OSError as error:
            failed.append(error)

    def open_files():
        while not done.is_set():
            path = tmp_path / "somebody else's"
            with path.open("wb", buffering=0) as file:
                file.write(b"theirs")
            if path.read_bytes() != b"theirs":
                failed.append("written to")

    bystander = threading.Thread(target=open_files)
    bystander.start()
    threads = [threading.Thread(target=work, args=(first,)) for first in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    bystander.join()
    assert not failed
    assert all(len(running_task.read(str(folder))) == 6 for folder in folders)
