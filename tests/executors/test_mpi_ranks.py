"""MPI with real ranks, more than there are cores."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import psutil
import pytest
from clusters import environment_of_runs, program
from golden_runs import arguments_of_run, as_flags, assert_same_files

SCRIPT = """
import os, sys
from clusters import assert_same_as_serial
from toy_tasks import Number, loaded_modules, results, threads_in_use
from dotpe_exec.executors.phases import PhaseRunner
from dotpe_exec.executors.store import ArrayStore

def die(number):
    os.kill(os.getpid(), 9)

print("rank starts the script", flush=True)
with PhaseRunner(ArrayStore(sys.argv[1]), "mpi") as runner:
    assert runner.executor.n_workers == 2, runner.executor.n_workers
    if sys.argv[2] == "die":
        results(runner, die, [Number(0)])
    assert_same_as_serial(runner)
    for modules in results(runner, loaded_modules, range(2), tasks_per_message=1):
        assert "clusters" not in modules, "the caller's script ran in a worker"
    for counts in results(runner, threads_in_use, range(2), tasks_per_message=1):
        assert set(counts.values()) == {1}
print("same", flush=True)
"""


def mpiexec(n_ranks, *command):
    """Return a command line; Open MPI wants to be told that it may."""
    launcher = program("mpiexec")
    version = subprocess.run([launcher, "--version"], capture_output=True, text=True)
    options = ["--oversubscribe"] if "Open MPI" in version.stdout else []
    return [launcher, *options, "-n", str(n_ranks), sys.executable, *command]


def run(command):
    return subprocess.run(
        command,
        env=environment_of_runs(),
        capture_output=True,
        text=True,
        timeout=300,
    )


def toy_run(tmp_path, what):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    return run(
        mpiexec(3, "-m", "mpi4py.futures", str(script), str(tmp_path / "scratch"), what)
    )


def test_ranks_give_the_bits_of_a_serial_run(tmp_path):
    done = toy_run(tmp_path, "live")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:2] == ["rank starts the script", "same"]


def test_dead_rank_ends_the_job_at_once_with_the_reason(tmp_path):
    began = time.monotonic()
    done = toy_run(tmp_path, "die")
    assert done.returncode != 0
    assert "signal 9" in (done.stdout + done.stderr)
    assert "same" not in done.stdout
    assert time.monotonic() - began < 60


@pytest.mark.parametrize("launcher", [[], ["-m", "mpi4py.futures"]])
def test_ranks_that_cannot_work_for_the_first_are_refused(launcher):
    script = "from dotpe_exec.executors.resolve import resolve_executor as r; r('mpi')"
    arguments = [*launcher, "-c", script]
    command = mpiexec(1, *arguments) if launcher else [sys.executable, *arguments]
    done = run(command)
    assert done.returncode != 0
    assert "expected at least 2, managed by mpi4py.futures" in done.stderr


def command_of_run(golden, rundir, executor):
    arguments = arguments_of_run(golden, blocksize=16, single_detector_blocksize=16)
    flags = as_flags(arguments | {"rundir": rundir, "executor": executor})
    return ["-m", "dotpe_exec", "run", *flags, "--resume"]


def rank_of(process):
    given = process.environ()
    return int(given.get("PMI_RANK") or given.get("OMPI_COMM_WORLD_RANK") or -1)


@pytest.mark.slow
def test_run_whose_rank_was_killed_resumes_to_the_files_of_a_serial_one(tmp_path, golden):
    done = run([sys.executable, *command_of_run(golden, tmp_path / "serial", "serial")])
    assert done.returncode == 0, done.stderr
    rundir = tmp_path / "mpi"
    command = mpiexec(4, "-m", "mpi4py.futures", *command_of_run(golden, rundir, "mpi"))
    process = subprocess.Popen(
        command,
        env=environment_of_runs(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    while process.poll() is None and not list(rundir.glob("checkpoint/*.ckpt")):
        time.sleep(0.02)
    ranks = [
        child
        for child in psutil.Process(process.pid).children(recursive=True)
        if "dotpe_exec" in child.cmdline() and rank_of(child) == 2
    ]
    ranks[0].send_signal(signal.SIGKILL)
    began = time.monotonic()
    output, _ = process.communicate(timeout=60)
    assert time.monotonic() - began < 20
    assert process.returncode != 0
    assert "signal 9" in output
    assert not (rundir / "summary_results.json").exists()
    done = run(command)
    assert done.returncode == 0, done.stderr
    assert_same_files(rundir, tmp_path / "serial")
