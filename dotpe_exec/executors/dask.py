"""A dask cluster: a local one, one at an address, or the caller's client."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from distributed import Client, LocalCluster
from distributed.scheduler import KilledWorker

from .interface import Executor
from .threads import ENVIRONMENT

_COUNT_SECONDS = 2.0


class DaskExecutor(Executor):
    """Messages as dask tasks; the cluster replaces its own workers.

    Parameters
    ----------
    n_workers : int, optional
        Size of the local cluster that is made when neither of the others is given.
    client : distributed.Client, optional
        The caller's; left open.
    address : str, optional
        Of a running scheduler; only the connection to it is ours.
    """

    name = "dask"

    def __init__(
        self,
        n_workers: int | None = None,
        *,
        client: Any = None,
        address: str | None = None,
    ):
        self._cluster: Any = None
        self._is_own_client = client is None
        if client is None and address is None:
            self._cluster = LocalCluster(
                n_workers=n_workers,
                threads_per_worker=1,
                dashboard_address=None,
                env=ENVIRONMENT,
            )
            address = self._cluster.scheduler_address
        self._client = client or Client(address, set_as_default=False)
        self._executor = self._client.get_executor(pure=False)
        self._counted = -_COUNT_SECONDS
        self._count()

    def _count(self) -> None:
        """Ask for the number of workers now and then: adaptive clusters change it."""
        now = time.monotonic()
        if now - self._counted >= _COUNT_SECONDS:
            self.n_workers = max(1, sum(self._client.nthreads().values()))
            self._counted = now

    def submit(self, function: Callable[..., Any], /, *args: Any) -> Future:
        self._count()
        return self._executor.submit(function, *args)

    def is_lost(self, error: BaseException) -> bool:
        return isinstance(error, KilledWorker)

    def kill_workers(self) -> None:
        if self._cluster is not None:
            self._cluster.close(timeout=1)

    def shutdown(self) -> None:
        if self._is_own_client:
            self._client.close()
        if self._cluster is not None:
            self._cluster.close()
