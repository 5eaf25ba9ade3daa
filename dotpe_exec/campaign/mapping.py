"""Jobs over executors: one job a message, and no job waits for another.

Worker processes made here are pools of one each, fed from one queue of jobs: a worker that
is killed takes its own job's current step with it and nothing else, and a job that always
kills its worker ends as failed while the others go on. Other executors (dask, MPI, the
caller's) run all jobs as they would run any phase.
"""

from __future__ import annotations

import os
import queue
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from ..errors import ExecutorError, WorkerCrashError
from ..executors.driver import Driver, Finished
from ..executors.interface import Executor
from ..executors.loky import LokyExecutor
from ..executors.phases import PhaseRunner, TaskRecord
from ..executors.pool import PoolExecutor
from ..executors.process import ProcessExecutor
from ..executors.resolve import resolve_executor
from ..executors.store import ArrayStore
from ..executors.task import Task
from ..machine import usable_cores
from ..monitor import Monitor

_MAX_RETRIES = 3  # of a job that was in a dead worker
_MOST_IN_A_ROW = 3  # jobs that kill their workers and none that does not: no worker works
_LOCAL: dict[str, type[PoolExecutor]] = {"loky": LokyExecutor, "process": ProcessExecutor}


@dataclass(frozen=True)
class Crashed:
    """In place of a result: why no worker survived a job."""

    sentence: str


def map_jobs(
    phase: str,
    function: Callable[[Any], Any],
    jobs: Sequence[Any],
    *,
    executor: Any = None,
    n_procs: int | None = None,
    progress: bool = True,
) -> Iterator[tuple[Any, Any]]:
    """Yield each job with its result as it comes, or with :class:`Crashed`.

    Parameters
    ----------
    phase : str
        Name for progress and errors.
    function : callable
        Module-level; does not raise.
    jobs : sequence of frozen dataclasses
        With a name.
    executor, n_procs, progress
        As :func:`dotpe_exec.run_multicore` takes them.

    Raises
    ------
    ExecutorError
        No worker can be used.
    """
    if not jobs:
        return
    tasks = [Task(job.name, job) for job in jobs]
    if executor is None:
        executor = "serial" if min(n_procs or usable_cores(), len(jobs)) <= 1 else "loky"
    n_workers = max(1, min(n_procs or usable_cores(), len(tasks)))
    with Monitor(progress, n_workers) as monitor:
        if isinstance(executor, str) and executor in _LOCAL:
            monitor.phase_started(phase, len(tasks), len(tasks), "event")
            try:
                slots = _Slots(_LOCAL[executor], n_workers, phase, function, tasks)
                yield from slots.results(monitor)
            finally:
                monitor.phase_finished(phase)
            return
        workers = resolve_executor(executor, n_procs)
        with (
            ArrayStore() as store,
            PhaseRunner(
                store, workers, monitor=monitor, max_retries=_MAX_RETRIES
            ) as runner,
        ):
            for task, result in runner.map(
                phase, function, tasks, n_tasks=len(tasks), tasks_per_message=1,
                unit="event",
            ):  # fmt: skip
                yield task.payload, result


class _Slot:
    """One worker process and the thread that feeds it."""

    def __init__(self, cls: type[PoolExecutor]):
        stop = self._stop = threading.Event()

        class One(cls):  # type: ignore[valid-type, misc]
            """A pool of one that holds no second job, and none after the end."""

            max_in_flight = 1

            def submit(self, function: Callable[..., Any], /, *args: Any) -> Future:
                if stop.is_set():
                    raise ExecutorError("the campaign was ended")
                return super().submit(function, *args)

        self.executor: Executor = One(1)

    def end(self) -> None:
        """End the worker at once, and let no other take its place."""
        self._stop.set()
        self.executor.kill_workers()


class _Slots:
    """Worker processes that share one queue of tasks."""

    def __init__(
        self,
        cls: type[PoolExecutor],
        n_workers: int,
        phase: str,
        function: Callable[[Any], Any],
        tasks: Sequence[Task],
    ):
        self._phase, self._function = phase, function
        self._tasks: queue.SimpleQueue[Task] = queue.SimpleQueue()
        for task in tasks:
            self._tasks.put(task)
        self._n_left = len(tasks)
        self._results: queue.SimpleQueue[Finished | BaseException] = queue.SimpleQueue()
        self._slots = [_Slot(cls) for _ in range(n_workers)]

    def results(self, monitor: Monitor) -> Iterator[tuple[Any, Any]]:
        """Run everything; ends the workers at the end, whatever that is."""
        threads = [
            threading.Thread(target=self._feed, args=(slot,), daemon=True)
            for slot in self._slots
        ]
        crashed_in_a_row = 0
        try:
            for thread in threads:
                thread.start()
            while self._n_left:
                done = self._next()
                if isinstance(done, BaseException):
                    raise done
                self._n_left -= 1
                if isinstance(done.result, Crashed):
                    crashed_in_a_row += 1
                    if crashed_in_a_row == _MOST_IN_A_ROW:
                        raise WorkerCrashError(done.result.sentence)
                else:
                    crashed_in_a_row = 0
                monitor.task_finished(_record(self._phase, done))
                yield done.task.payload, done.result
        except BaseException:
            for slot in self._slots:
                slot.end()
            for slot, thread in zip(self._slots, threads, strict=True):
                if thread.is_alive():
                    thread.join(timeout=1)
                slot.executor.kill_workers()  # one that was just being started
            raise
        for slot in self._slots:
            slot.executor.shutdown()

    def _next(self) -> Finished | BaseException:
        while True:  # with an end, for Ctrl-C does not reach a thread that waits for good
            try:
                return self._results.get(timeout=0.5)
            except queue.Empty:
                continue

    def _feed(self, slot: _Slot) -> None:
        """Run tasks of the queue on one slot until none is left."""
        taken: list[Task] = []

        def tasks() -> Iterator[Task]:
            while True:
                try:
                    taken.append(self._tasks.get_nowait())
                except queue.Empty:
                    return
                yield taken[-1]

        source = tasks()
        try:
            with tempfile.TemporaryDirectory(prefix="dotpe-exec-notes-") as notes:
                while True:
                    driver = Driver(
                        slot.executor, self._phase, self._function, source,
                        n_tasks=1, notes_folder=notes, tasks_per_message=1,
                        max_retries=_MAX_RETRIES,
                    )  # fmt: skip
                    try:
                        for done in driver:
                            self._results.put(done)
                        return
                    except WorkerCrashError as error:
                        # Of the task that was under way; the next driver takes the others.
                        now = time.time()
                        crashed = Crashed(str(error).splitlines()[0])
                        self._results.put(Finished(taken[-1], crashed, start=now, end=now))
        except BaseException as error:
            self._results.put(error)


def _record(phase: str, done: Finished) -> TaskRecord:
    return TaskRecord(
        phase=phase,
        key=done.task.key,
        start=done.start,
        end=done.end,
        worker=done.worker or f"{socket.gethostname()}:{os.getpid()}",
        work=1,
        peak_memory_bytes=done.peak_memory_bytes,
        message_bytes=done.message_bytes,
        result_bytes=done.result_bytes,
        crashes=done.crashes,
        message=done.message,
    )
