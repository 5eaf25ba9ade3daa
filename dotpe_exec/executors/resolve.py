"""The one place where whatever the caller has becomes one of our executors."""

from __future__ import annotations

import concurrent.futures
import logging
import multiprocessing
from typing import Any

from ..errors import UnknownExecutorError
from ..machine import usable_cores
from .backends import BACKENDS, load_class
from .interface import Executor, check_n_workers

logger = logging.getLogger(__name__)

NAMES = tuple(BACKENDS)
"""The names that ``executor=`` takes."""


def resolve_executor(executor: Any = None, n_procs: int | None = None) -> Executor:
    """Return the executor that ``executor=`` means.

    Parameters
    ----------
    executor : None, str, Executor, concurrent.futures.Executor or distributed.Client
        None: loky when ``n_procs`` is more than one, else serial; serial too in a daemonic
        process, which may not start others. A name: one of :data:`NAMES`, the address of a
        dask scheduler (``"tcp://host:8786"``), or the path of the ``.json`` file that it
        wrote. An object: used, and left to whoever made it.
    n_procs : int, optional
        Number of workers for names; for foreign executors, how many they run at a time
        where they do not say. Default: the usable cores.

    Returns
    -------
    Executor
        An ``Executor`` that was given, as it is: whoever made it ends it. Anything else is
        made here and must be released;
        :class:`HeldExecutor` does that.

    Raises
    ------
    UnknownExecutorError
        For a name or an object that is none of these.
    ExecutorError
        If the backend's package is not installed, or ``n_procs`` is not positive.
    """
    if n_procs is not None:
        n_procs = check_n_workers(n_procs)
    if executor is None:
        executor = _default(n_procs or usable_cores())
    if isinstance(executor, str):
        return _by_name(executor, n_procs)
    if isinstance(executor, Executor):
        return executor
    if _is_dask_client(executor):
        return load_class("dask")(client=executor)
    if isinstance(executor, concurrent.futures.Executor):
        from .foreign import ForeignExecutor

        return ForeignExecutor(executor, n_procs)
    raise UnknownExecutorError(
        f"executor= must be one of {', '.join(NAMES)}, a concurrent.futures.Executor, a "
        f"distributed.Client or a dotpe_exec Executor, not {_described(executor)}"
    )


class HeldExecutor:
    """What :func:`resolve_executor` returns, and whose it is; a context manager.

    Parameters
    ----------
    executor, n_procs
        As of :func:`resolve_executor`, whose errors it raises.
    keep_warm : bool
        Whether workers may stay for whoever asks next (:meth:`Executor.release`), rather
        than end (:meth:`Executor.shutdown`).

    Attributes
    ----------
    executor : Executor
        To be used until :meth:`release`.
    """

    def __init__(
        self, executor: Any = None, n_procs: int | None = None, *, keep_warm: bool = True
    ):
        self.executor = resolve_executor(executor, n_procs)
        self._is_callers = self.executor is executor
        self._keep_warm = keep_warm
        self._is_released = False

    def release(self, *, kill: bool = False) -> None:
        """Release what was made here, once; with ``kill``, end what still runs.

        An executor of this package that the caller made is never released, and loses what
        it still does for us only if it starts again when it is used next.
        """
        if self._is_released:
            return
        self._is_released = True
        if kill and (self.executor.can_rebuild or not self._is_callers):
            self.executor.kill_workers()
        if self._is_callers:
            return
        if self._keep_warm:
            self.executor.release()
        else:
            self.executor.shutdown()

    def __enter__(self) -> Executor:
        return self.executor

    def __exit__(self, exc_type: type[BaseException] | None, *rest: object) -> None:
        self.release(kill=exc_type is not None)


def _default(n_workers: int) -> str:
    if n_workers == 1:
        return "serial"
    if multiprocessing.current_process().daemon:
        logger.warning(
            "a daemonic process may not start others: tasks run in this one "
            "(executor='serial') instead of in %d",
            n_workers,
        )
        return "serial"
    return "loky"


def _by_name(name: str, n_procs: int | None) -> Executor:
    if "://" in name:
        return load_class("dask")(scheduler_address=name)
    if name.endswith(".json"):
        return load_class("dask")(scheduler_file=name)
    if name not in BACKENDS:
        raise UnknownExecutorError(
            f"executor={name!r} is not known; expected one of {', '.join(NAMES)}, or the "
            "address of a dask scheduler or the .json file that it wrote"
        )
    if name == "serial":
        return load_class(name)()
    return load_class(name)(n_procs or usable_cores())


def _is_dask_client(obj: Any) -> bool:
    """Say whether this is a ``distributed.Client``, without importing distributed."""
    return any(
        base.__module__.split(".")[0] == "distributed" and base.__name__ == "Client"
        for base in type(obj).__mro__
    )


def _described(obj: Any) -> str:
    if isinstance(obj, type):
        return f"the class {obj.__name__} (an instance is needed)"
    return f"a {type(obj).__name__}"
