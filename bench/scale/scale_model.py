"""A whole run as a model: how long on how many workers, for a bank of any size, and why.

    python bench/run.py scale                              # measures, then predicts
    python bench/run.py scale-model PARAMETERS.json  # predicts with stored parameters

A run is a start, stages one after the other, and an end. A stage is what the driving
process does by itself, and phases: tasks whose times have a measured spread, simulated
message by message (:mod:`simulation`). What grows with the bank does so along a line
through what was measured for several sizes; what follows the number of accepted samples
stops growing where ``size_limit`` does. All times but those of the start and the end are
CPU times, those of the workers' tasks too (their wall-clock times, scaled to what the
workers used in all): neighbours on the measuring machine do not enter, nor do disks that
one waits for, nor what many cores of one machine take from each other, nor a driver that
shares a core with workers.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from measure import Report, Table, parser
from simulation import Overheads, PhaseLoad, PhaseOutcome, simulate_phase

from dotpe_exec.machine import MOST_DRIVER_THREADS

WORKERS = tuple(2**k for k in range(11))
SIZES = (2**20, 2**24)
SIZE_LIMIT = 10**7
MAX_SPAWNED = 128
"""With more workers than this they are on several nodes, and somebody else starts them."""

PUBLISHED_SECONDS = {(2**20, 32): 237.0}
"""Of the published code, by waveforms and workers."""


@dataclass(frozen=True)
class Growth:
    """A quantity that grows along a line with the size of a problem.

    Parameters
    ----------
    start, slope : float
        At nothing, and per waveform or sample.
    """

    start: float
    slope: float

    def at(self, size: float) -> float:
        """Return the value for one size."""
        return self.start + self.slope * size

    @classmethod
    def fit(
        cls, sizes: Sequence[float], values: Sequence[float], noise: float = 0.0
    ) -> Growth:
        """Fit a line that neither begins below zero nor falls.

        Deviations count relative to the values, for these span orders of magnitude. What
        rises over the measured sizes by less than a fraction ``noise`` is taken to be
        constant: its slope would be that of the noise, and count a hundredfold in what is
        predicted.
        """
        x, y = np.asarray(sizes, float), np.asarray(values, float)
        weights = 1 / np.maximum(y, 1e-3 * max(y.max(), 1e-9))
        if len(set(x)) == 1:
            return cls(float(y.mean()), 0.0)
        slope, start = np.polyfit(x, y, 1, w=weights)
        rise = slope * (x.max() - x.min())
        if slope < 0 or rise < noise * (start + slope * x.min()):
            return cls(float(np.average(y, weights=weights**2)), 0.0)
        if start < 0:
            slope = np.sum(weights**2 * x * y) / np.sum(weights**2 * x**2)
            return cls(0.0, float(slope))
        return cls(float(start), float(slope))


@dataclass(frozen=True)
class PhaseParameters:
    """One phase of tasks.

    Parameters
    ----------
    name : str
    work : Growth
        Amount of work in all, by waveforms.
    task_work : float
        Amount of work in one task.
    rates : tuple of float
        Seconds per unit of work, of measured tasks: their spread.
    reduction : float
        Driver's seconds per unit of work for taking in results.
    load : float
        Seconds that a worker's first task takes longer.
    calls : int
        How many times one after the other the phase is run, sharing the work.
    """

    name: str
    work: Growth
    task_work: float
    rates: tuple[float, ...]
    reduction: float
    load: float
    calls: int = 1

    def loads(
        self, n_waveforms: int, rng: np.random.Generator, begin: float, n_cold: int
    ) -> list[PhaseLoad]:
        """Return what the calls ask for; task times are drawn from those measured."""
        work = self.work.at(n_waveforms) / self.calls
        n_tasks = max(1, math.ceil(work / self.task_work - 1e-9))
        works = np.full(n_tasks, self.task_work)
        works[-1] = work - self.task_work * (n_tasks - 1)
        return [
            PhaseLoad(
                tasks=works * rng.choice(self.rates, n_tasks),
                reductions=works * self.reduction,
                begin=begin,
                load=self.load if call == 0 else 0.0,
                n_cold=n_cold if call == 0 else 0,
            )
            for call in range(self.calls)
        ]


@dataclass(frozen=True)
class StageParameters:
    """What the driving process does by itself in a stage, and the phases in it.

    Parameters
    ----------
    name : str
    serial : Growth
        Seconds, by waveforms, or by samples where ``by_samples``.
    by_samples : bool
        Grows with the number of accepted samples.
    phases : tuple of PhaseParameters
        In order.
    threaded : float
        Part of the driver's seconds that it shares among threads.
    """

    name: str
    serial: Growth
    by_samples: bool
    phases: tuple[PhaseParameters, ...]
    threaded: float = 0.0

    def alone(self, size: float, n_workers: int) -> float:
        """Return the driver's own seconds."""
        n_threads = min(max(n_workers, 1), MOST_DRIVER_THREADS)
        shared = 1 - self.threaded + self.threaded / n_threads
        return self.serial.at(size) * shared


@dataclass(frozen=True)
class RunParameters:
    """All of a run.

    Parameters
    ----------
    outside : Growth
        Seconds outside the stages: imports, opening and checking the inputs, the end.
    stages : tuple of StageParameters
    begin : float
        Seconds until a worker process is ready.
    samples : float
        Accepted samples per waveform.
    waveform_bytes : float
        Read per waveform in the phase that reads them all.
    overheads : Overheads
    """

    outside: Growth
    stages: tuple[StageParameters, ...]
    begin: float
    samples: float
    waveform_bytes: float
    overheads: Overheads

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> RunParameters:
        """Return what :meth:`to_dict` gave."""
        stages = []
        for stage in content["stages"]:
            phases = tuple(
                PhaseParameters(
                    **phase
                    | {"work": Growth(**phase["work"]), "rates": tuple(phase["rates"])}
                )
                for phase in stage["phases"]
            )
            stages.append(
                StageParameters(
                    **stage | {"serial": Growth(**stage["serial"]), "phases": phases}
                )
            )
        return cls(
            **content
            | {
                "outside": Growth(**content["outside"]),
                "stages": tuple(stages),
                "overheads": Overheads(**content["overheads"]),
            }
        )


@dataclass(frozen=True)
class Prediction:
    """A run in simulated time.

    Parameters
    ----------
    seconds : float
        From the start of the process to its end.
    serial : dict
        Seconds of what cannot be shared, by name.
    shared : dict
        Of each phase: its tasks' seconds divided by the workers.
    rest : dict
        Of each phase: what it takes beyond that: workers that begin and load code, the
        driver, workers that wait for the last ones.
    reading : float
        Bytes per second that all workers together read where they read all waveforms.
    """

    seconds: float
    serial: dict[str, float]
    shared: dict[str, float]
    rest: dict[str, float]
    reading: float

    def terms(self) -> dict[str, float]:
        """Return seconds by name, the largest first."""
        named = {
            **self.serial,
            **{f"{name}: work / workers": s for name, s in self.shared.items()},
            **{f"{name}: start, driver, waiting": s for name, s in self.rest.items()},
        }
        return dict(sorted(named.items(), key=lambda item: -item[1]))


def predict(
    run: RunParameters, n_waveforms: int, n_workers: int, *, seed: int = 0
) -> Prediction:
    """Predict a run with worker processes.

    Parameters
    ----------
    run : RunParameters
    n_waveforms : int
    n_workers : int
        0 is the serial executor: no workers, no messages.
    seed : int
        Of the draw of task times.
    """
    rng = np.random.default_rng(seed)
    serial = {"start and end": run.outside.at(n_waveforms)}
    shared: dict[str, float] = {}
    rest: dict[str, float] = {}
    reading = 0.0
    n_cold = n_workers if n_workers <= MAX_SPAWNED else 0
    for stage in run.stages:
        size = _n_samples(run, n_waveforms) if stage.by_samples else n_waveforms
        serial[f"{stage.name}, in the driver alone"] = stage.alone(size, n_workers)
        for phase in stage.phases:
            for load in phase.loads(n_waveforms, rng, run.begin, n_cold):
                outcome = _run_phase(load, n_workers, run.overheads)
                ideal = float(load.tasks.sum()) / max(n_workers, 1)
                shared[phase.name] = shared.get(phase.name, 0.0) + ideal
                rest[phase.name] = rest.get(phase.name, 0.0) + outcome.seconds - ideal
                n_cold = 0
            if phase.name == "incoherent":
                seconds = shared[phase.name] + rest[phase.name]
                reading = run.waveform_bytes * n_waveforms / seconds
    seconds = sum(map(math.fsum, (serial.values(), shared.values(), rest.values())))
    return Prediction(seconds, serial, shared, rest, reading)


def _run_phase(load: PhaseLoad, n_workers: int, overheads: Overheads) -> PhaseOutcome:
    if n_workers > 0:
        return simulate_phase(load, n_workers, overheads)
    seconds = load.load + float(load.tasks.sum() + load.reductions.sum())
    return PhaseOutcome(seconds, seconds, seconds, len(load.tasks))


def _n_samples(run: RunParameters, n_waveforms: int) -> float:
    return min(run.samples * n_waveforms, SIZE_LIMIT)


def prediction_table(run: RunParameters, sizes: Sequence[int]) -> Table:
    """Return wall time and efficiency for every number of workers."""
    table = Table(
        "predicted runs",
        "Efficiency: time of the serial executor over workers times time. Reading: what "
        "the workers must get from the bank's files together while they read all of it. "
        f"Up to {MAX_SPAWNED} workers are started by the run; more are there beforehand. "
        "Survivors and accepted pairs grow in proportion to the bank (the same region, "
        f"more densely), written samples up to {SIZE_LIMIT:.0e}.",
    )
    for size in sizes:
        alone = predict(run, size, 0).seconds
        table.add(waveforms=size, workers="serial", seconds=alone, efficiency=1.0)
        for n in WORKERS:
            found = predict(run, size, n)
            table.add(
                waveforms=size,
                workers=n,
                seconds=found.seconds,
                efficiency=alone / (n * found.seconds),
                likelihood_phases_s=sum(
                    found.shared[name] + found.rest[name]
                    for name in ("incoherent", "coherent")
                    if name in found.shared
                ),
                reading_GB_per_s=found.reading / 1e9,
                published_s=PUBLISHED_SECONDS.get((size, n)),
            )
    return table


def limits_table(run: RunParameters, cases: Sequence[tuple[int, int]]) -> Table:
    """Return the terms of Amdahl's law, largest first, for (waveforms, workers)."""
    table = Table(
        "what limits",
        "Seconds of each part of a run; 'in the driver alone' does not shrink with the "
        "number of workers.",
    )
    for size, n in cases:
        found = predict(run, size, n)
        for name, seconds in found.terms().items():
            if seconds > 0.005 * found.seconds:
                table.add(
                    waveforms=size,
                    workers=n,
                    part=name,
                    seconds=seconds,
                    share=f"{seconds / found.seconds:.0%}",
                )
    return table


def read_parameters(path: Path) -> RunParameters:
    """Return the parameters in a file."""
    return RunParameters.from_dict(json.loads(path.read_text(encoding="utf-8")))


def show_predictions(run: RunParameters, report: Report) -> None:
    """Print all predictions."""
    report.show(prediction_table(run, SIZES))
    report.show(limits_table(run, [(size, 32) for size in SIZES]))


def main() -> None:
    """Predict with stored parameters."""
    arguments_parser: argparse.ArgumentParser = parser(__doc__, repeats=1)
    arguments_parser.add_argument("parameters", type=Path)
    arguments = arguments_parser.parse_args()
    report = Report(arguments)
    show_predictions(read_parameters(arguments.parameters), report)
    report.write()


if __name__ == "__main__":
    main()
