"""Without any tuning, messages to workers are a quarter of a second of work.

Time is simulated: an executor that says how long its messages took.
"""

from __future__ import annotations

import dataclasses
from concurrent.futures import Future

import pytest

from dotpe_exec.executors.interface import Executor
from dotpe_exec.executors.phases import PhaseRunner
from dotpe_exec.executors.store import ArrayStore
from dotpe_exec.executors.task import Task

I_BATCH = 512


class SimulatedExecutor(Executor):
    """Runs tasks at once, and says that each took ``seconds(n)``, n its number."""

    name = "simulated"
    shares_memory = True

    def __init__(self, n_workers, seconds):
        self.n_workers = n_workers
        self._seconds = seconds
        self.n_done = 0
        self.messages = []

    def submit(self, function, /, *args):
        reply = function(*args)
        n = len(args[-1])
        numbers = range(self.n_done, self.n_done + n)
        seconds = sum(self._seconds(number) for number in numbers)
        self.n_done += n
        self.messages.append((n, seconds))
        future = Future()
        future.set_result(dataclasses.replace(reply, seconds=seconds))
        return future


def messages(folder, n_tasks, n_workers, seconds, **options):
    """Return (number of tasks, seconds) of every message, in order."""
    executor = SimulatedExecutor(n_workers, seconds)
    tasks = [Task(f"t/{n}", n) for n in range(n_tasks)]
    runner = PhaseRunner(ArrayStore(folder), executor)
    done = {task.key for task, _ in runner.map("p", abs, tasks, n_tasks=n_tasks, **options)}
    assert len(done) == n_tasks
    return executor.messages, executor.max_in_flight


@pytest.mark.parametrize("n_workers", [2, 100])
@pytest.mark.parametrize("per_waveform", [20e-6, 120e-6])
@pytest.mark.parametrize("n_waveforms", [10**2, 10**3, 10**4, 10**5, 10**6, 10**7])
def test_messages_take_a_tenth_to_half_a_second(
    tmp_path, n_waveforms, per_waveform, n_workers
):
    n_tasks = -(-n_waveforms // I_BATCH)
    batch_seconds = I_BATCH * per_waveform
    sent, n_in_flight = messages(tmp_path, n_tasks, n_workers, lambda n: batch_seconds)
    # The first measure, and the last are small so that workers end together.
    n_left = n_tasks - n_in_flight
    for n, seconds in sent[n_in_flight:]:
        if n_left > n_in_flight * 0.25 / batch_seconds:
            assert 0.1 <= seconds <= 0.5
        assert seconds <= 0.5 and n <= max(1, -(-n_left // n_in_flight))
        n_left -= n
    if n_waveforms == 10**7:
        in_range = sum(n for n, seconds in sent if 0.1 <= seconds <= 0.5)
        assert in_range > 0.85 * n_tasks


def test_messages_follow_tasks_that_become_faster(tmp_path):
    # The coherent phase: the floor rises, and more is rejected before any evaluation.
    sent, _ = messages(tmp_path, 20_000, 2, lambda n: 0.2 if n < 40 else 0.01)
    late = [seconds for _, seconds in sent[100:-40]]
    assert late and all(0.1 <= seconds <= 0.5 for seconds in late)


def test_slow_first_calls_do_not_decide(tmp_path):
    sent, n_in_flight = messages(tmp_path, 20_000, 2, lambda n: 3.0 if n < 2 else 0.01)
    late = [seconds for _, seconds in sent[3 * n_in_flight : -40]]
    assert late and all(0.1 <= seconds <= 0.5 for seconds in late)


def test_number_of_tasks_per_message_that_was_asked_for_is_kept(tmp_path):
    sent, _ = messages(tmp_path, 1003, 2, lambda n: 0.01, tasks_per_message=8)
    assert {n for n, _ in sent[:-1]} == {8} and sent[-1][0] == 3
