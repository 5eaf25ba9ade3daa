"""Signals that end a run: Ctrl-C at moments when it must not come, and SIGTERM like Ctrl-C.

Handlers are set in the main thread only, because Python allows no other, and only for as
long as the context lasts.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

TERMINATIONS = (signal.SIGTERM, signal.SIGHUP)
"""How batch systems evict a job, and how a terminal that closes takes its jobs along."""

_AGAIN_SECONDS = 0.02
_NOT_IN = ("<frozen importlib.", f"{os.sep}pandas{os.sep}io{os.sep}parsers{os.sep}")

_came: list[int] = []  # signals since the outermost `terminations_raise` began


class Terminated(SystemExit):
    """The process was asked to end; with exit status 128 + number of the signal.

    A ``SystemExit``, so that a program that does not catch it ends without a traceback,
    after its ``finally`` clauses: 143 for SIGTERM, 129 for SIGHUP.
    """

    def __init__(self, number: int):
        super().__init__(128 + number)


@contextlib.contextmanager
def terminations_raise(*, interrupts: bool = False) -> Iterator[None]:
    """Raise :class:`Terminated` in what is inside for SIGTERM and SIGHUP.

    Only in the main thread, and only for those of the two that nobody handles or ignores
    (``nohup``) already. What was there before is there afterwards. Only the first signal
    counts: a second one must not disturb what the first one set going. What is raised
    may be swallowed, or come out as another exception. So any exception that leaves after
    a signal becomes ``Terminated``, and with ``interrupts``, for programs that own their
    process, ``KeyboardInterrupt`` after a Ctrl-C that Python's own handler would get.

    Some code in C does not stand exceptions from nowhere: pandas' reader of text files
    crashes the process, modules that are being imported stay half made. A signal that
    comes there comes again a moment later.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours: dict[signal.Signals, Any] = {
        n: signal.SIG_DFL for n in TERMINATIONS if signal.getsignal(n) is signal.SIG_DFL
    }
    if interrupts and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        ours[signal.SIGINT] = signal.default_int_handler
    if not ours:  # within another such context, or nothing is to be done
        yield
        return
    _came.clear()
    n_before = _n_delicate(sys._getframe())

    def end(number: int, frame: FrameType | None) -> None:
        if _n_delicate(frame) > n_before:
            # No threading.Thread: this may be in the middle of starting one.
            _thread.start_new_thread(_send_again, (number,))
            return
        _came.append(number)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        if len(_came) == 1:
            raise Terminated(number)

    try:
        for number in ours:
            signal.signal(number, end)
        yield
    except Exception as error:
        try:
            raise_if_terminated()
        except (KeyboardInterrupt, Terminated) as stop:
            stop.rundir = getattr(error, "rundir", None)  # type: ignore[union-attr]
            raise
        raise
    finally:
        _came.clear()
        for number, handler in ours.items():
            signal.signal(number, handler)


def _n_delicate(frame: FrameType | None) -> int:
    """Return how many functions that stand no exception are at work, by their files."""
    n = 0
    while frame is not None:
        path = frame.f_code.co_filename
        n += path.startswith(_NOT_IN[0]) or _NOT_IN[1] in path
        frame = frame.f_back
    return n


def _send_again(number: int) -> None:
    time.sleep(_AGAIN_SECONDS)
    os.kill(os.getpid(), number)


def raise_if_terminated() -> None:
    """Raise what a signal raises where one came and what it raised got lost.

    For loops that note errors and go on.
    """
    if _came and threading.current_thread() is threading.main_thread():
        raise KeyboardInterrupt if _came[0] == signal.SIGINT else Terminated(_came[0])


@contextlib.contextmanager
def interrupts_later() -> Iterator[None]:
    """Keep Ctrl-C, and signals like it, until the end of what is inside.

    For code that would swallow a ``KeyboardInterrupt`` and go on with half of its work
    done. Only the main thread ever gets one.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {
        number: handler
        for number in (signal.SIGINT, *TERMINATIONS)
        if callable(handler := signal.getsignal(number))
    }
    came: list[tuple[int, FrameType | None]] = []
    for number in handlers:
        signal.signal(number, lambda number, frame: came.append((number, frame)))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if came:
            handlers[signal.Signals(came[0][0])](*came[0])
