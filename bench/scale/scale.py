"""How a run scales: measured, modelled, checked, and predicted for machines not at hand.

    python bench/run.py scale [--workers 1 2] [--sizes 16384 131072] [--save FILE]

Runs of the standard event on banks of several sizes (fresh processes, in turn) with the
serial executor and with loky workers. The model (:mod:`scale_model`) takes its parameters
from those with one worker, and from the largest with more what part of the results stage
the driver gave to threads; what it says of the others, measured seconds beside, is the
check. Then: predictions for 1 to 1024 workers and banks of 2^20 and 2^24 waveforms, and
what limits them. ``--save`` keeps the parameters for ``bench/run.py scale-model``.

Needs a quiet machine for the check, and about six minutes on two cores.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from calibration import RunMeasured, calibrate, read_run, threaded_part
from endtoend import bank_of_size, measure_run, warm_page_cache
from executors import N_TASKS, cold, nothing, seconds
from fresh import FreshRun
from measure import Report, Spread, Table, parser
from scale_model import RunParameters, predict, show_predictions
from simulation import Overheads
from w16k import cache_folder, make_bank

from dotpe_exec.banks.format import open_bank
from dotpe_exec.machine import usable_cores

LARGEST_DEVIATION = 0.15
"""Between a measured time and the model's."""

_ROUND_TRIPS = 50
_SPAWNED = 4


@dataclass(frozen=True)
class Measured:
    """Repeated runs of one case.

    Parameters
    ----------
    n_waveforms, n_workers : int
        0 workers is the serial executor.
    runs : tuple of FreshRun
    """

    n_waveforms: int
    n_workers: int
    runs: tuple[FreshRun, ...]

    @property
    def total(self) -> Spread:
        """Seconds from the start of the process to its end."""
        return Spread.of([run.seconds for run in self.runs])


def measure_overheads(folder: str) -> Overheads:
    """Measure what messages and workers cost the driving process, with loky."""
    starts = {}
    for n_workers in (1, 1, _SPAWNED):  # the first also imports loky
        with cold("loky", n_workers, folder) as runner:
            began = time.process_time()
            seconds(runner, nothing, [0])
            starts[n_workers] = time.process_time() - began
    with cold("loky", 1, folder) as runner:
        seconds(runner, nothing, [0])
        trips = [seconds(runner, nothing, [0]) for _ in range(_ROUND_TRIPS)]
        began = time.process_time()
        seconds(runner, nothing, [0] * N_TASKS)
        task = (time.process_time() - began) / N_TASKS
        began = time.process_time()
        seconds(runner, nothing, [0] * N_TASKS, tasks_per_message=1)
        message = (time.process_time() - began) / N_TASKS - task
    return Overheads(
        message=max(message, 0.0),
        task=task,
        latency=max(min(trips) - message - task, 0.0) / 2,
        spawn=max(starts[_SPAWNED] - starts[1], 0.0) / (_SPAWNED - 1),
    )


def measure_cases(
    sizes: Sequence[int],
    workers: Sequence[int],
    repeats: int,
    overheads: Overheads,
    folder: Path,
) -> tuple[list[Measured], list[RunMeasured], float]:
    """Run all cases in turn.

    Returns
    -------
    measured : list of Measured
    apart : list of RunMeasured
        Runs with one worker, taken apart.
    threaded : float
        Part of the results stage that the driver shares among threads.
    """
    warm_page_cache(make_bank())
    banks = {size: bank_of_size(size, folder) for size in sizes}
    counts = [0, *sorted({1, *workers})]
    runs: dict[tuple[int, int], list[FreshRun]] = {
        (size, n): [] for size in sizes for n in counts
    }
    apart, threaded = [], []
    for repeat in range(repeats):
        for (size, n), done in runs.items():
            rundir = folder / f"run_{size}_{n}_{repeat}"
            fresh, _ = measure_run(
                banks[size],
                rundir,
                max(n, 1),
                executor="loky" if n else "serial",
                n_int=size,
            )
            done.append(fresh)
            if n == 1:
                own, cpu = fresh.own_cpu_seconds, fresh.cpu_seconds
                apart.append(read_run(rundir, size, fresh.seconds, own, cpu, overheads))
            elif n > 1 and size == max(sizes):
                threaded.append(threaded_part(rundir))
    measured = [Measured(size, n, tuple(done)) for (size, n), done in runs.items()]
    return measured, apart, statistics.median(threaded) if threaded else 0.0


def check_table(run: RunParameters, measured: Sequence[Measured]) -> Table:
    """Return measured times beside the model's."""
    table = Table(
        "check",
        "Seconds from the start of the process to its end, measured and by the model, "
        "which knows the runs with one worker; at most "
        f"{LARGEST_DEVIATION:.0%} between them on a quiet machine.",
    )
    for case in measured:
        predicted = predict(run, case.n_waveforms, case.n_workers).seconds
        deviation = predicted / case.total.median - 1
        table.add(
            waveforms=case.n_waveforms,
            workers=case.n_workers or "serial",
            measured_s=case.total,
            CPU_s=statistics.median(fresh.cpu_seconds for fresh in case.runs),
            predicted_s=predicted,
            deviation=f"{deviation:+.0%}",
            verdict="" if abs(deviation) <= LARGEST_DEVIATION else "off",
        )
    return table


def main() -> None:
    """Run the command line."""
    arguments_parser = parser(__doc__, repeats=1)
    arguments_parser.add_argument(
        "--workers", type=int, nargs="+", default=sorted({1, min(2, usable_cores())})
    )
    arguments_parser.add_argument("--sizes", type=int, nargs="+", default=[2**14, 2**17])
    arguments_parser.add_argument("--save", type=Path, help="write the parameters here")
    arguments = arguments_parser.parse_args()
    report = Report(arguments)
    with tempfile.TemporaryDirectory(dir=cache_folder(), prefix="scale-") as name:
        overheads = measure_overheads(name)
        measured, apart, threaded = measure_cases(
            arguments.sizes, arguments.workers, arguments.repeats, overheads, Path(name)
        )
        handle = open_bank(make_bank()).handle
        waveform_bytes = 2 * 8 * 2 * handle.n_m * handle.n_b
        run = calibrate(apart, overheads, waveform_bytes, threaded=threaded)
        if arguments.save:
            arguments.save.write_text(json.dumps(run.to_dict(), indent=1) + "\n")
        report.show(check_table(run, measured))
        show_predictions(run, report)
    report.write()


if __name__ == "__main__":
    main()
