"""Calls whose workers may not see the store's folder: they are given its arrays.

A worker finds out by itself, when it loads an array for the first time. Its call then
ends early, with :class:`Absent` instead of a result, and is sent again with the content of
the files it did not find; the worker keeps them. So arrays travel once per worker, only to
workers that need it, whenever these join, and no option says which ones that are.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ExecutorError
from . import store


@dataclass(frozen=True)
class Absent:
    """Instead of a result: files of the store that a worker does not see.

    ``worker`` is its address where the engine can send a call there, else empty.
    """

    paths: tuple[str, ...]
    worker: str = ""


def call(function: Callable[..., Any], args: tuple, files: Mapping[str, bytes]) -> Any:
    """Run in a worker: the call's result, or :class:`Absent`.

    Parameters
    ----------
    function, args : callable, tuple
        The call.
    files : mapping
        Content of files of the store, by path, that came with it.
    """
    store.accept(files)
    with store.absent_paths() as absent:
        result = function(*args)
    return Absent(tuple(sorted(absent))) if absent else result


def read(paths: Iterable[str]) -> dict[str, bytes]:
    """Return the content of files of the store, in the process that has it.

    Raises
    ------
    ExecutorError
        The store was closed.
    """
    try:
        return {path: Path(path).read_bytes() for path in paths}
    except OSError as error:
        raise ExecutorError(
            f"the array store cannot send {error.filename} to a worker: {error.strerror}"
        ) from error


class Delivery:
    """Turns an engine's ``submit`` into one that delivers arrays where they are absent.

    Parameters
    ----------
    send : callable
        ``send(function, args, paths, worker)`` starts ``call(function, args, files)``
        somewhere, with the files at ``paths``, and returns its future. ``worker`` is the
        one that asked for the latest of them: best, but not necessarily, there.
    was_cancelled : callable, optional
        ``was_cancelled(paths)`` is asked about a call that the engine cancelled, which was
        sent with these files: true if it is to be sent again. It may raise what the call's
        future shall raise.
    """

    def __init__(
        self,
        send: Callable[[Callable[..., Any], tuple, tuple[str, ...], str], Future],
        was_cancelled: Callable[[tuple[str, ...]], bool] = lambda paths: False,
    ):
        self._send = send
        self._was_cancelled = was_cancelled
        self._sending = threading.Lock()  # few engines take calls from several threads

    def submit(self, function: Callable[..., Any], /, *args: Any) -> Future:
        """Return a future of ``function(*args)``, which a worker runs."""
        future: Future = Future()
        self._start(future, function, args, ())
        return future

    def _start(
        self,
        future: Future,
        function: Callable[..., Any],
        args: tuple,
        paths: tuple[str, ...],
        worker: str = "",
    ) -> None:
        with self._sending:
            attempt = self._send(function, args, paths, worker)
        future.add_done_callback(functools.partial(_cancel_too, attempt))
        attempt.add_done_callback(
            functools.partial(self._ended, future, function, args, paths)
        )

    def _ended(
        self,
        future: Future,
        function: Callable[..., Any],
        args: tuple,
        paths: tuple[str, ...],
        attempt: Future,
    ) -> None:
        if future.cancelled():
            return
        result: Any = None
        try:
            if not attempt.cancelled():
                result = attempt.result()
        except BaseException as error:
            _fail(future, error)
            return
        if attempt.cancelled() or isinstance(result, Absent):
            # In a thread of its own: an engine's callback may not wait for that engine.
            threading.Thread(
                target=self._again,
                args=(future, function, args, paths, result),
                daemon=True,
            ).start()
        elif future.set_running_or_notify_cancel():
            future.set_result(result)

    def _again(
        self,
        future: Future,
        function: Callable[..., Any],
        args: tuple,
        paths: tuple[str, ...],
        absent: Absent | None,
    ) -> None:
        """Send a call again: with what its worker did not see, or after a cancellation."""
        try:
            if absent is None:
                if not self._was_cancelled(paths):
                    future.cancel()
                    future.set_running_or_notify_cancel()
                    return
                absent = Absent(())
            if twice := set(absent.paths) & set(paths):
                raise ExecutorError(f"a worker does not keep what it is sent: {twice}")
            # With all that it missed anywhere, for it may come to yet another worker.
            self._start(future, function, args, (*paths, *absent.paths), absent.worker)
        except BaseException as error:
            _fail(future, error)


def _fail(future: Future, error: BaseException) -> None:
    if future.set_running_or_notify_cancel():
        future.set_exception(error)


def _cancel_too(attempt: Future, future: Future) -> None:
    if future.cancelled():
        attempt.cancel()
