"""The executors that have a name: where each is defined, and what it needs."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from ..errors import ExecutorError


@dataclass(frozen=True)
class Backend:
    """A named executor.

    Parameters
    ----------
    module, cls : str
        Where its class is, in this package.
    needs : tuple of str
        Packages that it imports and that a plain installation may lack.
    extra : str
        The extra of this package that installs them.
    """

    module: str
    cls: str
    needs: tuple[str, ...] = ()
    extra: str = ""

    @property
    def is_installed(self) -> bool:
        """Whether the packages that it needs are here."""
        return all(find_spec(package) is not None for package in self.needs)


BACKENDS = {
    "serial": Backend("serial", "SerialExecutor"),
    "process": Backend("process", "ProcessExecutor"),
    "loky": Backend("loky", "LokyExecutor"),
    "dask": Backend("dask", "DaskExecutor", ("distributed", "cryptography"), "dask"),
    "mpi": Backend("mpi", "MPIExecutor", ("mpi4py",), "mpi"),
}
"""By the names that ``executor=`` takes."""


def installed_executors() -> dict[str, bool]:
    """Return which executors can be used here, by name."""
    return {name: backend.is_installed for name, backend in BACKENDS.items()}


def load_class(name: str) -> Any:
    """Return the class of a named executor.

    Raises
    ------
    ExecutorError
        A package that it needs is not installed.
    """
    backend = BACKENDS[name]
    try:
        return getattr(import_module(f".{backend.module}", __package__), backend.cls)
    except ImportError as error:
        hint = f"; try: pip install 'dotpe-exec[{backend.extra}]'" if backend.extra else ""
        raise ExecutorError(
            f"executor={name!r} needs a package that is not installed ({error}){hint}"
        ) from error
