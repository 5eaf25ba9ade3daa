"""Processes of ``multiprocessing`` whose start leaves no trace in this process.

The standard library starts a process by what it finds in globals of the parent: the
environment, and the main module, which it runs again in every child. That takes as long as
the caller's imports take, brings in what workers must not load, and never ends for a script
without ``if __name__ == "__main__"``; to change either, for a moment even, would show in
every thread of the caller and in what these start meanwhile. Here both are given to the
child alone. What tasks need of ``__main__`` travels by value.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from multiprocessing import popen_spawn_posix, reduction, resource_tracker, spawn, util
from multiprocessing.context import (
    SpawnContext,
    SpawnProcess,
    set_spawning_popen,
)
from typing import Any

from .threads import ENVIRONMENT


def start_tracker() -> None:
    """Start the process that cleans up after those that ``multiprocessing`` starts."""
    resource_tracker.ensure_running()  # type: ignore[attr-defined]


@contextlib.contextmanager
def interrupts_blocked(
    start_trackers: Callable[[], None] = start_tracker,
) -> Iterator[None]:
    """Block Ctrl-C in this thread, and so in children that are still importing.

    Parameters
    ----------
    start_trackers : callable
        Starts the processes that clean up after these children.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        # They are to outlive what ends us, to clean up, and do not ignore this signal.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        start_trackers()  # beforehand, for that unblocks Ctrl-C
        signal.pthread_sigmask(signal.SIG_SETMASK, mask | {signal.SIGINT})
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


class _Popen(popen_spawn_posix.Popen):
    """The standard library's, but with an environment and without a main module."""

    _fds: list[int]  # what the pickled process needs, noted while it is pickled

    def _launch(self, process_obj: Any) -> None:
        tracker: Any = resource_tracker.getfd()  # type: ignore[attr-defined]
        preparation = spawn.get_preparation_data(process_obj._name)
        preparation.pop("init_main_from_name", None)
        preparation.pop("init_main_from_path", None)
        message = io.BytesIO()
        set_spawning_popen(self)
        try:
            reduction.dump(preparation, message)
            reduction.dump(process_obj, message)
        finally:
            set_spawning_popen(None)
        sentinel, child_end = os.pipe()  # ends when the child does
        child_reads, we_write = os.pipe()
        try:
            self._child = subprocess.Popen(
                spawn.get_command_line(tracker_fd=tracker, pipe_handle=child_reads),
                executable=spawn.get_executable(),
                env={**os.environ, **ENVIRONMENT},
                pass_fds=(*self._fds, tracker, child_end, child_reads),
            )
        except BaseException:
            os.close(sentinel)
            os.close(we_write)
            raise
        finally:
            os.close(child_end)
            os.close(child_reads)
        self.pid, self.sentinel = self._child.pid, sentinel
        self.finalizer = util.Finalize(self, _close, (sentinel, we_write))
        with open(we_write, "wb", closefd=False) as pipe:
            pipe.write(message.getbuffer())

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        if self.returncode is None:
            wait = self._child.poll if flag == os.WNOHANG else self._child.wait
            self.returncode = wait()
        return self.returncode


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


class _Process(SpawnProcess):
    @staticmethod
    def _Popen(process_obj: Any) -> Any:
        return _Popen(process_obj)


class Context(SpawnContext):
    """Start method "spawn" with the processes of this module."""

    Process = _Process  # type: ignore[assignment]
