"""A dask cluster on this machine, in a process of its own.

Dask's own ``LocalCluster`` runs its scheduler in the caller's process, where it competes
with the caller for the interpreter, and starts workers that run the caller's script again,
now and whenever one is replaced. This module, run as a script, is a main program without
either fault; it also stands between the workers and the terminal's Ctrl-C.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from typing import Any

from ..errors import ExecutorError
from .threads import ENVIRONMENT

STOP_SECONDS = 10.0


class LocalDask:
    """The process that holds scheduler and workers; these go when it does.

    Parameters
    ----------
    n_workers : int
        Number of worker processes, with one thread each.

    Attributes
    ----------
    address : str
        Of the scheduler.

    Raises
    ------
    ExecutorError
        If the cluster does not come up.
    """

    def __init__(self, n_workers: int):
        read_end, write_end = os.pipe()
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)  # noqa: PTH109
        self._process: Any = subprocess.Popen(
            [sys.executable, "-m", __name__, str(n_workers), str(write_end)],
            env={**os.environ, **ENVIRONMENT, "PYTHONPATH": path},
            stdin=subprocess.PIPE,  # its end says that we are gone
            pass_fds=(write_end,),
            start_new_session=True,
        )
        os.close(write_end)
        with open(read_end) as pipe:  # noqa: PTH123
            self.address = pipe.read().strip()
        if not self.address:
            raise ExecutorError(
                f"the local dask cluster did not start (exit code {self._process.wait()}); "
                "what it printed says why"
            )

    def kill(self) -> None:
        """End all of its processes at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process.stdin.close()

    def close(self) -> None:
        """End the workers in order."""
        self._process.stdin.close()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()


def main(n_workers: int, write_end: int) -> None:
    """Run a cluster until standard input ends; its address goes to a file descriptor."""
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=n_workers,
        threads_per_worker=1,
        dashboard_address=None,
        env=ENVIRONMENT,
        # Dask would count the pages of the bank that a worker has mapped, which are not
        # its own, and restart it for them.
        memory_limit=None,
    ) as cluster:
        with open(write_end, "w") as pipe:
            pipe.write(cluster.scheduler_address)
        sys.stdin.read()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
