"""Executors of other packages, running for real where they are installed."""

from __future__ import annotations

from concurrent.futures import Executor, ThreadPoolExecutor

import executorlib
import ipyparallel
import pytest
from clusters import assert_same_as_serial, python_path
from toy_tasks import process_id, results

from dotpe_exec.executors.phases import PhaseRunner


@pytest.fixture
def workers_find_the_tests(monkeypatch):
    """They are started by commands, which get the environment but not ``sys.path``."""
    monkeypatch.setenv("PYTHONPATH", python_path())


def check(executor, store, n_workers):
    runner = PhaseRunner(store, executor)
    assert runner.executor.n_workers == n_workers, "it says how many it has"
    assert_same_as_serial(runner)
    found = results(runner, process_id, range(4), tasks_per_message=1)
    runner.close()
    return found


@pytest.mark.usefixtures("workers_find_the_tests")
def test_executorlib(store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # it may write a cache folder
    with executorlib.SingleNodeExecutor(max_workers=2, block_allocation=True) as executor:
        pids = check(executor, store, 2)
        assert len(set(pids)) <= 2, "workers stay between messages"
        assert executor.submit(abs, -1).result() == 1


@pytest.mark.slow
@pytest.mark.usefixtures("workers_find_the_tests")
def test_ipyparallel(store):
    with ipyparallel.Cluster(n=2, log_level=40) as client:
        client.wait_for_engines(2)
        executor = client.load_balanced_view().executor
        assert len(set(check(executor, store, 2))) <= 2
        assert executor.submit(abs, -1).result() == 1


@pytest.mark.parametrize(("name", "size"), [("num_workers", 5), ("max_workers", 4)])
def test_what_an_executor_says_of_its_size_wins(store, name, size):
    class Pool(ThreadPoolExecutor):
        pass

    setattr(Pool, name, size)
    with Pool(1) as pool:
        assert PhaseRunner(store, pool, n_procs=3).executor.n_workers == size


def test_number_of_processes_counts_where_an_executor_says_nothing(store):
    class Silent(Executor):
        pass

    assert PhaseRunner(store, Silent(), n_procs=3).executor.n_workers == 3
    assert PhaseRunner(store, Silent()).executor.n_workers == 1
