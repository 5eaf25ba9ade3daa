"""Whole runs, cold start to finished files: time, memory, disk, effective samples.

    python bench/run.py endtoend [--cases small w16k] [--workers 2]
    python bench/run.py growth   [--sizes 4096 8192 ... 131072]

Every run is a fresh process (:mod:`fresh`), measured from outside. ``small`` is the
standard event with 1024 waveforms, ``w16k`` with its 16384 (``w16k.py``; built on first
use, in about a minute on two cores, and kept). The bank's files are read once before, so
that they come from the page cache. ``growth`` runs larger and larger banks (linked copies
of the standard one, see ``big_bank.py``) with reference waveform and extrinsic samples
given, and fits a line to the times.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from big_bank import make_big_bank
from fresh import FreshRun, run_fresh, tree_bytes
from measure import Report, Spread, Table, parser
from w16k import RUN, cache_folder, make_bank, make_event

from dotpe_exec.machine import usable_cores
from dotpe_exec.rundir.files import RunFiles

CASES = {"small": 1024, "w16k": 16384}
"""Number of waveforms."""

STAGES = ("reference", "incoherent", "extrinsic", "coherent", "results")

_TARGET = "dotpe_exec:run_multicore"


def warm_page_cache(bank: Path) -> None:
    """Read a bank's files once."""
    for path in sorted((bank / "waveforms").iterdir()):
        with path.open("rb", buffering=0) as stream:
            while stream.read(1 << 24):
                pass


def measure_run(
    bank: Path | dict[str, str], rundir: Path, n_procs: int, **kwargs: Any
) -> tuple[FreshRun, dict[str, float]]:
    """Run the standard event on a bank or several; return what it took and figures of it.

    Returns
    -------
    fresh : FreshRun
    figures : dict
        Seconds by stage, ``start-up and end`` (what of the process's time is outside the
        stages), ``run directory MB``, ``of it event MB``, ``n_effective`` and
        ``effective samples per CPU second``.
    """
    fresh = run_fresh(
        _TARGET,
        {
            "event": str(make_event()),
            "bank_folder": bank if isinstance(bank, dict) else str(bank),
            "rundir": str(rundir),
            "executor": "loky" if n_procs > 1 else "serial",
            "n_procs": n_procs,
            "progress": False,
            **RUN,
            **kwargs,
        },
    )
    files = RunFiles(rundir)
    stages = json.loads(files.report.read_text())["stages"]
    n_effective = json.loads(files.summary.read_text())["n_effective"]
    figures = {name: stages.get(name, 0.0) for name in STAGES}
    figures["start-up and end"] = fresh.seconds - sum(figures.values())
    figures["run directory MB"] = tree_bytes(rundir) / 1e6
    figures["of it event MB"] = tree_bytes(rundir, "w16k.npz") / 1e6
    figures["n_effective"] = n_effective
    figures["effective samples per CPU second"] = n_effective / fresh.cpu_seconds
    return fresh, figures


def case_tables(
    cases: Sequence[str], workers: Sequence[int], repeats: int, folder: Path
) -> tuple[Table, Table]:
    """Return the tables of times by stage and of everything else."""
    keys = [(case, n) for case in cases for n in workers]
    runs: dict[tuple[str, int], list[tuple[FreshRun, dict[str, float]]]] = {
        key: [] for key in keys
    }
    banks = {case: make_bank(CASES[case]) for case in cases}
    for bank in banks.values():
        warm_page_cache(bank)
    for repeat in range(repeats):
        for case, n in keys:
            rundir = folder / f"{case}_{n}_{repeat}"
            runs[case, n].append(measure_run(banks[case], rundir, n))
    how = f"medians (smallest to largest) of {repeats} fresh processes, in turn"
    times = Table("time per stage", f"Seconds, cold start to finished files; {how}.")
    rest = Table(
        "memory, disk, yield",
        f"Private memory is anonymous and shared memory; USS also counts mapped pages of "
        f"the bank that one process alone maps. {how.capitalize()}.",
    )
    for (case, n), measured in runs.items():

        def spread(name: str, measured: Any = measured) -> Spread:
            return Spread.of([figures[name] for _, figures in measured])

        def sizes(name: str, measured: Any = measured) -> Spread:
            return Spread.of([getattr(fresh, name) for fresh, _ in measured], 1e-9)

        times.add(
            case=case,
            workers=n,
            total=Spread.of([fresh.seconds for fresh, _ in measured]),
            **{name: spread(name) for name in (*STAGES, "start-up and end")},
            CPU=Spread.of([fresh.cpu_seconds for fresh, _ in measured]),
        )
        rest.add(
            case=case,
            workers=n,
            peak_private_GB=sizes("peak_bytes"),
            of_the_parent_GB=sizes("peak_parent_bytes"),
            peak_USS_GB=sizes("peak_uss_bytes"),
            **{
                name: spread(name)
                for name in (
                    "run directory MB",
                    "of it event MB",
                    "n_effective",
                    "effective samples per CPU second",
                )
            },
        )
    return times, rest


def bank_of_size(size: int, folder: Path) -> Path:
    """Return a bank with at least so many waveforms: the standard one, or made here.

    Above the standard one's 16384 waveforms its blocks are repeated through links.
    """
    standard = make_bank()
    if size <= CASES["w16k"]:
        return standard
    return make_big_bank(standard, folder / f"bank_{size}", size)


def given_inputs(folder: Path, n_procs: int) -> dict[str, str]:
    """Return arguments of runs that take reference and extrinsic samples from a first."""
    first = folder / "first"
    measure_run(make_bank(), first, n_procs)
    posterior = json.loads(RunFiles(first).posterior.read_text())
    par_dic_0 = folder / "par_dic_0.json"
    par_dic_0.write_text(
        json.dumps(posterior["init_kwargs"]["likelihood"]["init_kwargs"]["par_dic_0"])
    )
    return {
        "extrinsic_samples": str(RunFiles(first).extrinsic_samples),
        "par_dic_0": str(par_dic_0),
    }


def line_fit(sizes: Sequence[int], seconds: Sequence[float]) -> tuple[float, float, float]:
    """Fit seconds = start + slope * size, relative deviations weighted equally.

    Returns
    -------
    start, slope, worst : float
        ``worst`` is the largest deviation of a measurement relative to the fit.
    """
    x, y = np.asarray(sizes, float), np.asarray(seconds, float)
    slope, start = np.polyfit(x, y, 1, w=1 / y)
    fit = start + slope * x
    return float(start), float(slope), float(np.abs(y / fit - 1).max())


def growth_table(sizes: Sequence[int], n_procs: int, repeats: int, folder: Path) -> Table:
    """Return time and memory against the size of the bank, with a line fitted."""
    standard = make_bank()
    warm_page_cache(standard)
    given = given_inputs(folder, n_procs)
    banks = {size: bank_of_size(size, folder) for size in sizes}
    measured: dict[int, list[FreshRun]] = {size: [] for size in sizes}
    for repeat in range(repeats):
        for size, bank in banks.items():
            rundir = folder / f"growth_{size}_{repeat}"
            fresh, _ = measure_run(bank, rundir, n_procs, n_int=size, **given)
            measured[size].append(fresh)
    totals = {
        size: Spread.of([run.seconds for run in runs]) for size, runs in measured.items()
    }
    start, slope, worst = line_fit(list(totals), [s.median for s in totals.values()])
    table = Table(
        "growth",
        f"{n_procs} workers, reference and extrinsic samples given, blocks of the standard "
        f"bank repeated above {CASES['w16k']} waveforms. Fit: {start:.2f} s + "
        f"{slope * 1e6:.1f} s per million waveforms, largest deviation {worst:.0%}.",
    )
    for size, runs in measured.items():
        table.add(
            waveforms=size,
            seconds=totals[size],
            fit=start + slope * size,
            peak_private_GB=Spread.of([run.peak_bytes for run in runs], 1e-9),
        )
    return table


def main() -> None:
    """Run the command line."""
    arguments_parser: argparse.ArgumentParser = parser(__doc__, repeats=3)
    arguments_parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    arguments_parser.add_argument(
        "--workers", type=int, nargs="+", default=sorted({1, usable_cores()})
    )
    arguments_parser.add_argument(
        "--growth", action="store_true", help="time against the size of the bank instead"
    )
    arguments_parser.add_argument(
        "--sizes", type=int, nargs="+", default=[2**k for k in range(12, 18)]
    )
    arguments = arguments_parser.parse_args()
    report = Report(arguments)
    with tempfile.TemporaryDirectory(dir=cache_folder(), prefix="runs-") as folder:
        if arguments.growth:
            n_procs, repeats = max(arguments.workers), arguments.repeats
            report.show(growth_table(arguments.sizes, n_procs, repeats, Path(folder)))
        else:
            for table in case_tables(
                arguments.cases, arguments.workers, arguments.repeats, Path(folder)
            ):
                report.show(table)
    report.write()


if __name__ == "__main__":
    main()
