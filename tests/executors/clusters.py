"""What the tests of clusters share: work with known bits, and hosts on this machine."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from toy_tasks import Batch, numbered, product, results
from waiting import wait_until

from dotpe_exec.executors.phases import PhaseRunner

BIN = Path(sys.executable).parent


def payloads(store, *, size=64, step=8):
    handle = store.put(np.random.default_rng(1).normal(size=(size, size)))
    return [Batch(at, at + step, handle) for at in range(0, size, step)]


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert one.values.tobytes() == other.values.tobytes()


def assert_same_as_serial(runner, **kwargs):
    batches = payloads(runner.store)
    found = results(runner, product, batches, tasks_per_message=2, **kwargs)
    assert_same(found, results(PhaseRunner(runner.store), product, batches))


def each_result(runner, function, given, *, tasks_per_message=1):
    """Yield ``(number of results so far, index, result)`` while a phase runs."""
    tasks = numbered(given)
    index = {task.key: number for number, task in enumerate(tasks)}
    stream = runner.map(
        "toy", function, tasks, n_tasks=len(tasks), tasks_per_message=tasks_per_message
    )
    for number, (task, result) in enumerate(stream, 1):
        yield number, index[task.key], result


def program(name):
    """The path of a program of this environment, or else of the machine."""
    path = os.pathsep.join([str(BIN), os.environ.get("PATH", "")])
    found = shutil.which(name, path=path)
    if found is None and sys.platform == "linux":
        pytest.fail(f"no {name} on the path: it comes with the test requirements")
    return found or pytest.skip(f"no {name} on the path")


def python_path():
    """``PYTHONPATH`` with which other processes find what the tests find."""
    return os.pathsep.join(entry or os.getcwd() for entry in sys.path)  # noqa: PTH109


def environment_of_runs(**more):
    """For other processes: one thread, the tests' modules, and MPI as root."""
    return {
        **os.environ,
        "PYTHONPATH": python_path(),
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "OMP_NUM_THREADS": "1",
        **more,
    }


def without(folder, command):
    """The command, for a process that finds ``folder`` empty, as one on another host."""
    script = 'mount -t tmpfs none "$0" && exec "$@"'
    for options in (["--mount"], ["--mount", "--map-root-user"]):
        prefix = ["unshare", *options, "sh", "-c", script]
        if _works(*prefix):
            return [*prefix, str(folder), *command]
    return pytest.skip("the system does not let tests hide folders from processes")


@functools.cache
def _works(*prefix):
    if shutil.which(prefix[0]) is None:
        return False
    return subprocess.run([*prefix, "/mnt", "true"], capture_output=True).returncode == 0


class DaskHosts:
    """A dask scheduler, and workers on hosts that share no scratch folder with us.

    Each host has its own loopback address, home, temporary and working directory, and
    finds ``scratch`` empty.
    """

    scheduler_host = "127.0.0.1"

    def __init__(self, folder, scratch):
        self.folder, self.scratch = Path(folder), Path(scratch)
        self.scratch.mkdir(exist_ok=True)
        self.file = self.folder / "scheduler.json"
        self.processes = {}
        self._start(
            "scheduler",
            [
                *("--host", self.scheduler_host, "--port", "0", "--no-dashboard"),
                *("--scheduler-file", str(self.file)),
            ],
        )
        wait_until(self.file.exists)

    def _start(self, name, options, hide=lambda command: command):
        kind = "scheduler" if name == "scheduler" else "worker"
        home = self.folder / name
        home.mkdir()
        self.processes[name] = subprocess.Popen(
            hide([sys.executable, "-m", "dask", kind, *options]),
            env={
                **{k: v for k, v in os.environ.items() if k != "DOTPE_EXEC_SCRATCH"},
                "PYTHONPATH": python_path(),
                "HOME": str(home),
                "TMPDIR": str(home),
                "XDG_CACHE_HOME": str(Path.home() / ".cache"),
                "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "60s",
            },
            cwd=home,
            stdout=subprocess.DEVNULL,
            stderr=(home / "log").open("w"),
            start_new_session=True,
        )

    def start(self, address, prefix=()):
        """Start a host; ``prefix`` is put before its command."""
        self._start(
            address,
            [
                *("--scheduler-file", str(self.file), "--host", address),
                *("--nthreads", "1", "--no-nanny", "--no-dashboard"),
            ],
            lambda command: [*prefix, *without(self.scratch, command)],
        )

    def kill(self, name):
        """The host is gone: all of its processes, at once."""
        process = self.processes.pop(name)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        for name in list(self.processes):
            self.kill(name)
