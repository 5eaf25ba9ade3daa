"""Worker processes of loky, kept warm between phases and runs."""

from __future__ import annotations

import os
import sys
import threading
from dataclasses import dataclass
from typing import Any

from ..errors import ExecutorError
from . import worker
from .pool import PoolExecutor
from .threads import ENVIRONMENT

IDLE_SECONDS = 600.0
"""How long the workers of the last run stay for the next one."""

# Loky replaces workers whose memory grew, and counts the pages of mapped files: with a
# bank of many gigabytes that would be all of them, all the time.
_LEAK_LIMIT = {"LOKY_MAX_MEMORY_LEAK_SIZE": str(float(2**40))}


class LokyExecutor(PoolExecutor):
    """``loky.ProcessPoolExecutor``; the workers of one that was released serve the next.

    Each executor has workers of its own while it is used, so that runs at the same time,
    in threads, neither end nor wait for each other's. Not
    ``loky.get_reusable_executor``: that one is shared with the caller's own code, and
    asking for it with other arguments ends the caller's workers.
    """

    name = "loky"

    def _start(self) -> Any:
        return _take_idle(self.n_workers) or self._new_pool()

    def _start_trackers(self) -> None:
        from loky.backend import resource_tracker

        super()._start_trackers()
        resource_tracker.ensure_running()

    def _new_pool(self) -> Any:
        from loky import ProcessPoolExecutor
        from loky.backend import get_context

        if sys.stdout is None or sys.stderr is None:
            raise ExecutorError(
                "the loky executor cannot start worker processes while standard output or "
                "standard error is closed; executor='process' can"
            )
        return ProcessPoolExecutor(
            self.n_workers,
            # Workers that leave by themselves would be missing in a long phase.
            timeout=None,
            context=get_context("loky"),
            initializer=worker.initialize,
            initargs=(os.getpid(),),
            env={**ENVIRONMENT, **_LEAK_LIMIT},
        )

    def release(self) -> None:
        """Leave the workers warm for whoever asks next for as many."""
        self._closed = True
        pool, self._pool = self._pool, None
        if pool is not None:
            _keep_idle(_Idle(self.n_workers, pool))


@dataclass
class _Idle:
    """Workers that nobody uses now."""

    n_workers: int
    pool: Any
    timer: threading.Timer | None = None

    def end(self) -> None:
        """Let them leave."""
        if self.timer is not None:
            self.timer.cancel()
        self.pool.shutdown(wait=False)


_idle: _Idle | None = None  # one at most: idle workers of every size would be too many
_guard = threading.Lock()
_inherited: list[_Idle | None] = []


def _replace_idle(idle: _Idle | None) -> _Idle | None:
    global _idle
    with _guard:
        before, _idle = _idle, idle
    return before


def _take_idle(n_workers: int) -> Any:
    """Return the idle pool if it has this size; else end it and return None."""
    idle = _replace_idle(None)
    if idle is None:
        return None
    if idle.n_workers != n_workers:
        idle.end()
        return None
    if idle.timer is not None:
        idle.timer.cancel()
    return idle.pool


def _keep_idle(idle: _Idle) -> None:
    idle.timer = threading.Timer(IDLE_SECONDS, _end_if_idle, (idle,))
    idle.timer.name, idle.timer.daemon = "dotpe-exec-idle", True
    idle.timer.start()
    before = _replace_idle(idle)
    if before is not None:
        before.end()


def _end_if_idle(idle: _Idle) -> None:
    """Called by the timer; somebody may have taken them at this moment."""
    global _idle
    with _guard:
        if _idle is not idle:
            return
        _idle = None
    idle.end()


def _forget_parents() -> None:
    """In a forked child: the guard may be held by a thread that is not here."""
    global _guard, _idle
    _inherited.append(_idle)  # never collected, which would wake the parent's pool
    _guard, _idle = threading.Lock(), None


os.register_at_fork(after_in_child=_forget_parents)
