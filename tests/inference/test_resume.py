"""A run that was ended anywhere goes on, and its files are those of one that was not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dotpe_exec.executors.phases import PhaseRunner
from dotpe_exec.executors.store import ArrayStore
from dotpe_exec.executors.task import Task
from dotpe_exec.monitor import Monitor
from dotpe_exec.rundir.checkpoint import Checkpoint
from dotpe_exec.stages.incoherent_tasks import IncoherentResult

N_TASKS = 20


@dataclass(frozen=True)
class Payload:
    number: int
    log: str


def work(payload):
    with Path(payload.log).open("a") as file:
        file.write(f"{payload.number}\n")
    rng = np.random.default_rng(payload.number)
    lnlikes_di = rng.standard_normal((3, 50))
    return IncoherentResult(lnlikes_di, np.arange(50, dtype=np.uint64))


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
