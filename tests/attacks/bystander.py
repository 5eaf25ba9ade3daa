"""Somebody else's thread in the process of a run: notices what is done to its process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import warnings

from dotpe_exec.executors.threads import ENVIRONMENT, thread_counts

SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGPIPE)


class Bystander:
    """A context; ``changes`` says what was seen to change while it was open."""

    def __init__(self, watch_blas=True):
        self.changes = []
        self._watch_blas = watch_blas
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__
        self._inode = os.fstat(self._file.fileno()).st_ino

    def __enter__(self):
        self._blas = blas_limits()
        self._before = self._state()
        self._thread.start()
        return self

    def __exit__(self, *exc_info):
        self._stop.set()
        self._thread.join()
        self._compare()
        if blas_limits() != self._blas:
            self.changes.append(("BLAS limits afterwards", self._blas, blas_limits()))
        self._file.close()

    def _state(self):
        return {
            "environment": dict(os.environ),
            "main module": sys.modules["__main__"],
            "streams": (sys.stdin, sys.stdout, sys.stderr),
            "warning filters": list(warnings.filters),
            "signal handlers": [signal.getsignal(number) for number in SIGNALS],
            "working directory": os.getcwd(),  # noqa: PTH109
            "BLAS limits": blas_limits() if self._watch_blas else None,
            "own file": os.fstat(self._file.fileno()).st_ino,
        }

    def _compare(self):
        for name, now in self._state().items():
            if now != self._before[name]:
                self.changes.append((name, self._before[name], now))

    def _watch(self):
        n_looks = 0
        while not self._stop.is_set():
            self._compare()
            self._file.write(b"x")
            self._file.flush()
            n_looks += 1
            if n_looks % 50 == 0:
                self._start_child()
            self._stop.wait(0.001)

    def _start_child(self):
        script = "; ".join(f"echo ${name}" for name in ENVIRONMENT)
        said = subprocess.run(["sh", "-c", script], capture_output=True, text=True).stdout
        expected = [self._before["environment"].get(name, "") for name in ENVIRONMENT]
        if said.splitlines() != expected:
            self.changes.append(("environment of children", expected, said))


def blas_limits():
    return {path: n for path, n in thread_counts().items() if "blas" in path.lower()}
