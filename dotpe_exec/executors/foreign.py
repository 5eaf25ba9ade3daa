"""Any ``concurrent.futures.Executor`` that the caller has."""

from __future__ import annotations

import concurrent.futures
import logging
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from ..errors import ExecutorError
from . import delivery
from .interface import Executor, check_n_workers

logger = logging.getLogger(__name__)

# Where executors say how many calls they run at a time: mpi4py, executorlib, and the
# standard library, which many imitate.
_SIZES = ("num_workers", "max_workers", "_max_workers")


class ForeignExecutor(Executor):
    """Adapter for executors that somebody else made; never shut down, never rebuilt.

    Parameters
    ----------
    executor : concurrent.futures.Executor
        From the standard library or any other: mpi4py, executorlib, ipyparallel, ...
    n_workers : int, optional
        How many calls it runs at a time, where the executor does not say. It decides how
        many messages are in flight, never a result.
    """

    def __init__(self, executor: concurrent.futures.Executor, n_workers: int | None = None):
        self._executor = executor
        self.name = type(executor).__name__
        self.shares_memory = isinstance(executor, concurrent.futures.ThreadPoolExecutor)
        self.n_workers = check_n_workers(_size(executor) or n_workers or self._assumed())
        self._delivery = delivery.Delivery(self._send)

    def _assumed(self) -> int:
        logger.info("%s does not say how many workers it has; assuming 1", self.name)
        return 1

    def submit(self, function: Callable[..., Any], /, *args: Any) -> Future:
        try:
            if self.shares_memory:
                return self._executor.submit(function, *args)
            return self._delivery.submit(function, *args)
        except (concurrent.futures.BrokenExecutor, ExecutorError):
            raise
        except RuntimeError as error:
            raise ExecutorError(
                f"the {self.name} given as executor= takes no tasks: {error}"
            ) from error

    def _send(
        self, function: Callable[..., Any], args: tuple, paths: tuple[str, ...], worker: str
    ) -> Future:
        files = delivery.read(paths)
        return self._executor.submit(delivery.call, function, args, files)


def _size(executor: concurrent.futures.Executor) -> int | None:
    for name in _SIZES:
        size = getattr(executor, name, None)
        if isinstance(size, int) and not isinstance(size, bool) and size > 0:
            return size
    return None
