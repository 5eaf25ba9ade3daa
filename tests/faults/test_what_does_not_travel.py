"""Results and exceptions that cannot be sent, and executors that are not there."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import loky
import pytest
from faulty_tasks import (
    Trap,
    killed_during,
    raises_one_way,
    raises_unpicklable,
    returns_unpicklable,
)
from toy_tasks import Number, results, square

from dotpe_exec.errors import ExecutorError, TaskError, WorkerCrashError
from dotpe_exec.executors.phases import PhaseRunner
from dotpe_exec.executors.store import ArrayStore


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (raises_unpicklable, "Unpicklable: holds a lock"),
        (raises_one_way, "OneWay: here and there"),
        (returns_unpicklable, "cannot pickle '_thread.lock' object"),
    ],
)
def test_what_cannot_be_sent_back_is_reported_and_the_pool_lives(
    make_runner, function, says
):
    runner = make_runner()
    with pytest.raises(TaskError, match=says) as caught:
        results(runner, function, [Trap(1)])
    assert "'toy/000000'" in str(caught.value)
    assert "Traceback in the worker" in str(caught.value)
    assert results(runner, square, [Number(2)]) == [4]


def spawn_pool(n):
    return ProcessPoolExecutor(n, mp_context=get_context("spawn"))


FOREIGN = pytest.mark.parametrize(
    "make", [spawn_pool, ThreadPoolExecutor, loky.ProcessPoolExecutor]
)


@FOREIGN
def test_executor_that_was_closed_before(make, tmp_path):
    pool = make(1)
    pool.shutdown()
    with pytest.raises(ExecutorError, match="takes no tasks"):
        results(PhaseRunner(ArrayStore(tmp_path), pool), square, [Number(2)])


@FOREIGN
def test_executor_that_is_closed_during_a_run(make, tmp_path):
    pool = make(1)
    runner = PhaseRunner(ArrayStore(tmp_path), pool)
    payloads = [Number(1, 0.05)] * 200
    closer = threading.Timer(1.0, pool.shutdown)
    closer.start()
    began = time.monotonic()
    with pytest.raises(ExecutorError):
        results(runner, square, payloads, tasks_per_message=1)
    assert time.monotonic() - began < 9
    closer.join()


@pytest.mark.parametrize("make", [spawn_pool, loky.ProcessPoolExecutor])
def test_foreign_pool_that_breaks_ends_the_run_and_names_what_ran(make, tmp_path):
    pool = make(1)
    payloads = [Trap(n, str(tmp_path / "count"), 9 * (n == 3)) for n in range(6)]
    with pytest.raises(WorkerCrashError, match=r"toy/000003.*cannot be restarted"):
        results(PhaseRunner(ArrayStore(tmp_path), pool), killed_during, payloads)
    pool.shutdown()
