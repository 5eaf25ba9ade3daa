"""Workers of a real run killed from outside at random moments: the files stay the same."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time

import psutil
import pytest

from dotpe_exec import run

COMPARED = (
    "summary_results.json",
    "prob_samples.feather",
    "samples.feather",
    "extrinsic_samples.feather",
    "banks/bank_0/intrinsic_samples.npz",
    "banks/bank_1/intrinsic_samples.npz",
)


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["loky", "process"])
def test_killed_workers_change_nothing(executor, golden, tmp_path):
    banks = [golden / "bank_0", golden / "bank_1"]
    sizes = {"n_ext": 256, "n_phi": 32, "n_t": 64, "blocksize": 16, "seed": 1}
    expected = run(
        golden / "event.npz", banks, **sizes, single_detector_blocksize=16,
        rundir=tmp_path / "serial", progress=False,
    )  # fmt: skip
    rundir = tmp_path / "killed"
    command = [
        sys.executable, "-m", "dotpe_exec", "run", "--event", str(golden / "event.npz"),
        "--bank-folder", ",".join(map(str, banks)), "--rundir", str(rundir),
        *(f"--{name.replace('_', '-')}={value}" for name, value in sizes.items()),
        "--single-detector-blocksize=16", "--executor", executor, "--n-procs=2",
        "--multicore=manual", "--no-progress",
    ]  # fmt: skip
    parent = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    rng = random.Random(20260314)
    n_killed = 0
    while parent.poll() is None:
        time.sleep(rng.uniform(0.05, 0.5))
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            children = psutil.Process(parent.pid).children(recursive=True)
            # A worker needs most of a second to begin. Killed before, again and again,
            # none would ever get to work, and the run ends with an error.
            workers = [
                child
                for child in children
                if time.time() - child.create_time() > 2.5
                and "resource_tracker" not in " ".join(child.cmdline())
            ]
            if workers:
                os.kill(rng.choice(workers).pid, signal.SIGKILL)
                n_killed += 1
    assert parent.returncode == 0, parent.stderr.read().decode()
    assert n_killed >= 2
    for name in COMPARED:
        assert (rundir / name).read_bytes() == (expected / name).read_bytes(), name
