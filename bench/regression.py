"""Fail when a ratio of the benchmarks has become more than 20% worse.

    python bench/regression.py                      # against baseline.json
    python bench/regression.py --release CHECKOUT   # against a release, measured here
    python bench/regression.py --update             # at a release: a new baseline

Compares the kernels' speed relative to their dense references, and relative to a matrix
product, with the last release's in ``baseline.json``. These are medians of CPU-time ratios
within one run on one thread, so they move little from day to day and with what others do
on the machine. Between kinds of processor they do differ: the baseline names its own, and
a comparison on another one only prints; ``--release`` measures the release on the
processor at hand. A figure that seems lost is measured again: only what stays lost counts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from measure import Report, Table, machine_rates, parser, provenance
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


def measure_release(checkout: Path, sizes: Sequence[str]) -> dict[str, Any]:
    """Measure the code in another folder, with its own benchmarks; return its baseline.

    Raises
    ------
    subprocess.CalledProcessError
        It has no such benchmark, or it failed.
    """
    script = checkout.resolve() / "bench" / Path(__file__).name
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "baseline.json")
        subprocess.run(
            [sys.executable, script, "--update", "--baseline", path, *sizes],
            env=os.environ | {"PYTHONPATH": str(checkout.resolve())},
            check=True,
        )
        return dict(json.loads(path.read_text()))


def regression_table(
    ratios: Mapping[str, float], stored: Mapping[str, Any], worse: Sequence[str]
) -> Table:
    """Return all figures beside the baseline's."""
    origin = f"{stored['version']} ({stored['commit'][:9]}) on {stored['cpu']}"
    table = Table(
        "regression",
        f"Baseline: {origin}; at most {LARGEST_LOSS:.0%} may be lost."
        + ("" if is_comparable(stored) else f" This is {cpu_model()}: nothing fails."),
    )
    for name, value in ratios.items():
        before = stored["ratios"][name]
        table.add(
            figure=name,
            now=value,
            baseline=before,
            change=f"{value / before - 1:+.0%}",
            verdict="lost" if name in worse else "",
        )
    return table


def is_comparable(stored: Mapping[str, Any]) -> bool:
    """Return whether a baseline is from this kind of processor."""
    return bool(stored["cpu"] == cpu_model())


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    arguments_parser = parser(__doc__, repeats=5)
    arguments_parser.add_argument("--baseline", type=Path, default=BASELINE)
    arguments_parser.add_argument("--release", type=Path, help="checkout to compare with")
    arguments_parser.add_argument("--update", action="store_true")
    arguments_parser.add_argument("--waveforms", type=int, default=256)
    arguments_parser.add_argument("--samples", type=int, default=50_000)
    arguments = arguments_parser.parse_args(words)

    def measure() -> dict[str, float]:
        return measure_ratios(arguments.waveforms, arguments.samples, arguments.repeats)

    if arguments.update:
        made = provenance()
        content = {
            "version": made["versions"]["dotpe-exec"],
            "commit": made["commit"] or "",
            "cpu": cpu_model(),
            "ratios": measure(),
        }
        arguments.baseline.write_text(json.dumps(content, indent=2) + "\n")
        return 0
    if arguments.release is None:
        stored = json.loads(arguments.baseline.read_text())
    else:
        sizes = [
            f"--{name}={getattr(arguments, name)}"
            for name in ("waveforms", "samples", "repeats")
        ]
        stored = measure_release(arguments.release, sizes)
    report = Report(arguments)
    ratios = best_of_attempts(measure, stored["ratios"], LARGEST_LOSS, ATTEMPTS)
    worse = lost(ratios, stored["ratios"], LARGEST_LOSS)
    report.show(regression_table(ratios, stored, worse))
    report.write()
    return 1 if worse and is_comparable(stored) else 0


if __name__ == "__main__":
    sys.exit(main())
