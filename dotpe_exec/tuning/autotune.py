"""Finding the configuration with which this machine works fastest.

With a workload of the user's, every combination of the candidates is measured. On the
real kernels (:mod:`dotpe_exec.tuning.workload`) the batch sizes are found on one core
first, then the number of processes with those. There, a candidate replaces the default only
where it was faster in every round: a busy machine must not make later runs slower.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .. import types
from ..config import DEFAULT_BLOCKSIZE, MulticoreConfig, save_config
from ..errors import InputError
from ..machine import available_memory, check_memory_gb, usable_cores
from ..validation import positive_integer
from .trials import Trial, TuningResult, best_first, choose, covers, verdict

if TYPE_CHECKING:
    from .workload import KernelWorkload

logger = logging.getLogger(__name__)

Benchmark = Callable[[int, int, int], tuple[float, float]]

_N_FINALISTS = 3
_N_ROUNDS = 3
# Load per core above which the machine counts as busy with something else.
_BUSY = 0.5


def autotune_multicore_config(
    benchmark_workload: Benchmark | None = None,
    candidate_n_procs: Sequence[int] | None = None,
    candidate_i_batch: Sequence[int] | None = None,
    candidate_batches_per_task: Sequence[int] | None = None,
    max_memory_gb_per_worker: float | None = None,
    *,
    event: types.Event | None = None,
    bank_folder: types.Banks | None = None,
    progress: bool = True,
    save: bool = True,
) -> MulticoreConfig:
    """Find the fastest configuration, and keep it for later runs on this machine.

    Parameters
    ----------
    benchmark_workload : callable, optional
        ``benchmark_workload(n_procs, i_batch, batches_per_task)`` does some work and
        returns its throughput (the larger the better) and the peak memory per worker
        [GB]. By default the kernels of the incoherent and coherent phases are measured.
    candidate_n_procs, candidate_i_batch, candidate_batches_per_task : sequence of int
        What to try. By default powers of two up to the number of usable cores, 256 to
        2048, and 1 to 4 (with the kernels: as many as take a quarter of a second).
    max_memory_gb_per_worker : float, optional
        Candidates that take more are rejected.
    event, bank_folder : optional
        Measure the kernels with these, as in
        :func:`dotpe_exec.run_multicore`, instead of synthetic data.
    progress : bool
        Show a bar and a table of what was measured.
    save : bool
        Keep the result, see :func:`dotpe_exec.config.save_config`.

    Returns
    -------
    MulticoreConfig

    Raises
    ------
    InputError
        No candidate works within the memory, or a candidate is not a positive integer.
    """
    result = tune(
        benchmark_workload,
        candidate_n_procs,
        candidate_i_batch,
        candidate_batches_per_task,
        max_memory_gb_per_worker,
        event=event,
        bank_folder=bank_folder,
        progress=progress,
    )
    return show_and_keep(
        result,
        tuned_on(benchmark_workload, event, bank_folder),
        progress=progress,
        save=save,
    ).config


def show_and_keep(
    result: TuningResult, data: str, *, progress: bool, save: bool = True
) -> TuningResult:
    """Print what tuning on some data found, and keep it for later runs."""
    if progress:
        from rich.console import Console

        Console(stderr=True).print(result.table())
    logger.info("autotuning: %s; %s", result.config, result.verdict)
    if not save:
        return result
    kept_in = save_config(result.config, tuned_on=data, verdict=result.verdict)
    return replace(result, kept_in=kept_in)


def tuned_on(benchmark_workload: Benchmark | None, event: Any, bank_folder: Any) -> str:
    """Describe the data of a tuning, for the file that keeps its result."""
    if benchmark_workload is not None:
        return f"a workload of the user ({getattr(benchmark_workload, '__name__', '?')})"
    if event is not None:
        return f"event {getattr(event, 'eventname', event)}, bank {bank_folder}"
    return "synthetic data"


def tune(
    benchmark_workload: Benchmark | None = None,
    candidate_n_procs: Sequence[int] | None = None,
    candidate_i_batch: Sequence[int] | None = None,
    candidate_batches_per_task: Sequence[int] | None = None,
    max_memory_gb_per_worker: float | None = None,
    *,
    event: Any = None,
    bank_folder: Any = None,
    progress: bool = True,
) -> TuningResult:
    """Do what :func:`autotune_multicore_config` does, without keeping the result."""
    cap = check_memory_gb("max_memory_gb_per_worker", max_memory_gb_per_worker)
    n_procs = _candidates("candidate_n_procs", candidate_n_procs, _default_n_procs())
    i_batch = _candidates("candidate_i_batch", candidate_i_batch, [256, 512, 1024, 2048])
    if benchmark_workload is not None:
        if event is not None or bank_folder is not None:
            raise InputError(
                "benchmark_workload excludes event and bank_folder, expected either"
            )
        batches = _candidates(
            "candidate_batches_per_task", candidate_batches_per_task, [1, 2, 4]
        )
        configs = [
            MulticoreConfig(n, i, b) for n in n_procs for i in i_batch for b in batches
        ]
        return _tune_on_benchmark(benchmark_workload, configs, cap, progress)
    if (event is None) != (bank_folder is None):
        raise InputError("event and bank_folder are given together or not at all")
    from .workload import event_workload, synthetic_workload

    per_task = (
        _candidates("candidate_batches_per_task", candidate_batches_per_task, [])
        if candidate_batches_per_task is not None
        else [None]
    )
    make = synthetic_workload() if event is None else event_workload(event, bank_folder)
    with make as workload:
        return _tune_on_kernels(workload, n_procs, i_batch, per_task, cap, progress)


def _default_n_procs() -> list[int]:
    cores = usable_cores()
    return [2**k for k in range(cores.bit_length()) if 2**k < cores] + [cores]


def _candidates(name: str, given: Iterable[int] | None, default: list[int]) -> list[int]:
    if given is None:
        return default
    try:
        values = list(given)
    except TypeError:
        raise InputError(f"{name} is {given!r}, expected a list of integers") from None
    if not values:
        raise InputError(f"{name} is empty, expected at least one integer")
    return sorted({positive_integer(name, value) for value in values})


# A benchmark of the user's


def _tune_on_benchmark(
    benchmark: Benchmark, configs: list[MulticoreConfig], cap: float | None, progress: bool
) -> TuningResult:
    trials = [Trial(config) for config in configs]
    warm: set[int | None] = set()
    with _bar(progress, len(trials) + (_N_ROUNDS - 1) * _N_FINALISTS) as advance:
        for trial in trials:
            if trial.config.n_procs not in warm:
                # Starting processes, compiling and reading from disk are not its speed.
                warm.add(trial.config.n_procs)
                _measure_benchmark(benchmark, replace(trial, throughputs=[]), None)
            _measure_benchmark(benchmark, trial, cap)
            advance()
        finalists = best_first(trials)[:_N_FINALISTS]
        for _ in range(_N_ROUNDS - 1):
            for trial in finalists:
                _measure_benchmark(benchmark, trial, cap)
                advance()
    best = choose(trials)
    return TuningResult(best.config, trials, verdict(best, finalists))


def _measure_benchmark(benchmark: Benchmark, trial: Trial, cap: float | None) -> None:
    config = trial.config
    assert config.n_procs and config.i_batch and config.batches_per_task
    try:
        throughput, memory = benchmark(
            config.n_procs, config.i_batch, config.batches_per_task
        )
        trial.add(float(throughput), float(memory), cap)
    except Exception as error:  # a candidate that fails is no reason to end the search
        trial.problem = f"{type(error).__name__}: {error}"
        logger.warning("autotuning: %s fails: %s", config, trial.problem)


# The real kernels


def _tune_on_kernels(
    workload: KernelWorkload,
    n_procs: list[int],
    i_batch: list[int],
    per_task: Sequence[int | None],
    cap: float | None,
    progress: bool,
) -> TuningResult:
    from ..kernels.coherent_screen import DEFAULT_E_TILE, DEFAULT_I_TILE

    busy = _busy()
    batches = [Trial(MulticoreConfig(i_batch=size)) for size in i_batch]
    blocks = [
        Trial(MulticoreConfig(e_blocksize=size)) for size in workload.candidate_e_blocksize
    ]
    tiles = [
        Trial(MulticoreConfig(i_tile=i, e_tile=e)) for i, e in workload.candidate_tiles
    ]
    procs = [
        Trial(MulticoreConfig(n_procs=n, batches_per_task=b))
        for n in n_procs
        for b in per_task
    ]
    for trial in procs:
        trial.problem = _too_many(trial.config.n_procs or 1, workload.worker_bytes)
    one_core = [*batches, *blocks, *tiles]
    n_steps = _N_ROUNDS * len(one_core) + (_N_ROUNDS + 1) * len(procs)
    with _bar(progress, n_steps) as advance:

        def measure(
            trials: list[Trial],
            run: Callable[[MulticoreConfig], tuple[float, float]],
            default: MulticoreConfig,
        ) -> MulticoreConfig:
            # Round by round: what else the machine does then hits all of them.
            for _ in range(_N_ROUNDS):
                for trial in trials:
                    _measure_kernels(run, trial, cap)
                    advance()
            return choose(trials, default).config

        best = measure(
            batches, workload.incoherent, MulticoreConfig(i_batch=DEFAULT_BLOCKSIZE)
        )
        block = measure(
            blocks, workload.coherent, MulticoreConfig(e_blocksize=DEFAULT_BLOCKSIZE)
        )
        best = replace(best, e_blocksize=block.e_blocksize)
        tile = measure(
            tiles,
            lambda config: workload.coherent(
                replace(best, i_tile=config.i_tile, e_tile=config.e_tile)
            ),
            MulticoreConfig(i_tile=DEFAULT_I_TILE, e_tile=DEFAULT_E_TILE),
        )
        best = replace(best, i_tile=tile.i_tile, e_tile=tile.e_tile)

        def both(config: MulticoreConfig) -> tuple[float, float]:
            return workload.both_phases(
                replace(
                    best, n_procs=config.n_procs, batches_per_task=config.batches_per_task
                )
            )

        for trial in procs:  # workers start and load what they need
            _measure_kernels(both, replace(trial, throughputs=[]), None)
            advance()
        chosen = measure(procs, both, MulticoreConfig(n_procs=usable_cores()))
    best = replace(best, n_procs=chosen.n_procs, batches_per_task=chosen.batches_per_task)
    said = [verdict(_of(best, some), some) for some in (batches, blocks, tiles, procs)]
    return TuningResult(
        best, [*one_core, *procs], "; ".join(said + ([busy] if busy else []))
    )


def _of(best: MulticoreConfig, trials: list[Trial]) -> Trial:
    """Return the trial that went into the result."""
    return next(trial for trial in trials if covers(best, trial.config))


def _busy() -> str | None:
    """Say so if the machine does other work at the beginning."""
    if not hasattr(os, "getloadavg"):
        return None
    load, cores = os.getloadavg()[0], usable_cores()
    if load <= _BUSY * cores:
        return None
    return (
        f"the machine was busy (load average {load:.1f}, {cores} usable cores): tune again "
        "when it is quiet"
    )


def _too_many(n_procs: int, worker_bytes: int) -> str | None:
    available = available_memory()
    if n_procs * worker_bytes <= available:
        return None
    return (
        f"{n_procs} workers need {n_procs * worker_bytes / 1e9:.3g} GB, available are "
        f"{available / 1e9:.3g}"
    )


def _measure_kernels(
    run: Callable[[MulticoreConfig], tuple[float, float]], trial: Trial, cap: float | None
) -> None:
    if trial.problem is not None:
        return
    try:
        throughput, memory = run(trial.config)
        trial.add(throughput, memory, cap)
    except Exception as error:
        trial.problem = f"{type(error).__name__}: {error}"
        logger.warning("autotuning: %s fails: %s", trial.config, trial.problem)


class _bar:
    """A progress bar, or none: a context whose value advances it by one."""

    def __init__(self, show: bool, total: int):
        self._bar: Any = None
        if show:
            from tqdm.auto import tqdm

            self._bar = tqdm(total=total, desc="autotuning", unit=" trial")

    def __enter__(self) -> Callable[[], None]:
        return self._advance

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def _advance(self) -> None:
        if self._bar is not None:
            self._bar.update()
