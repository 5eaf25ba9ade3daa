"""What listens, and what somebody else on the machine can open: of pools nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from clusters import python_path

PHASE = """
import sys, time
from dotpe_exec.executors.phases import PhaseRunner
from dotpe_exec.executors.store import ArrayStore
from dotpe_exec.executors.task import Task
import numpy as np

with ArrayStore() as store, PhaseRunner(store, sys.argv[1], n_procs=2) as runner:
    store.put(np.arange(5))
    tasks = [Task(f"a/{n}", 0.0) for n in range(4)]
    for _ in runner.map("sleep", time.sleep, tasks, n_tasks=4):
        pass
    print(store.folder, flush=True)
    sys.stdin.readline()
"""

# Run as nobody: which of the files can be opened for reading or writing?
OPEN = """
import os, sys
os.setgid(65534), os.setuid(65534)
for path in sys.argv[1:]:
    for mode in (os.O_RDONLY, os.O_RDWR):
        try:
            os.close(os.open(path, mode | os.O_NONBLOCK))
        except OSError:
            continue
        print(path)
"""


@pytest.fixture(params=["serial", "loky", "process"])
def phase(request, tmp_path):
    """A run in the middle of its work, with its workers: processes, folder of arrays."""
    process = subprocess.Popen(
        [sys.executable, "-c", PHASE, request.param],
        env={**os.environ, "PYTHONPATH": python_path()},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    folder = Path(process.stdout.readline().strip())
    driver = psutil.Process(process.pid)
    yield [driver, *driver.children(recursive=True)], folder
    process.communicate("\n", timeout=60)
    assert process.returncode == 0


def test_pools_open_no_port_and_no_named_socket(phase):
    processes, _ = phase
    opened = [
        connection
        for process in processes
        for connection in process.net_connections("all")
        if connection.family.name != "AF_UNIX" or connection.laddr
    ]
    assert opened == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_another_user_opens_no_semaphore_no_pipe_and_no_array(phase):
    processes, folder = phase
    paths = {str(folder), *map(str, folder.rglob("*"))}
    for process in processes:
        paths |= {f"/proc/{process.pid}/mem", f"/proc/{process.pid}/environ"}
        for kind in ("fd", "map_files"):
            for path in Path(f"/proc/{process.pid}/{kind}").iterdir():
                try:
                    target = str(path.readlink())
                except FileNotFoundError:  # closed meanwhile
                    continue
                if kind == "fd" and target.startswith(("pipe:", "socket:")):
                    paths.add(str(path))
                elif target.startswith("/dev/shm"):
                    paths.add(target)
    done = subprocess.run(
        [sys.executable, "-S", "-c", OPEN, os.devnull, *sorted(paths)],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == [os.devnull] * 2  # which is for everybody
