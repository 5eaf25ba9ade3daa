"""Every executor does the same, and looks the same from outside."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from dataclasses import dataclass

import numpy as np
import pytest
from toy_tasks import (
    Batch,
    Number,
    loaded_modules,
    process_id,
    product,
    results,
    slow_process_id,
    square,
    threads_in_use,
)

from dotpe_exec.errors import DotpeExecError, ExecutorError, InputError, TaskError
from dotpe_exec.executors.phases import PhaseRunner
from dotpe_exec.executors.process import ProcessExecutor


def matrix(size=96, seed=1):
    return np.random.default_rng(seed).normal(size=(size, size))


def batches(handle, size=96, step=7):
    return [Batch(at, at + step, handle) for at in range(0, size, step)]


def test_results_have_the_bits_of_a_plain_loop(runner):
    array = matrix()
    handle = runner.store.put(array)
    limits = {"tasks_per_message": 2}
    found = results(runner, product, batches(handle), **limits)
    expected = results(PhaseRunner(runner.store), product, batches(handle))
    for one, other in zip(found, expected, strict=True):
        assert one.values.tobytes() == other.values.tobytes()
        assert one.largest == other.largest


@pytest.mark.parametrize("tasks_per_message", [None, 1, 3, 1000])
def test_grouping_into_messages_changes_nothing(runner, tasks_per_message):
    found = results(
        runner, square, map(Number, range(50)), tasks_per_message=tasks_per_message
    )
    assert found == [number**2 for number in range(50)]


def test_no_tasks_is_no_results(runner):
    assert results(runner, square, []) == []


def test_functions_and_payloads_that_pickle_cannot_do_still_work(runner):
    offset = 3

    @dataclass(frozen=True)
    class Local:
        value: int

    assert results(runner, lambda p: p.value + offset, [Local(1), Local(2)]) == [4, 5]


def divide_by_zero(number):
    return number.value / 0


def test_exception_names_the_task_and_shows_the_line_that_raised(runner):
    with pytest.raises(TaskError) as caught:
        results(runner, divide_by_zero, [Number(1)])
    message = str(caught.value)
    assert "'toy/000000'" in message
    assert "phase 'toy'" in message
    assert "ZeroDivisionError" in message
    assert "return number.value / 0" in message
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def refuse(number):
    raise InputError(f"value is {number.value}, expected less")


def test_own_errors_keep_their_class_and_gain_the_task_as_cause(runner):
    with pytest.raises(InputError, match="expected less") as caught:
        results(runner, refuse, [Number(1)])
    assert isinstance(caught.value.__cause__, TaskError)
    assert "'toy/000000'" in str(caught.value.__cause__)


def leave(number):
    raise SystemExit(3)


def test_a_task_that_exits_is_an_error_of_that_task(runner):
    with pytest.raises(TaskError, match="SystemExit"):
        results(runner, leave, [Number(1)])


def fail_at_five(number):
    if number.value == 5:
        raise RuntimeError("five")
    return number.value


def test_executor_works_after_a_task_failed(runner):
    with pytest.raises(TaskError, match="five"):
        results(runner, fail_at_five, map(Number, range(20)))
    assert results(runner, square, [Number(2)]) == [4]


def test_executor_works_after_the_caller_stopped_listening(runner):
    tasks = runner.map("toy", square, _endless(), n_tasks=10**9)
    task, result = next(tasks)
    assert result == task.payload.value**2
    tasks.close()
    assert results(runner, square, [Number(2)]) == [4]


def _endless():
    from toy_tasks import Task

    for number in range(10**9):
        yield Task(str(number), Number(number))


def test_every_library_in_every_worker_has_one_thread(runner):
    answers = results(runner, threads_in_use, range(8), tasks_per_message=1)
    for counts in answers:
        assert "numba" in counts
        assert len(counts) >= 2, "no BLAS or OpenMP library was seen"
        assert set(counts.values()) == {1}, counts


@pytest.mark.parametrize("name", ["process", "loky"])
def test_own_workers_are_other_processes_and_load_nothing_heavy(name, store):
    with PhaseRunner(store, name, n_procs=2) as runner:
        assert os.getpid() not in results(runner, process_id, range(4))
        for modules in results(runner, loaded_modules, range(4)):
            assert "numpy" in modules, "the toy tasks import it"
            assert not modules & {"cogwheel", "lal", "pandas", "matplotlib", "scipy"}


@pytest.mark.parametrize("name", ["process", "loky"])
def test_work_is_shared_among_workers(name, store):
    with PhaseRunner(store, name, n_procs=2) as runner:
        results(runner, square, [Number(1)] * 4)  # both have started
        slow = [Number(n, 0.2) for n in range(4)]
        assert len(set(results(runner, slow_process_id, slow, tasks_per_message=1))) == 2


@pytest.mark.parametrize("name", ["serial", "process", "loky"])
def test_number_of_workers_is_checked(name, store):
    with pytest.raises(ExecutorError, match="positive"):
        PhaseRunner(store, name, n_procs=0)


class Stubborn:
    def __reduce__(self):
        raise TypeError("stubborn objects do not travel")


@pytest.mark.parametrize("what", ["payload", "function"])
def test_what_cannot_be_sent_is_named(what, worker_pool, store):
    runner = PhaseRunner(store, worker_pool)
    bad = Stubborn()
    with pytest.raises(ExecutorError, match="stubborn objects do not travel") as caught:
        if what == "payload":
            results(runner, square, [bad])
        else:
            results(runner, lambda _: bad, [Number(1)])
    assert isinstance(caught.value, DotpeExecError)
    assert "toy" in str(caught.value)


def test_a_pool_that_another_thread_is_just_starting_is_killed(monkeypatch):
    """The pool's own thread exists and does not run yet."""
    executor = ProcessExecutor(1)
    about_to_start = threading.Event()
    start = threading.Thread.start

    def slow_start(thread):
        if type(thread).__name__ == "_ExecutorManagerThread":
            about_to_start.set()
            time.sleep(0.5)  # the submission holds the pool's lock, for which killing waits
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", slow_start)

    def submit():
        with contextlib.suppress(Exception):
            executor.submit(os.getpid).result(0.5)

    caller = threading.Thread(target=submit)
    caller.start()
    assert about_to_start.wait(20)
    executor.kill_workers()
    caller.join(30)
    assert not caller.is_alive()
    executor.kill_workers()
