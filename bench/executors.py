"""What the executors cost: start-up, a phase, a task, a message, a killed worker.

    python bench/run.py executors [--workers 2] [--repeats 5]

Task functions do nothing, so all that is measured is overhead.
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from measure import Report, Spread, Table, parser

from dotpe_exec.executors.backends import installed_executors
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
    installed = [name for name, there in installed_executors().items() if there]
    arguments_parser = parser(__doc__, repeats=5)
    arguments_parser.add_argument("--workers", type=int, default=2)
    arguments_parser.add_argument(
        "--executors", nargs="+", default=[name for name in installed if name != "mpi"]
    )
    arguments = arguments_parser.parse_args()
    report = Report(arguments)
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in arguments.executors}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(arguments.repeats):
            for name, found in runs.items():
                found.append(measure(name, arguments.workers, folder))
    table = Table(
        "executors",
        f"Milliseconds; {arguments.workers} workers (serial: none), tasks that do nothing, "
        f"{N_TASKS} of them where counted per task; medians (smallest to largest) of "
        f"{arguments.repeats} runs in turn.",
    )
    for name, found in runs.items():
        cells = {what: Spread.of([run[what] for run in found], 1e3) for what in found[0]}
        table.add(executor=name, **cells)
    report.show(table)
    report.write()


if __name__ == "__main__":
    main()
