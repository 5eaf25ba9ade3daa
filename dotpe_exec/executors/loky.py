"""Worker processes of loky, kept warm between phases and runs."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from . import worker
from .pool import PoolExecutor
from .threads import ENVIRONMENT

IDLE_SECONDS = 600
"""How long a worker without tasks stays."""

# Loky replaces workers whose memory grew, and counts the pages of mapped files: with a
# bank of many gigabytes that would be all of them, all the time.
_LEAK_LIMIT = {"LOKY_MAX_MEMORY_LEAK_SIZE": str(float(2**40))}

_warm: tuple[int, int, Any] | None = None  # (process id, n_workers, pool)


class LokyExecutor(PoolExecutor):
    """``loky.ProcessPoolExecutor``; those that runs make for themselves share one pool.

    Not ``loky.get_reusable_executor``: that one is shared with the caller's own code, and
    asking for it with other arguments ends the caller's workers.
    """

    name = "loky"

    def _start(self) -> Any:
        global _warm
        _ignore_recycling()
        if not self.owned:
            return self._new_pool()
        if _warm is not None and _warm[0] == os.getpid():
            if _warm[1] == self.n_workers:
                return _warm[2]
            _warm[2].shutdown(wait=False)  # another size: its workers leave when done
        _warm = os.getpid(), self.n_workers, self._new_pool()
        return _warm[2]

    def _new_pool(self) -> Any:
        from loky import ProcessPoolExecutor
        from loky.backend import get_context

        return ProcessPoolExecutor(
            self.n_workers,
            timeout=IDLE_SECONDS,
            context=get_context("loky"),
            initializer=worker.initialize,
            env={**ENVIRONMENT, **_LEAK_LIMIT},
        )

    def submit(self, function: Callable[..., Any], /, *args: Any) -> Future:
        from loky.process_executor import ShutdownExecutorError

        _ignore_recycling()  # again: who calls us may have restored older filters
        try:
            return super().submit(function, *args)
        except ShutdownExecutorError:
            if not self.owned:
                raise
        self._pool = None  # a run in another thread took a pool of another size
        return super().submit(function, *args)

    def kill_workers(self) -> None:
        self._forget_warm()
        super().kill_workers()

    def shutdown(self) -> None:
        self._forget_warm()
        super().shutdown()

    def release(self) -> None:
        """Leave the workers warm for the next run."""
        self._pool = None

    def _forget_warm(self) -> None:
        global _warm
        if _warm is not None and _warm[2] is self._pool:
            _warm = None


def _ignore_recycling() -> None:
    """Keep loky from telling users that it replaced a worker: nothing was lost."""
    warnings.filterwarnings(
        "ignore",
        message="A worker (stopped|was restarted) while some jobs were given",
        category=UserWarning,
    )
