"""What a stage sees of the machinery: one object with which it maps tasks."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from .driver import Driver
from .interface import Executor
from .resolve import HeldExecutor
from .store import ArrayStore
from .task import Task


@dataclass(frozen=True)
class TaskRecord:
    """How one task ran.

    Parameters
    ----------
    phase, key : str
        Which task.
    start, end : float
        Seconds since the epoch, by the worker's clock.
    worker : str
        ``host:pid``, with the thread's name where several share a process.
    work : int
        In the phase's unit, for example waveforms.
    peak_memory_bytes : int
        Largest private memory of the worker while it ran the task's message.
    message_bytes, result_bytes : int
        Size of payload and result on their way; 0 where they did not travel.
    crashes : int
        How many workers died running it before.
    message : int
        Number of the message it came in; -1 where there was none.
    restored : bool
        Taken from the checkpoint, not run: then all else is zero or empty.
    """

    phase: str
    key: str
    start: float
    end: float
    worker: str
    work: int
    peak_memory_bytes: int
    message_bytes: int
    result_bytes: int
    crashes: int = 0
    message: int = -1
    restored: bool = False


class ResultCache(Protocol):
    """Where results are kept until the run is complete."""

    def load(self, phase: str, key: str) -> Any | None:
        """Return the result of a task of an earlier attempt, or None."""

    def save(self, phase: str, key: str, result: Any) -> None:
        """Keep a result."""

    def flush(self, phase: str | None = None) -> None:
        """Put what is kept of a phase where it outlives this process and its host."""


class Observer(Protocol):
    """Who watches. Called in the caller's thread only."""

    def phase_started(
        self, phase: str, n_tasks: int, total_work: int | None, unit: str
    ) -> None:
        """A phase begins; ``total_work`` is None where only running it can tell."""

    def task_finished(self, record: TaskRecord) -> None:
        """A task has its result."""

    def phase_finished(self, phase: str) -> None:
        """A phase ended, with or without an error."""


class PhaseRunner:
    """Runs the phases of one run on one executor.

    Use it as a context manager: at the end, executors made here are released (loky stays
    warm) and the store is emptied; on an error or Ctrl-C the workers are killed first.
    Executors that the caller made are left alone, but that Ctrl-C ends what they run for
    us where that is possible without ending them.

    Parameters
    ----------
    store : ArrayStore
        Where stages put large arrays.
    executor : optional
        Anything that ``executor=`` takes (:func:`.resolve.resolve_executor`).
    n_procs : int, optional
        Number of workers, for executors made here.
    checkpoint : ResultCache, optional
        Tasks found in it do not run again.
    monitor : Observer, optional
        Told of phases and tasks.
    max_retries : int
        How often a task that was in a dead worker runs again. Workers killed from outside
        while they still load what a phase needs do not count (up to 30 of them).
    """

    def __init__(
        self,
        store: ArrayStore,
        executor: Any = "serial",
        *,
        n_procs: int | None = None,
        checkpoint: ResultCache | None = None,
        monitor: Observer | None = None,
        max_retries: int = 10,
    ):
        self.store = store
        self._held = HeldExecutor(executor, n_procs)
        self.executor: Executor = self._held.executor
        self.checkpoint = checkpoint
        self.monitor = monitor
        self.max_retries = max_retries

    def map(
        self,
        phase: str,
        function: Callable[[Any], Any],
        tasks: Iterable[Task],
        *,
        n_tasks: int,
        refresh: Callable[[Any], Any] | None = None,
        tasks_per_message: int | None = None,
        work: Callable[[Any], int] | None = None,
        unit: str = "task",
        to_keep: Callable[[Any], Any] | None = None,
    ) -> Iterator[tuple[Task, Any]]:
        """Yield ``(task, function(task.payload))`` as tasks finish, in any order.

        Parameters
        ----------
        phase : str
            Name, the same in every run: results are kept under it.
        function : callable
            Module-level; takes a payload, returns a result, touches nothing else.
        tasks : iterable of Task
            Consumed no faster than they run.
        n_tasks : int
            How many there are.
        refresh : callable, optional
            From payload to payload at the moment of submission, for hints.
        tasks_per_message : int, optional
            How many travel together; by default about a quarter of a second of work.
        work : callable, optional
            From payload to its amount of work, in ``unit``; default 1.
        unit : str
            What ``work`` counts.
        to_keep : callable, optional
            From a result to what of it the checkpoint keeps: that is what an attempt which
            resumes this one gets. By default all.

        Raises
        ------
        TaskError
            A task raised an exception: with its key and the worker's traceback.
            Exceptions of this package come as they are, caused by such an error.
        WorkerCrashError
            A task killed its worker more than ``max_retries`` times, or workers of an
            executor died that cannot be restarted.
        ExecutorError
            The executor takes no tasks, or something cannot be pickled.
        """
        folder = tempfile.mkdtemp(prefix="running-", dir=self.store.folder)
        try:
            if self.monitor is not None:
                self.monitor.phase_started(phase, n_tasks, _total(tasks, work), unit)
            driver = Driver(
                self.executor,
                phase,
                function,
                tasks,
                n_tasks=n_tasks,
                notes_folder=folder,
                refresh=refresh,
                restore=self._restorer(phase),
                tasks_per_message=tasks_per_message,
                max_retries=self.max_retries,
            )
            for done in driver:
                if self.checkpoint is not None and not done.restored:
                    kept = done.result if to_keep is None else to_keep(done.result)
                    self.checkpoint.save(phase, done.task.key, kept)
                if self.monitor is not None:
                    amount = work(done.task.payload) if work else 1
                    self.monitor.task_finished(
                        TaskRecord(
                            phase=phase,
                            key=done.task.key,
                            start=done.start,
                            end=done.end,
                            worker=done.worker,
                            work=amount,
                            peak_memory_bytes=done.peak_memory_bytes,
                            message_bytes=done.message_bytes,
                            result_bytes=done.result_bytes,
                            crashes=done.crashes,
                            message=done.message,
                            restored=done.restored,
                        )
                    )
                yield done.task, done.result
            if self.checkpoint is not None:
                self.checkpoint.flush(phase)
        finally:
            if self.monitor is not None:
                self.monitor.phase_finished(phase)
            shutil.rmtree(folder, ignore_errors=True)

    def _restorer(self, phase: str) -> Callable[[Task], Any] | None:
        checkpoint = self.checkpoint
        if checkpoint is None:
            return None
        return lambda task: checkpoint.load(phase, task.key)

    def close(self, *, kill: bool = False) -> None:
        """Release what was made here; with ``kill``, end tasks that still run."""
        try:
            self._held.release(kill=kill)
        finally:
            self.store.close()

    def __enter__(self) -> PhaseRunner:
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *rest: object) -> None:
        self.close(kill=exc_type is not None)


def _total(tasks: Iterable[Task], work: Callable[[Any], int] | None) -> int | None:
    """Return the amount of work, if asking does not use the tasks up."""
    if not isinstance(tasks, Sequence):
        return None
    return sum(work(task.payload) for task in tasks) if work else len(tasks)
