"""Any ``concurrent.futures.Executor`` that the caller has."""

from __future__ import annotations

import concurrent.futures
import logging
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from ..errors import ExecutorError
from .interface import Executor, check_n_workers

logger = logging.getLogger(__name__)


class ForeignExecutor(Executor):
    """Adapter for executors that somebody else made; never shut down, never rebuilt.

    Parameters
    ----------
    executor : concurrent.futures.Executor
        From the standard library or any other: mpi4py, executorlib, ipyparallel, ...
    n_workers : int, optional
        How many calls it runs at a time. Needed where the executor does not say (neither
        ``num_workers`` nor the standard library's ``_max_workers``); it decides how many
        messages are in flight, never a result.
    """

    def __init__(self, executor: concurrent.futures.Executor, n_workers: int | None = None):
        self._executor = executor
        self.name = type(executor).__name__
        self.shares_memory = isinstance(executor, concurrent.futures.ThreadPoolExecutor)
        if n_workers is None:
            n_workers = getattr(executor, "num_workers", None) or getattr(
                executor, "_max_workers", None
            )
        if not isinstance(n_workers, int) or n_workers < 1:
            logger.info("%s does not say how many workers it has; assuming 1", self.name)
            n_workers = 1
        self.n_workers = check_n_workers(n_workers)

    def submit(self, function: Callable[..., Any], /, *args: Any) -> Future:
        try:
            return self._executor.submit(function, *args)
        except concurrent.futures.BrokenExecutor:
            raise
        except RuntimeError as error:
            raise ExecutorError(
                f"the {self.name} given as executor= takes no tasks: {error}"
            ) from error
