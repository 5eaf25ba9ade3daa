"""What ``executor=`` takes."""

from __future__ import annotations

import contextlib
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import pytest
from toy_tasks import Number, results, square

from dotpe_exec.errors import ExecutorError, UnknownExecutorError
from dotpe_exec.executors.backends import BACKENDS, installed_executors, load_class
from dotpe_exec.executors.foreign import ForeignExecutor
from dotpe_exec.executors.interface import Executor
from dotpe_exec.executors.loky import LokyExecutor
from dotpe_exec.executors.phases import PhaseRunner
from dotpe_exec.executors.process import ProcessExecutor
from dotpe_exec.executors.resolve import HeldExecutor, resolve_executor, usable_cores
from dotpe_exec.executors.serial import SerialExecutor
from dotpe_exec.executors.store import ArrayStore


@pytest.mark.parametrize(
    ("given", "n_procs", "cls", "n_workers"),
    [
        ("serial", None, SerialExecutor, 1),
        ("serial", 4, SerialExecutor, 1),
        ("process", 3, ProcessExecutor, 3),
        ("loky", 3, LokyExecutor, 3),
        (None, 1, SerialExecutor, 1),
        (None, 2, LokyExecutor, 2),
        ("process", None, ProcessExecutor, usable_cores()),
    ],
)
def test_names(given, n_procs, cls, n_workers):
    executor = resolve_executor(given, n_procs)
    assert type(executor) is cls
    assert executor.n_workers == n_workers


def test_objects_of_ours_are_used_and_stay_the_callers():
    mine = ProcessExecutor(2)
    assert resolve_executor(mine) is mine


@pytest.mark.parametrize("cls", [ThreadPoolExecutor, ProcessPoolExecutor])
def test_foreign_executors_are_wrapped_and_asked_for_their_size(cls):
    with cls(3) as pool:
        executor = resolve_executor(pool)
        assert isinstance(executor, ForeignExecutor)
        assert executor.n_workers == 3


@pytest.mark.parametrize(
    "given", ["thread", "Loky", "", 3, print, ProcessExecutor, object()]
)
def test_anything_else_is_refused_with_what_is_possible(given):
    with pytest.raises(UnknownExecutorError, match="serial, process, loky, dask, mpi"):
        resolve_executor(given)


@pytest.mark.parametrize("n_procs", [0, -1, 1.5, True])
def test_number_of_processes_is_checked(n_procs):
    with pytest.raises(ExecutorError, match="n_workers must be a positive integer"):
        resolve_executor("loky", n_procs)


def test_missing_extra_is_named(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "mpi4py", None)
    monkeypatch.delitem(sys.modules, "dotpe_exec.executors.mpi", raising=False)
    with pytest.raises(ExecutorError, match=r"pip install 'dotpe-exec\[mpi\]'"):
        resolve_executor("mpi")


@pytest.mark.parametrize("error", [None, KeyboardInterrupt, ValueError])
@pytest.mark.parametrize("make", [ThreadPoolExecutor, lambda n: ProcessExecutor(n)])
def test_executors_of_the_caller_survive_a_run_however_it_ends(make, error, tmp_path):
    mine = make(1)
    try:
        with PhaseRunner(ArrayStore(tmp_path), mine) as runner:
            results(runner, square, [Number(1)])
            if error:
                raise error
    except (KeyboardInterrupt, ValueError):
        pass
    with PhaseRunner(ArrayStore(tmp_path), mine) as runner:
        assert results(runner, square, [Number(3)]) == [9]
    mine.shutdown()


def test_shut_down_executor_of_ours_says_so(tmp_path):
    mine = ProcessExecutor(1)
    mine.shutdown()
    with pytest.raises(ExecutorError, match="shut down"):
        results(PhaseRunner(ArrayStore(tmp_path), mine), square, [Number(3)])


def test_none_means_the_same_to_a_runner(tmp_path):
    with PhaseRunner(ArrayStore(tmp_path), None, n_procs=2) as runner:
        assert type(runner.executor) is type(resolve_executor(None, 2)) is LokyExecutor
    with PhaseRunner(ArrayStore(tmp_path), None, n_procs=1) as runner:
        assert type(runner.executor) is SerialExecutor


def test_names_are_known_in_one_place():
    assert list(installed_executors()) == list(BACKENDS)
    assert installed_executors()["serial"] and installed_executors()["process"]
    for name, backend in BACKENDS.items():
        assert issubclass(load_class(name), Executor)
        assert bool(backend.needs) == bool(backend.extra)


class Counted(SerialExecutor):
    """An executor that counts how it is ended."""

    def __init__(self):
        self.ends = []

    def kill_workers(self):
        self.ends.append("kill")

    def shutdown(self):
        self.ends.append("shutdown")

    def release(self):
        self.ends.append("release")


@pytest.mark.parametrize(
    ("keep_warm", "error", "ends"),
    [
        (True, None, ["release"]),
        (False, None, ["shutdown"]),
        (True, ValueError, ["kill", "release"]),
        (False, KeyboardInterrupt, ["kill", "shutdown"]),
    ],
)
def test_who_made_an_executor_releases_it_once(keep_warm, error, ends, monkeypatch):
    monkeypatch.setattr("dotpe_exec.executors.serial.SerialExecutor", Counted)
    held = HeldExecutor("serial", keep_warm=keep_warm)
    with contextlib.suppress(ValueError, KeyboardInterrupt), held as executor:
        with HeldExecutor(executor):  # as a runner does with its run's executor
            pass
        assert executor.ends == []
        if error:
            raise error
    held.release()
    assert executor.ends == ends
