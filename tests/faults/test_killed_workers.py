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
from golden_runs import arguments_of_run, as_flags, assert_same_files

from dotpe_exec import run


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["loky", "process"])
def test_killed_workers_change_nothing(executor, golden, tmp_path):
    arguments = arguments_of_run(
        golden, n_ext=256, n_phi=32, blocksize=16, single_detector_blocksize=16
    )
    del arguments["par_dic_0"], arguments["extrinsic_samples"]  # all stages have work
    expected = run(**arguments, rundir=tmp_path / "serial")
    rundir = tmp_path / "killed"
    command = [
        *(sys.executable, "-m", "dotpe_exec", "run", "--multicore=manual"),
        *as_flags(arguments | {"rundir": rundir, "executor": executor, "n_procs": 2}),
    ]
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
    assert_same_files(rundir, expected)
