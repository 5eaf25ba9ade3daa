"""Workers that start before there are tasks."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from dotpe_exec.executors.foreign import ForeignExecutor
from dotpe_exec.executors.phases import PhaseRunner
from dotpe_exec.executors.process import ProcessExecutor
from dotpe_exec.executors.serial import SerialExecutor
from dotpe_exec.executors.store import ArrayStore
from dotpe_exec.executors.task import Task
from dotpe_exec.stages import warmup
from dotpe_exec.stages.warmup import start_workers


@pytest.fixture
def pool_of_ours():
    with ProcessExecutor(2) as executor:
        yield executor


def process_ids(executor) -> list[int]:
    return list(executor._pool._processes) if executor._pool else []


def pid_and_modules(payload) -> tuple[int, bool]:
    """Task: this worker, and whether it has the kernels."""
    import sys

    return os.getpid(), "dotpe_exec.kernels.coherent" in sys.modules


def run_tasks(executor, n_tasks=4):
    with ArrayStore() as store, PhaseRunner(store, executor) as runner:
        tasks = [Task(f"task/{k}", k) for k in range(n_tasks)]
        return dict(runner.map("phase", pid_and_modules, tasks, n_tasks=n_tasks)).values()


def test_workers_are_there_before_the_first_task_and_have_the_kernels(pool_of_ours):
    start_workers(pool_of_ours)
    started = process_ids(pool_of_ours)
    assert started
    results = run_tasks(pool_of_ours)
    assert {pid for pid, _ in results} <= set(process_ids(pool_of_ours))
    assert any(pid in started and has_kernels for pid, has_kernels in results)


def test_a_worker_that_dies_early_costs_nothing(pool_of_ours):
    start_workers(pool_of_ours)
    os.kill(process_ids(pool_of_ours)[0], signal.SIGKILL)
    assert len(run_tasks(pool_of_ours)) == 4


def test_a_broken_pool_is_left_to_the_first_phase(pool_of_ours):
    start_workers(pool_of_ours)
    os.kill(process_ids(pool_of_ours)[0], signal.SIGKILL)
    deadline = time.monotonic() + 10
    while not pool_of_ours.dead_workers() and time.monotonic() < deadline:
        time.sleep(0.01)
    start_workers(pool_of_ours)  # does not raise
    assert len(run_tasks(pool_of_ours)) == 4


def test_executors_of_the_caller_and_serial_ones_get_nothing(monkeypatch):
    calls = []
    monkeypatch.setattr(warmup, "_import_kernels", lambda: calls.append(1))
    serial = SerialExecutor()
    start_workers(serial)
    with ThreadPoolExecutor(1) as pool:
        start_workers(ForeignExecutor(pool, 1))
    assert not calls
