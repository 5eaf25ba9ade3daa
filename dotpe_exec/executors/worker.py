"""What runs in a worker: one message of tasks, and a watch over the parent.

Imports nothing heavy: this module decides how fast workers start.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..interrupts import Terminated
from . import pickling, running_task, threads
from .private_memory import PeakSampler

_sampler = PeakSampler()
_is_ours = False  # this process was prepared by initialize()


@dataclass(frozen=True)
class Failure:
    """An exception of a task, in a form that always travels."""

    type_name: str
    text: str
    traceback: str
    out_of_memory: bool
    exception: BaseException | bytes | None


@dataclass(frozen=True)
class Outcome:
    """What became of one task; times are seconds since the epoch."""

    result: Any
    failure: Failure | None
    start: float
    end: float


@dataclass(frozen=True)
class Reply:
    """What a message brings back."""

    outcomes: list[Outcome]
    worker: str
    seconds: float
    peak_memory_bytes: int


class LocalCalls:
    """Context in which messages run in this process, as they would in a worker.

    One thread while a message is handled, as before in between; memory is watched.
    """

    def __init__(self) -> None:
        self._sampler = PeakSampler()

    def __enter__(self) -> LocalCalls:
        self._sampler.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._sampler.stop()

    def run(self, function: Callable[[Any], Any], payloads: list[Any]) -> Reply:
        """Run the tasks of a message, without turning anything into bytes."""
        began = time.perf_counter()
        self._sampler.reset()
        outcomes = []
        with threads.OneThread() as limit, limit.numba():
            for payload in payloads:
                limit.refresh()
                start = time.time()
                try:
                    result, failure = function(payload), None
                except Terminated:
                    raise  # this process is to end, not this task
                except (Exception, SystemExit) as error:
                    result, failure = None, _failure(error, error)
                outcomes.append(Outcome(result, failure, start, time.time()))
        seconds = time.perf_counter() - began
        return Reply(outcomes, _label(), seconds, self._sampler.peak())


def run_bytes(number: int, function: bytes, payloads: list[bytes], folder: str) -> Reply:
    """Run the tasks of a message that came from another process.

    Parameters
    ----------
    number : int
        Of the message, for the record of running tasks.
    function, payloads : bytes
        Pickled one by one, so that each one's failure is its own.
    folder : str
        Where running tasks are noted.
    """
    began = time.perf_counter()
    _sampler.start()
    _sampler.reset()
    with (
        contextlib.nullcontext() if _is_ours else threads.one_thread(),
        running_task.noting(folder, number) as note,
    ):
        outcomes = _run_each(function, payloads, note)
    return Reply(outcomes, _label(), time.perf_counter() - began, _sampler.peak())


def _run_each(
    function: bytes, payloads: list[bytes], note: Callable[[int], None]
) -> list[Outcome]:
    outcomes = []
    call: Callable[[Any], Any] | None = None
    for index, payload in enumerate(payloads):
        note(index)
        start = time.time()
        try:
            call = call or pickling.loads(function)
            result, failure = pickling.dumps(call(pickling.loads(payload))), None
            running_task.loaded()
        except BaseException as error:
            # SystemExit too: a task may not end its worker. Ctrl-C is not for tasks.
            if isinstance(error, KeyboardInterrupt):
                raise
            result, failure = None, _failure(error, _pickled(error))
        outcomes.append(Outcome(result, failure, start, time.time()))
    return outcomes


def _failure(error: BaseException, exception: BaseException | bytes | None) -> Failure:
    return Failure(
        type_name=type(error).__name__,
        text=str(error),
        traceback=traceback.format_exc(),
        out_of_memory=isinstance(error, MemoryError),
        exception=exception,
    )


def _pickled(error: BaseException) -> bytes | None:
    """Return the exception as bytes, or None if it would not arrive."""
    try:
        blob = pickling.dumps(error)
        pickling.loads(blob)  # many exceptions pickle and cannot be unpickled
        return blob
    except Exception:  # anything; the failure's text and traceback travel in any case
        return None


def _label() -> str:
    thread = threading.current_thread()
    suffix = "" if thread is threading.main_thread() else f"/{thread.name}"
    return f"{os.uname().nodename}:{os.getpid()}{suffix}"


def initialize(parent: int) -> None:
    """Prepare a worker process: one thread, deaf to Ctrl-C, gone with its parent.

    Ctrl-C reaches every process of a terminal; the parent decides what it means.
    ``parent`` is the parent's process id: to ask for it here would be too late for one
    that was killed meanwhile.
    """
    global _is_ours
    _is_ours = True
    # Its end is waited for, and Python's last look for garbage is most of it.
    atexit.register(gc.freeze)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threads.limit_worker()
    _sampler.start()
    threading.Thread(
        target=_leave_with_parent,
        args=(parent,),
        name="dotpe-exec-parent",
        daemon=True,
    ).start()


def _leave_with_parent(parent: int) -> None:
    """End this process when its parent is gone; pools leave it waiting otherwise."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
