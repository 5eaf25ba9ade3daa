"""Several small banks against one of their total size.

    python bench/run.py banks [--banks 10] [--workers 2] [--repeats 3]

Both are made of the same blocks of the standard bank, through links. The banks of a run
form one stream of tasks per phase, so that no worker waits while a small bank ends: both
should take the same time. Pairs of fresh processes, with reference waveform and extrinsic
samples given, so that what remains are the phases that read the banks.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from big_bank import make_big_bank
from endtoend import STAGES, given_inputs, measure_run, warm_page_cache
from measure import Report, Spread, Table, paired_ratios, parser
from w16k import cache_folder, make_bank

from dotpe_exec.banks.format import open_bank
from dotpe_exec.machine import usable_cores


def make_banks(n_banks: int, folder: Path) -> tuple[dict[str, str], str]:
    """Return small banks of one block each, and one bank of all their waveforms."""
    standard = make_bank()
    blocksize = open_bank(standard).config.blocksize
    small = {
        f"bank_{k}": str(
            make_big_bank(standard, folder / f"small_{k}", blocksize, first_block=k)
        )
        for k in range(n_banks)
    }
    return small, str(make_big_bank(standard, folder / "large", n_banks * blocksize))


def banks_table(n_banks: int, n_workers: int, repeats: int, folder: Path) -> Table:
    """Measure pairs of runs; return small banks over one large one."""
    warm_page_cache(make_bank())
    given = given_inputs(folder, n_workers)
    cases: tuple[Any, Any] = make_banks(n_banks, folder)
    seconds: list[dict[str, list[float]]] = [{}, {}]
    for repeat in range(repeats):
        for kind, banks in enumerate(cases):
            rundir = folder / f"run_{kind}_{repeat}"
            fresh, figures = measure_run(banks, rundir, n_workers, **given)
            found = {
                "whole run": fresh.seconds,
                "whole run, CPU": fresh.cpu_seconds,
                "likelihood phases and results": sum(
                    figures[stage] for stage in ("incoherent", "coherent", "results")
                ),
                **{stage: figures[stage] for stage in STAGES if figures[stage] > 0},
            }
            for name, value in found.items():
                seconds[kind].setdefault(name, []).append(value)
    n_waveforms = n_banks * open_bank(make_bank()).config.blocksize
    table = Table(
        "banks",
        f"Seconds of {n_banks} banks and of one of all their {n_waveforms} waveforms, "
        f"{n_workers} workers, reference and extrinsic samples given; medians (smallest to "
        f"largest) of {repeats} pairs of fresh processes.",
    )
    for name, small in seconds[0].items():
        large = seconds[1][name]
        table.add(
            what=name,
            small_banks=Spread.of(small),
            one_bank=Spread.of(large),
            ratio=paired_ratios(small, large),
        )
    return table


def main() -> None:
    """Run the command line."""
    arguments_parser = parser(__doc__, repeats=3)
    arguments_parser.add_argument("--banks", type=int, default=10)
    arguments_parser.add_argument("--workers", type=int, default=usable_cores())
    arguments = arguments_parser.parse_args()
    report = Report(arguments)
    with tempfile.TemporaryDirectory(dir=cache_folder(), prefix="banks-") as folder:
        report.show(
            banks_table(arguments.banks, arguments.workers, arguments.repeats, Path(folder))
        )
    report.write()


if __name__ == "__main__":
    main()
