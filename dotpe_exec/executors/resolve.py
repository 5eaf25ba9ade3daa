"""The one place where whatever the caller has becomes one of our executors."""

from __future__ import annotations

import concurrent.futures
from importlib import import_module
from typing import Any

from ..errors import ExecutorError, UnknownExecutorError
from ..machine import usable_cores
from .interface import Executor, check_n_workers

_BACKENDS = {
    "serial": "serial.SerialExecutor",
    "process": "process.ProcessExecutor",
    "loky": "loky.LokyExecutor",
    "dask": "dask.DaskExecutor",
    "mpi": "mpi.MPIExecutor",
}

NAMES = tuple(_BACKENDS)
"""The names that ``executor=`` takes."""


def resolve_executor(executor: Any = None, n_procs: int | None = None) -> Executor:
    """Return the executor that ``executor=`` means.

    Parameters
    ----------
    executor : None, str, Executor, concurrent.futures.Executor or distributed.Client
        None: loky when ``n_procs`` is more than one, else serial. A name: one of
        :data:`NAMES`, the address of a dask scheduler (``"tcp://host:8786"``), or the
        path of the ``.json`` file that it wrote. An object: used, and left to whoever
        made it.
    n_procs : int, optional
        Number of workers for names; for foreign executors, how many they run at a time
        where they do not say. Default: the usable cores.

    Returns
    -------
    Executor
        With ``owned`` true if it was made here, so that the run must release it.

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
        executor = "serial" if (n_procs or usable_cores()) == 1 else "loky"
    if isinstance(executor, str):
        made = _by_name(executor, n_procs)
        made.owned = True
        return made
    if isinstance(executor, Executor):
        return executor
    if _is_dask_client(executor):
        return _load("dask")(client=executor)
    if isinstance(executor, concurrent.futures.Executor):
        from .foreign import ForeignExecutor

        return ForeignExecutor(executor, n_procs)
    raise UnknownExecutorError(
        f"executor= must be one of {', '.join(NAMES)}, a concurrent.futures.Executor, a "
        f"distributed.Client or a dotpe_exec Executor, not {_described(executor)}"
    )


def _by_name(name: str, n_procs: int | None) -> Executor:
    if "://" in name:
        return _load("dask")(scheduler_address=name)
    if name.endswith(".json"):
        return _load("dask")(scheduler_file=name)
    if name not in _BACKENDS:
        raise UnknownExecutorError(
            f"executor={name!r} is not known; expected one of {', '.join(NAMES)}, or the "
            "address of a dask scheduler or the .json file that it wrote"
        )
    if name == "serial":
        return _load(name)()
    return _load(name)(n_procs or usable_cores())


def _load(name: str) -> Any:
    module, cls = _BACKENDS[name].split(".")
    try:
        return getattr(import_module(f".{module}", __package__), cls)
    except ImportError as error:
        raise ExecutorError(
            f"executor={name!r} needs a package that is not installed ({error}); "
            f"try: pip install 'dotpe-exec[{name}]'"
        ) from error


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
