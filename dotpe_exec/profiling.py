"""Profiles of runs: cProfile of the parent and every worker, and a timeline of the tasks.

Calls of functions in C are not recorded: their time counts for the Python function that
calls them, as that of compiled kernels does anyway, and profiling costs half as much.

Workers import this module when they are profiled, so it imports nothing heavy.
"""

from __future__ import annotations

import contextlib
import cProfile
import io
import marshal
import os
import pstats
import secrets
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .atomic import atomic_write, write_json
from .executors.phases import PhaseRunner
from .executors.task import Task
from .rundir.files import RunFiles

if TYPE_CHECKING:
    import pandas as pd

    from .executors.store import ArrayStore
    from .monitor import Monitor

N_LINES = 40
_PARENT_ROW, _WORKERS_ROW = 1, 2  # "processes" of the trace
_MAX_GROWTH_BYTES = 4_000_000  # of a worker's file, beyond the sum that it began with
_here = threading.local()


@dataclass(frozen=True)
class ProfiledTask:
    """A task function that profiles itself in the worker.

    Parameters
    ----------
    function : callable
        The task function.
    folder : str
        Where each worker keeps its profile. It is added to after every task, because
        nothing tells a worker which task was its last.
    """

    function: Callable[[Any], Any]
    folder: str

    def __call__(self, payload: Any) -> Any:
        profile = cProfile.Profile(builtins=False)
        if not _enable(profile):
            return self.function(payload)
        try:
            return self.function(payload)
        finally:
            profile.disable()
            _keep(profile, Path(self.folder))


def _enable(profile: cProfile.Profile) -> bool:
    """Start profiling unless somebody else profiles this thread already."""
    if sys.getprofile() is not None:
        return False
    try:
        profile.enable()
    except ValueError:  # how Python 3.12 and later say the same
        return False
    return True


def _keep(profile: cProfile.Profile, folder: Path) -> None:
    """Append a task's statistics to those of this thread's earlier tasks.

    The file is rewritten as one sum when it has grown a lot, which takes as long as dozens
    of tasks' records.
    """
    profile.create_stats()
    name = f"{socket.gethostname()}-{os.getpid()}-{threading.get_ident()}.prof"
    path = folder / name
    # A profile is never worth a task: not when the disk is full, nor when the parent gave
    # up waiting and removed the folder.
    with contextlib.suppress(OSError):
        with path.open("ab") as file:
            marshal.dump(profile.stats, file)  # type: ignore[attr-defined]
            size = file.tell()
        if getattr(_here, "path", None) != path:
            _here.path, _here.sum_size = path, size
        if size > _here.sum_size + _MAX_GROWTH_BYTES:
            temporary = folder / f"{name}.{secrets.token_hex(4)}"
            _load(path).dump_stats(temporary)
            temporary.replace(path)
            _here.sum_size = path.stat().st_size


def _load(path: Path) -> pstats.Stats:
    """Return the sum of the records in a worker's file."""
    total = pstats.Stats()
    with path.open("rb") as file:
        while True:
            try:
                record = marshal.load(file)
            except (EOFError, ValueError, TypeError):
                break  # the end, or what a killed worker was writing
            part = pstats.Stats()
            part.stats = record  # type: ignore[attr-defined]
            part.get_top_level_stats()  # type: ignore[attr-defined]
            total.add(part)
    return total


class ProfilingRunner(PhaseRunner):
    """A phase runner that profiles this process and the workers.

    Tasks that run in this process (serial) are part of its own profile. Results are not
    affected. Where all went well, it ends with ``profile_output.prof``, ``.txt`` and
    ``trace.json``.

    Parameters
    ----------
    store, executor
        As of :class:`~dotpe_exec.executors.phases.PhaseRunner`.
    files : RunFiles
        Where to write.
    monitor : Monitor
        Knows stages and tasks, for the timeline.
    options
        Others of a phase runner.
    """

    def __init__(
        self,
        store: ArrayStore,
        executor: Any = None,
        *,
        files: RunFiles,
        monitor: Monitor,
        **options: Any,
    ):
        super().__init__(store, executor, monitor=monitor, **options)
        self._files, self._watch = files, monitor

    def __enter__(self) -> ProfilingRunner:
        super().__enter__()
        self._folder = Path(tempfile.mkdtemp(prefix="profiles-", dir=self.store.folder))
        self._profile = cProfile.Profile(builtins=False)
        _enable(self._profile)
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *rest: object) -> None:
        self._profile.disable()
        try:
            if exc_type is None:
                self._write()
        finally:
            super().__exit__(exc_type, *rest)

    def map(
        self,
        phase: str,
        function: Callable[[Any], Any],
        tasks: Iterable[Task],
        **options: Any,
    ) -> Iterator[tuple[Task, Any]]:
        """As :meth:`PhaseRunner.map`, profiled."""
        if not self.executor.shares_memory:
            function = ProfiledTask(function, str(self._folder))
        return super().map(phase, function, tasks, **options)

    def _write(self) -> None:
        files = self._files
        workers = [_load(path) for path in sorted(self._folder.glob("*.prof"))]
        parent = pstats.Stats(self._profile)
        merged = pstats.Stats(self._profile)
        merged.add(*workers)
        with atomic_write(files.profile) as path:
            merged.dump_stats(path)
        text = _summary(parent, workers)
        with atomic_write(files.profile_text) as path:
            path.write_text(text, encoding="utf-8")
        stages = self._watch.report()["stage_times"]
        write_json(files.trace, chrome_trace(self._watch.tasks_frame(), stages))


def _summary(parent: pstats.Stats, workers: list[pstats.Stats]) -> str:
    """Return the profiles as text: the workers together, then the parent."""
    parts = [
        f"Profile of {1 + len(workers)} process(es): the parent "
        f"and {len(workers)} worker(s).\n"
        "Time inside compiled kernels and functions in C counts for the Python function "
        "that calls them.\n\n"
    ]
    if workers:
        merged = workers[0]
        for stats in workers[1:]:
            merged.add(stats)
        parts.append("WORKERS, all together, by own time\n" + _lines(merged, "tottime"))
        parts.append(
            "PARENT, by cumulative time (it waits for workers in _wait of driver.py)\n"
            + _lines(parent, "cumulative")
        )
    else:
        parts.append("PARENT, by own time\n" + _lines(parent, "tottime"))
        parts.append("PARENT, by cumulative time\n" + _lines(parent, "cumulative"))
    return "\n".join(parts)


def _lines(stats: pstats.Stats, order: str) -> str:
    stream = io.StringIO()
    stats.stream = stream  # type: ignore[attr-defined]
    stats.files = []  # type: ignore[attr-defined]  # in a folder that is gone
    stats.sort_stats(order).print_stats(N_LINES)
    return stream.getvalue()


def chrome_trace(
    tasks: pd.DataFrame, stage_times: Iterable[tuple[str, float, float]]
) -> dict[str, Any]:
    """Return the timeline of a run in Chrome's trace format, which Perfetto opens.

    One row for the stages of the parent, one per worker, and the memory of each worker.

    Parameters
    ----------
    tasks : pandas.DataFrame
        As in ``tasks.feather``; ``start`` and ``end`` in seconds since the epoch.
    stage_times : iterable of (name, start, end)
        Stages of the parent, in the same unit.

    Returns
    -------
    dict
        To be written as JSON. Times are in microseconds from the first event.
    """
    stages = list(stage_times)
    starts = [start for _, start, _ in stages]
    if len(tasks):
        starts.append(float(tasks["start"].min()))
    origin = min(starts, default=0.0)

    def span(name: str, category: str, start: float, end: float) -> dict[str, Any]:
        return {
            "name": name,
            "cat": category,
            "ph": "X",
            "ts": (start - origin) * 1e6,
            "dur": max(end - start, 0.0) * 1e6,
        }

    events = [
        _named("process_name", "parent", _PARENT_ROW),
        _named("thread_name", "stages", _PARENT_ROW, 1),
        _named("process_name", "workers", _WORKERS_ROW),
    ]
    events += [
        span(name, "stage", start, end) | {"pid": _PARENT_ROW, "tid": 1}
        for name, start, end in stages
    ]
    rows = {
        worker: row for row, worker in enumerate(dict.fromkeys(tasks["worker"]), start=1)
    }
    events += [
        _named("thread_name", worker, _WORKERS_ROW, row) for worker, row in rows.items()
    ]
    for task in tasks.to_dict("records"):
        events.append(
            span(
                f"{task['phase']} {task['key']}", task["phase"], task["start"], task["end"]
            )
            | {
                "pid": _WORKERS_ROW,
                "tid": rows[task["worker"]],
                "args": {
                    "work": int(task["work"]),
                    "message_bytes": int(task["message_bytes"]),
                    "result_bytes": int(task["result_bytes"]),
                    "crashes": int(task["crashes"]),
                },
            }
        )
        events.append(
            {
                "name": f"memory of {task['worker']}",
                "ph": "C",
                "ts": (task["end"] - origin) * 1e6,
                "pid": _WORKERS_ROW,
                "args": {"MB": task["peak_memory_bytes"] / 1e6},
            }
        )
    return {"traceEvents": events, "displayTimeUnit": "ms"}


def _named(kind: str, name: str, pid: int, tid: int = 0) -> dict[str, Any]:
    """Return the event that gives a row its name."""
    return {"name": kind, "ph": "M", "pid": pid, "tid": tid, "args": {"name": name}}
