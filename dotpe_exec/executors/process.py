"""Worker processes of the standard library, each a fresh interpreter."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from . import spawning, worker
from .pool import PoolExecutor


class ProcessExecutor(PoolExecutor):
    """``concurrent.futures.ProcessPoolExecutor`` with the spawn start method.

    Never fork: a forked child of a process with threads (BLAS, LAL, a notebook) can
    deadlock. Not a fork server either: there is one per process, and the caller's own
    would inherit our environment.
    """

    name = "process"

    def _start(self) -> Any:
        return ProcessPoolExecutor(
            self.n_workers,
            mp_context=spawning.Context(),
            initializer=worker.initialize,
            initargs=(os.getpid(),),
        )
