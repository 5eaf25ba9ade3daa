"""What keeping the results of finished tasks costs a run.

    python bench/run.py checkpoint [--bank-size 16384] [--workers 2]

The standard run in this process, with and without checkpoint in turn, after one of each
that does not count: workers are warm, the bank's files are in the page cache. Measured in
two ways: the ratio of the paired wall-clock times, and the time that the parent spent in
the checkpoint over that of the run, which other load on the machine hardly changes.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from endtoend import warm_page_cache
from measure import Report, Spread, Table, paired_ratios, parser
from w16k import RUN, make_bank, make_event

from dotpe_exec import run_multicore
from dotpe_exec.rundir.checkpoint import Checkpoint
from dotpe_exec.rundir.directory import RunDirectory


class NoCheckpoint:
    """In place of a checkpoint: keeps nothing."""

    def __enter__(self) -> NoCheckpoint:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def load(self, phase: str, key: str) -> None:
        return None

    def save(self, phase: str, key: str, result: Any) -> None:
        pass

    def flush(self, phase: str | None = None) -> None:
        pass

    def remove(self) -> None:
        pass


@dataclass
class Kept:
    """What a run's checkpoint took and wrote."""

    seconds: float = 0.0
    n_bytes: int = 0


@contextlib.contextmanager
def watched(kept: Kept) -> Iterator[None]:
    """Note what the checkpoint of the run inside takes, at the moment of its removal."""
    remove = Checkpoint.remove

    def noting(self: Checkpoint) -> None:
        kept.n_bytes += sum(path.stat().st_size for path in self.folder.glob("*"))
        start = time.perf_counter()
        remove(self)
        kept.seconds += self.seconds + time.perf_counter() - start

    with mock.patch.object(Checkpoint, "remove", noting):
        yield


def seconds_of_run(bank: Path, rundir: Path, n_procs: int) -> float:
    """Run the standard event; return the wall-clock time."""
    start = time.perf_counter()
    run_multicore(
        make_event(),
        bank,
        rundir=rundir,
        executor="loky" if n_procs > 1 else "serial",
        n_procs=n_procs,
        progress=False,
        **RUN,
    )
    return time.perf_counter() - start


def checkpoint_table(bank: Path, workers: list[int], repeats: int, folder: Path) -> Table:
    """Return the table: a row for each number of workers."""
    table = Table(
        "checkpoint",
        f"Medians (smallest to largest) of {repeats} pairs of runs with warm workers. "
        "Ratio: wall-clock time with over without checkpoint. Share: time in the "
        "checkpoint (encoding, writing, syncing, removing) over that of the run.",
    )
    for n_procs in workers:
        kept: list[Kept] = []
        on: list[float] = []
        off: list[float] = []
        for pair in range(repeats + 1):
            here = Kept()
            with watched(here):
                with_s = seconds_of_run(bank, folder / f"{n_procs}_{pair}_on", n_procs)
            with mock.patch.object(RunDirectory, "checkpoint", lambda _: NoCheckpoint()):
                without_s = seconds_of_run(bank, folder / f"{n_procs}_{pair}_off", n_procs)
            if pair:  # the first of all warms up
                on.append(with_s)
                off.append(without_s)
                kept.append(here)
        shares = [100 * k.seconds / s for k, s in zip(kept, on, strict=True)]
        table.add(
            workers=n_procs,
            with_s=Spread.of(on),
            without_s=Spread.of(off),
            ratio=paired_ratios(on, off),
            in_checkpoint_s=Spread.of([k.seconds for k in kept]),
            share_percent=Spread.of(shares),
            written_MB=Spread.of([k.n_bytes / 1e6 for k in kept]),
        )
    return table


def main() -> None:
    """Run the command line."""
    arguments = parser(__doc__, repeats=5)
    arguments.add_argument("--bank-size", type=int, default=16384)
    arguments.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    options = arguments.parse_args()
    report = Report(options)
    bank = make_bank(options.bank_size)
    warm_page_cache(bank)
    with tempfile.TemporaryDirectory(prefix="dotpe-exec-bench-") as folder:
        report.show(checkpoint_table(bank, options.workers, options.repeats, Path(folder)))
    report.write()


if __name__ == "__main__":
    main()
