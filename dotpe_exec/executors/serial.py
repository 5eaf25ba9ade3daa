"""In this process, in order, now: the definition of what a backend does."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from .interface import Executor


class SerialExecutor(Executor):
    """Runs each call when it is submitted, so a debugger stops where the error is."""

    name = "serial"
    shares_memory = True
    max_in_flight = 1

    def submit(self, function: Callable[..., Any], /, *args: Any) -> Future:
        future: Future = Future()
        try:
            future.set_result(function(*args))
        except Exception as error:
            future.set_exception(error)
        return future
