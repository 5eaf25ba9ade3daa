"""Executors under test, started once for the folder."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import pytest

from dotpe_exec.executors.phases import PhaseRunner
from dotpe_exec.executors.resolve import resolve_executor
from dotpe_exec.executors.store import ArrayStore

BACKENDS = ["serial", "process", "loky", "threads", "foreign processes"]


@pytest.fixture(scope="session", params=BACKENDS)
def executor(request):
    """Each kind of executor, with two workers."""
    if request.param == "threads":
        made = ThreadPoolExecutor(2)
    elif request.param == "foreign processes":
        made = ProcessPoolExecutor(2, mp_context=get_context("spawn"))
    else:
        made = resolve_executor(request.param, 2)
    yield made
    made.shutdown()


@pytest.fixture(scope="session")
def worker_pool():
    """One loky pool for tests that need workers, but not of every kind."""
    made = resolve_executor("loky", 2)
    yield made
    made.shutdown()


@pytest.fixture
def store(tmp_path):
    with ArrayStore(tmp_path / "scratch") as made:
        yield made


@pytest.fixture
def runner(executor, store):
    return PhaseRunner(store, executor)
