"""What a phase promises besides results: bounds, hints, checkpoints, records."""

from __future__ import annotations

import gc
import os
import sys
import time

import numpy as np
import pytest
from toy_tasks import Batch, Number, numbered, process_id, product, results, square

from dotpe_exec.executors import pickling
from dotpe_exec.executors.phases import PhaseRunner
from dotpe_exec.executors.private_memory import private_bytes
from dotpe_exec.executors.task import Task
from dotpe_exec.executors.threads import thread_counts


class Source:
    """Tasks that are counted as they are taken."""

    def __init__(self, n, seconds=0.0):
        self.n, self.seconds, self.taken = n, seconds, 0

    def __iter__(self):
        for number in range(self.n):
            self.taken += 1
            yield Task(str(number), Number(number, self.seconds))


@pytest.mark.parametrize("name", ["serial", "loky"])
def test_results_start_at_once_and_few_tasks_are_taken_ahead(name, store, worker_pool):
    runner = PhaseRunner(store, worker_pool if name == "loky" else name)
    source = Source(10**9, seconds=0.0025)
    stream = runner.map("toy", square, source, n_tasks=source.n)
    next(stream)
    assert source.taken <= 6
    done = 1
    for _ in stream:
        done += 1
        # A message is about 0.25 s of work, 100 of these tasks; four are in flight.
        assert source.taken - done < 4 * 150
        if done == 600:
            break
    stream.close()


@pytest.mark.parametrize(
    ("name", "n"),
    [
        ("serial", 30_000),
        ("loky", 50_000),
        pytest.param("serial", 10**6, marks=pytest.mark.slow),
        pytest.param("loky", 10**6, marks=pytest.mark.slow),
    ],
)
def test_nothing_grows_with_the_number_of_tasks(name, n, store, worker_pool):
    runner = PhaseRunner(store, worker_pool if name == "loky" else name)
    stream = runner.map("toy", square, Source(n), n_tasks=n)
    total, used = 0.0, []
    for number, (_, result) in enumerate(stream):
        total += result
        if number % (n // 10) == n // 20:
            used.append(private_bytes())
        if number == 9 * n // 10:
            # Four messages of at most 4096 tasks may be on their way.
            alive = sum(isinstance(thing, Task) for thing in gc.get_objects())
            assert alive <= 5 * 4096
    assert total == sum(float(number) ** 2 for number in range(n))
    if n >= 10**6:  # 200 MB if every task were kept
        assert used[-1] - used[0] < 20e6


def test_messages_are_sized_by_time(store, worker_pool):
    runner = PhaseRunner(store, worker_pool, monitor=Recorder())
    results(runner, square, [Number(n, 0.02) for n in range(60)])
    sizes = runner.monitor.message_sizes()
    assert sizes[0] == 1
    # 0.25 s hold twelve of them, fewer where the machine is busy.
    assert 4 <= max(sizes) <= 13


@pytest.mark.parametrize("size", [1, 7])
def test_given_message_size_is_kept(size, store, worker_pool):
    runner = PhaseRunner(store, worker_pool, monitor=Recorder())
    results(runner, square, map(Number, range(21)), tasks_per_message=size)
    assert set(runner.monitor.message_sizes()) == {size}


class Recorder:
    """A monitor that keeps what it is told."""

    def __init__(self):
        self.events, self.records = [], []

    def phase_started(self, phase, n_tasks, total_work, unit):
        self.events.append(("started", phase, n_tasks, total_work, unit))

    def task_finished(self, record):
        self.records.append(record)

    def phase_finished(self, phase):
        self.events.append(("finished", phase))

    def message_sizes(self):
        """Tasks of one message share their peak of memory and follow each other."""
        sizes = []
        last = None
        for record in self.records:
            if last == (record.worker, record.message):
                sizes[-1] += 1
            else:
                sizes.append(1)
            last = (record.worker, record.message)
        return sizes


@pytest.mark.parametrize("seconds", [0.0, 0.02, 0.3])
def test_tasks_of_one_group_go_to_one_worker_together(store, worker_pool, seconds):
    runner = PhaseRunner(store, worker_pool, monitor=Recorder())
    tasks = [
        Task(f"{n:02d}", Number(n, seconds), group="" if n == 0 else f"group {n // 4}")
        for n in range(12)
    ]
    found = {task.key: x for task, x in runner.map("toy", square, tasks, n_tasks=12)}
    assert found == {f"{n:02d}": n**2 for n in range(12)}
    message_of = {record.key: record.message for record in runner.monitor.records}
    for first in (1, 4, 8):
        members = range(first, first // 4 * 4 + 4)
        assert len({message_of[f"{n:02d}"] for n in members}) == 1
    assert len(set(message_of.values())) > 1


def test_given_message_size_splits_groups(store, worker_pool):
    runner = PhaseRunner(store, worker_pool, monitor=Recorder())
    tasks = [Task(f"{n}", Number(n), group="all") for n in range(8)]
    list(runner.map("toy", square, tasks, n_tasks=8, tasks_per_message=2))
    assert runner.monitor.message_sizes() == [2, 2, 2, 2]


def test_refresh_sees_the_state_at_submission(runner):
    seen = []

    def refresh(payload):
        return Number(payload.value + len(seen))

    tasks = numbered(Number(0) for _ in range(30))
    for _, result in runner.map(
        "toy", square, tasks, n_tasks=30, refresh=refresh, tasks_per_message=1
    ):
        seen.append(result)
    assert seen[0] == 0
    assert max(seen) >= (30 - runner.executor.max_in_flight) ** 2


class Kept:
    """A checkpoint in memory."""

    def __init__(self, results):
        self.results, self.saved, self.flushed = dict(results), [], []

    def load(self, phase, key):
        return self.results.get((phase, key))

    def save(self, phase, key, result):
        self.saved.append((phase, key))
        self.results[phase, key] = result

    def flush(self, phase=None):
        self.flushed.append((phase, len(self.saved)))


def test_tasks_in_the_checkpoint_do_not_run_again(executor, store):
    checkpoint = Kept({("toy", f"toy/{n:06d}"): -float(n) for n in (0, 3, 4)})
    runner = PhaseRunner(store, executor, checkpoint=checkpoint, monitor=Recorder())
    found = results(runner, square, map(Number, range(6)))
    assert found == [-0.0, 1, 4, -3, -4, 25]
    assert sorted(checkpoint.saved) == [("toy", f"toy/{n:06d}") for n in (1, 2, 5)]
    assert checkpoint.flushed == [("toy", 3)], "not on disk when the phase ends"
    assert {r.key for r in runner.monitor.records if r.restored} == {
        f"toy/{n:06d}" for n in (0, 3, 4)
    }


def test_records_say_where_when_and_how_much(executor, store):
    runner = PhaseRunner(store, executor, monitor=Recorder())
    before = time.time()
    results(
        runner,
        square,
        [Number(n, 0.02) for n in range(6)],
        work=lambda number: int(number.value),
        unit="waveform",
    )
    after = time.time()
    assert runner.monitor.events == [
        ("started", "toy", 6, 15, "waveform"),
        ("finished", "toy"),
    ]
    records = runner.monitor.records
    assert sorted(r.work for r in records) == list(range(6))
    for record in records:
        assert before <= record.start <= record.end <= after
        assert 0.02 <= record.end - record.start < after - before
        assert record.worker.startswith(os.uname().nodename + ":")
        assert 1e6 < record.peak_memory_bytes < 2e9
        assert (record.message_bytes > 0) is not runner.executor.shares_memory


def test_peak_memory_counts_what_was_freed_and_not_what_is_mapped(store, worker_pool):
    runner = PhaseRunner(store, worker_pool, monitor=Recorder())
    handle = runner.store.put(np.ones(25_000_000))
    results(runner, reads_mapped, [handle], tasks_per_message=1)
    results(runner, uses_memory, [300_000_000], tasks_per_message=1)
    mapped, used = runner.monitor.records
    assert used.peak_memory_bytes - mapped.peak_memory_bytes > 250e6
    assert mapped.peak_memory_bytes < 190e6


def reads_mapped(handle):
    return float(handle.load().sum())


def uses_memory(n_bytes):
    array = np.ones(n_bytes // 8)
    time.sleep(0.2)
    return len(array)


def test_phase_is_finished_for_the_monitor_also_when_it_fails(store):
    runner = PhaseRunner(store, "serial", monitor=Recorder())
    with pytest.raises(Exception, match="toy"):
        results(runner, len, [Number(1)])
    assert runner.monitor.events[-1] == ("finished", "toy")


def test_serial_uses_one_thread_and_gives_the_caller_his_back(store):
    import numba
    import threadpoolctl

    wide = [
        library["filepath"]
        for library in threadpoolctl.threadpool_info()
        if library["user_api"] == "blas"
    ]
    before_numba = numba.get_num_threads()
    with threadpoolctl.threadpool_limits(2):
        before = thread_counts()
        assert any(before[path] == 2 for path in wide)
        for _, inside in PhaseRunner(store).map(
            "toy", lambda _: thread_counts(), numbered([0]), n_tasks=1
        ):
            assert set(inside.values()) == {1}
        after = thread_counts()
    assert {path: after[path] for path in before} == before
    assert numba.get_num_threads() == before_numba


def test_workers_are_limited_although_the_parent_is_not(tmp_path):
    """A parent with eight threads and NumPy loaded before ours is imported."""
    import subprocess
    from pathlib import Path

    script = """
import numpy, sys
numpy.ones((300, 300)) @ numpy.ones((300, 300))
from toy_tasks import results, threads_in_use
from dotpe_exec.executors.phases import PhaseRunner
from dotpe_exec.executors.store import ArrayStore
for name in ("process", "loky"):
    with PhaseRunner(ArrayStore(sys.argv[1]), name, n_procs=2) as runner:
        for counts in results(runner, threads_in_use, range(4), tasks_per_message=1):
            assert set(counts.values()) == {1} and "numba" in counts, counts
import os
assert os.environ["OMP_NUM_THREADS"] == "8"
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "8"}
    environment["PYTHONPATH"] = str(Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_warm_loky_workers_serve_several_runs(tmp_path):
    from dotpe_exec.executors.store import ArrayStore

    pids = []
    for _ in range(2):
        with PhaseRunner(ArrayStore(tmp_path), "loky", n_procs=2) as runner:
            for _ in range(2):
                pids.append(
                    set(results(runner, process_id, range(20), tasks_per_message=1))
                )
    assert len(set.union(*pids)) <= 2


def test_tasks_with_handles_are_small(store):
    bundle = Batch(0, 10, store.put(np.ones((1000, 1000))))
    assert len(pickling.dumps(bundle)) < 1000


def test_bits_do_not_depend_on_which_executor_ran_before(executor, store):
    # Limits of threads are per phase; one that leaked would show in the products.
    array = np.random.default_rng(3).normal(size=(64, 64))
    handle = store.put(array)
    payloads = [Batch(at, at + 16, handle) for at in range(0, 64, 16)]
    first = results(PhaseRunner(store), product, payloads)
    other = results(PhaseRunner(store, executor), product, payloads)
    again = results(PhaseRunner(store), product, payloads)
    for a, b, c in zip(first, other, again, strict=True):
        assert a.values.tobytes() == b.values.tobytes() == c.values.tobytes()
