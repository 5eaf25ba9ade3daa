"""Which task each worker is running, readable after the worker was killed.

A worker writes two integers and a time to a file of its own before each task. The write
lands in the page cache, which survives the process; it costs about a microsecond.
"""

from __future__ import annotations

import os
import struct
import time
from pathlib import Path
from typing import NamedTuple

_FORMAT = struct.Struct("<qqd")

OUTSIDE = -1
"""Task index while the worker handles a message but runs none of its tasks."""

_file: tuple[str, int] | None = None  # (folder, descriptor) of this process
_loading_since = 0.0


class Crumb(NamedTuple):
    """Where a worker was: ``position`` in a message, loading code since a time.

    The time is in seconds since the epoch; 0 where it had finished a task of the phase,
    so that all that the phase's tasks need was loaded.
    """

    message: int = -1
    position: int = OUTSIDE
    loading_since: float = 0.0


def write(folder: str, message: int, index: int) -> None:
    """Note that this process is at task ``index`` of a message.

    Does nothing where the folder does not exist (a worker on another host).
    """
    global _file, _loading_since
    if _file is None or _file[0] != folder:
        _loading_since = time.time()
        if _file is not None and _file[1] >= 0:
            os.close(_file[1])
        try:
            path = Path(folder) / str(os.getpid())
            _file = folder, os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        except OSError:
            _file = folder, -1
    if _file[1] >= 0:
        os.pwrite(_file[1], _FORMAT.pack(message, index, _loading_since), 0)


def loaded() -> None:
    """Note that this process finished a task of the phase; written with the next crumb."""
    global _loading_since
    _loading_since = 0.0


def read(folder: str) -> dict[int, Crumb]:
    """Return the last crumb of every process, by process id."""
    found = {}
    for path in Path(folder).iterdir():
        data = path.read_bytes()
        if len(data) == _FORMAT.size:
            found[int(path.name)] = Crumb(*_FORMAT.unpack(data))
    return found
