"""MPI ranks, through ``mpi4py.futures``."""

from __future__ import annotations

from typing import Any

from mpi4py.futures import MPIPoolExecutor

from .foreign import ForeignExecutor


class MPIExecutor(ForeignExecutor):
    """The ranks of ``mpiexec -n N python -m mpi4py.futures ...``, less the first.

    Without that, ``mpi4py`` starts ``n_workers`` ranks itself where the MPI library can.
    A dead rank ends the whole MPI job; the run directory resumes.
    """

    def __init__(self, n_workers: int | None = None):
        pool: Any = MPIPoolExecutor(n_workers)
        pool.bootup(wait=True)
        super().__init__(pool)
        self.name = "mpi"

    def shutdown(self) -> None:
        self._executor.shutdown(wait=True)
