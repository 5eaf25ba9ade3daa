"""Runs a stream of tasks on one executor: grouping, back-pressure, errors.

Knows nothing of backends but the interface, and nothing of stages. All of it runs in the
caller's thread; the pools' threads only put finished messages into a queue. What happens
when workers die is decided in :mod:`blame`.
"""

from __future__ import annotations

import contextlib
import math
import queue
import statistics
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError
from dataclasses import dataclass
from typing import Any

from ..errors import DotpeExecError, ExecutorError
from ..interrupts import raise_if_terminated
from . import pickling, reports, worker
from .blame import Blame, Entry, Message
from .interface import Executor
from .task import Task

TARGET_SECONDS = 0.25
"""Work in one message: long against what a message costs, short against a phase."""

MAX_TASKS_PER_MESSAGE = 4096

STALL_SECONDS = 2.0
"""How long a dead worker may go unnoticed by its pool before we act."""


@dataclass(frozen=True)
class Finished:
    """A task with its result and, unless that was restored, how it ran.

    Times are seconds since the epoch; sizes and memory are in bytes; ``crashes`` is how
    many workers died running it, ``message`` the number of the message it came in.
    """

    task: Task
    result: Any
    restored: bool = False
    start: float = 0.0
    end: float = 0.0
    worker: str = ""
    peak_memory_bytes: int = 0
    message_bytes: int = 0
    result_bytes: int = 0
    crashes: int = 0
    message: int = -1


class Driver:
    """One phase on one executor; iterate over it once.

    Parameters
    ----------
    executor : Executor
        Where tasks run.
    phase : str
        Name for messages.
    function : callable
        From payload to result.
    tasks : iterable of Task
        Consumed as room in flight allows.
    n_tasks : int
        How many there will be; only for dividing the last ones evenly.
    notes_folder : str
        Folder on local disk for :mod:`running_task`.
    refresh : callable, optional
        From payload to payload, at the moment of submission.
    restore : callable, optional
        From task to an earlier result, or None.
    tasks_per_message : int, optional
        By default such that a message is about :data:`TARGET_SECONDS` of work.
    max_retries : int
        How often a task that was in a dead worker runs again.
    """

    def __init__(
        self,
        executor: Executor,
        phase: str,
        function: Callable[[Any], Any],
        tasks: Iterable[Task],
        *,
        n_tasks: int,
        notes_folder: str,
        refresh: Callable[[Any], Any] | None = None,
        restore: Callable[[Task], Any] | None = None,
        tasks_per_message: int | None = None,
        max_retries: int = 10,
    ):
        self._executor = executor
        self._phase = phase
        self._function = function
        self._source = iter(tasks)
        self._ahead: Task | None = None
        self._n_left = n_tasks
        self._notes_folder = notes_folder
        self._refresh = refresh
        self._restore = restore
        self._fixed_size = tasks_per_message

        self._blame = Blame(executor, phase, notes_folder, max_retries)
        self._in_flight: dict[int, Message] = {}
        self._done: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._n_messages = 0
        self._seconds_per_task: deque[float] = deque(maxlen=64)
        self._function_bytes: bytes | None = None
        self._local = worker.LocalCalls()

    def __iter__(self) -> Iterator[Finished]:
        with self._local if self._executor.shares_memory else contextlib.nullcontext():
            try:
                while True:
                    raise_if_terminated()  # where what a signal raised got lost
                    yield from self._fill()
                    if not self._in_flight:
                        return
                    message = self._wait()
                    if message is not None:
                        yield from self._settle(message)
            except (KeyboardInterrupt, SystemExit):
                self._executor.kill_workers()
                raise
            finally:
                for message in self._in_flight.values():
                    message.future.cancel()

    # Submitting

    def _fill(self) -> Iterator[Finished]:
        """Submit what there is room for; yield what needs no running."""
        while len(self._in_flight) < self._executor.max_in_flight:
            if self._blame.suspects:
                if not self._in_flight:
                    entry = self._blame.suspects.popleft()
                    if entry.needs_memory:
                        self._executor.kill_workers()  # old ones hold what they cached
                    self._submit([entry])
                return  # alone: before, others drain; afterwards, nothing joins
            if any(m.entries[0].suspect for m in self._in_flight.values()):
                return
            entries: list[Entry] = []
            size = self._message_size()
            while len(entries) < size or self._goes_with(entries[-1].task):
                if self._blame.again:
                    entries.append(self._blame.again.popleft())
                    continue
                task = self._look_ahead()
                if task is None:
                    break
                self._ahead = None
                self._n_left -= 1
                result = self._restore(task) if self._restore else None
                if result is None:
                    entries.append(Entry(task))
                else:
                    yield Finished(task, result, restored=True)
            if not entries:
                return
            self._submit(entries)

    def _look_ahead(self) -> Task | None:
        """Return the next task, without taking it."""
        if self._ahead is None:
            self._ahead = next(self._source, None)
        return self._ahead

    def _goes_with(self, task: Task) -> bool:
        """Say whether the next task must be in the same message as this one."""
        if not task.group or self._fixed_size is not None or self._blame.again:
            return False
        if self._executor.max_in_flight == 1:
            return False
        ahead = self._look_ahead()
        return ahead is not None and ahead.group == task.group

    def _message_size(self) -> int:
        if self._fixed_size is not None:
            return self._fixed_size
        if self._executor.max_in_flight == 1 or not self._seconds_per_task:
            return 1
        # The median, because first calls compile and load.
        seconds = max(statistics.median(self._seconds_per_task), 1e-6)
        share = math.ceil(max(self._n_left, 1) / self._executor.max_in_flight)
        return max(1, min(int(TARGET_SECONDS / seconds), share, MAX_TASKS_PER_MESSAGE))

    def _submit(self, entries: list[Entry]) -> None:
        message = Message(self._n_messages, entries)
        self._n_messages += 1
        payloads = [
            self._refresh(entry.task.payload) if self._refresh else entry.task.payload
            for entry in entries
        ]
        try:
            if self._executor.shares_memory:
                message.future = self._executor.submit(
                    self._local.run, self._function, payloads
                )
            else:
                message.future = self._executor.submit(
                    worker.run_bytes,
                    message.number,
                    self._pickled_function(),
                    self._pickled(entries, payloads),
                    self._notes_folder,
                )
        except BrokenExecutor as error:
            message.future.set_exception(error)
        self._in_flight[message.number] = message
        # The number, not the message: a future that refers to its own message is a cycle,
        # and its result would stay until the garbage collector comes by.
        done, number = self._done, message.number
        message.future.add_done_callback(lambda _: done.put(number))

    def _pickled_function(self) -> bytes:
        if self._function_bytes is None:
            try:
                self._function_bytes = pickling.dumps(self._function)
            except Exception as error:
                raise ExecutorError(
                    f"the task function of phase {self._phase!r} cannot be sent to a "
                    f"worker ({error}); it must be a module-level function"
                ) from error
        return self._function_bytes

    def _pickled(self, entries: list[Entry], payloads: list[Any]) -> list[bytes]:
        blobs = []
        for entry, payload in zip(entries, payloads, strict=True):
            try:
                blob = pickling.dumps(payload)
            except Exception as error:
                raise ExecutorError(
                    f"the payload of task {entry.task.key!r} of phase {self._phase!r} "
                    f"cannot be sent to a worker: {error}"
                ) from error
            entry.message_bytes = len(blob)
            blobs.append(blob)
        return blobs

    # Receiving

    def _wait(self) -> Message | None:
        """Return a finished message, or None if the executor had to be restarted."""
        while True:
            try:
                message = self._in_flight.get(self._done.get(timeout=STALL_SECONDS))
            except queue.Empty:
                # A pool can miss a death: its thread may be reading a result that the
                # dead worker did not finish writing.
                if self._executor.can_rebuild and self._executor.dead_workers():
                    self._blame.restart(self._in_flight, None)
                    return None
                continue
            if message is not None:  # else lost with a pool, and under way again
                return message

    def _settle(self, message: Message) -> Iterator[Finished]:
        try:
            reply = message.future.result()
        except BrokenExecutor as error:
            self._blame.restart(self._in_flight, error)
            return
        except CancelledError:
            raise self._unusable("was shut down while it ran tasks") from None
        except DotpeExecError:
            raise
        except Exception as error:
            if not self._executor.is_lost(error):
                raise self._unusable(f"failed ({type(error).__name__}: {error})") from error
            self._blame.lost_call(message)
            del self._in_flight[message.number]
            return
        del self._in_flight[message.number]
        self._blame.worker_lives()
        self._seconds_per_task.append(reply.seconds / len(message.entries))
        failed = []
        for entry, outcome in zip(message.entries, reply.outcomes, strict=True):
            if outcome.failure is not None:
                failed.append((entry, outcome.failure))
                continue
            result, result_bytes = outcome.result, 0
            if not self._executor.shares_memory:
                result_bytes = len(result)
                result = pickling.loads(result)
            yield Finished(
                entry.task,
                result,
                start=outcome.start,
                end=outcome.end,
                worker=reply.worker,
                peak_memory_bytes=reply.peak_memory_bytes,
                message_bytes=entry.message_bytes,
                result_bytes=result_bytes,
                crashes=entry.crashes,
                message=message.number,
            )
        for entry, failure in failed:
            self._fail(entry, failure)

    def _fail(self, entry: Entry, failure: worker.Failure) -> None:
        """Raise what a task raised, or let it run again with the memory to itself."""
        if failure.out_of_memory and self._blame.out_of_memory(entry):
            return
        original = failure.exception
        if isinstance(original, bytes):
            original = pickling.loads(original)
        report = reports.task_error(self._phase, entry.task.key, failure)
        if isinstance(original, DotpeExecError):
            raise original from report  # already says what is wrong, in its own class
        raise report from original

    def _unusable(self, what: str) -> ExecutorError:
        return ExecutorError(
            f"the {self._executor.name} executor {what}, in phase {self._phase!r}"
        )
