"""Ctrl-C, and a parent that is killed: nobody stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from waiting import is_alive, wait_for_the_end_of

# Without the usual guard: workers do not run it again.
SCRIPT = """
import signal, sys
# Shells let what they start in the background ignore it, and so do its children.
signal.signal(signal.SIGINT, signal.default_int_handler)
from faulty_tasks import Trap, killed_during
from toy_tasks import numbered, process_id
from dotpe_exec.executors.phases import PhaseRunner
from dotpe_exec.executors.store import ArrayStore

def identify(_):
    return process_id(_)

with PhaseRunner(ArrayStore({scratch!r}), {backend!r}, n_procs=2) as runner:
    for _, pid in runner.map("ask", identify, numbered(range(4)), n_tasks=4):
        print(pid, flush=True)
    tasks = numbered(Trap(n, seconds={seconds}) for n in range(1000))
    print("started", flush=True)
    for task, result in runner.map("work", killed_during, tasks, n_tasks=1000):
        pass
"""


@pytest.fixture
def started(backend, tmp_path):
    """Start the script in a session of its own; return it and its workers."""
    made = []

    def start(seconds):
        here = Path(__file__).parent
        script = tmp_path / "script.py"
        script.write_text(
            SCRIPT.format(
                scratch=str(tmp_path / "scratch"), backend=backend, seconds=seconds
            )
        )
        process = subprocess.Popen(
            [sys.executable, str(script)],
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(here), str(here.parent / "executors")]),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        made.append(process)
        pids = set()
        while (line := process.stdout.readline().strip()) != "started":
            assert line, process.stderr.read()
            pids.add(int(line))
        time.sleep(0.5)
        return process, pids

    yield start
    for process in made:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("seconds", [0.01, 60], ids=["short tasks", "long tasks"])
@pytest.mark.parametrize("group", [True, False], ids=["terminal", "parent only"])
def test_ctrl_c_ends_every_worker_within_seconds(started, tmp_path, seconds, group):
    process, pids = started(seconds)
    assert pids and all(is_alive(pid) for pid in pids)
    began = time.monotonic()
    (os.killpg if group else os.kill)(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    wait_for_the_end_of(pids, 1)
    # Two seconds where nothing else runs; here tests share the processors.
    assert time.monotonic() - began < 6
    assert process.returncode != 0
    assert errors.count("Traceback") == 1, errors
    assert "KeyboardInterrupt" in errors
    assert list((tmp_path / "scratch").iterdir()) == []


def test_workers_leave_when_their_parent_is_killed(started, tmp_path):
    process, pids = started(60)
    assert pids and all(is_alive(pid) for pid in pids)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    wait_for_the_end_of(pids)
    assert not any(is_alive(pid) for pid in pids)
