"""Workers that start while this process is busy with other things.

A pool starts its processes with its first call, and a worker is ready when it has started
Python and imported NumPy, numba and the kernels: about a second. The search for a
reference waveform takes longer than that, and needs no workers.
"""

from __future__ import annotations

from concurrent.futures import BrokenExecutor

from ..executors.interface import Executor
from ..monitor import Monitor


def start_workers(executor: Executor) -> None:
    """Start workers that do nothing but our calls, without waiting for them.

    A worker that dies here is for the first phase to deal with, which finds the pool
    broken; the pools of other people get nothing but tasks.
    """
    if not executor.runs_only_our_calls:
        return
    for _ in range(executor.n_workers):
        try:
            executor.submit(_import_kernels)
        except BrokenExecutor:
            return


def say_compiling(monitor: Monitor) -> None:
    """Say so if this is the run, the first after an installation, that compiles."""
    from ..kernels.compiling import is_to_compile
    from . import coherent_tasks, extrinsic_tasks, incoherent_tasks  # noqa: F401

    if is_to_compile():
        monitor.say(
            "compiling, once: this run takes up to a minute longer than those after it"
        )


def _import_kernels() -> None:
    """Import in a worker what its first tasks need, and make numba ready to load code."""
    import numba

    from . import coherent_tasks, extrinsic_tasks, incoherent_tasks  # noqa: F401

    # The first compiled call of a process, of any function, sets up numba's tables of
    # types and operations: a third of a second.
    numba.njit(lambda x: x)(1)
