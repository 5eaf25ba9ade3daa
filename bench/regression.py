"""Fail when a ratio of the benchmarks has become more than 20% worse.

    python bench/regression.py [--update]

Compares the kernels' speed relative to their dense references, and relative to a matrix
product, with ``baseline.json``. Both are ratios within one run on one thread, so they
move little from day to day; between kinds of processor they do differ, therefore the
baseline names its own, and a comparison on another one only warns. A figure that seems
lost is measured again: only what stays lost counts. ``--update`` writes a new baseline.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from measure import Report, Table, machine_rates, parser
from micro import measure_all

from dotpe_exec.executors.threads import OneThread
from dotpe_exec.machine import cpu_model

BASELINE = Path(__file__).with_name("baseline.json")
LARGEST_LOSS = 0.2
ATTEMPTS = 3


def measure_ratios(n_waveforms: int, n_samples: int, repeats: int) -> dict[str, float]:
    """Return all figures, larger is better, by name."""
    with OneThread():
        rates = machine_rates(repeats)
        figures, _ = measure_all(n_waveforms, n_samples, repeats)
    ratios = {}
    for one in figures:
        ratios[f"{one.kernel}: dense / fast"] = one.ratios.median
        ratios[f"{one.kernel}: of GEMM"] = one.of_gemm(rates)
    return ratios


def lost(
    ratios: Mapping[str, float], baseline: Mapping[str, float], largest_loss: float
) -> list[str]:
    """Return the names of figures below the baseline by more than a fraction.

    Raises
    ------
    ValueError
        The two do not name the same figures.
    """
    if set(ratios) != set(baseline):
        names = ", ".join(sorted(set(ratios) ^ set(baseline)))
        raise ValueError(
            f"figures and baseline do not agree on: {names}; write a new baseline"
        )
    return [name for name in baseline if ratios[name] < (1 - largest_loss) * baseline[name]]


def best_of_attempts(
    measure: Callable[[], dict[str, float]],
    baseline: Mapping[str, float],
    largest_loss: float,
    attempts: int,
) -> dict[str, float]:
    """Measure until nothing is lost, at most so often; return the best of each figure."""
    best = measure()
    for _ in range(attempts - 1):
        if not lost(best, baseline, largest_loss):
            break
        again = measure()
        best = {name: max(value, again[name]) for name, value in best.items()}
    return best


def main() -> int:
    """Run the command line; return the exit status."""
    arguments_parser = parser(__doc__, repeats=5)
    arguments_parser.add_argument("--baseline", type=Path, default=BASELINE)
    arguments_parser.add_argument("--update", action="store_true")
    arguments_parser.add_argument("--waveforms", type=int, default=256)
    arguments_parser.add_argument("--samples", type=int, default=50_000)
    arguments = arguments_parser.parse_args()

    def measure() -> dict[str, float]:
        return measure_ratios(arguments.waveforms, arguments.samples, arguments.repeats)

    if arguments.update:
        content = {"cpu": cpu_model(), "ratios": measure()}
        arguments.baseline.write_text(json.dumps(content, indent=2) + "\n")
        return 0
    stored = json.loads(arguments.baseline.read_text())
    baseline = stored["ratios"]
    report = Report(arguments)
    ratios = best_of_attempts(measure, baseline, LARGEST_LOSS, ATTEMPTS)
    worse = lost(ratios, baseline, LARGEST_LOSS)
    same_cpu = stored["cpu"] == cpu_model()
    table = Table(
        "regression",
        f"Baseline from {stored['cpu']}; at most {LARGEST_LOSS:.0%} may be lost."
        + ("" if same_cpu else f" This is {cpu_model()}: nothing fails."),
    )
    for name, value in ratios.items():
        table.add(
            figure=name,
            now=value,
            baseline=baseline[name],
            change=f"{value / baseline[name] - 1:+.0%}",
            verdict="lost" if name in worse else "",
        )
    report.show(table)
    report.write()
    return 1 if worse and same_cpu else 0


if __name__ == "__main__":
    sys.exit(main())
