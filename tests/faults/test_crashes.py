"""Workers die; the run goes on, and only what was in the dead worker pays."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time

import numpy as np
import psutil
import pytest
from faulty_tasks import (
    InTurn,
    Trap,
    exits,
    killed_after,
    killed_during,
    killed_in_turn,
    killed_while_sending,
    out_of_memory,
    segfaults,
    strangled,
)
from toy_tasks import numbered, process_id, results

from dotpe_exec.errors import TaskError, WorkerCrashError
from dotpe_exec.executors import blame, driver

EXPECTED = [Trap(number).result() for number in range(40)]


def traps(tmp_path, sprung=(7,), times=1, seconds=0.0, n=40):
    return [
        Trap(number, str(tmp_path / f"count-{number}"), times * (number in sprung), seconds)
        for number in range(n)
    ]


def assert_same(found, n=40):
    assert len(found) == n
    for one, other in zip(found, EXPECTED[:n], strict=True):
        assert one.tobytes() == other.tobytes()


def crashes(runner):
    return {int(r.key[-6:]): r.crashes for r in runner.monitor.records if r.crashes}


@pytest.mark.parametrize(
    ("function", "tasks_per_message"),
    [(killed_during, 1), (killed_during, None), (killed_after, 8), (exits, 8)],
)
def test_killed_worker_loses_nothing(make_runner, tmp_path, function, tasks_per_message):
    runner = make_runner()
    found = results(runner, function, traps(tmp_path), tasks_per_message=tasks_per_message)
    assert_same(found)


def test_only_the_task_in_the_dead_worker_is_charged(make_runner, tmp_path):
    # Every crash of one task hits others that run beside it: none may pay, even though
    # together they lose their worker more often than a task is allowed to.
    poison = range(0, 40, 10)
    tasks = [
        InTurn(
            number,
            counter=str(tmp_path / f"count-{number}"),
            times=1,
            seconds=0.02,
            done=str(tmp_path / f"done-{number}"),
            before=str(tmp_path / f"done-{number - 10}") if number else "",
        )
        if number in poison
        else InTurn(number, seconds=0.02)
        for number in range(40)
    ]
    runner = make_runner(max_retries=1)
    found = results(runner, killed_in_turn, tasks, tasks_per_message=2)
    assert_same(found)
    assert crashes(runner) == dict.fromkeys(poison, 1)


def test_task_that_always_kills_is_named_with_inputs_and_exit_code(
    make_runner, tmp_path, monkeypatch
):
    monkeypatch.setattr(blame, "LOADING_SECONDS", 0.0)  # workers count as loaded
    runner = make_runner(max_retries=2)
    with pytest.raises(WorkerCrashError) as caught:
        results(runner, killed_during, traps(tmp_path, times=100))
    message = str(caught.value)
    assert "'toy/000007'" in message
    assert "3 times" in message
    assert "exit code -9 (SIGKILL" in message
    assert "Trap(value=7" in message
    assert (tmp_path / "count-7").stat().st_size == 3


def test_workers_killed_while_they_load_are_not_charged_to_a_task(make_runner, tmp_path):
    runner = make_runner(max_retries=0)
    poison = traps(tmp_path, sprung=(0,), times=3)  # the first task of its worker
    assert_same(results(runner, killed_during, poison))
    counted = crashes(runner)  # two that die together count as one
    assert set(counted) == {0} and 1 <= counted[0] <= 3


def test_task_that_kills_every_worker_while_it_loads_is_named_in_the_end(
    make_runner, tmp_path, monkeypatch
):
    monkeypatch.setattr(blame, "MAX_LOADING_KILLS", 2)
    poison = traps(tmp_path, sprung=(0,), times=100)
    with pytest.raises(WorkerCrashError, match=r"'toy/000000'.* 3 times.*SIGKILL"):
        results(make_runner(max_retries=0), killed_during, poison)


def test_task_that_crashes_on_its_own_is_charged_from_the_first_time(make_runner, tmp_path):
    with pytest.raises(WorkerCrashError, match=r"'toy/000007'.* 2 times.*SIGSEGV"):
        results(make_runner(max_retries=1), segfaults, traps(tmp_path, times=100))


def test_exit_code_is_the_workers_own(make_runner, tmp_path):
    with pytest.raises(WorkerCrashError, match="exit code 7;"):
        results(make_runner(max_retries=0), exits, traps(tmp_path, times=100))


def test_executor_works_after_a_crash_ended_a_phase(make_runner, tmp_path):
    runner = make_runner(max_retries=0)
    with pytest.raises(WorkerCrashError):
        results(runner, exits, traps(tmp_path, times=100))
    assert_same(results(runner, killed_during, traps(tmp_path, sprung=())))


def test_workers_killed_while_idle_are_replaced(make_runner, tmp_path):
    runner = make_runner()
    for pid in set(results(runner, process_id, range(8), tasks_per_message=1)):
        os.kill(pid, signal.SIGKILL)
    assert_same(results(runner, killed_during, traps(tmp_path, sprung=())))


def test_every_worker_killed_at_once(make_runner, tmp_path):
    runner = make_runner()
    tasks = numbered(traps(tmp_path, sprung=(), seconds=0.02))
    found = {}
    for task, result in runner.map(
        "toy", killed_during, tasks, n_tasks=len(tasks), tasks_per_message=1
    ):
        found[task.key] = result
        if len(found) == 10:
            for child in psutil.Process().children(recursive=True):
                if child.pid in {
                    int(r.worker.split(":")[1]) for r in runner.monitor.records
                }:
                    with contextlib.suppress(psutil.NoSuchProcess):  # it left by itself
                        child.kill()
    assert_same([found[task.key] for task in tasks])


class RandomKiller(threading.Thread):
    """Kills a random worker, again and again, until told to stop."""

    def __init__(self, n_kills, seconds, seed):
        super().__init__(daemon=True)
        self.n_kills, self.seconds, self.random = n_kills, seconds, random.Random(seed)
        self.killed = 0
        self.stop = threading.Event()

    def run(self):
        while self.killed < self.n_kills and not self.stop.wait(
            self.random.uniform(0.2, 1) * self.seconds
        ):
            workers = [
                child
                for child in psutil.Process().children()
                if "resource_tracker" not in " ".join(_command_line(child))
            ]
            if workers:
                self.random.choice(workers).kill()
                self.killed += 1


def _command_line(process):
    try:
        return process.cmdline()
    except psutil.Error:
        return ["resource_tracker"]


@pytest.mark.parametrize(
    ("n_kills", "seconds"), [(3, 1.0), pytest.param(50, 2.0, marks=pytest.mark.slow)]
)
def test_workers_killed_from_outside_at_random(make_runner, tmp_path, n_kills, seconds):
    runner = make_runner(max_retries=10)
    killer = RandomKiller(n_kills, seconds, seed=1)
    killer.start()
    rounds = 0
    while killer.is_alive():
        found = results(runner, killed_during, traps(tmp_path, sprung=(), seconds=0.01))
        assert_same(found)
        rounds += 1
    assert killer.killed == n_kills
    assert rounds


def test_worker_killed_while_it_sends_a_large_result(make_runner, tmp_path, monkeypatch):
    # The pool's thread then waits for the rest of that result, and notices no death.
    monkeypatch.setattr(driver, "STALL_SECONDS", 0.5)
    runner = make_runner()
    found = results(
        runner, killed_while_sending, traps(tmp_path, n=6, sprung=(3,)), tasks_per_message=1
    )
    assert_same(found, 6)


def test_out_of_memory_runs_again_alone_in_a_fresh_worker(make_runner, tmp_path):
    runner = make_runner()
    found = results(runner, out_of_memory, traps(tmp_path), tasks_per_message=4)
    assert_same(found)
    assert crashes(runner) == {7: 1}


def test_task_that_never_fits_into_memory_is_named(make_runner, tmp_path):
    with pytest.raises(TaskError, match=r"'toy/000007'.*MemoryError"):
        results(make_runner(max_retries=1), out_of_memory, traps(tmp_path, times=100))


def test_worker_without_any_memory_left_loses_nothing(make_runner, tmp_path):
    assert_same(results(make_runner(), strangled, traps(tmp_path)))


@pytest.mark.slow  # loky looks at its workers' memory once a second
@pytest.mark.parametrize("backend", ["loky"])
def test_mapped_files_do_not_make_loky_replace_workers(make_runner):
    runner = make_runner()
    array = np.ones((45, 1 << 20))  # 380 MB, over loky's own limit of 300
    handle = runner.store.put(array)
    began = time.monotonic()
    pids = set()
    while time.monotonic() - began < 2.5:  # loky looks once a second
        pids.update(results(runner, read_all, [handle] * 4, tasks_per_message=1))
    assert len(pids) <= 2


def read_all(handle):
    handle.load().sum()
    return os.getpid()
