"""A dask cluster: a local one, one at an address, or the caller's client."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import Any

import dask.config
from distributed import Client, get_worker
from distributed.scheduler import KilledWorker

from ..errors import ExecutorError
from . import delivery
from .dask_local import LocalDask
from .interface import Executor

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 30.0
_COUNT_SECONDS = 1.0
# After so long it is asked whether the connection is still there, then after twice as long.
_RESULT_SECONDS = 2.0
# After so long a result is asked for again whose connection broke.
_AGAIN_SECONDS = 0.1


class DaskExecutor(Executor):
    """Messages as dask tasks; the cluster replaces its own workers.

    Workers that do not see the store's folder get its arrays scattered: once from here
    into the cluster, from there once to each worker, worker to worker.

    Parameters
    ----------
    n_workers : int, optional
        Size of the local cluster that is made when nothing else says where one is:
        neither the parameters below nor dask's own configuration (``scheduler-address``,
        as in the environment variable ``DASK_SCHEDULER_ADDRESS``).
    client : distributed.Client, optional
        The caller's; left open.
    scheduler_address : str, optional
        Of a running scheduler; only the connection to it is ours.
    scheduler_file : path, optional
        Written by ``dask scheduler --scheduler-file``; waited for.

    Raises
    ------
    ExecutorError
        No scheduler answers, or the local cluster does not come up.
    """

    name = "dask"

    def __init__(
        self,
        n_workers: int | None = None,
        *,
        client: Any = None,
        scheduler_address: str | None = None,
        scheduler_file: str | os.PathLike | None = None,
    ):
        self._local: LocalDask | None = None
        self._is_own_client = client is None
        if client is None:
            address = scheduler_address or dask.config.get("scheduler-address", None)
            if address is None and scheduler_file is None:
                self._local = LocalDask(n_workers or 1)
                address = self._local.address
            security = None if self._local is None else self._local.security
            client = _connect(address, scheduler_file, security)
        self.runs_only_our_calls = self._local is not None
        self._client = client
        self._address = getattr(client.scheduler, "address", "an unknown address")
        self._delivery = delivery.Delivery(self._send, self._was_cancelled)
        self._scattered: dict[str, Any] = {}  # futures of files' contents, by path
        self._counted = -_COUNT_SECONDS
        self._count()

    def _count(self) -> None:
        """Ask for the number of workers now and then: adaptive clusters change it."""
        now = time.monotonic()
        if now - self._counted < _COUNT_SECONDS:
            return
        try:
            n_threads = sum(self._client.nthreads().values())
        except OSError as error:
            raise ExecutorError(f"{self._gone()} ({error})") from error
        if n_threads == 0 and self._counted < 0:
            logger.warning("the dask cluster has no workers yet; waiting for the first")
        self.n_workers = max(1, n_threads)
        self._counted = now

    def submit(self, function: Callable[..., Any], /, *args: Any) -> Future:
        self._count()
        return self._delivery.submit(function, *args)

    def _send(
        self, function: Callable[..., Any], args: tuple, paths: tuple[str, ...], worker: str
    ) -> Future:
        absent = [path for path in paths if path not in self._scattered]
        place = {"workers": [worker], "allow_other_workers": True} if worker else {}
        try:
            for path, content in delivery.read(absent).items():
                self._scattered[path] = self._client.scatter(content, hash=False)
            contents = [self._scattered[path] for path in paths]
            return _concurrent_future(
                self._client.submit(
                    _call, function, args, paths, *contents, pure=False, **place
                )
            )
        except OSError as error:  # the connection's; of files it would be ours
            raise ExecutorError(f"{self._gone()} ({error})") from error

    def _was_cancelled(self, paths: tuple[str, ...]) -> bool:
        """Say whether to send a call again that dask gave up.

        Calls are kept by the scheduler and outlive workers; scattered data does not, when
        the last worker that has it dies.
        """
        if self._client.status != "running":
            raise ExecutorError(self._gone())
        for path in paths:
            self._scattered.pop(path, None)
        return bool(paths)

    def _gone(self) -> str:
        return (
            f"the connection to the dask scheduler at {self._address} was lost; resume the "
            "run when it is back"
        )

    def is_lost(self, error: BaseException) -> bool:
        return isinstance(error, KilledWorker)

    def kill_workers(self) -> None:
        if self._local is not None:
            self._client.close(timeout=0.5)  # first, or it tries to connect again
            self._local.kill()

    def shutdown(self) -> None:
        if self._is_own_client:
            self._client.close()
        if self._local is not None:
            self._local.close()


def _connect(
    address: str | None, scheduler_file: str | os.PathLike | None, security: Any
) -> Client:
    where = address or f"described by {os.fspath(scheduler_file or '')}"
    try:
        return Client(
            address,
            scheduler_file=None if address else scheduler_file,
            security=security,
            set_as_default=False,
            timeout=CONNECT_SECONDS,
        )
    except (OSError, ValueError) as error:  # a time-out; an address that is none
        raise ExecutorError(f"no dask scheduler answers at {where} ({error})") from error


def _concurrent_future(dask_future: Any) -> Future:
    """Return a standard future with the outcome of one of dask's.

    dask's own adapter looks at the state after it has the result, and takes a result for
    an exception when the worker that held it has left in between.
    """
    future: Future = Future()

    def finish(finished: Any) -> None:
        # In a thread for callbacks; a result that was lost meanwhile is computed anew.
        try:
            result = _outcome(finished)
        except (CancelledError, asyncio.CancelledError):
            future.cancel()
            future.set_running_or_notify_cancel()
        except BaseException as error:
            if future.set_running_or_notify_cancel():
                future.set_exception(error)
        else:
            if future.set_running_or_notify_cancel():
                future.set_result(result)

    def cancel_too(_: Future) -> None:
        if future.cancelled() and dask_future.status == "pending":
            dask_future.cancel()

    future.add_done_callback(cancel_too)  # which also keeps dask's future alive
    dask_future.add_done_callback(finish)
    return future


def _outcome(finished: Any) -> Any:
    """Return the result of a dask future that is done, or raise its error.

    dask waits for the loop of the client to fetch it, for ever if that was closed at that
    very moment; and the process does not end before the thread that waits.

    Raises
    ------
    CancelledError
        The client was closed, or lost its scheduler.
    """
    seconds = _RESULT_SECONDS
    end = time.monotonic() + CONNECT_SECONDS
    while True:
        try:
            return finished.result(timeout=seconds)
        except (TimeoutError, asyncio.TimeoutError):
            if finished.status == "error":  # it is what the task raised
                raise
            if finished.client.status != "running":
                raise CancelledError from None
            seconds *= 2  # one that is large takes its time
        except OSError:
            if finished.status == "error" or time.monotonic() > end:
                raise
            # The connection closed on the way, which the client may notice later.
            if finished.client.status != "running":
                raise CancelledError from None
            time.sleep(_AGAIN_SECONDS)


def _call(
    function: Callable[..., Any], args: tuple, paths: tuple[str, ...], *contents: bytes
) -> Any:
    """Run in a worker; dask fetched the contents of the files from other workers."""
    result = delivery.call(function, args, dict(zip(paths, contents, strict=True)))
    if isinstance(result, delivery.Absent):
        return dataclasses.replace(result, worker=get_worker().address)
    return result
