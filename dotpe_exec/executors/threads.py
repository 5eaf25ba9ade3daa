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


@contextlib.contextmanager
def worker_environment() -> Iterator[None]:
    """Set :data:`ENVIRONMENT` while workers are started, then restore this process's."""
    before = {name: os.environ.get(name) for name in ENVIRONMENT}
    os.environ.update(ENVIRONMENT)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


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
    """Limit this process to one thread for good."""
    os.environ.update(ENVIRONMENT)
    import threadpoolctl

    threadpoolctl.threadpool_limits(1)
    numba = sys.modules.get("numba")
    if numba is not None:
        numba.set_num_threads(1)


class OneThread:
    """Context in which calls in this process use one thread; restores the caller's.

    The usual libraries are loaded first: a limit reaches only what is loaded, and taking
    it from the environment instead would outlast the context. :meth:`refresh`, called
    before each task, limits what came later. Numba's limit belongs to a thread, so it is
    set and restored around each call, in whichever thread that runs.
    """

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._lock = threading.Lock()
        self._seen: set[tuple[int, int]] = set()

    def __enter__(self) -> OneThread:
        import numba  # noqa: F401
        import scipy.linalg  # noqa: F401

        self.refresh()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    def refresh(self) -> None:
        """Limit what was loaded, or which thread came along, since the last call."""
        state = (threading.get_ident(), len(sys.modules))
        if state in self._seen:
            return
        import threadpoolctl

        with self._lock:
            self._stack.enter_context(threadpoolctl.threadpool_limits(1))
            self._seen.add(state)

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
