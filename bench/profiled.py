"""What profiling a run costs: whole runs with and without, in alternation.

    python bench/run.py profile [--case small] [--repeats 5]

Every run is a fresh process (:mod:`fresh`) from cold start to finished files. The ratios
are of CPU seconds of all processes, which other work on the machine hardly touches, and of
wall clocks.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from endtoend import CASES, measure_run, warm_page_cache
from measure import Report, Spread, Table, paired_ratios, parser
from w16k import cache_folder, make_bank

from dotpe_exec.machine import usable_cores


def overhead_table(case: str, n_procs: int, repeats: int, folder: Path) -> Table:
    """Return the table of ratios, with over without."""
    bank = make_bank(CASES[case])
    warm_page_cache(bank)
    measure_run(bank, folder / "first", n_procs)  # fills the caches of compiled code
    pairs = [
        [
            measure_run(bank, folder / f"{repeat}_{profile}", n_procs, profile=profile)[0]
            for profile in (True, False)
        ]
        for repeat in range(repeats)
    ]

    def ratios(name: str) -> Spread:
        with_it, without = zip(*pairs, strict=True)
        return paired_ratios(
            [getattr(run, name) for run in with_it], [getattr(run, name) for run in without]
        )

    table = Table(
        "profile", f"{n_procs} workers; profiled over not, pair by pair, {repeats} pairs."
    )
    table.add(
        case=case,
        CPU_ratio=ratios("cpu_seconds"),
        wall_ratio=ratios("seconds"),
        seconds_without=Spread.of([without.seconds for _, without in pairs]),
    )
    return table


def main() -> None:
    """Run the command line."""
    arguments_parser: argparse.ArgumentParser = parser(__doc__, repeats=5)
    arguments_parser.add_argument("--case", choices=CASES, default="w16k")
    arguments_parser.add_argument("--workers", type=int, default=usable_cores())
    arguments = arguments_parser.parse_args()
    report = Report(arguments)
    with tempfile.TemporaryDirectory(dir=cache_folder(), prefix="runs-") as folder:
        report.show(
            overhead_table(
                arguments.case, arguments.workers, arguments.repeats, Path(folder)
            )
        )
    report.write()


if __name__ == "__main__":
    main()
