"""The extension point: what a backend must provide, and nothing more.

A backend says where a call runs. Everything else (grouping tasks into messages, keeping
few in flight, retrying after a crash, progress, checkpoints) is in ``driver`` and is the
same for all backends. A new backend is a subclass of :class:`Executor` with
:meth:`Executor.submit`; `docs/executors.md` has a complete one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from ..errors import ExecutorError


class Executor(ABC):
    """Runs calls somewhere and returns their futures.

    Attributes
    ----------
    name : str
        For messages and records.
    n_workers : int
        How many calls run at the same time.
    max_in_flight : int
        How many calls may have been submitted and not have finished. More than
        ``n_workers``, so that no worker waits for the parent.
    shares_memory : bool
        Calls run in this process: arguments and results are passed as objects, not as
        bytes, and limits on threads are set (and restored) here.
    can_rebuild : bool
        After workers died, :meth:`kill_workers` followed by :meth:`submit` works again.
        Such workers are processes of this host: who died, and running which task, is
        found by process id. All other backends may run calls on any host.
    runs_only_our_calls : bool
        Workers do nothing but what this package asks of them, so they may be given calls
        ahead of the first task, to import what that needs.
    """

    name: str = "executor"
    n_workers: int = 1
    shares_memory: bool = False
    can_rebuild: bool = False
    runs_only_our_calls: bool = False

    @property
    def max_in_flight(self) -> int:
        return 2 * self.n_workers

    @abstractmethod
    def submit(self, function: Callable[..., Any], /, *args: Any) -> Future:
        """Start ``function(*args)`` and return its future.

        The function is module-level and its arguments pickle. A pool whose workers died
        raises (here, or in every unfinished future) a
        ``concurrent.futures.BrokenExecutor``.
        """

    def kill_workers(self) -> None:  # noqa: B027
        """End every worker at once, whatever it is doing.

        Called after a crash and on Ctrl-C. Where ``can_rebuild`` is true the next
        ``submit`` starts new workers; elsewhere this does nothing, because the workers
        are not ours to end.
        """

    def dead_workers(self) -> dict[int, int | None]:
        """Return process id and exit code of the workers that died on their own.

        Process ids of this host. Empty where that cannot be known. Forgotten by
        :meth:`kill_workers`.
        """
        return {}

    def is_lost(self, error: BaseException) -> bool:
        """Say whether this error means that a worker died and only its call is lost.

        For engines that replace workers themselves and fail single futures.
        """
        return False

    def shutdown(self) -> None:  # noqa: B027
        """End the workers in order and free what they hold."""

    def release(self) -> None:
        """End of the run for which it was made; workers may stay for the next one.

        By default the same as ``shutdown``. Called once, and nothing after it.
        """
        self.shutdown()

    def __enter__(self) -> Executor:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.shutdown()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(n_workers={self.n_workers})"


MOST_WORKERS = 8192
"""As many processors as one Linux host can have."""


def check_n_workers(n_workers: int) -> int:
    """Return a number of workers, or raise ``ExecutorError`` if it is not one."""
    if isinstance(n_workers, bool) or int(n_workers) != n_workers or n_workers < 1:
        raise ExecutorError(f"n_workers must be a positive integer, not {n_workers!r}")
    if n_workers > MOST_WORKERS:
        raise ExecutorError(
            f"n_procs is {int(n_workers)}, expected at most {MOST_WORKERS} processes"
        )
    return int(n_workers)
