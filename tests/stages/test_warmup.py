"""Workers that start before there are tasks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from dotpe_exec.executors.foreign import ForeignExecutor
from dotpe_exec.executors.phases import PhaseRunner
from dotpe_exec.executors.process import ProcessExecutor
from dotpe_exec.executors.serial import SerialExecutor
from dotpe_exec.executors.store import ArrayStore
from dotpe_exec.executors.task import Task
from dotpe_exec.monitor import Monitor
from dotpe_exec.stages import warmup
from dotpe_exec.stages.warmup import (
    behind_others,
    compiling_ahead,
    prepare_workers,
    start_workers,
)


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


def loaded_kernels(payload) -> int:
    """Task: how many compiled versions of a kernel this worker has."""
    from dotpe_exec.kernels.interpolation import interpolate_modes

    return len(interpolate_modes.overloads)


def run_tasks(executor, function=pid_and_modules, n_tasks=4):
    with ArrayStore() as store, PhaseRunner(store, executor) as runner:
        tasks = [Task(f"task/{k}", k) for k in range(n_tasks)]
        return dict(runner.map("phase", function, tasks, n_tasks=n_tasks)).values()


def test_workers_are_there_before_the_first_task_and_have_the_kernels(pool_of_ours):
    start_workers(pool_of_ours)
    started = process_ids(pool_of_ours)
    assert started
    results = run_tasks(pool_of_ours)
    assert {pid for pid, _ in results} <= set(process_ids(pool_of_ours))
    assert any(pid in started and has_kernels for pid, has_kernels in results)


def test_workers_load_compiled_code_before_the_first_task():
    from dotpe_exec.kernels import compile_ahead, interpolation

    for name, types in compile_ahead.signatures(compile_ahead.INCOHERENT, 4, 4):
        if name == "interpolation.interpolate_modes":
            interpolation.interpolate_modes.compile(types)  # or there is nothing to load
    with ProcessExecutor(1) as executor:
        prepare_workers(executor, (2, 1, 3, 4))
        assert set(run_tasks(executor, loaded_kernels)) == {1}


@pytest.mark.skipif(sys.platform != "linux", reason="a thread's niceness is Linux's")
def test_what_is_done_ahead_gives_way_and_nothing_else_does():
    def niceness():
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    before = niceness()
    with behind_others() as thread:
        assert thread.submit(niceness).result() > before
    with ThreadPoolExecutor(1) as another:
        assert another.submit(niceness).result() == niceness() == before


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
    monkeypatch.setattr(warmup, "_load_kernels", lambda *_: calls.append(2))
    with ThreadPoolExecutor(1) as pool:
        for executor in (serial, ForeignExecutor(pool, 1)):
            start_workers(executor)
            prepare_workers(executor, (2,))
    assert not calls


FIRST_RUN = """
import json, multiprocessing, os, pathlib, signal, sys, time
from dotpe_exec.monitor import Monitor
from dotpe_exec.stages.warmup import compiling_ahead
from dotpe_exec.stages import warmup
warmup.usable_cores = lambda: 2
cache = pathlib.Path(sys.argv[1])
with compiling_ahead(Monitor(progress=False), 1, (2,)):
    helpers = multiprocessing.active_children()
    for helper in helpers:  # as a terminal's Ctrl-C, while they still import
        os.kill(helper.pid, signal.SIGINT)
    deadline = time.monotonic() + 60
    while not list(cache.rglob("*.nbi")) and time.monotonic() < deadline:
        time.sleep(0.05)
alive = [helper.is_alive() for helper in helpers]
print(json.dumps([len(list(cache.rglob("*.nbi"))), alive]))
"""


def test_first_run_compiles_in_a_process_that_ends_with_it(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FIRST_RUN, str(tmp_path)],
        env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    n_kept, alive = json.loads(done.stdout)
    assert n_kept >= 1
    assert alive == [False]
    assert "Traceback" not in done.stderr


class NeverStarted:
    pid = None

    def start(self):
        pass


class RecordedContext:
    def __init__(self):
        self.arguments = []

    def Process(self, target, args, daemon):
        self.arguments.append(args)
        return NeverStarted()


@pytest.mark.parametrize(
    ("n_workers", "cores", "n_helpers"), [(1, 8, 1), (2, 2, 2), (32, 32, 3), (4, 1, 0)]
)
def test_as_many_processes_compile_as_there_are_workers_and_cores(
    monkeypatch, n_workers, cores, n_helpers
):
    from dotpe_exec.kernels import compiling

    context = RecordedContext()
    monkeypatch.setattr(warmup, "Context", lambda: context)
    monkeypatch.setattr(compiling, "is_to_compile", lambda: True)
    monkeypatch.setattr(warmup, "usable_cores", lambda: cores)
    with (
        Monitor(progress=False) as monitor,
        compiling_ahead(monitor, n_workers, (1, 2, 3, 4)),
    ):
        pass
    shares = [(share, n_helpers) for share in range(n_helpers)]
    assert [arguments[2:4] for arguments in context.arguments] == shares
    assert all(arguments[:2] == (4, 4) for arguments in context.arguments)
