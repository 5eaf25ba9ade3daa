"""What the two backends with worker processes have in common."""

from __future__ import annotations

import contextlib
import errno
import functools
import multiprocessing
import os
import signal
import threading
import time
import weakref
from abc import abstractmethod
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future
from multiprocessing import util
from pathlib import Path
from typing import Any

from ..errors import ExecutorError
from ..interrupts import interrupts_later
from .interface import Executor, check_n_workers
from .spawning import interrupts_blocked, start_tracker

# After the death of its workers, the thread of a pool needs milliseconds.
_THREAD_SECONDS = 0.3

# A process that dies closes its pipes, which is what a pool notices, before its exit code
# can be read: a moment, or seconds where it had much memory or others use all cores.
_EXIT_SECONDS = 10.0


class PoolExecutor(Executor):
    """A local pool of worker processes, started when first needed.

    Parameters
    ----------
    n_workers : int
        Number of processes.

    Raises
    ------
    ExecutorError
        From ``submit``, after ``shutdown`` or where no process can be started: a daemonic
        process may not start any.
    """

    can_rebuild = True
    runs_only_our_calls = True

    def __init__(self, n_workers: int):
        self.n_workers = check_n_workers(n_workers)
        self._pool: Any = None
        self._dead: tuple[Any, dict[int, int | None]] | None = None  # with their pool
        self._closed = False

    @abstractmethod
    def _start(self) -> Any:
        """Return a ``concurrent.futures``-style pool whose workers are initialized."""

    def submit(self, function: Callable[..., Any], /, *args: Any) -> Future:
        if self._closed:
            raise ExecutorError(
                f"the {self.name} executor was shut down and takes no more tasks"
            )
        if multiprocessing.current_process().daemon:
            raise ExecutorError(
                f"the {self.name} executor cannot start worker processes: this process is "
                "a daemonic one, which may have no children; executor='serial' needs none"
            )
        # Pools start processes inside submit, when they find that one is missing.
        try:
            with _starting, interrupts_later(), interrupts_blocked(self._start_trackers):
                if self._pool is None:
                    self._pool = self._start()
                    _end_at_exit(self._pool)
                future = self._pool.submit(function, *args)
        except BrokenExecutor:  # the pool has noticed a death, and not yet said so
            self._note_dead(self._pool)
            raise
        except OSError as error:
            raise self._cannot_start(error) from error
        future.add_done_callback(functools.partial(self._find_dead, self._pool))
        return future

    def _start_trackers(self) -> None:
        """Start the processes that clean up after the pool's children."""
        start_tracker()

    def _cannot_start(self, error: OSError) -> ExecutorError:
        hint = ""
        if error.errno == errno.ENOENT and not _has_working_directory():
            hint = " (the working directory was removed)"
        elif error.errno in (errno.ENOSPC, errno.EROFS, errno.EACCES, errno.ENOENT):
            hint = " (semaphores need a little room in /dev/shm)"
        if error.errno == errno.EMFILE:
            hint = " (the limit is what `ulimit -n` says)"
        return ExecutorError(
            f"the {self.name} executor cannot start worker processes: "
            f"{error.strerror or error}{hint}; executor='serial' needs none"
        )

    def _find_dead(self, pool: Any, future: Future) -> None:
        """Note who died. Runs in the pool's own thread, before it ends the others."""
        if not future.cancelled() and isinstance(future.exception(), BrokenExecutor):
            self._note_dead(pool)

    def _note_dead(self, pool: Any) -> None:
        """Wait for the exit code of one of those that died, and note all there are."""
        deadline = time.monotonic() + _EXIT_SECONDS
        while self._pool is pool and (self._dead is None or self._dead[0] is not pool):
            dead = _exited(pool)
            if dead or time.monotonic() > deadline:
                self._dead = pool, dead
            else:
                time.sleep(0.001)

    def dead_workers(self) -> dict[int, int | None]:
        noted = self._dead
        if noted is not None and noted[0] is self._pool:
            return noted[1]
        return _exited(self._pool)

    def kill_workers(self) -> None:
        pool, self._pool = self._pool, None
        if pool is None:
            return
        _kill(pool)

    def shutdown(self) -> None:
        self._closed = True
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=True)


def _has_working_directory() -> bool:
    try:
        os.getcwd()  # noqa: PTH109
    except FileNotFoundError:
        return False
    return True


def _kill(pool: Any) -> None:
    """End the workers of a pool and, with them, the pool."""
    processes = _processes(pool).values()
    for process in processes:
        # Not process.kill(): loky's processes have none. Asking for the exit code
        # first keeps the signal from a process that took over a dead one's number.
        with contextlib.suppress(ValueError, OSError):  # closed, or gone
            if process.exitcode is None:
                os.kill(process.pid, signal.SIGKILL)
    _unblock(pool)
    # Without waiting: the pool's thread sees that its workers are dead and ends.
    pool.shutdown(wait=False)
    for process in processes:
        with contextlib.suppress(ValueError, OSError, AssertionError):
            process.join(timeout=1)


def _exited(pool: Any) -> dict[int, int | None]:
    """Return the exit codes of processes that the pool still takes for workers."""
    return {
        pid: process.exitcode
        for pid, process in _processes(pool).items()
        if process.exitcode is not None
    }


def _processes(pool: Any) -> dict[int, Any]:
    """Return the worker processes of a pool by process id.

    Neither the standard library (before 3.14) nor loky has a public way to ask.
    """
    return dict(getattr(pool, "_processes", None) or {})


def _unblock(pool: Any) -> None:
    """Let the thread of a pool whose workers are dead see the end of their results.

    A worker killed in the middle of a large result leaves that thread reading a message
    that will never be complete, for this process holds the pipe's writing end open. Only
    then, and not with ``close``: a thread that ends by itself closes that end too.
    """
    thread = getattr(pool, "_executor_manager_thread", None)
    writer = getattr(getattr(pool, "_result_queue", None), "_writer", None)
    if thread is None or writer is None:
        return
    try:
        thread.join(_THREAD_SECONDS)
    except RuntimeError:  # another thread is about to start it: it reads nothing yet
        return
    if thread.is_alive():
        with contextlib.suppress(OSError), Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), writer.fileno(), inheritable=False)


# Held while processes start. What a child inherits (the blocked Ctrl-C) belongs to the
# thread that starts it; nothing of this process that other threads see is changed, but for
# the handler of Ctrl-C, and that only where the main thread starts processes.
_starting = threading.RLock()

_started: weakref.WeakSet[Any] = weakref.WeakSet()
_cleans_up: int | None = None  # the process that ends what it started


def _end_at_exit(pool: Any) -> None:
    """Have the workers of a pool killed when this process ends.

    The end of a process that ``multiprocessing`` started waits for its children, and comes
    before that of pools: workers that are kept warm would hold it up.
    """
    global _cleans_up
    if _cleans_up != os.getpid():
        _cleans_up = os.getpid()
        util.Finalize(None, _kill_started, exitpriority=100)
    _started.add(pool)


def _kill_started() -> None:
    for pool in list(_started):
        _kill(pool)


def _forget_parents() -> None:
    """In a forked child, which has none of them."""
    global _starting, _started
    _starting, _started = threading.RLock(), weakref.WeakSet()


os.register_at_fork(after_in_child=_forget_parents)
