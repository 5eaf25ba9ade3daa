"""Whole runs whose process tree is killed: what is left goes on to the same files."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import signal
import subprocess
import sys
import time
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
    n_kills, run_number = 0, 0
    while n_kills < N_KILLS:
        rundir = tmp_path / f"run_{run_number}"
        run_number += 1
        for last in (False, False, False, True):
            process = start(script, golden, rundir, "loky", kind)
            try:
                timeout = None if last else rng.uniform(0.0, seconds)
                _, error = process.communicate(timeout=timeout)
                assert process.returncode == 0, error.decode()
                break
            except subprocess.TimeoutExpired:
                kill_tree(process)
                n_kills += 1
        assert digests(rundir) == expected
        assert not (rundir / "checkpoint").exists()
        assert not list(rundir.rglob(".dotpe-exec-*"))
