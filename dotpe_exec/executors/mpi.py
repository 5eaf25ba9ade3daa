"""MPI ranks, through ``mpi4py.futures``."""

from __future__ import annotations

from typing import Any

from mpi4py import MPI
from mpi4py.futures import MPIPoolExecutor, _core

from ..errors import ExecutorError
from .foreign import ForeignExecutor

COMMAND = "mpiexec -n N python -m mpi4py.futures -m dotpe_exec run --executor mpi ..."


class MPIExecutor(ForeignExecutor):
    """The ranks of ``mpiexec -n N python -m mpi4py.futures ...``, less the first.

    A dead rank ends the whole MPI job; the run directory resumes.

    Parameters
    ----------
    n_workers : int, optional
        Ignored: ``mpiexec`` says how many there are.

    Raises
    ------
    ExecutorError
        There are no ranks to work for this one: only one was started, or
        ``mpi4py.futures`` does not manage them, and each would do the whole run.
    """

    runs_only_our_calls = True

    def __init__(self, n_workers: int | None = None):
        # mpi4py has no public way to ask whether its launcher is there.
        managed = getattr(_core, "SharedPool", True) is not None
        if MPI.COMM_WORLD.size < 2 or not managed:
            raise ExecutorError(
                f"executor='mpi' has {MPI.COMM_WORLD.size} rank(s), expected at least 2, "
                f"managed by mpi4py.futures: start it with `{COMMAND}`"
            )
        # The workers need nothing of the main module: what tasks need of it travels.
        pool: Any = MPIPoolExecutor(main=False)
        pool.bootup(wait=True)
        super().__init__(pool)
        self.name = "mpi"

    def shutdown(self) -> None:
        self._executor.shutdown(wait=True, cancel_futures=True)
