"""What users read when tasks fail or workers die."""

from __future__ import annotations

import reprlib
import signal
from collections.abc import Iterable
from typing import Any

from ..errors import TaskError, WorkerCrashError
from .task import Task
from .worker import Failure


def task_error(phase: str, key: str, failure: Failure) -> TaskError:
    """Return the error for a task that raised an exception."""
    return TaskError(
        f"task {key!r} of phase {phase!r} raised {failure.type_name}: {failure.text}\n\n"
        f"Traceback in the worker:\n{failure.traceback}"
    )


def killed_its_worker(
    phase: str, task: Task, times: int, exit_code: int | None
) -> WorkerCrashError:
    """Return the error for a task that nobody survives."""
    return WorkerCrashError(
        f"task {task.key!r} of phase {phase!r} killed its worker {times} times, the last "
        f"time with {_exit_code(exit_code)}; its inputs: {_inputs(task.payload)}"
    )


def never_started(
    executor: str, phase: str, times: int, dead: dict[int, int | None]
) -> WorkerCrashError:
    """Return the error for workers that die before they do anything."""
    codes = ", ".join(_exit_code(code) for code in dead.values()) or "unknown exit code"
    return WorkerCrashError(
        f"workers of the {executor} executor died {times} times in a row before they "
        f"started a task of phase {phase!r} ({codes}); what they printed says why"
    )


def cannot_restart(
    executor: str, phase: str, running: Iterable[str], error: BaseException | None
) -> WorkerCrashError:
    """Return the error for an executor that broke and belongs to somebody else."""
    keys = ", ".join(running)
    where = f"; its workers were running {keys}" if keys else ""
    return WorkerCrashError(
        f"a worker of the {executor} executor died in phase {phase!r}{where}. This "
        "executor was not made here and cannot be restarted: make a new one and resume "
        f"the run ({error})"
    )


def _exit_code(code: int | None) -> str:
    if code is None:
        return "unknown exit code"
    if code >= 0:
        return f"exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = "unknown signal"
    hint = ", perhaps out of memory" if -code == signal.SIGKILL else ""
    return f"exit code {code} ({name}{hint})"


def _inputs(payload: Any) -> str:
    """Return the payload in a few hundred characters."""
    short = reprlib.Repr()
    short.maxother = short.maxstring = 400
    return short.repr(payload)
