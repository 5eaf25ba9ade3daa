"""Environments that make no sense: work is done all the same, or one sentence says why."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from clusters import python_path

PHASE = """
import sys
from toy_tasks import Number, results, square
from dotpe_exec.executors.phases import PhaseRunner
from dotpe_exec.executors.store import ArrayStore
from dotpe_exec.machine import available_memory, usable_cores

assert usable_cores() >= 1 and available_memory() > 0
with ArrayStore() as store, PhaseRunner(store, sys.argv[1], n_procs=2) as runner:
    found = results(runner, square, [Number(n) for n in range(20)])
assert found == [n**2 for n in range(20)]
open(sys.argv[2], "w").write("done")
"""

ABSURD = {
    "text": dict.fromkeys(
        (
            "LOKY_MAX_CPU_COUNT",
            "OMP_NUM_THREADS",
            "OPENBLAS_NUM_THREADS",
            "SLURM_CPUS_PER_TASK",
            "SLURM_CPUS_ON_NODE",
            "SLURM_MEM_PER_NODE",
            "LSB_MCPU_HOSTS",
            "LSB_DJOB_NUMPROC",
        ),
        "abc",
    ),
    "huge": {
        "OMP_NUM_THREADS": "1000000000",
        "SLURM_CPUS_PER_TASK": "99999999999999999999",
        "SLURM_MEM_PER_CPU": "99999999999999999999",
        "LSB_MCPU_HOSTS": f"{os.uname().nodename} 99999999999999",
    },
    "negative": {
        "OMP_NUM_THREADS": "-3",
        "SLURM_CPUS_ON_NODE": "-1",
        "SLURM_MEM_PER_NODE": "0",
        "LSB_DJOB_NUMPROC": "-4",
    },
}


def run(executor, folder, environment, **options):
    """Return whether the phase was done, and what was said."""
    done = folder / "done"
    process = subprocess.run(
        [sys.executable, "-c", PHASE, executor, str(done)],
        env={**os.environ, "PYTHONPATH": python_path(), **environment},
        timeout=60,
        **options,
    )
    return process.returncode == 0 and done.exists(), process


@pytest.mark.parametrize("kind", ABSURD)
@pytest.mark.parametrize(
    "executor",
    [
        "serial",
        "loky",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("process", "dask")),
    ],
)
def test_absurd_variables_do_no_harm(kind, executor, tmp_path):
    is_done, process = run(executor, tmp_path, ABSURD[kind], capture_output=True, text=True)
    assert is_done, process.stderr
    assert "Traceback" not in process.stderr


@pytest.mark.parametrize("executor", ["loky", "process"])
def test_64_open_files_are_enough(executor, tmp_path):
    def limit():
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    is_done, process = run(
        executor, tmp_path, {}, capture_output=True, text=True, preexec_fn=limit
    )
    assert is_done, process.stderr


def test_too_few_open_files_are_one_sentence(tmp_path):
    from dotpe_exec.errors import ExecutorError
    from dotpe_exec.executors.resolve import HeldExecutor

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    n_open = len(list(Path("/proc/self/fd").iterdir()))
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (n_open + 8, hard))
        with (
            pytest.raises(ExecutorError, match=r"Too many open files \(.*ulimit -n"),
            HeldExecutor("process", 8) as executor,
        ):
            for _ in range(8):
                executor.submit(abs, -1)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def close_streams():
    for number in range(3):
        os.close(number)


@pytest.mark.parametrize(
    "executor", ["serial", "process", pytest.param("dask", marks=pytest.mark.slow)]
)
def test_closed_standard_streams_do_no_harm(executor, tmp_path):
    is_done, _ = run(executor, tmp_path, {}, preexec_fn=close_streams)
    assert is_done


def test_command_with_closed_standard_streams_does_its_work(tmp_path):
    """With loky, which cannot start processes then, but for the streams we open."""
    script = tmp_path / "command.py"
    script.write_text(
        "import sys, click, dotpe_exec.cli\n"
        "from callers import digest\n"
        "@dotpe_exec.cli.main.command()\n"
        "@click.argument('path')\n"
        "def work(path):\n"
        "    open(path, 'w').write(digest('loky'))\n"
        "dotpe_exec.cli.main()\n"
    )
    done = tmp_path / "done"
    process = subprocess.run(
        [sys.executable, str(script), "work", str(done)],
        env={**os.environ, "PYTHONPATH": python_path()},
        preexec_fn=close_streams,
        timeout=60,
    )
    assert process.returncode == 0
    assert len(done.read_text()) == 64
