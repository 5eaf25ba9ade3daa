"""Who watches a run: progress bars, log lines, task records, timings.

Everything here happens in the parent, in the caller's thread (but for a thread that
samples its memory).
"""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .executors.private_memory import PeakSampler

if TYPE_CHECKING:
    import pandas as pd

    from .executors.phases import TaskRecord

logger = logging.getLogger(__name__)

LOG_SECONDS = 10.0
PROGRESS_LOGGER = f"{__name__}.progress"
"""Logger of the lines that take the place of bars; the command line shows them."""
_progress = logging.getLogger(PROGRESS_LOGGER)

#: What stages do, in words.
STAGE_WORDS = {
    "reference": "reference waveform: search of the best fit",
    "incoherent": "incoherent likelihoods: every waveform in each detector alone",
    "extrinsic": "extrinsic samples: sky positions, times and polarisations to try",
    "coherent": "coherent likelihoods: all detectors together",
    "results": "results: evidence, samples and their parameters",
    "chirp mass": "chirp mass: search of the range to look at",
    "learning": "learning: waveforms drawn towards where the data are fitted",
    "production": "production: waveforms for the result",
    "likelihoods": "final likelihoods, with fresh extrinsic samples",
}

_POSTFIX_SECONDS = 0.5
_BUSY_WINDOW = 10.0  # seconds over which a worker counts as busy

_TIMES = ("start", "end")
_COUNTS = ("work", "peak_memory_bytes", "message_bytes", "result_bytes", "crashes")


@dataclass
class _Phase:
    """What is known of one phase; times in seconds."""

    unit: str
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    busy_seconds: float = 0.0
    n_tasks: int = 0
    n_restored: int = 0
    work: int = 0
    n_crashes: int = 0
    message_bytes: int = 0
    result_bytes: int = 0
    peak_worker_bytes: int = 0
    started: float | None = None
    cpu_started: float = 0.0
    busy_by_worker: dict[str, float] = field(default_factory=dict)

    def report(self, n_workers: int | None, predicted_bytes: int | None) -> dict[str, Any]:
        workers = n_workers or len(self.busy_by_worker) or 1
        busiest = max(self.busy_by_worker.values(), default=0.0)
        capacity = self.seconds * workers
        run = self.seconds > 0
        return {
            "unit": self.unit,
            "seconds": self.seconds,
            "parent_cpu_seconds": self.cpu_seconds,
            "n_tasks": self.n_tasks,
            "n_tasks_restored": self.n_restored,
            "work": self.work,
            "work_per_second": self.work / self.seconds if run else None,
            "n_workers": workers,
            "worker_seconds": self.busy_seconds,
            "worker_busy_fraction": self.busy_seconds / capacity if run else None,
            "load_balance": self.busy_seconds / (workers * busiest) if busiest else None,
            "n_worker_crashes": self.n_crashes,
            "message_bytes": self.message_bytes,
            "result_bytes": self.result_bytes,
            "peak_worker_memory_bytes": self.peak_worker_bytes,
            "predicted_worker_memory_bytes": predicted_bytes,
        }


class Monitor:
    """Shows how a run goes and remembers how it went.

    Parameters
    ----------
    progress : bool
        True: a bar per phase in a terminal or notebook, and elsewhere a log line for each
        stage and every :data:`LOG_SECONDS`; False: neither.
    n_workers : int, optional
        Number of workers, for efficiencies; by default those that were seen.

    Notes
    -----
    It is an ``Observer`` of :mod:`dotpe_exec.executors.phases`.
    """

    def __init__(self, progress: bool = True, n_workers: int | None = None):
        self.n_workers = n_workers
        self._predicted_bytes: dict[str, int] = {}
        self._bars = progress and _is_interactive()
        self._lines = progress and not self._bars
        self._bar: Any = None
        self._total: int | None = None
        self._in_tasks = False
        self._next_line = 0.0
        self._next_postfix = 0.0
        self._last_seen: dict[str, float] = {}
        self._stages: dict[str, float] = {}
        self._stage_cpu: dict[str, float] = {}
        self._stage_thread_cpu: dict[str, float] = {}
        self._stage_times: list[tuple[str, float, float]] = []
        self._phase_times: list[tuple[str, float, float]] = []
        self._phases: dict[str, _Phase] = {}
        self._tasks = _TaskTable()
        self._sampler = PeakSampler()
        self._started = time.perf_counter()
        self._plan: list[str] = []
        self._announced: str | None = None

    def __enter__(self) -> Monitor:
        self._sampler.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._close_bar()
        self._sampler.peak()
        self._sampler.stop()

    def plan(self, names: Sequence[str]) -> None:
        """Note which stages will come, so that they can be counted."""
        self._plan = list(names)

    def _announce(self, name: str) -> None:
        """Say which stage begins, unless it is the one that was said last."""
        if name not in self._plan or name == self._announced:
            return
        self._announced = name
        number = f"{self._plan.index(name) + 1}/{len(self._plan)}"
        self.say(f"{number} {STAGE_WORDS.get(name, name)}")

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Say that a stage begins, and time it; times of the same name add up."""
        self._announce(name)
        began, started = time.time(), time.perf_counter()
        cpu, thread_cpu = time.process_time(), time.thread_time()
        try:
            yield
        finally:
            seconds = time.perf_counter() - started
            cpu, thread_cpu = time.process_time() - cpu, time.thread_time() - thread_cpu
            for times, spent in (
                (self._stages, seconds),
                (self._stage_cpu, cpu),
                (self._stage_thread_cpu, thread_cpu),
            ):
                times[name] = times.get(name, 0.0) + spent
            self._stage_times.append((name, began, began + seconds))
            self._sampler.peak()
            logger.info("stage %s: %.2f s", name, seconds)

    # The protocol of the phase runner

    def phase_started(
        self, phase: str, n_tasks: int, total_work: int | None, unit: str
    ) -> None:
        """A phase begins; ``total_work`` (in ``unit``) None: counted in tasks."""
        record = self._phases.setdefault(phase, _Phase(unit))
        record.started, record.cpu_started = time.perf_counter(), time.process_time()
        self._in_tasks = total_work is None
        self._total = n_tasks if total_work is None else total_work
        self._last_seen = {}
        self._next_line = time.monotonic() + LOG_SECONDS
        if self._bars:
            from tqdm.auto import tqdm

            self._bar = tqdm(
                total=self._total,
                desc=phase,
                unit=" task" if self._in_tasks else f" {unit}",
                unit_scale=True,
                dynamic_ncols=True,
            )

    def task_finished(self, record: TaskRecord) -> None:
        """A task has its result."""
        phase = self._phases[record.phase]
        phase.n_tasks += 1
        step = 1 if self._in_tasks else record.work
        if record.restored:
            phase.n_restored += 1
            self._advance_restored(step)
            return
        seconds = max(record.end - record.start, 0.0)
        phase.work += record.work
        phase.busy_seconds += seconds
        by_worker = phase.busy_by_worker
        by_worker[record.worker] = by_worker.get(record.worker, 0.0) + seconds
        phase.n_crashes += record.crashes
        phase.message_bytes += record.message_bytes
        phase.result_bytes += record.result_bytes
        phase.peak_worker_bytes = max(phase.peak_worker_bytes, record.peak_memory_bytes)
        self._tasks.append(record)
        now = time.monotonic()
        self._last_seen[record.worker] = now
        if self._bar is not None:
            self._bar.update(step)
            if now >= self._next_postfix:
                self._bar.set_postfix_str(
                    self._workers_and_memory(phase, now), refresh=False
                )
                self._next_postfix = now + _POSTFIX_SECONDS
        elif self._lines and now >= self._next_line:
            self._log_line(record.phase, phase, now)
            self._next_line = now + LOG_SECONDS

    def phase_finished(self, phase: str) -> None:
        """A phase ended, with or without an error."""
        record = self._phases[phase]
        if record.started is not None:
            seconds, now = time.perf_counter() - record.started, time.time()
            self._phase_times.append((phase, now - seconds, now))
            record.seconds += seconds
            record.cpu_seconds += time.process_time() - record.cpu_started
            record.started = None
        self._close_bar()
        if self._lines:
            kept = f" ({record.n_restored} of them kept from before)" * bool(
                record.n_restored
            )
            _progress.info(
                "%s: %d tasks%s in %.1f s", phase, record.n_tasks, kept, record.seconds
            )

    def say(self, text: str) -> None:
        """Show a line of text among the progress, or log it."""
        if self._bars:
            from tqdm.auto import tqdm

            tqdm.write(text, file=sys.stderr)
            logger.info("%s", text)
        else:
            (_progress if self._lines else logger).info("%s", text)

    # What comes out

    def tasks_frame(self) -> pd.DataFrame:
        """Return one row per task that ran, in the order of arrival."""
        return self._tasks.frame()

    def predict_memory(self, worker_bytes: Mapping[str, int]) -> None:
        """Note what workers are expected to need, by phase [bytes], for the report."""
        self._predicted_bytes |= worker_bytes

    def report(self) -> dict[str, Any]:
        """Return timings and sizes for ``run_report.json``.

        Returns
        -------
        dict
            ``seconds`` (so far), ``stages`` (seconds by name), ``stage_times`` (name, start
            and end of each, in seconds since the epoch), ``stage_cpu_seconds`` (of this
            process, by name), ``stage_thread_cpu_seconds`` (of the thread that ran the
            stages, without those that it started), ``phase_times`` (like
            ``stage_times``, each time that a phase ran), ``phases`` (by name: work, rate,
            CPU time of this process, number of tasks, fraction of the workers' time that
            was busy, load balance, bytes sent and received, peak memory of a worker and
            what was predicted) and ``peak_parent_memory_bytes`` (private memory).
        """
        return {
            "seconds": time.perf_counter() - self._started,
            "stages": dict(self._stages),
            "stage_times": [list(times) for times in self._stage_times],
            "stage_cpu_seconds": dict(self._stage_cpu),
            "stage_thread_cpu_seconds": dict(self._stage_thread_cpu),
            "phase_times": [list(times) for times in self._phase_times],
            "phases": {
                name: phase.report(self.n_workers, self._predicted_bytes.get(name))
                for name, phase in self._phases.items()
            },
            "peak_parent_memory_bytes": self._sampler.peak(),
        }

    def _advance_restored(self, step: int) -> None:
        # What an earlier process did must not count as speed of this one.
        if self._bar is not None:
            self._bar.initial += step
            self._bar.n += step
            self._bar.last_print_n += step

    def _workers_and_memory(self, phase: _Phase, now: float) -> str:
        busy = sum(now - seen < _BUSY_WINDOW for seen in self._last_seen.values())
        workers = self.n_workers or len(self._last_seen)
        text = f"{busy}/{workers} busy"
        if phase.peak_worker_bytes:
            text += f", {phase.peak_worker_bytes / 1e9:.2g} GB/worker"
        return text

    def _log_line(self, name: str, phase: _Phase, now: float) -> None:
        assert phase.started is not None
        elapsed = phase.seconds + time.perf_counter() - phase.started
        done = phase.n_tasks if self._in_tasks else phase.work
        rate = phase.work / elapsed if elapsed > 0 else 0.0
        _progress.info(
            "%s: %d of %s %s, %.3g %s/s, %s",
            name,
            done,
            self._total,
            "tasks" if self._in_tasks else phase.unit,
            rate,
            phase.unit,
            self._workers_and_memory(phase, now),
        )

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class _TaskTable:
    """Columns of task records: a million of them take some hundred bytes each."""

    def __init__(self) -> None:
        self._phase: list[str] = []
        self._key: list[str] = []
        self._worker: list[str] = []
        self._times = {name: array("d") for name in _TIMES}
        self._counts = {name: array("q") for name in _COUNTS}

    def append(self, record: TaskRecord) -> None:
        self._phase.append(sys.intern(record.phase))
        self._key.append(record.key)
        self._worker.append(sys.intern(record.worker))
        for name, times in self._times.items():
            times.append(getattr(record, name))
        for name, counts in self._counts.items():
            counts.append(int(getattr(record, name)))

    def frame(self) -> pd.DataFrame:
        import numpy as np
        import pandas as pd

        return pd.DataFrame(
            {
                "phase": pd.Categorical(self._phase),
                "key": self._key,
                "worker": pd.Categorical(self._worker),
                **{n: np.array(times, dtype=float) for n, times in self._times.items()},
                **{n: np.array(c, dtype=np.int64) for n, c in self._counts.items()},
            }
        )


def _is_interactive() -> bool:
    """Whether somebody looks: a terminal, or a notebook."""
    if sys.stderr is not None and sys.stderr.isatty():
        return True
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and "IPKernelApp" in shell.config
