"""Which task each worker is running, readable after the worker was killed.

A worker writes two integers and a time to a file of its own before each task. The write
lands in the page cache, which survives the process; it costs about a microsecond. The file
is open while a message is handled and its descriptor is known to that call alone: many
threads of a process may be workers, beside others that open and close files of theirs.
"""

from __future__ import annotations

import contextlib
import os
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

_FORMAT = struct.Struct("<qqd")

OUTSIDE = -1
"""Position while the worker handles a message but runs none of its tasks."""

_worker = threading.local()  # .folder, .loading_since: the phase that this thread is in


class RunningTask(NamedTuple):
    """Where a worker was: ``position`` in a message, loading code since a time.

    The time is in seconds since the epoch; 0 where it had finished a task of the phase,
    so that all that the phase's tasks need was loaded.
    """

    message: int = -1
    position: int = OUTSIDE
    loading_since: float = 0.0


@contextlib.contextmanager
def noting(folder: str, message: int) -> Iterator[Callable[[int], None]]:
    """Yield a function that notes at which task of a message this thread is.

    It does nothing where the folder does not exist (a worker on another host).
    """
    if getattr(_worker, "folder", None) != folder:
        _worker.folder, _worker.loading_since = folder, time.time()
    name = f"{os.uname().nodename}:{os.getpid()}:{threading.get_ident()}"
    try:
        file = os.open(Path(folder) / name, os.O_WRONLY | os.O_CREAT, 0o600)
    except OSError:
        yield lambda position: None
        return

    def note(position: int) -> None:
        os.pwrite(file, _FORMAT.pack(message, position, _worker.loading_since), 0)

    try:
        yield note
        note(OUTSIDE)
    finally:
        os.close(file)


def loaded() -> None:
    """Say that this thread finished a task of the phase; written with the next note."""
    _worker.loading_since = 0.0


def read(folder: str) -> list[RunningTask]:
    """Return the last note of every worker of any host."""
    return [note for _, note in _notes(folder)]


def read_local(folder: str) -> dict[int, RunningTask]:
    """Return the last note of every worker process of this host, by process id."""
    here = os.uname().nodename
    return {pid: note for (host, pid), note in _notes(folder) if host == here}


def _notes(folder: str) -> Iterator[tuple[tuple[str, int], RunningTask]]:
    for path in Path(folder).iterdir():
        host, pid, _ = path.name.rsplit(":", 2)
        data = path.read_bytes()
        if len(data) == _FORMAT.size:
            yield (host, int(pid)), RunningTask(*_FORMAT.unpack(data))
