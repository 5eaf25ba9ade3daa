"""Whose fault it was that a worker died, and what of the lost work runs again, and how.

The driver says what was in flight and what came back; here it is decided which tasks are
charged, which run alone from then on, and when it has happened too often.
"""

from __future__ import annotations

import signal
import time
from collections import deque
from concurrent.futures import BrokenExecutor, Future
from dataclasses import dataclass, field

from . import reports, running_task
from .interface import Executor
from .task import Task

MAX_FAILED_STARTS, MAX_IDLE_KILLS = 3, 30
"""How many times in a row workers may die without having begun anything: ending on their
own (they cannot start, and will not the next time) or by a signal (somebody kills them,
which says nothing about the next time)."""

LOADING_SECONDS, MAX_LOADING_KILLS = 5.0, 30
"""How long a worker may be at its first task of a phase and be taken for one that still
loads code, and how often a task may lose such a worker to a kill. Whoever killed it did
so before the task did anything, so ``max_retries`` does not count it."""


@dataclass(eq=False)
class Entry:
    """A task on its way."""

    task: Task
    crashes: int = 0
    crashes_loading: int = 0
    suspect: bool = False
    needs_memory: bool = False
    message_bytes: int = 0


@dataclass(eq=False)
class Message:
    """Tasks that travel together."""

    number: int
    entries: list[Entry]
    future: Future = field(default_factory=Future)


class Blame:
    """What of one phase was lost with workers.

    Parameters
    ----------
    executor : Executor
        Where tasks run; its workers are ended and asked how they died.
    phase : str
        Name for messages.
    notes_folder : str
        Where workers note which task they are running.
    max_retries : int
        How often a task that was in a dead worker runs again.

    Attributes
    ----------
    again : deque of Entry
        Lost with a pool, and innocent.
    suspects : deque of Entry
        To be run alone, so that there is no doubt the next time.
    """

    def __init__(self, executor: Executor, phase: str, notes_folder: str, max_retries: int):
        self._executor = executor
        self._phase = phase
        self._notes_folder = notes_folder
        self._max_retries = max_retries
        self.again: deque[Entry] = deque()
        self.suspects: deque[Entry] = deque()
        self._idle_breaks = 0

    def worker_lives(self) -> None:
        """Take note that a message came back: workers can start and work."""
        self._idle_breaks = 0

    def out_of_memory(self, entry: Entry) -> bool:
        """Say whether a task that raised ``MemoryError`` may run again, alone."""
        if not self._executor.can_rebuild:
            return False
        entry.crashes += 1
        if entry.crashes - entry.crashes_loading > self._max_retries:
            return False
        entry.needs_memory = True
        self._isolate(entry)
        return True

    def lost_call(self, message: Message) -> None:
        """Charge for a call that an engine lost, which does not say where or why.

        Raises
        ------
        WorkerCrashError
            If a task did so too often.
        """
        self._accuse(message, None, running_task.RunningTask())

    def restart(self, in_flight: dict[int, Message], error: BaseException | None) -> None:
        """Restart the executor and put back what was lost with its workers.

        Parameters
        ----------
        in_flight : dict
            Messages by number; those lost are taken out.
        error : BaseException or None
            What the executor said.

        Raises
        ------
        WorkerCrashError
            If a task, or starting workers, failed too often, or if the executor cannot
            be restarted.
        """
        lost = {
            number: message
            for number, message in in_flight.items()
            if not message.future.done() or _is_broken(message.future)
        }
        for number in lost:
            del in_flight[number]
        if not self._executor.can_rebuild:
            raise reports.cannot_restart(
                self._executor.name, self._phase, self._running(lost), error
            )
        dead = self._executor.dead_workers()
        self._executor.kill_workers()
        trail = running_task.read_local(self._notes_folder)
        found = {
            pid: at
            for pid in dead
            if (at := trail.get(pid, running_task.RunningTask())).message in lost
        }
        if not found:
            self._count_idle_break(dead, error)
        for pid, at in found.items():
            message = lost[at.message]
            if at.position >= 0:
                self._charge(message.entries[at.position], dead[pid], at)
            else:
                self._accuse(message, dead[pid], at)
        for message in lost.values():
            for entry in message.entries:
                if not entry.suspect:
                    self.again.append(entry)
                elif entry not in self.suspects:
                    self.suspects.append(entry)

    def _running(self, lost: dict[int, Message]) -> list[str]:
        """Return the keys of tasks that were running somewhere."""
        return [
            lost[number].entries[index].task.key
            for number, index, _ in running_task.read(self._notes_folder)
            if number in lost and index >= 0
        ]

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
        self, message: Message, exit_code: int | None, at: running_task.RunningTask
    ) -> None:
        """A worker died with this message, between its tasks or we cannot know where."""
        if len(message.entries) == 1:
            self._charge(message.entries[0], exit_code, at)
            return
        for entry in message.entries:
            self._isolate(entry)

    def _charge(
        self, entry: Entry, exit_code: int | None, at: running_task.RunningTask
    ) -> None:
        entry.crashes += 1
        entry.crashes_loading += _killed_while_loading(exit_code, at)
        charged = entry.crashes - entry.crashes_loading
        if charged > self._max_retries or entry.crashes_loading > MAX_LOADING_KILLS:
            raise reports.killed_its_worker(
                self._phase, entry.task, entry.crashes, exit_code
            )
        self._isolate(entry)

    def _isolate(self, entry: Entry) -> None:
        entry.suspect = True
        if entry not in self.suspects:
            self.suspects.append(entry)


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
