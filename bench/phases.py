"""The likelihood phases on every executor: strong and weak scaling.

    python bench/run.py phases [--executors serial process loky] [--workers 1 2]
    mpiexec -n 3 python -m mpi4py.futures bench/phases.py --executors mpi --workers 2

Real kernels and tasks on a synthetic problem of the standard workload's sizes, made here
in a second without LAL: NumPy, SciPy, numba and the executor's package are all it needs.
Workers are warm. Every repeat measures each executor and the serial one; speed-ups are
ratios within a repeat. Strong scaling divides a fixed amount of work, weak scaling gives
each worker that amount.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import numpy as np
from measure import Report, Spread, Table, paired_ratios, parser

from dotpe_exec.executors.backends import installed_executors
from dotpe_exec.executors.interface import Executor
from dotpe_exec.executors.phases import PhaseRunner
from dotpe_exec.executors.resolve import resolve_executor
from dotpe_exec.machine import usable_cores
from dotpe_exec.monitor import Monitor
from dotpe_exec.stages.coherent import coherent_sets
from dotpe_exec.stages.incoherent import Candidates, incoherent_lnlikes
from dotpe_exec.stages.selection import Survivors
from dotpe_exec.tuning.workload import KernelWorkload, synthetic_workload

_N_SURVIVORS = 512
_I_BATCH = 128
_E_BLOCKSIZE = 128


class Phases:
    """Both likelihood phases of one problem, on any number of copies of it.

    Parameters
    ----------
    workload : KernelWorkload
    """

    def __init__(self, workload: KernelWorkload):
        self._workload = workload
        serial = resolve_executor("serial")
        _, lnlikes = self._incoherent(serial, 1)
        sums_i = lnlikes["copy_0"].sum(axis=0)
        inds = np.sort(np.argsort(-sums_i)[:_N_SURVIVORS])
        self._survivors = Survivors(inds, lnlikes["copy_0"][:, inds], sums_i[inds])

    def incoherent(self, executor: Executor, n_copies: int) -> dict[str, Any]:
        """Run the incoherent phase; return the monitor's report of it."""
        return self._incoherent(executor, n_copies)[0]

    def coherent(self, executor: Executor, n_copies: int) -> dict[str, Any]:
        """Run the coherent phase; return the monitor's report of it."""
        workload = self._workload
        names = [f"copy_{k}" for k in range(n_copies)]
        with Monitor(progress=False, n_workers=executor.n_workers) as monitor:
            coherent_sets(
                PhaseRunner(workload.store, executor, monitor=monitor),
                {name: replace(workload.bank, bank_id=name) for name in names},
                dict.fromkeys(names, self._survivors),
                workload.summary,
                workload.response_dpe,
                workload.timeshift_dbe,
                n_phi=workload.n_phi,
                i_blocksize=_I_BATCH,
                e_blocksize=_E_BLOCKSIZE,
                max_bestfit_lnlike_diff=20.0,
                size_limit=10**6,
                seed=0,
            )
        return monitor.report()["phases"]["coherent"]

    def _incoherent(
        self, executor: Executor, n_copies: int
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        workload = self._workload
        candidates = Candidates(workload.bank, range(workload.n_waveforms))
        with Monitor(progress=False, n_workers=executor.n_workers) as monitor:
            lnlikes = incoherent_lnlikes(
                PhaseRunner(workload.store, executor, monitor=monitor),
                {f"copy_{k}": candidates for k in range(n_copies)},
                workload.incoherent_summary,
                n_phi=workload.n_phi,
                i_batch=_I_BATCH,
            )
        return monitor.report()["phases"]["incoherent"], lnlikes


def scaling_rows(
    run: Callable[[Executor, int], dict[str, Any]],
    executors: dict[tuple[str, int], Executor],
    n_copies: int,
    repeats: int,
    *,
    weak: bool,
) -> list[dict[str, Any]]:
    """Measure one phase on all executors in turn.

    Parameters
    ----------
    run : callable
        From executor and number of copies to the monitor's report.
    executors : dict
        By name and number of workers; holds ``("serial", 1)``.
    n_copies : int
        Work of the serial run.
    weak : bool
        Give every worker as much work as the serial run has.

    Returns
    -------
    list of dict
        Rows: seconds, speed-up (work per second over the serial one's in the same
        repeat), efficiency (that per worker), busy fraction of the workers.
    """
    rates: dict[tuple[str, int], list[float]] = {key: [] for key in executors}
    seconds: dict[tuple[str, int], list[float]] = {key: [] for key in executors}
    busy: dict[tuple[str, int], list[float]] = {key: [] for key in executors}
    for repeat in range(-1, repeats):
        for (name, n), executor in executors.items():
            report = run(executor, n_copies * n if weak else n_copies)
            if repeat < 0:
                continue  # workers start and load what they need
            rates[name, n].append(report["work_per_second"])
            seconds[name, n].append(report["seconds"])
            busy[name, n].append(report["worker_busy_fraction"])
    rows = []
    for (name, n), values in rates.items():
        speedup = paired_ratios(values, rates["serial", 1])
        rows.append(
            {
                "executor": name,
                "workers": n,
                "seconds": Spread.of(seconds[name, n]),
                "speed-up": speedup,
                "efficiency": Spread.of(speedup.values, 1 / n),
                "busy": Spread.of(busy[name, n]),
            }
        )
    return rows


def main() -> None:
    """Run the command line."""
    installed = [name for name, there in installed_executors().items() if there]
    n_cores = usable_cores()
    arguments_parser = parser(__doc__, repeats=3)
    arguments_parser.add_argument(
        "--executors",
        nargs="+",
        # MPI's workers are ranks: the launcher decides.
        default=[name for name in installed if name not in ("serial", "mpi")],
    )
    arguments_parser.add_argument(
        "--workers", type=int, nargs="+", default=sorted({1, min(2, n_cores), n_cores})
    )
    arguments_parser.add_argument("--waveforms", type=int, default=2048)
    arguments_parser.add_argument(
        "--seconds", type=float, default=1.0, help="of each serial measurement"
    )
    arguments = arguments_parser.parse_args()
    report = Report(arguments)
    with ExitStack() as stack:
        executors = {("serial", 1): resolve_executor("serial")}
        for name in arguments.executors:
            if name == "serial":
                continue
            for n in arguments.workers:
                executor = resolve_executor(name, n)
                stack.callback(executor.shutdown)
                executors[name, n] = executor
        phases = Phases(stack.enter_context(synthetic_workload(arguments.waveforms)))
        for label, run in (
            ("incoherent", phases.incoherent),
            ("coherent", phases.coherent),
        ):
            run(executors["serial", 1], 1)
            once = run(executors["serial", 1], 1)["seconds"]
            n_copies = max(1, round(arguments.seconds / once))
            for kind in ("strong", "weak"):
                table = Table(
                    f"{label}, {kind} scaling",
                    f"{label.capitalize()} phase, {kind} scaling, {n_copies} times "
                    f"{arguments.waveforms} waveforms"
                    + (" per worker" if kind == "weak" else "")
                    + f"; medians (smallest to largest) of {arguments.repeats} repeats.",
                )
                table.rows = scaling_rows(
                    run, executors, n_copies, arguments.repeats, weak=kind == "weak"
                )
                report.show(table)
    report.write()


if __name__ == "__main__":
    main()
