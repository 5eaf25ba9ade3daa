"""Parameters of the scale model from measured runs.

Everything is in CPU time, which neighbours on the machine do not change, but for what the
driver does in threads, and the start and end of its process. Tasks are
recorded in wall-clock time; a run's are scaled by one factor so that all that its workers
did adds up to the CPU time that they used.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.feather
from scale_model import Growth, PhaseParameters, RunParameters, StageParameters
from simulation import Overheads

from dotpe_exec.rundir.files import RunFiles

BY_SAMPLES = ("coherent", "results")
"""Stages in which the driver's own time follows the number of accepted samples."""

_MOST_RATES = 500  # tasks that are remembered of each phase
_NOISE = 0.15  # of measured times, relative
_FEWEST = 4  # tasks that make a spread; below, workers' first tasks count as well


@dataclass(frozen=True)
class PhaseMeasured:
    """One phase of one run; seconds of CPU time.

    Parameters
    ----------
    work, task_work : float
        In all, and in a full task.
    rates : (n,) float
        Seconds per unit of work of all tasks but each worker's first.
    load : float
        What a worker's first task took longer.
    driver : float
        Driver's seconds, without overheads.
    begin : float
        From the start of the phase to that of its first task.
    calls : int
    """

    work: float
    task_work: float
    rates: np.ndarray
    load: float
    driver: float
    begin: float
    calls: int


@dataclass(frozen=True)
class RunMeasured:
    """One run; seconds of CPU time.

    Parameters
    ----------
    n_waveforms, n_samples : int
    outside : float
        Of the driving process, outside the stages; by the wall clock.
    serial : dict
        Of the driving process in each stage, outside the phases.
    phases : dict
        By stage, the phases in order.
    """

    n_waveforms: int
    n_samples: int
    outside: float
    serial: dict[str, float]
    phases: dict[str, dict[str, PhaseMeasured]]


def read_run(
    rundir: Path,
    n_waveforms: int,
    seconds: float,
    own_cpu_seconds: float,
    cpu_seconds: float,
    overheads: Overheads,
) -> RunMeasured:
    """Take a run with worker processes apart.

    Parameters
    ----------
    rundir : Path
    n_waveforms : int
        Of all its banks.
    seconds : float
        From the start of the process to its end.
    own_cpu_seconds, cpu_seconds : float
        Of the driving process, and of all.
    overheads : Overheads
    """
    files = RunFiles(rundir)
    report = json.loads(files.report.read_text(encoding="utf-8"))
    tasks = pd.read_feather(files.tasks)
    tasks["seconds"] = tasks["end"] - tasks["start"]
    times = report["phase_times"]
    n_workers = tasks["worker"].nunique()
    waited = max(_first_start(tasks, times[0]) - times[0][1], 0.0)
    wall = tasks["seconds"].sum() + waited * n_workers
    tasks["seconds"] *= (cpu_seconds - own_cpu_seconds) / wall
    begin = waited * (cpu_seconds - own_cpu_seconds) / wall
    # Compression of tables runs in threads; there, the wall clock counts.
    serial = {
        name: min(
            seconds,
            sum(
                end - start for stage, start, end in report["stage_times"] if stage == name
            ),
        )
        for name, seconds in report["stage_cpu_seconds"].items()
    }
    phases: dict[str, dict[str, PhaseMeasured]] = {name: {} for name in serial}
    for name, figures in report["phases"].items():
        calls = [call for call in times if call[0] == name]
        stage = _stage_at(report["stage_times"], calls[0][1])
        serial[stage] -= figures["parent_cpu_seconds"]
        phases[stage][name] = _phase(
            tasks[tasks["phase"] == name],
            figures,
            overheads,
            begin=begin if name == times[0][0] else 0.0,
            spawned=n_workers if name == times[0][0] else 0,
            calls=len(calls),
        )
    return RunMeasured(
        n_waveforms=n_waveforms,
        n_samples=_n_rows(files.prob_samples),
        # The end of a process, when memory is given back, is in nobody's CPU time.
        outside=seconds - sum(end - start for _, start, end in report["stage_times"]),
        serial={name: max(seconds, 0.0) for name, seconds in serial.items()},
        phases=phases,
    )


def threaded_part(rundir: Path) -> float:
    """Return the part of the results stage that the driver gave to threads of its own.

    Of a run with two workers or more: with one, nothing is shared.
    """
    report = json.loads(RunFiles(rundir).report.read_text(encoding="utf-8"))
    in_all = report["stage_cpu_seconds"]["results"]
    return max(1 - report["stage_thread_cpu_seconds"]["results"] / in_all, 0.0)


def calibrate(
    runs: Sequence[RunMeasured],
    overheads: Overheads,
    waveform_bytes: float,
    *,
    threaded: float = 0.0,
) -> RunParameters:
    """Return the parameters of the model.

    Parameters
    ----------
    runs : sequence of RunMeasured
        Of at least two sizes.
    overheads : Overheads
    waveform_bytes : float
    threaded : float
        Of the results stage, see :func:`threaded_part`.

    Raises
    ------
    ValueError
        All runs have the same size.
    """
    largest = max(runs, key=lambda run: run.n_waveforms)
    sizes = [run.n_waveforms for run in runs]
    if len(set(sizes)) < 2:
        raise ValueError(f"all runs have {sizes[0]} waveforms, expected two sizes or more")
    stages = []
    for name in largest.serial:
        by_samples = name in BY_SAMPLES
        serial = Growth.fit(
            [run.n_samples if by_samples else run.n_waveforms for run in runs],
            [run.serial[name] for run in runs],
            _NOISE,
        )
        phases = []
        for phase in largest.phases[name]:
            made, once = _phase_parameters(phase, [run.phases[name] for run in runs], sizes)
            phases.append(made)
            serial = Growth(serial.start + once, serial.slope)
        shared = threaded if name == "results" else 0.0
        stages.append(StageParameters(name, serial, by_samples, tuple(phases), shared))
    begins = [
        max(phase.begin for phases in run.phases.values() for phase in phases.values())
        for run in runs
    ]
    return RunParameters(
        outside=Growth.fit(sizes, [run.outside for run in runs], _NOISE),
        stages=tuple(stages),
        begin=min(begins),
        samples=largest.n_samples / largest.n_waveforms,
        waveform_bytes=waveform_bytes,
        overheads=overheads,
    )


def _phase(
    tasks: pd.DataFrame,
    figures: dict[str, Any],
    overheads: Overheads,
    *,
    begin: float,
    spawned: int,
    calls: int,
) -> PhaseMeasured:
    rate = (tasks["seconds"] / tasks["work"]).to_numpy()
    is_first = ~tasks.sort_values("start").duplicated("worker").reindex(tasks.index)
    is_first = is_first.to_numpy()
    later = rate[~is_first] if np.count_nonzero(~is_first) >= _FEWEST else rate
    typical = float(np.median(later))
    extra = tasks["seconds"].to_numpy() - typical * tasks["work"].to_numpy()
    moving = (overheads.message + overheads.task) * len(tasks) + overheads.spawn * spawned
    return PhaseMeasured(
        work=float(tasks["work"].sum()),
        task_work=float(tasks["work"].median()),
        rates=later,
        load=max(float(extra[is_first].mean()), 0.0),
        driver=max(figures["parent_cpu_seconds"] - moving, 0.0),
        begin=begin,
        calls=calls,
    )


def _phase_parameters(
    name: str, runs: Sequence[dict[str, PhaseMeasured]], sizes: Sequence[int]
) -> tuple[PhaseParameters, float]:
    """Return a phase's parameters, and the driver's seconds that do not grow with it."""
    have = [(run[name], size) for run, size in zip(runs, sizes, strict=True) if name in run]
    measured = [phase for phase, _ in have]
    # Tasks and messages of the largest runs are the most, and the most typical.
    largest = [phase for phase, size in have if size == max(size for _, size in have)]
    rates = np.concatenate([phase.rates for phase in largest])
    if len(rates) > _MOST_RATES:
        rates = np.quantile(rates, (np.arange(_MOST_RATES) + 0.5) / _MOST_RATES)
    driver = Growth.fit(
        [phase.work for phase in measured], [phase.driver for phase in measured], _NOISE
    )
    parameters = PhaseParameters(
        name=name,
        work=Growth.fit([size for _, size in have], [phase.work for phase in measured]),
        task_work=max(phase.task_work for phase in largest),
        rates=tuple(map(float, rates)),
        reduction=driver.slope,
        load=statistics.median(phase.load for phase in measured),
        calls=largest[0].calls,
    )
    return parameters, driver.start


def _first_start(tasks: pd.DataFrame, call: Sequence[Any]) -> float:
    name, start, _ = call
    return float(tasks.loc[(tasks["phase"] == name), "start"].clip(lower=start).min())


def _stage_at(stage_times: Sequence[Sequence[Any]], moment: float) -> str:
    for name, start, end in stage_times:
        if start <= moment <= end:
            return str(name)
    raise ValueError("a phase of the run lies outside its stages")


def _n_rows(path: Path) -> int:
    return int(pyarrow.feather.read_table(path, columns=["weights"]).num_rows)
