"""Ctrl-C in every phase of a real run: the prompt is back, nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from waiting import wait_for_the_end_of

from dotpe_exec.atomic import TEMPORARY_PREFIX

# The file whose appearance says that a phase begins.
MOMENTS = {
    "reference": "run_identity.json",
    "incoherent": "Posterior.json",
    "extrinsic": "banks/bank_1/intrinsic_samples.npz",
    "coherent": "extrinsic_samples.feather",
}


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["loky", "process"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_ctrl_c_ends_a_run_at_once(moment, executor, golden, tmp_path):
    rundir = tmp_path / "run"
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    command = [
        sys.executable, "-m", "dotpe_exec", "run", "--event", str(golden / "event.npz"),
        "--bank-folder", f"{golden / 'bank_0'},{golden / 'bank_1'}",
        "--rundir", str(rundir),
        "--n-ext", "256", "--n-phi", "32", "--n-t", "64", "--seed", "1",
        "--executor", executor, "--n-procs", "2", "--no-progress",
    ]  # fmt: skip
    run = subprocess.Popen(
        command,
        start_new_session=True,  # a process group of its own, as a terminal's job has
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"DOTPE_EXEC_SCRATCH": str(scratch)},
    )
    deadline = time.monotonic() + 240
    while not (rundir / MOMENTS[moment]).exists():
        assert run.poll() is None, run.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.3)
    workers = psutil.Process(run.pid).children(recursive=True)
    assert not (rundir / "summary_results.json").exists(), "the run was over too soon"
    start = time.monotonic()
    os.killpg(run.pid, signal.SIGINT)
    _, errors = run.communicate(timeout=60)
    seconds = time.monotonic() - start

    assert seconds < 2.0
    assert run.returncode not in (0, None)
    assert errors.count("Traceback") <= 1
    wait_for_the_end_of([worker.pid for worker in workers], 1)
    leftovers = [p for p in rundir.rglob("*") if p.name.startswith(TEMPORARY_PREFIX)]
    assert leftovers == []
    assert not any(p.is_file() for p in scratch.rglob("*.npy"))
