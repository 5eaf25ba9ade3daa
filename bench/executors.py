"""What the executors cost: start-up, a phase, a task, a message, a killed worker.

    python bench/executors.py [--workers 2] [--repeats 5] [--json FILE]

Task functions do nothing, so all that is measured is overhead. Medians of the repeats,
with the smallest and the largest.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from dotpe_exec.executors.phases import PhaseRunner
from dotpe_exec.executors.resolve import resolve_executor
from dotpe_exec.executors.store import ArrayStore
from dotpe_exec.executors.task import Task

N_TASKS = 2000


def nothing(payload: Any) -> Any:
    """Return the payload."""
    return payload


def use_kernels(payload: Any) -> int:
    """Load what the workers of the likelihood phases load."""
    import numba  # noqa: F401

    return os.getpid()


def die_once(flag: str) -> None:
    """Kill the worker that runs this first."""
    try:
        Path(flag).touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def seconds(
    runner: PhaseRunner, function: Callable, payloads: list, **kwargs: Any
) -> float:
    """Time one phase."""
    tasks = [Task(str(number), payload) for number, payload in enumerate(payloads)]
    began = time.perf_counter()
    for _ in runner.map("bench", function, tasks, n_tasks=len(tasks), **kwargs):
        pass
    return time.perf_counter() - began


@contextmanager
def cold(name: str, n_workers: int, folder: str) -> Iterator[PhaseRunner]:
    """Make a runner without warm workers, and leave none."""
    executor = resolve_executor(name, n_workers)
    executor.owned = False
    runner = PhaseRunner(ArrayStore(folder), executor)
    yield runner
    runner.close()
    executor.shutdown()


def measure(name: str, n_workers: int, folder: str) -> dict[str, float]:
    """Measure one backend once; seconds."""
    found = {}
    with cold(name, n_workers, folder) as runner:
        found["first result, cold"] = seconds(runner, nothing, [0])
    with cold(name, n_workers, folder) as runner:
        payloads = [0] * (4 * n_workers)
        found["all workers with numba, cold"] = seconds(
            runner, use_kernels, payloads, tasks_per_message=1
        )
        found["warm phase of one task"] = seconds(runner, nothing, [0])
        one = seconds(runner, nothing, [0] * N_TASKS, tasks_per_message=1)
        found["per task, one per message"] = one / N_TASKS
        many = seconds(runner, nothing, [0] * N_TASKS)
        found["per task, grouped"] = many / N_TASKS
        large = runner.store.put(np.ones(12_500_000))
        found["per 100 MB array, stored before"] = seconds(runner, nothing, [large])
        if runner.executor.can_rebuild:
            flag = str(runner.store.folder / "flag")
            quiet = seconds(runner, nothing, [flag] * 20)
            found["recovery from a killed worker"] = (
                seconds(runner, die_once, [flag] * 20) - quiet
            )
    return found


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    arguments = parser.parse_args()

    runs: dict[str, list[dict[str, float]]] = {"serial": [], "process": [], "loky": []}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(arguments.repeats):
            for name, found in runs.items():
                found.append(measure(name, arguments.workers, folder))

    table = {}
    for name, found in runs.items():
        print(f"\n{name}, {arguments.workers if name != 'serial' else 1} workers")
        for what in found[0]:
            values = [run[what] * 1e3 for run in found]
            table[f"{name}: {what}"] = values
            print(
                f"  {what:34s} {statistics.median(values):9.3f} ms"
                f"   ({min(values):.3f} to {max(values):.3f})"
            )
    if arguments.json:
        machine = {"cores": os.cpu_count(), "platform": platform.platform()}
        arguments.json.write_text(
            json.dumps({"python": sys.version, "machine": machine, "ms": table}, indent=2)
        )


if __name__ == "__main__":
    main()
