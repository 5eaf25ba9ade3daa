"""Whole runs whose process tree is killed: what is left goes on to the same files."""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
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

N_KILLS = 50

RUN = """
import sys
from pathlib import Path
from dotpe_exec import run_multicore
if __name__ == "__main__":
    golden, rundir, executor, kind = sys.argv[1:]
    reference = Path(golden, "reference")
    given = dict(
        par_dic_0=reference / "par_dic_0.json",
        extrinsic_samples=reference / "extrinsic_samples.feather",
    )
    run_multicore(
        Path(golden, "event.npz"),
        [Path(golden, "bank_0"), Path(golden, "bank_1")],
        n_ext=96, n_phi=16, n_t=64, blocksize=16, single_detector_blocksize=16, seed=42,
        rundir=rundir, executor=executor, n_procs=2, resume=True, progress=False,
        **(given if kind == "given" else dict(mchirp_guess=25.0)),
    )
"""
# Records of where and when; everything else is the same to the last bit.
DIFFERS = {"run_kwargs.json", "run_report.json", "tasks.feather"}

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


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.blake2b(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in DIFFERS
    }


def start(script, golden, rundir, executor, kind):
    return subprocess.Popen(
        [sys.executable, script, golden, rundir, executor, kind],
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
    seconds = 0.0
    for name, executor in (("reference", "serial"), ("timed", "loky")):
        begun = time.monotonic()
        process = start(script, golden, tmp_path / name, executor, kind)
        _, error = process.communicate()
        assert process.returncode == 0, error.decode()
        seconds = time.monotonic() - begun
    expected = digests(tmp_path / "reference")
    assert {"Posterior.json", "golden_hlv.npz", "samples.feather"} <= expected.keys()
    assert digests(tmp_path / "timed") == expected
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
            process = start(script, golden, rundir, executor, kind)
            later = FILES[first + 1 :] if attempt else FILES[first : first + 1]
            moment = rng.choice(((ANY_TIME,) if attempt else ()) + later or (ANY_TIME,))
            if attempt < 3 and wait_for(process, rundir, moment, rng, seconds):
                kill_tree(process)
                kills[moment] += 1
                continue
            _, error = process.communicate()
            assert process.returncode == 0, error.decode()
            break
        assert digests(rundir) == expected
        assert not (rundir / "checkpoint").exists()
        assert not list(rundir.rglob(".dotpe-exec-*"))
        assert n_runs < 3 * N_KILLS, kills
