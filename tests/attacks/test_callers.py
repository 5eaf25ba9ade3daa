"""Runs in a process that belongs to somebody else: the same bits, and nothing changes."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import callers
import pytest
from clusters import python_path

EXIT_SECONDS = 5.0
METHODS = ("fork", "spawn", "forkserver")

# A process of its own: its main module, its environment, its standard streams. The caller
# has functions of its own that it pickles by name, and two threads for BLAS.
SCRIPT = """
import contextlib, pickle, sys, threading
import threadpoolctl
from bystander import Bystander, blas_limits
from callers import digest
from concurrent.futures import ThreadPoolExecutor

def of_main():
    pass

def executors(kind, n_threads):
    if kind == "threads":
        return ThreadPoolExecutor(n_threads)
    if kind == "dask":
        from distributed import Client
        return Client(
            n_workers=1, threads_per_worker=n_threads, processes=False,
            dashboard_address=None, set_as_default=False,
        )
    return contextlib.nullcontext(kind)

kind, n_threads = sys.argv[1], int(sys.argv[2])
expected = digest("serial")
threadpoolctl.threadpool_limits(2)
assert 2 in blas_limits().values()
in_process = kind in ("serial", "threads", "dask")
with executors(kind, n_threads) as executor:
    digest(executor)  # whatever is imported late
    failed = []

    def pickle_on():
        while not done.is_set():
            try:
                pickle.dumps(of_main)
            except Exception as error:
                failed.append(error)
            done.wait(0.001)

    done = threading.Event()
    other = threading.Thread(target=pickle_on)
    with Bystander(watch_blas=not in_process) as bystander:
        other.start()
        found = []
        runs = [
            threading.Thread(target=lambda: found.append(digest(executor, n_procs=n_procs)))
            for n_procs in (2, 2 if in_process else 3)
        ]
        for run in runs:
            run.start()
        for run in runs:
            run.join()
        done.set()
        other.join()
print("once more", flush=True)
assert found == [expected] * 2, found
assert not failed, failed[0]
assert not bystander.changes, bystander.changes[:3]
"""


@pytest.mark.parametrize(
    ("kind", "n_threads"),
    [
        ("serial", 1),
        ("process", 1),
        ("loky", 1),
        ("threads", 4),
        ("dask", 4),
        *(
            pytest.param(kind, n_threads, marks=pytest.mark.slow)
            for kind in ("threads", "dask")
            for n_threads in (1, 2)
        ),
    ],
)
def test_two_runs_in_threads_have_their_bits_and_leave_the_caller_alone(
    kind, n_threads, tmp_path
):
    script = tmp_path / "caller.py"
    script.write_text(SCRIPT)
    environment = {
        name: value for name, value in os.environ.items() if "NUM_THREADS" not in name
    }
    done = subprocess.run(
        [sys.executable, str(script), kind, str(n_threads)],
        env={**environment, "PYTHONPATH": python_path()},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout == "once more\n"


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "executor", ["loky", pytest.param("process", marks=pytest.mark.slow)]
)
def test_process_that_ran_something_ends_at_once(method, executor):
    context = multiprocessing.get_context(method)
    ours, theirs = context.Pipe()
    child = context.Process(target=callers.report_digest, args=(theirs, executor))
    child.start()
    try:
        assert ours.poll(60)
        found, ended = ours.recv()
        child.join(30)
        assert child.exitcode == 0
        assert time.time() - ended < EXIT_SECONDS
        assert found == callers.serial_digest()
    finally:
        child.kill()


def test_task_of_the_callers_process_pool_may_run_something():
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        found, ended = pool.submit(callers.digest_in_child, "loky").result(60)
    assert time.time() - ended < EXIT_SECONDS
    assert found == callers.serial_digest()


def test_daemonic_process_runs_serially_or_says_why_not():
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(callers.outcome, (None,)) == callers.serial_digest()
        for name in ("loky", "process"):
            said = pool.apply(callers.outcome, (name,))
            assert said.startswith(f"ExecutorError: the {name} executor cannot start")
            assert "daemonic" in said and said.endswith("executor='serial' needs none")


def test_threads_that_want_different_numbers_of_workers_keep_their_own():
    with ThreadPoolExecutor(2) as threads:
        both = [threads.submit(callers.worker_processes, n, 3) for n in (2, 3)]
        two, three = (future.result(60) for future in both)
    assert all(len(pids) <= 2 for pids in two)
    assert not set().union(*two) & set().union(*three)
    # One pool at most is kept between runs, so one of them may have had a second one.
    assert len(set().union(*two)) + len(set().union(*three)) <= 2 * 3 + 3 * 3


def test_event_loop_goes_on_while_a_run_works():
    async def both():
        ticks = 0

        async def tick():
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.01)

        ticking = asyncio.create_task(tick())
        found = await asyncio.gather(
            *(asyncio.to_thread(callers.digest, name) for name in ("loky", "serial"))
        )
        ticking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await ticking
        return found, ticks

    found, ticks = asyncio.run(both())
    assert found == [callers.serial_digest()] * 2
    assert ticks > 3


def test_child_forked_while_workers_are_warm_has_workers_of_its_own():
    expected = callers.digest("loky")
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(write_end, callers.digest("loky").encode())
        finally:
            os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as pipe:
        assert pipe.read() == expected
    assert os.waitpid(pid, 0)[1] == 0
    assert callers.digest("loky") == expected
    assert threading.active_count() < 20
