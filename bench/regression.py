"""Fail when a ratio of the benchmarks has become more than 20% worse than the release's.

    python bench/regression.py                     # against the newest release's tag
    python bench/regression.py --release REVISION  # against another revision

Compares the kernels' speed relative to their dense references, and relative to a matrix
product, with those of the last release, whose code is taken from this repository's history
and measured here, on the same processor, by its own copy of this script (``--update``
writes what such a comparison reads). These are medians of CPU-time ratios within one run on
one thread, so they move little with what others do on the machine. A kernel has become
slower where all its figures are worse: each is a ratio to another yardstick, and where one
alone has moved, its yardstick has. What seems lost is measured again: only what stays lost
counts.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from measure import Report, Table, machine_rates, parser, provenance
from micro import measure_all

from dotpe_exec.executors.threads import OneThread
from dotpe_exec.machine import cpu_model

HERE = Path(__file__).resolve().parent
FIRST_RELEASE = "c78f64d"
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

    Figures are named ``kernel: yardstick``; those of a kernel count together.

    Raises
    ------
    ValueError
        Figures of the baseline are missing. What is new has nothing to be compared with.
    """
    if missing := set(baseline) - set(ratios):
        raise ValueError(f"no longer measured: {', '.join(sorted(missing))}")
    kept = {
        kernel_of(name)
        for name in baseline
        if ratios[name] >= (1 - largest_loss) * baseline[name]
    }
    return [name for name in baseline if kernel_of(name) not in kept]


def kernel_of(name: str) -> str:
    """Return the kernel that a figure is of."""
    return name.partition(":")[0]


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


def release_revision() -> str:
    """Return what to compare with: the newest release of this history, by its tag.

    Before the first tag it is ``FIRST_RELEASE``.
    """
    found = _git("describe", "--tags", "--match", "v[0-9]*", "--abbrev=0", "HEAD")
    return found.stdout.decode().strip() if found.returncode == 0 else FIRST_RELEASE


def measure_release(revision: str, sizes: Sequence[str]) -> dict[str, Any]:
    """Measure an earlier revision of this repository, with its own benchmark.

    Raises
    ------
    SystemExit
        The history does not reach back to it (a shallow clone, or no clone).
    subprocess.CalledProcessError
        It has no such benchmark, or it failed.
    """
    archive = _git("archive", "--format=tar", revision)
    if archive.returncode != 0:
        raise SystemExit(
            f"{revision} cannot be compared with: {archive.stderr.decode().strip()} (a "
            "clone with its whole history is needed)"
        )
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as content:
            content.extractall(folder, filter="data")
        baseline = Path(folder, "baseline.json")
        script = Path(folder, "bench", Path(__file__).name)
        subprocess.run(
            [sys.executable, script, "--update", "--baseline", baseline, *sizes],
            env=os.environ | {"PYTHONPATH": folder},
            check=True,
        )
        return dict(json.loads(baseline.read_text()))


def _git(*words: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", "-C", str(HERE.parent), *words], capture_output=True)


def regression_table(
    ratios: Mapping[str, float],
    stored: Mapping[str, Any],
    worse: Sequence[str],
    revision: str,
) -> Table:
    """Return all figures beside the baseline's."""
    table = Table(
        "regression",
        f"Against {revision}, measured on this {cpu_model()}; at most "
        f"{LARGEST_LOSS:.0%} may be lost.",
    )
    for name, before in stored["ratios"].items():
        value = ratios[name]
        table.add(
            figure=name,
            now=value,
            baseline=before,
            change=f"{value / before - 1:+.0%}",
            verdict="lost" if name in worse else "",
        )
    return table


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    arguments_parser = parser(__doc__, repeats=5)
    arguments_parser.add_argument("--release", help="revision; default: the newest tag")
    arguments_parser.add_argument("--update", action="store_true")
    arguments_parser.add_argument("--baseline", type=Path, help="what --update writes")
    arguments_parser.add_argument("--waveforms", type=int, default=256)
    arguments_parser.add_argument("--samples", type=int, default=50_000)
    arguments = arguments_parser.parse_args(words)

    def measure() -> dict[str, float]:
        return measure_ratios(arguments.waveforms, arguments.samples, arguments.repeats)

    if arguments.update:
        if arguments.baseline is None:
            arguments_parser.error("--update needs --baseline FILE")
        made = provenance()
        content = {
            "version": made["versions"]["dotpe-exec"],
            "commit": made["commit"] or "",
            "cpu": cpu_model(),
            "ratios": measure(),
        }
        arguments.baseline.write_text(json.dumps(content, indent=2) + "\n")
        return 0
    sizes = [
        f"--{name}={getattr(arguments, name)}"
        for name in ("waveforms", "samples", "repeats")
    ]
    revision = arguments.release or release_revision()
    stored = measure_release(revision, sizes)
    report = Report(arguments)
    ratios = best_of_attempts(measure, stored["ratios"], LARGEST_LOSS, ATTEMPTS)
    worse = lost(ratios, stored["ratios"], LARGEST_LOSS)
    report.show(regression_table(ratios, stored, worse, revision))
    report.write()
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
