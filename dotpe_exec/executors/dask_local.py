"""A dask cluster on this machine, in a process of its own.

Dask's own ``LocalCluster`` runs its scheduler in the caller's process, where it competes
with the caller for the interpreter, and starts workers that run the caller's script again,
now and whenever one is replaced. This module, run as a script, is a main program without
either fault; it also stands between the workers and the terminal's Ctrl-C.

Who reaches the port of a scheduler can run code as its owner. So all that listens here
listens on the loopback interface, and speaks TLS with a certificate that is made for this
cluster and known to it and to us alone: it travels through a pipe and is never written.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
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
    security : distributed.Security
        With which a client is let in.

    Raises
    ------
    ExecutorError
        If the cluster does not come up.
    """

    def __init__(self, n_workers: int):
        read_end, write_end = map(_above_streams, os.pipe())
        silent = sys.stdout is None or sys.stderr is None
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)  # noqa: PTH109
        self._process: Any = subprocess.Popen(
            [sys.executable, "-m", __name__, str(n_workers), str(write_end)],
            env={**os.environ, **ENVIRONMENT, "PYTHONPATH": path},
            stdin=subprocess.PIPE,  # its end says that we are gone
            stdout=subprocess.DEVNULL if silent else None,
            stderr=subprocess.DEVNULL if silent else None,
            pass_fds=(write_end,),
            start_new_session=True,
        )
        os.close(write_end)
        with open(read_end) as pipe:  # noqa: PTH123
            said = pipe.read()
        if not said:
            exit_code = self._end_failed()
            why = (
                "what it printed says why"
                if exit_code >= 0
                else "something killed it: start the run again"
            )
            raise ExecutorError(
                f"the local dask cluster did not start (exit code {exit_code}); {why}"
            )
        from distributed.security import Security

        about = json.loads(said)
        self.address = about["address"]
        self.security = Security(require_encryption=True, **about["certificates"])
        self._scratch = about["scratch"]

    def kill(self) -> None:
        """End all of its processes at once."""
        self._end_group()
        self._process.wait()
        self._process.stdin.close()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def close(self) -> None:
        """End the workers in order."""
        self._process.stdin.close()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        else:
            if self._process.returncode:  # it was killed, its workers perhaps not
                self.kill()

    def _end_failed(self) -> int:
        """Leave nothing of a cluster that did not start; return its exit code."""
        exit_code: int = self._process.wait()
        self._end_group()
        self._process.stdin.close()
        return exit_code

    def _end_group(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)


def _above_streams(descriptor: int) -> int:
    """Return a descriptor that is not one of the standard streams, which may be closed."""
    if descriptor > 2:
        return descriptor
    above = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)
    os.close(descriptor)
    return above


CERTIFICATES = (
    "tls_ca_file",
    "tls_client_cert",
    "tls_client_key",
    "tls_scheduler_cert",
    "tls_scheduler_key",
    "tls_worker_cert",
    "tls_worker_key",
)
"""What a ``Security`` object of dask holds."""


def main(n_workers: int, write_end: int) -> None:
    """Run a cluster until standard input ends; what it is goes to a file descriptor."""
    import dask.config
    from distributed import LocalCluster
    from distributed.security import Security

    # Ports for pages about the cluster are there without a dashboard too, and speak to
    # everybody: they have nothing to say. Workers get this from here.
    dask.config.set(
        {
            "distributed.scheduler.http.routes": [],
            "distributed.worker.http.routes": [],
            # Pictures of what threads do, taken a hundred times a second, can stop a
            # process for good: CPython collects garbage while it holds a lock for them.
            "distributed.worker.profile.enabled": False,
        }
    )
    security = Security.temporary()
    with (
        tempfile.TemporaryDirectory(prefix="dotpe-exec-dask-") as scratch,
        LocalCluster(
            n_workers=n_workers,
            threads_per_worker=1,
            host="127.0.0.1",
            protocol="tls://",
            security=security,
            local_directory=scratch,
            dashboard_address=None,
            env=ENVIRONMENT,
            # Dask would count the pages of the bank that a worker has mapped, which are
            # not its own, and restart it for them.
            memory_limit=None,
        ) as cluster,
    ):
        about = {
            "address": cluster.scheduler_address,
            "scratch": scratch,
            "certificates": {name: getattr(security, name) for name in CERTIFICATES},
        }
        with open(write_end, "w") as pipe:
            json.dump(about, pipe)
        sys.stdin.read()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
