"""Default and tuned configuration against an exhaustive grid.

    python bench/grid.py [--event FILE --bank FOLDER] [--procs 1 2] [--repeats 5]

The two likelihood phases of a real run (W16k unless an event is given): its reference
waveform, its survivors and its extrinsic samples, through the functions that
``run_multicore`` calls, on warm workers. Every cell of the grid, the default and the tuned
configuration are measured in turn, repeat after repeat, so that what else the machine does
hits all of them; the order changes from repeat to repeat. The best of many measurements is
partly luck: the fastest cells are measured again, with the default and the tuned
configuration, and the verdict compares medians of that second round, of both phases
together. Within 10% of the best is what is asked for.

Phases do not share a parameter but the number of processes, so that the best of the whole
grid is made of the best of each phase.
"""

from __future__ import annotations

import argparse
import itertools
import random
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from measure import Report, Spread, Table, paired_ratios, parser
from w16k import RUN, make_bank, make_event

from dotpe_exec.banks.format import open_banks
from dotpe_exec.config import MulticoreConfig, ResolvedConfig, resolve_config
from dotpe_exec.events import load_event
from dotpe_exec.executors.interface import Executor
from dotpe_exec.executors.phases import PhaseRunner
from dotpe_exec.executors.resolve import resolve_executor
from dotpe_exec.executors.store import ArrayStore
from dotpe_exec.inference import run_multicore
from dotpe_exec.loading import load_run
from dotpe_exec.machine import usable_cores
from dotpe_exec.monitor import Monitor
from dotpe_exec.stages.coherent import batch_size, coherent_sets
from dotpe_exec.stages.extrinsic import load_extrinsic_samples
from dotpe_exec.stages.incoherent import Candidates, incoherent_lnlikes
from dotpe_exec.stages.reference import find_reference
from dotpe_exec.stages.selection import select
from dotpe_exec.tuning.autotune import tune
from dotpe_exec.validation import load_par_dic

WITHIN = 0.9
"""Of the best's throughput: what default and tuned configuration have to reach."""


@dataclass
class Problem:
    """Both likelihood phases of a run that was done once.

    Parameters
    ----------
    event, bank : path
    arguments : dict
        Of the run: n_ext, n_phi, n_t, seed, mchirp_guess, par_dic_0, extrinsic_samples
        (None: drawn by a run that is done first).
    store : ArrayStore
    """

    event: Path
    bank: Path
    arguments: dict[str, Any]
    store: ArrayStore

    def __post_init__(self) -> None:
        banks = open_banks(self.bank)
        event = load_event(self.event)
        config = next(iter(banks.values())).config
        self._reference = find_reference(
            event,
            config,
            n_t=self.arguments["n_t"],
            mchirp_guess=self.arguments["mchirp_guess"],
            par_dic_0=self.arguments["par_dic_0"],
            banks=banks,
        )
        settings = self.arguments | {"par_dic_0": self._reference.par_dic_0}
        with tempfile.TemporaryDirectory() as folder:
            samples = settings["extrinsic_samples"]
            if samples is None:
                run = run_multicore(
                    self.event,
                    self.bank,
                    rundir=f"{folder}/run",
                    progress=False,
                    **settings,
                )
                samples = load_run(run).files.extrinsic_samples
            self._extrinsic = load_extrinsic_samples(
                samples,
                self.arguments["n_ext"],
                fbin=config.fbin,
                detector_names=event.detector_names,
                tcoarse=event.tcoarse,
            )
        self._banks = {name: bank.handle for name, bank in banks.items()}
        self._candidates = {
            name: Candidates(bank.handle, range(bank.n_waveforms))
            for name, bank in banks.items()
        }
        _, lnlikes = self.incoherent(resolve_executor("serial"), resolve_config(n_procs=1))
        self._survivors = select(self._candidates, lnlikes, 20.0)

    @property
    def n_survivors(self) -> int:
        """Waveforms of the coherent phase."""
        return sum(len(some.inds) for some in self._survivors.values())

    def incoherent(self, executor: Executor, config: ResolvedConfig) -> tuple[float, Any]:
        """Run the incoherent phase; return its time [s] and its result."""
        with self._watched(executor) as (runner, monitor):
            lnlikes = incoherent_lnlikes(
                runner,
                self._candidates,
                self._reference.incoherent,
                n_phi=self.arguments["n_phi"],
                i_batch=config.i_batch,
                tasks_per_message=config.batches_per_task,
            )
        return monitor.report()["phases"]["incoherent"]["seconds"], lnlikes

    def coherent(self, executor: Executor, config: ResolvedConfig) -> tuple[float, Any]:
        """Run the coherent phase; return its time [s] and its result."""
        with self._watched(executor) as (runner, monitor):
            sets = coherent_sets(
                runner,
                self._banks,
                self._survivors,
                self._reference.summary,
                self._extrinsic.response_dpe,
                self._extrinsic.timeshift_dbe,
                n_phi=self.arguments["n_phi"],
                i_blocksize=batch_size(self._survivors, config.i_blocksize),
                e_blocksize=config.e_blocksize,
                max_bestfit_lnlike_diff=20.0,
                size_limit=10**7,
                seed=0,
                pairs_per_message=config.pairs_per_task,
                i_tile=config.i_tile,
                e_tile=config.e_tile,
            )
        return monitor.report()["phases"]["coherent"]["seconds"], sets

    @contextmanager
    def _watched(self, executor: Executor) -> Iterator[tuple[PhaseRunner, Monitor]]:
        with Monitor(progress=False, n_workers=executor.n_workers) as monitor:
            yield PhaseRunner(self.store, executor, monitor=monitor), monitor


@dataclass
class Cell:
    """One configuration of one phase.

    Parameters
    ----------
    phase : str
    config : ResolvedConfig
    label : str
        ``grid``, ``default`` or ``tuned``.
    """

    phase: str
    config: ResolvedConfig
    label: str = "grid"
    seconds: list[float] = field(default_factory=list)

    @property
    def row(self) -> dict[str, Any]:
        """The parameters that matter to the phase."""
        if self.phase == "incoherent":
            sizes = {
                "batch": self.config.i_batch,
                "per message": self.config.batches_per_task or "auto",
            }
        else:
            sizes = {
                "batch": f"{self.config.i_blocksize} x {self.config.e_blocksize}",
                "per message": self.config.pairs_per_task or "auto",
            }
        return {
            "phase": self.phase,
            "configuration": self.label,
            "processes": self.config.n_procs,
            **sizes,
        }


def grid_cells(arguments: argparse.Namespace) -> list[Cell]:
    """Return all cells of the grid."""
    cells = []
    for n in arguments.procs:
        for size, per_message in itertools.product(
            arguments.i_batch, arguments.per_message
        ):
            config = resolve_config(
                n_procs=n, i_batch=size, batches_per_task=per_message or None
            )
            cells.append(Cell("incoherent", config))
        for i_size, e_size, per_message in itertools.product(
            arguments.blocksize, arguments.e_blocksize, arguments.per_message
        ):
            config = resolve_config(
                n_procs=n,
                blocksize=i_size,
                e_blocksize=e_size,
                pairs_per_task=per_message or None,
            )
            cells.append(Cell("coherent", config))
    return cells


def measure(problem: Problem, cells: Sequence[Cell], repeats: int) -> None:
    """Measure all cells in turn, ``repeats`` times after one warm-up."""
    rng = random.Random(0)
    with ExitStack() as stack:
        executors: dict[int, Executor] = {}
        for n in sorted({cell.config.n_procs for cell in cells}):
            executors[n] = resolve_executor(None, n)
            stack.callback(executors[n].shutdown)
            for phase in (problem.incoherent, problem.coherent):
                phase(executors[n], resolve_config(n_procs=n))
        for _ in range(repeats):
            for cell in rng.sample(cells, len(cells)):
                run = getattr(problem, cell.phase)
                seconds, _ = run(executors[cell.config.n_procs], cell.config)
                cell.seconds.append(seconds)


def finalists(cells: Sequence[Cell]) -> list[Cell]:
    """Return what is measured again: the fastest of the grid, and all that has a name.

    The fastest by median, with the same number of processes in both phases.
    """
    pairs = []
    for n in {cell.config.n_procs for cell in cells}:
        pair = []
        for phase in ("incoherent", "coherent"):
            some = [
                cell
                for cell in cells
                if (cell.phase, cell.label) == (phase, "grid") and cell.config.n_procs == n
            ]
            pair += sorted(some, key=_median)[:1]
        if len(pair) == 2:
            pairs.append(pair)
    best = min(pairs, key=lambda pair: sum(map(_median, pair)))
    chosen = [Cell(cell.phase, cell.config, "best of the grid") for cell in best]
    named = [cell for cell in cells if cell.label != "grid"]
    return chosen + [Cell(cell.phase, cell.config, cell.label) for cell in named]


def _median(cell: Cell) -> float:
    return Spread.of(cell.seconds).median


def verdicts(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """Return one row for each of the finalists' labels."""

    def both_phases(label: str) -> list[float]:
        seconds = [cell.seconds for cell in cells if cell.label == label]
        return [sum(pair) for pair in zip(*seconds, strict=True)]

    best = both_phases("best of the grid")
    rows = []
    for label in dict.fromkeys(cell.label for cell in cells):
        seconds = both_phases(label)
        row = {"configuration": label, "seconds": Spread.of(seconds)}
        if label != "best of the grid":
            ratio = paired_ratios(best, seconds)
            row["throughput over the best's"] = ratio
            row["verdict"] = "within 10%" if ratio.median >= WITHIN else "NOT within 10%"
        rows.append(row)
    return rows


def main() -> None:
    """Run the command line."""
    arguments_parser = parser(__doc__, repeats=5)
    add = arguments_parser.add_argument
    add("--event", type=Path, help="default: W16k")
    add("--bank", type=Path, help="default: W16k")
    add("--n-ext", type=int, default=RUN["n_ext"], help="extrinsic samples")
    add("--extrinsic-samples", help="file of an earlier run (default: do one first)")
    add("--par-dic-0", help="JSON file of the reference waveform (default: search)")
    add("--procs", type=int, nargs="+", default=sorted({1, usable_cores()}))
    add("--i-batch", type=int, nargs="+", default=[64, 128, 256, 512, 1024, 2048])
    add("--blocksize", type=int, nargs="+", default=[128, 512, 2048])
    add("--e-blocksize", type=int, nargs="+", default=[64, 128, 256, 512])
    add("--per-message", type=int, nargs="+", default=[0, 1, 2, 4, 8], help="0: auto")
    add("--no-tuned", action="store_true", help="leave the autotuning out")
    arguments = arguments_parser.parse_args()
    event, bank = arguments.event or make_event(), arguments.bank or make_bank()
    settings: dict[str, Any] = RUN | {
        "n_ext": arguments.n_ext,
        "par_dic_0": arguments.par_dic_0 and load_par_dic(arguments.par_dic_0),
        "extrinsic_samples": arguments.extrinsic_samples,
    }
    if arguments.event is not None:
        settings["mchirp_guess"] = None
    report = Report(arguments)
    with ArrayStore() as store:
        problem = Problem(event, bank, settings, store)
        cells = grid_cells(arguments)
        named = {"default": MulticoreConfig()}
        if not arguments.no_tuned:
            result = tune(event=event, bank_folder=bank, progress=False)
            named["tuned"] = result.config
            print(f"tuned: {result.verdict}\n", flush=True)
        for label, config in named.items():
            for phase in ("incoherent", "coherent"):
                cells.append(Cell(phase, resolve_config(multicore_config=config), label))
        measure(problem, cells, arguments.repeats)
        final = finalists(cells)
        measure(problem, final, 2 * arguments.repeats)
        caption = (
            f"{event.name}, {problem.n_survivors} waveforms in the coherent phase; medians "
            f"(smallest to largest) of {arguments.repeats} repeats."
        )
        table = Table("grid", caption)
        order = sorted(cells, key=lambda cell: (cell.phase, Spread.of(cell.seconds).median))
        table.rows = [cell.row | {"seconds": Spread.of(cell.seconds)} for cell in order]
        report.show(table)
        table = Table(
            "verdict",
            f"Both phases together, {2 * arguments.repeats} further repeats; ratios of the "
            f"same repeat. Asked for: at least {WITHIN:g} of the throughput of the best.",
        )
        table.rows = verdicts(final)
        report.show(table)
    report.write()


if __name__ == "__main__":
    main()
