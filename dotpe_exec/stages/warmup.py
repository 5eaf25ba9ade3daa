"""What other processes do while this one is busy with other things.

A pool starts its processes with its first call, and a worker is ready when it has started
Python, imported NumPy, numba and the kernels and loaded their compiled code: about a
second. The search for a reference waveform takes longer than that, and needs no workers.
The first run on a machine has to compile the kernels besides, more than ten seconds: that
begins at the same time.
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, ThreadPoolExecutor
from typing import Any

import numpy as np

from ..executors.interface import Executor
from ..executors.spawning import Context, interrupts_blocked
from ..machine import usable_cores
from ..monitor import Monitor

MAX_HELPERS = 3
"""Processes that compile, at most: with three they are ready before they are needed."""

_NICER = 5  # a third of the weight of other threads

_END_S = 5.0  # a process that is told to end gets so long


def start_workers(executor: Executor) -> None:
    """Start workers that do nothing but our calls, without waiting for them.

    Those of other people get nothing but tasks.
    """
    _submit_each(executor, _import_kernels)


def prepare_workers(
    executor: Executor, m_arr: np.ndarray | Sequence[int], *, waveforms: bool = False
) -> None:
    """Have all workers import the kernels and load their compiled code, if there is any.

    Parameters
    ----------
    executor : Executor
        Starts its workers if it has not yet; see :func:`start_workers`.
    m_arr : sequence of int
        Modes of the banks.
    waveforms : bool
        Workers make waveforms, too.
    """
    _submit_each(executor, _load_kernels, *_mode_counts(m_arr), waveforms)


def _submit_each(executor: Executor, function: Callable[..., None], *args: Any) -> None:
    """Submit a call for each worker, if they are for our calls alone.

    A worker that dies here is for the first phase to deal with, which finds the pool
    broken.
    """
    if not executor.runs_only_our_calls:
        return
    for _ in range(executor.n_workers):
        try:
            executor.submit(function, *args)
        except BrokenExecutor:
            return


def _mode_counts(m_arr: np.ndarray | Sequence[int]) -> tuple[int, int]:
    """Return how many modes and phase orders there are, of which compiled types depend."""
    from ..kernels.coherent_norms import phase_orders

    return len(m_arr), len(phase_orders(np.asarray(m_arr)))


@contextlib.contextmanager
def compiling_ahead(
    monitor: Monitor,
    n_workers: int,
    m_arr: np.ndarray | Sequence[int],
    *,
    waveforms: bool = False,
) -> Iterator[None]:
    """Compile the kernels in other processes meanwhile, if this is a run that compiles.

    That is the first one after an installation; it says so. As many processes as there are
    workers, which have nothing to do yet, compile into the cache on disk, and end by
    themselves: one for a serial run, none on a single core. What this process needs
    before, it compiles or waits for.

    Parameters
    ----------
    monitor : Monitor
    n_workers : int
        Of the executor; 1 if it is this process.
    m_arr : sequence of int
        Modes of the banks.
    waveforms : bool
        The run makes waveforms of its own.
    """
    from ..kernels.compiling import is_to_compile, keeps_compiled_code
    from . import coherent_tasks, extrinsic_tasks, incoherent_tasks  # noqa: F401

    if not is_to_compile():
        yield
        return
    monitor.say("compiling, once: this run takes longer than those after it")
    helpers: list[Any] = []
    n_cores = usable_cores()
    n_helpers = min(n_workers, n_cores, MAX_HELPERS) if n_cores > 1 else 0
    # A daemon of multiprocessing may have no children.
    if keeps_compiled_code() and not multiprocessing.current_process().daemon:
        counts = _mode_counts(m_arr)
        for share in range(n_helpers):
            arguments = (*counts, share, n_helpers, waveforms)
            helpers.append(Context().Process(target=_compile, args=arguments, daemon=True))
    try:
        if helpers:
            with interrupts_blocked():  # until they ignore them
                for helper in helpers:
                    helper.start()
        yield
    finally:
        for helper in helpers:
            _end(helper)


def _end(helper: Any) -> None:
    if helper.pid is None:  # it was not started
        return
    helper.terminate()
    helper.join(_END_S)
    if helper.is_alive():
        helper.kill()
        helper.join()


def _compile(
    n_modes: int, n_orders: int, share: int, n_shares: int, waveforms: bool
) -> None:
    """Be a process that compiles: what it fails at, this run's process will meet, too."""
    sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115
    from ..kernels.compile_ahead import compile_share

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it
    gc.disable()  # takes a tenth of the time, and finds nothing
    compile_share(n_modes, n_orders, share, n_shares, waveforms=waveforms)


def _import_kernels() -> None:
    """Import in a worker what its first tasks need."""
    with behind_others() as thread:
        thread.submit(_import_tasks).result()


def _import_tasks() -> None:
    from . import coherent_tasks, extrinsic_tasks, incoherent_tasks  # noqa: F401


def _load_kernels(n_modes: int, n_orders: int, waveforms: bool) -> None:
    """Load in a worker what its tasks call, instead of within the first task of each kind.

    The first that is loaded makes numba set up its tables of types and operations, which
    takes longer than all the loading.
    """

    def load() -> None:
        _import_tasks()
        from ..kernels.compile_ahead import load_kept

        load_kept(n_modes, n_orders, waveforms=waveforms)

    with behind_others() as thread:
        thread.submit(load).result()


def behind_others() -> ThreadPoolExecutor:
    """Return a pool of one thread that gives way to the threads that are waited for.

    Where there are as many workers as cores, those that get ready share them with the
    process that searches for the reference waveform. On Linux a thread has a niceness of
    its own; a process could not take its own back. Not much of it: where all cores are
    busy with the work of others, too, the thread is to come to its end.
    """
    return ThreadPoolExecutor(1, "dotpe-exec-ahead", _give_way)


def _give_way() -> None:
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # forbidden: it takes its turn
            niceness = os.getpriority(os.PRIO_PROCESS, 0) + _NICER
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness)
