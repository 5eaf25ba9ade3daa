"""Faults are tried on every executor whose workers we start."""

from __future__ import annotations

import pytest

from dotpe_exec.executors.phases import PhaseRunner
from dotpe_exec.executors.store import ArrayStore


class Watcher:
    """A monitor that keeps everything."""

    def __init__(self):
        self.records = []

    def phase_started(self, *args):
        pass

    def task_finished(self, record):
        self.records.append(record)

    def phase_finished(self, phase):
        pass


@pytest.fixture
def watcher():
    return Watcher()


@pytest.fixture(params=["process", "loky"])
def backend(request):
    return request.param


@pytest.fixture
def make_runner(backend, tmp_path):
    """Make runners on the backend, ended when the test ends."""
    made = []

    def make(n_procs=2, **kwargs):
        store = ArrayStore(tmp_path / "scratch")
        runner = PhaseRunner(store, backend, n_procs=n_procs, monitor=Watcher(), **kwargs)
        made.append(runner)
        return runner

    yield make
    for runner in made:
        runner.close(kill=True)
