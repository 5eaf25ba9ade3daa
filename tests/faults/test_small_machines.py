"""Hosts and containers that give little: shared memory, temporary folders, permissions."""

from __future__ import annotations

import errno
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from dotpe_exec.errors import ExecutorError
from dotpe_exec.executors.store import SCRATCH_VARIABLE, ArrayStore

SCRIPT = """
import sys
from dotpe_exec.errors import ExecutorError
from dotpe_exec.executors.phases import PhaseRunner
from dotpe_exec.executors.store import ArrayStore
from dotpe_exec.executors.task import Task
import numpy as np
import toy_tasks

if __name__ == "__main__":
    executor = sys.argv[1]
    try:
        with ArrayStore() as store, PhaseRunner(store, executor, n_procs=2) as runner:
            handle = store.put(np.arange(100_000.0))
            tasks = [Task(str(n), toy_tasks.Number(n)) for n in range(8)]
            done = runner.map("toy", toy_tasks.square, tasks, n_tasks=8)
            print(sorted(result for _, result in done), handle.load().sum())
    except ExecutorError as error:
        print("ExecutorError:", error)
"""
GOOD = f"{[n * n for n in range(8)]} {sum(range(100_000))}.0\n"


@pytest.fixture
def confined(tmp_path):
    """A function that runs the script on an executor, with file systems of its own."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    toys = Path(__file__).resolve().parents[1] / "executors"

    def run(executor, *mounts, **environment):
        lines = [
            f"mount -t tmpfs -o {options} tmpfs {shlex.quote(str(where))}"
            for where, options in mounts
        ]
        if not lines:
            command = [sys.executable, script, executor]
        else:
            lines.append(f"exec {sys.executable} {shlex.quote(str(script))} {executor}")
            command = ["unshare", "--mount", "sh", "-ec", "\n".join(lines)]
        ended = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            env={**os.environ, "PYTHONPATH": _path(toys), **environment},
        )
        if lines and ended.returncode and "mount" in ended.stderr.splitlines()[0]:
            pytest.skip(f"nothing can be mounted here: {ended.stderr.strip()}")
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    return run


def _path(*folders):
    return os.pathsep.join([*map(str, folders), os.environ.get("PYTHONPATH", "")])


@pytest.fixture(params=["loky", pytest.param("process", marks=pytest.mark.slow)])
def executor(request):
    return request.param


def test_shared_memory_of_a_container_is_enough(confined, executor):
    assert confined(executor, ("/dev/shm", "size=64m")) == GOOD


@pytest.mark.parametrize("options", ["ro", pytest.param("size=4k", marks=pytest.mark.slow)])
def test_no_shared_memory_at_all_is_named(confined, executor, options):
    said = confined(executor, ("/dev/shm", options))
    assert "cannot start worker processes" in said and "/dev/shm" in said
    assert said.count("\n") == 1


@pytest.mark.slow
def test_serial_needs_no_shared_memory(confined):
    assert confined("serial", ("/dev/shm", "ro")) == GOOD


@pytest.mark.slow
def test_missing_temporary_folder_is_not_needed(confined, executor):
    assert confined(executor, TMPDIR="/nowhere/at/all") == GOOD


def test_full_temporary_folder_is_named(confined, executor, tmp_path):
    folder = tmp_path / "full"
    folder.mkdir()
    said = confined(executor, (folder, "size=64k"), TMPDIR=str(folder))
    assert "ExecutorError: the array store in" in said and "DOTPE_EXEC_SCRATCH" in said


@pytest.mark.slow
def test_programs_need_not_be_executable_in_the_temporary_folder(
    confined, executor, tmp_path
):
    folder = tmp_path / "noexec"
    folder.mkdir()
    assert confined(executor, (folder, "noexec,size=8m"), TMPDIR=str(folder)) == GOOD


def test_no_temporary_folder_at_all_is_named(monkeypatch):
    def nowhere():
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.delenv(SCRATCH_VARIABLE, raising=False)
    monkeypatch.setattr(tempfile, "gettempdir", nowhere)
    with pytest.raises(ExecutorError, match=f"No usable temporary.*{SCRATCH_VARIABLE}"):
        ArrayStore()
