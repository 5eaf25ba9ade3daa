"""Runs a stream of tasks on one executor: grouping, back-pressure, retries, errors.

Knows nothing of backends but the interface, and nothing of stages. All of it runs in the
caller's thread; the pools' threads only put finished messages into a queue.
"""

from __future__ import annotations

import contextlib
import math
import queue
import signal
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Future
from dataclasses import dataclass, field
from typing import Any

from ..errors import DotpeExecError, ExecutorError, WorkerCrashError
from . import pickling, reports, running_task, worker
from .interface import Executor
from .task import Task

TARGET_SECONDS = 0.25
"""Work in one message: long against what a message costs, short against a phase."""

MAX_TASKS_PER_MESSAGE = 4096

MAX_FAILED_STARTS, MAX_IDLE_KILLS = 3, 30
"""How many times in a row workers may die without having begun anything: ending on their
own (they cannot start, and will not the next time) or by a signal (somebody kills them,
which says nothing about the next time)."""

LOADING_SECONDS, MAX_LOADING_KILLS = 5.0, 30
"""How long a worker may be at its first task of a phase and be taken for one that still
loads code, and how often a task may lose such a worker to a kill. Whoever killed it did
so before the task did anything, so ``max_retries`` does not count it."""

STALL_SECONDS = 2.0
"""How long a dead worker may go unnoticed by its pool before we act."""


@dataclass(eq=False)
class _Entry:
    """A task on its way."""

    task: Task
    crashes: int = 0
    crashes_loading: int = 0
    suspect: bool = False
    needs_memory: bool = False
    message_bytes: int = 0


@dataclass(eq=False)
class _Message:
    """Tasks that travel together."""

    number: int
    entries: list[_Entry]
    future: Future = field(default_factory=Future)


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
        self._max_retries = max_retries

        self._again: deque[_Entry] = deque()  # innocent, lost with a pool
        self._suspects: deque[_Entry] = deque()  # run alone
        self._in_flight: dict[int, _Message] = {}
        self._done: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._n_messages = 0
        self._idle_breaks = 0
        self._seconds_per_task: deque[float] = deque(maxlen=64)
        self._function_bytes: bytes | None = None
        self._local = worker.LocalCalls()

    def __iter__(self) -> Iterator[Finished]:
        with self._local if self._executor.shares_memory else contextlib.nullcontext():
            try:
                while True:
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
            if self._suspects:
                if not self._in_flight:
                    entry = self._suspects.popleft()
                    if entry.needs_memory:
                        self._executor.kill_workers()  # old ones hold what they cached
                    self._submit([entry])
                return  # alone: before, others drain; afterwards, nothing joins
            if any(m.entries[0].suspect for m in self._in_flight.values()):
                return
            entries: list[_Entry] = []
            size = self._message_size()
            while len(entries) < size or self._goes_with(entries[-1].task):
                if self._again:
                    entries.append(self._again.popleft())
                    continue
                task = self._look_ahead()
                if task is None:
                    break
                self._ahead = None
                self._n_left -= 1
                result = self._restore(task) if self._restore else None
                if result is None:
                    entries.append(_Entry(task))
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
        if not task.group or self._fixed_size is not None or self._again:
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

    def _submit(self, entries: list[_Entry]) -> None:
        message = _Message(self._n_messages, entries)
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

    def _pickled(self, entries: list[_Entry], payloads: list[Any]) -> list[bytes]:
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

    def _wait(self) -> _Message | None:
        """Return a finished message, or None if the executor had to be restarted."""
        while True:
            try:
                message = self._in_flight.get(self._done.get(timeout=STALL_SECONDS))
            except queue.Empty:
                # A pool can miss a death: its thread may be reading a result that the
                # dead worker did not finish writing.
                if self._executor.can_rebuild and self._executor.dead_workers():
                    self._recover(None)
                    return None
                continue
            if message is not None:  # else lost with a pool, and under way again
                return message

    def _settle(self, message: _Message) -> Iterator[Finished]:
        try:
            reply = message.future.result()
        except BrokenExecutor as error:
            self._recover(error)
            return
        except CancelledError:
            raise self._unusable("was shut down while it ran tasks") from None
        except DotpeExecError:
            raise
        except Exception as error:
            if not self._executor.is_lost(error):
                raise self._unusable(f"failed ({type(error).__name__}: {error})") from error
            self._accuse(message, None, running_task.RunningTask())
            del self._in_flight[message.number]
            return
        del self._in_flight[message.number]
        self._idle_breaks = 0
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

    def _fail(self, entry: _Entry, failure: worker.Failure) -> None:
        """Raise what a task raised, or let it run again with the memory to itself."""
        if failure.out_of_memory and self._executor.can_rebuild:
            entry.crashes += 1
            if entry.crashes - entry.crashes_loading <= self._max_retries:
                entry.needs_memory = True
                self._isolate(entry)
                return
        original = failure.exception
        if isinstance(original, bytes):
            original = pickling.loads(original)
        report = reports.task_error(self._phase, entry.task.key, failure)
        if isinstance(original, DotpeExecError):
            raise original from report  # already says what is wrong, in its own class
        raise report from original

    # When workers die

    def _recover(self, error: BaseException | None) -> None:
        """Restart the executor and put back what was lost with its workers."""
        lost = {
            number: message
            for number, message in self._in_flight.items()
            if not message.future.done() or _is_broken(message.future)
        }
        for number in lost:
            del self._in_flight[number]
        if not self._executor.can_rebuild:
            raise self._broken_for_good(lost, error)
        dead = self._executor.dead_workers()
        self._executor.kill_workers()
        trail = running_task.read_local(self._notes_folder)
        if not any(
            trail.get(pid, running_task.RunningTask()).message in lost for pid in dead
        ):
            self._count_idle_break(dead, error)
        for pid, exit_code in dead.items():
            at = trail.get(pid, running_task.RunningTask())
            if at.message not in lost:
                continue
            if at.position >= 0:
                entry = lost[at.message].entries[at.position]
                self._charge(entry, exit_code, at)
            else:
                self._accuse(lost[at.message], exit_code, at)
        for message in lost.values():
            for entry in message.entries:
                if not entry.suspect:
                    self._again.append(entry)
                elif entry not in self._suspects:
                    self._suspects.append(entry)

    def _count_idle_break(
        self, dead: dict[int, int | None], error: BaseException | None
    ) -> None:
        """Nobody is to blame: a worker died waiting, or never came to life."""
        self._idle_breaks += 1
        by_signal = any(code is not None and code < 0 for code in dead.values())
        if self._idle_breaks > (MAX_IDLE_KILLS if by_signal else MAX_FAILED_STARTS):
            raise reports.never_started(
                self._executor.name, self._phase, self._idle_breaks, dead
            ) from error

    def _accuse(
        self, message: _Message, exit_code: int | None, at: running_task.RunningTask
    ) -> None:
        """A worker died with this message, between its tasks or we cannot know where."""
        if len(message.entries) == 1:
            self._charge(message.entries[0], exit_code, at)
            return
        for entry in message.entries:
            self._isolate(entry)

    def _charge(
        self, entry: _Entry, exit_code: int | None, at: running_task.RunningTask
    ) -> None:
        entry.crashes += 1
        entry.crashes_loading += _killed_while_loading(exit_code, at)
        charged = entry.crashes - entry.crashes_loading
        if charged > self._max_retries or entry.crashes_loading > MAX_LOADING_KILLS:
            raise reports.killed_its_worker(
                self._phase, entry.task, entry.crashes, exit_code
            )
        self._isolate(entry)

    def _isolate(self, entry: _Entry) -> None:
        entry.suspect = True
        if entry not in self._suspects:
            self._suspects.append(entry)

    def _broken_for_good(
        self, lost: dict[int, _Message], error: BaseException | None
    ) -> WorkerCrashError:
        running = [
            lost[number].entries[index].task.key
            for number, index, _ in running_task.read(self._notes_folder)
            if number in lost and index >= 0
        ]
        return reports.cannot_restart(self._executor.name, self._phase, running, error)

    def _unusable(self, what: str) -> ExecutorError:
        return ExecutorError(
            f"the {self._executor.name} executor {what}, in phase {self._phase!r}"
        )


def _killed_while_loading(exit_code: int | None, at: running_task.RunningTask) -> bool:
    """Whether somebody killed a worker that had hardly begun.

    Nothing else than another process ends one in this way: a task that fails on its own
    does so with another signal or an exit code. It may still be the system that killed it
    for the memory that the task took, so this too may not happen forever.
    """
    return (
        exit_code in (-signal.SIGKILL, -signal.SIGTERM)
        and time.time() - at.loading_since < LOADING_SECONDS
    )


def _is_broken(future: Future) -> bool:
    return future.cancelled() or isinstance(future.exception(), BrokenExecutor)
