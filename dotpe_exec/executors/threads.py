"""One thread per worker: the only place that knows how threads are limited.

Libraries read their environment variables when they load, so a worker's environment is
set before it starts; `threadpoolctl` and numba are told afterwards, for libraries that
were loaded earlier or do not read the environment.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

ENVIRONMENT = dict.fromkeys(
    (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "BLIS_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
        "NUMEXPR_NUM_THREADS",
        "NUMBA_NUM_THREADS",
    ),
    "1",
)
"""What a worker's environment says before it loads any library."""


def thread_counts() -> dict[str, int]:
    """Return how many threads each numerical library of this process uses.

    Returns
    -------
    dict
        One entry per loaded BLAS and OpenMP library (by file), and ``"numba"`` if that is
        loaded.
    """
    import threadpoolctl

    counts = {
        str(library["filepath"]): int(library["num_threads"])
        for library in threadpoolctl.threadpool_info()
    }
    numba = sys.modules.get("numba")
    if numba is not None:
        counts["numba"] = int(numba.get_num_threads())
    return counts


def limit_worker() -> None:
    """Limit this process, a worker of ours, to one thread for good."""
    os.environ.update(ENVIRONMENT)
    import threadpoolctl

    threadpoolctl.threadpool_limits(1)
    numba = sys.modules.get("numba")
    if numba is not None:
        numba.set_num_threads(1)


class _Libraries:
    """The numerical libraries of this process, held at one thread while anybody asks.

    The setting of most belongs to the whole process, so the first that asks notes what it
    was, and the last that leaves restores it: in whatever order threads come and go, each
    has one thread while it works, and nothing stays changed.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._n_users = 0
        self._n_modules = -1
        self.of_process: list[Any] = []
        self.of_threads: list[Any] = []
        self.before: dict[str, tuple[Any, int]] = {}

    def enter(self) -> None:
        with self._lock:
            self._n_users += 1
            self._limit()

    def leave(self) -> None:
        with self._lock:
            self._n_users -= 1
            if self._n_users == 0:
                _restore(self.before)

    def limit_new(self) -> None:
        """Limit what was loaded since the last look."""
        if len(sys.modules) != self._n_modules:
            with self._lock:
                self._limit()

    def _limit(self) -> None:
        n_modules = len(sys.modules)
        if n_modules != self._n_modules:  # looking for libraries takes a millisecond
            import threadpoolctl

            found = threadpoolctl.ThreadpoolController().lib_controllers
            self.of_threads = [one for one in found if _belongs_to_thread(one)]
            self.of_process = [one for one in found if not _belongs_to_thread(one)]
            self._n_modules = n_modules
        _set_to_one(self.of_process, self.before)


def _belongs_to_thread(library: Any) -> bool:
    """Whether the setting is OpenMP's, which each thread has for itself."""
    layer = getattr(library, "threading_layer", None)
    return "openmp" in (library.user_api, layer)


def _set_to_one(libraries: list[Any], before: dict[str, tuple[Any, int]]) -> None:
    """Limit those that are not in ``before``, and note there what they had."""
    for library in libraries:
        if library.filepath not in before:
            n_threads = library.get_num_threads()
            before[library.filepath] = library, n_threads
            if n_threads != 1:
                _set(library, 1)


def _restore(before: dict[str, tuple[Any, int]]) -> None:
    for library, n_threads in before.values():
        if n_threads != 1:
            _set(library, n_threads)
    before.clear()


def _set(library: Any, n_threads: int) -> None:
    """Set a library's number of threads, from whichever thread.

    Since version 3.7, `threadpoolctl` lets only the thread that set OpenBLAS first set it
    again, and silently ignores all others, for as long as that one lives.
    """
    forget_first = getattr(library, "clear_controlling_thread", None)
    if forget_first is not None:
        forget_first(force=True)
    library.set_num_threads(n_threads)
    if forget_first is not None:
        forget_first(force=True)


_libraries = _Libraries()


def _forget_threads() -> None:
    """In a forked child, where none of the threads is that asked for a limit."""
    global _libraries
    before, _libraries = _libraries.before, _Libraries()
    _restore(before)


os.register_at_fork(after_in_child=_forget_threads)


class OneThread:
    """Context in which this thread's calls use one thread; restores the caller's.

    The usual libraries are loaded first: a limit reaches only what is loaded, and taking
    it from the environment instead would outlast the context. :meth:`refresh`, called
    before each task, limits what came later. Numba's and OpenMP's limits belong to a
    thread, and are restored in the one that entered.

    BLAS has one setting per process: other threads of the caller have one thread each as
    well, while a task runs in this process and no longer.
    """

    def __init__(self) -> None:
        self._before: dict[str, tuple[Any, int]] = {}  # of this thread's settings

    def __enter__(self) -> OneThread:
        import numba  # noqa: F401
        import scipy.linalg  # noqa: F401

        _libraries.enter()
        _set_to_one(_libraries.of_threads, self._before)
        return self

    def __exit__(self, *exc_info: object) -> None:
        _restore(self._before)
        _libraries.leave()

    def refresh(self) -> None:
        """Limit what was loaded since the last call."""
        _libraries.limit_new()
        _set_to_one(_libraries.of_threads, self._before)

    @contextlib.contextmanager
    def numba(self) -> Iterator[None]:
        """Limit numba for this thread while a call runs."""
        import numba

        before = numba.get_num_threads()
        numba.set_num_threads(1)
        try:
            yield
        finally:
            numba.set_num_threads(before)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Limit one call in a process that belongs to somebody else."""
    with OneThread() as limit, limit.numba():
        yield
