"""Whole runs whose process tree is killed: what is left goes on to the same files."""

from __future__ import annotations

import contextlib
import fnmatch
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
from golden_runs import arguments_of_run, run_files

N_KILLS = 50

RUN = """
import json, sys
from dotpe_exec import run_multicore
if __name__ == "__main__":
    arguments, rundir, executor = sys.argv[1:]
    run_multicore(
        **json.loads(arguments), rundir=rundir, executor=executor, n_procs=2, resume=True
    )
"""

# Besides any time: while or just after these are written, in the order of a run.
ANY_TIME = "any time"
FILES = (
    "run_identity.json",
    "run_sizes.json",
    "Posterior.json",
    "incoherent-*.ckpt",
    "intrinsic_samples.npz",
    "response_dpe.npy",
    "extrinsic_samples.feather",
    "coherent-*.ckpt",
    "prob_samples.feather",
    "samples.feather",
    "run_report.json",
    "summary_results.json",
)


def start(script, arguments, rundir, executor):
    return subprocess.Popen(
        [sys.executable, script, json.dumps(arguments, default=str), rundir, executor],
        start_new_session=True,
        stderr=subprocess.PIPE,
    )


def kill_tree(process):
    """SIGKILL the process and all below it, at one moment."""
    tree = []
    with contextlib.suppress(psutil.NoSuchProcess):
        tree = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGKILL)
    for child in tree:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    process.communicate()
    psutil.wait_procs(tree, timeout=10)


def versions(rundir, pattern):
    """What there is of some files, temporary ones included: changes when they do."""
    found = set()
    for folder, _, names in os.walk(rundir):  # which does not mind what disappears
        for name in fnmatch.filter(names, f"*{pattern}"):
            path = Path(folder, name)
            with contextlib.suppress(FileNotFoundError):
                stat = path.stat()
                found.add((path, stat.st_ino, stat.st_size))
    return found


def wait_for(process, rundir, moment, rng, seconds):
    """Wait for a moment to kill; return False if the run ended before."""
    if moment == ANY_TIME:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(rng.uniform(0.0, seconds))
        return process.poll() is None
    before = versions(rundir, moment)
    n_changes = rng.choice((1, 1, 2, 3))
    while n_changes and process.poll() is None:
        time.sleep(0.001)
        now = versions(rundir, moment)
        if now - before:
            n_changes -= 1
            before = now
    time.sleep(rng.choice((0.0, rng.uniform(0.0, 0.005), rng.uniform(0.0, 0.2))))
    return process.poll() is None


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["given", "drawn"])
def test_killed_runs_end_with_the_files_of_one_that_was_not_killed(tmp_path, golden, kind):
    """At random moments; ``drawn`` has the search and the drawing of extrinsic samples."""
    script = tmp_path / "run.py"
    script.write_text(RUN)
    arguments = arguments_of_run(golden, blocksize=16, single_detector_blocksize=16)
    if kind == "drawn":
        arguments |= {"par_dic_0": None, "extrinsic_samples": None, "mchirp_guess": 25.0}
    seconds = 0.0
    for name, executor in (("reference", "serial"), ("timed", "loky")):
        begun = time.monotonic()
        process = start(script, arguments, tmp_path / name, executor)
        _, error = process.communicate()
        assert process.returncode == 0, error.decode()
        seconds = time.monotonic() - begun
    expected = run_files(tmp_path / "reference")
    assert {"Posterior.json", "golden_hlv.npz", "samples.feather"} <= expected.keys()
    assert run_files(tmp_path / "timed") == expected
    rng = random.Random(20260314)
    kills: Counter[str] = Counter()
    n_runs = 0
    while kills.total() < N_KILLS or set(kills) < {ANY_TIME, *FILES}:
        rundir = tmp_path / f"run_{n_runs}"
        # One after the other, and then what comes later in the same run.
        first = n_runs % (len(FILES) + 2)
        n_runs += 1
        for attempt in range(4):
            executor = rng.choice(("loky", "loky", "process", "serial"))
            process = start(script, arguments, rundir, executor)
            later = FILES[first + 1 :] if attempt else FILES[first : first + 1]
            moment = rng.choice(((ANY_TIME,) if attempt else ()) + later or (ANY_TIME,))
            if attempt < 3 and wait_for(process, rundir, moment, rng, seconds):
                kill_tree(process)
                kills[moment] += 1
                continue
            _, error = process.communicate()
            assert process.returncode == 0, error.decode()
            break
        assert run_files(rundir) == expected
        assert not (rundir / "checkpoint").exists()
        assert not list(rundir.rglob(".dotpe-exec-*"))
        assert n_runs < 3 * N_KILLS, kills
