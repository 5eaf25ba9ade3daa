"""A run that was ended anywhere goes on, and its files are those of one that was not."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from dotpe_exec.checkpoint import Checkpoint
from dotpe_exec.executors.phases import PhaseRunner
from dotpe_exec.executors.store import ArrayStore
from dotpe_exec.executors.task import Task
from dotpe_exec.monitor import Monitor
from dotpe_exec.stages.incoherent import IncoherentResult

N_TASKS = 20


@dataclass(frozen=True)
class Payload:
    number: int
    log: str


def work(payload):
    with Path(payload.log).open("a") as file:
        file.write(f"{payload.number}\n")
    rng = np.random.default_rng(payload.number)
    return IncoherentResult(rng.standard_normal((3, 50)))


def attempt(folder, *, stop_after=None):
    """Run the phase; return its results, or None if it was interrupted."""
    log = folder / "log"
    tasks = [Task(f"bank_0/{k:06d}", Payload(k, str(log))) for k in range(N_TASKS)]
    results = {}
    monitor = Monitor(progress=False)
    with (
        Checkpoint(folder / "checkpoint", "run") as checkpoint,
        ArrayStore(folder) as store,
        PhaseRunner(store, "serial", checkpoint=checkpoint, monitor=monitor) as runner,
    ):
        for task, result in runner.map("incoherent", work, tasks, n_tasks=N_TASKS):
            results[task.key] = result.lnlikes_di
            if len(results) == stop_after:
                return None, monitor
    return results, monitor


def test_interrupted_phase_runs_only_what_is_missing(tmp_path):
    expected, _ = attempt(_made(tmp_path / "whole"))
    folder = _made(tmp_path / "interrupted")
    attempt(folder, stop_after=7)
    first = len((folder / "log").read_text().split())
    results, monitor = attempt(folder)
    assert results.keys() == expected.keys()
    for key, array in expected.items():
        assert results[key].tobytes() == array.tobytes()
    phase = monitor.report()["phases"]["incoherent"]
    assert phase["n_tasks"] == N_TASKS and phase["n_tasks_restored"] >= 7
    ran = (folder / "log").read_text().split()
    assert len(ran) == first + N_TASKS - phase["n_tasks_restored"]


def test_damaged_result_is_computed_again(tmp_path, caplog):
    expected, _ = attempt(_made(tmp_path / "whole"))
    folder = _made(tmp_path / "damaged")
    attempt(folder, stop_after=10)
    (path,) = (folder / "checkpoint").iterdir()
    data = bytearray(path.read_bytes())
    at = data.index(expected["bank_0/000003"].tobytes())
    data[at + 5] ^= 1
    path.write_bytes(data)
    results, _ = attempt(folder)
    for key, array in expected.items():
        assert results[key].tobytes() == array.tobytes()
    assert "bank_0/000003 is damaged" in caplog.text


def _made(folder):
    folder.mkdir()
    return folder


# Whole runs

RUN = """
import sys
from pathlib import Path
from dotpe_exec import run_multicore
if __name__ == "__main__":
    golden = Path(sys.argv[1])
    run_multicore(
        golden / "event.npz",
        [golden / "bank_0", golden / "bank_1"],
        n_ext=96, n_phi=16, n_t=64, blocksize=16, single_detector_blocksize=16, seed=42,
        par_dic_0=golden / "reference" / "par_dic_0.json",
        extrinsic_samples=golden / "reference" / "extrinsic_samples.feather",
        rundir=sys.argv[2], executor=sys.argv[3], n_procs=2, resume=True, progress=False,
    )
"""
# cogwheel's files, whose order of keys changes from process to process, and records of
# when and where.
DIFFERS = {
    "Posterior.json",
    "golden_hlv.npz",
    "run_report.json",
    "tasks.feather",
    "run_kwargs.json",
}


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.blake2b(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in DIFFERS
    }


def start(script, golden, rundir, executor="loky"):
    return subprocess.Popen(
        [sys.executable, script, golden, rundir, executor],
        start_new_session=True,
        stderr=subprocess.PIPE,
    )


@pytest.mark.slow
def test_killed_runs_end_with_the_files_of_one_that_was_not_killed(tmp_path, golden):
    """SIGKILL of the whole process tree at random moments, 50 times in all."""
    script = tmp_path / "run.py"
    script.write_text(RUN)
    seconds = 0.0
    for name, executor in (("warm-up", "loky"), ("reference", "serial"), ("timed", "loky")):
        begun = time.monotonic()
        process = start(script, golden, tmp_path / name, executor)
        _, error = process.communicate()
        assert process.returncode == 0, error.decode()
        seconds = time.monotonic() - begun
    expected = digests(tmp_path / "reference")
    assert digests(tmp_path / "timed") == expected
    rng = random.Random(20260314)
    n_kills, attempt_number = 0, 0
    while n_kills < 50:
        rundir = tmp_path / f"run_{attempt_number}"
        attempt_number += 1
        for last in (False, False, False, True):
            process = start(script, golden, rundir)
            try:
                timeout = None if last else rng.uniform(0.0, seconds)
                _, error = process.communicate(timeout=timeout)
                assert process.returncode == 0, error.decode()
                break
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
                n_kills += 1
        assert digests(rundir) == expected
        assert not (rundir / "checkpoint").exists()
