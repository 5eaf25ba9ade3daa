"""Build banks: draw parameters, generate waveforms as tasks, write block by block.

A build that was interrupted goes on from the last complete block: what it builds is
written to ``build.json`` first, and a record of each complete block to ``.build/``, which
goes when the bank is complete.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import seeds, types
from ..atomic import write_feather, write_json, write_npy
from ..digests import file_digest
from ..errors import BankError
from ..events.bins import FEWEST_BINS
from ..executors.phases import PhaseRunner
from ..executors.resolve import HeldExecutor
from ..executors.store import ArrayStore
from ..executors.task import Task
from ..interrupts import terminations_raise
from ..kernels.masses import chirp_mass
from ..monitor import Monitor
from ..validation import check_path, flag, integer, number, positive_integer
from ..warned import warn
from ..waveforms.parameters import PARAMETERS
from .blocks import BlockWriter
from .build_folder import (
    BlockRecord,
    check_space,
    is_finished,
    locked,
    prepare_folder,
    read_record,
    recorded_seed,
    refuse_other,
    remove_records,
    write_record,
)
from .config import first_appearance
from .format import CHECKSUMS_NAME, CONFIG_NAME, TABLE_NAME, open_bank
from .generate import Draws, GenerateTask, generate_waveforms, redraw
from .own_prior import TravellingPrior, own_prior
from .prior import powerlaw_quantile
from .recipe import BankRecipe, choose_bins, make_recipe, parse_mchirp_range
from .waveforms import DIGESTS_NAME, WAVEFORMS_NAME

#: Waveforms per task: some tenths of a second of work, some megabytes of result.
WAVEFORMS_PER_TASK = 32

_EDGE_DRAWS = 2**13


def build_bank(
    folder: str | os.PathLike,
    *,
    bank_size: int,
    mchirp_range: Sequence[float] | None = None,
    q_min: float = 0.2,
    f_ref: float = 50.0,
    approximant: str = "IMRPhenomXPHM",
    fbin: types.Numbers | None = None,
    event: types.Event | None = None,
    pn_phase_tol: float | None = None,
    seed: int | None = None,
    blocksize: int = 4096,
    alpha: float = -1.7,
    prior_mchirp_range: Sequence[float] | None = None,
    harmonic_modes: Sequence[Sequence[int]] | None = None,
    prior: Any = None,
    executor: str | types.Submits | None = None,
    n_procs: int | None = None,
    runner: PhaseRunner | None = None,
    resume: bool = True,
    overwrite: bool = False,
    progress: bool = True,
) -> Path:
    """Build a bank of waveforms, or go on with one that was interrupted.

    Parameters are drawn from the prior (see :mod:`dotpe_exec.banks.prior`) with a power
    law in chirp mass as proposal; ``log_prior_weights`` is ln of the ratio of the two
    normalised densities. Parameters for which the approximant has no waveform are drawn
    again, and all weights lowered by ln of the fraction of draws that had one, so that the
    evidence counts the others as likelihood zero.

    Parameters
    ----------
    folder : path
        Of the bank; made if absent. A finished bank of the same recipe is left as it is.
    bank_size : int
        Number of waveforms.
    mchirp_range : (float, float)
        Detector-frame chirp masses [solar masses]. With a prior of one's own optional:
        what it draws outside is left out.
    q_min : float
        Smallest mass ratio m2 / m1. A prior of one's own that is not a class of cogwheel
        has its own limits.
    f_ref : float
        Reference frequency of the spins [Hz].
    approximant : str
        One that cogwheel knows. Without precession in it, in-plane spins are zero.
    fbin : (n_b,) array, optional
        Bin edges on the frequency grid of the events to analyse [Hz].
    event : path, cogwheel.data.EventData or str, optional
        Event on whose frequency grid bins are made, instead of ``fbin``.
    pn_phase_tol : float, optional
        Post-Newtonian phase tolerance of these bins [rad]. None: 0.05, or less where a
        quick matched filter says that the event is loud.
    seed : int, optional
        Of all draws; drawn and recorded if None (a partial build keeps its own).
    blocksize : int
        Waveforms per file.
    alpha : float
        Exponent of the chirp mass in the proposal.
    prior_mchirp_range : (float, float), optional
        Range over which the prior is normalised; default: ``mchirp_range``, so that the
        weights average to 1. Evidences of banks that share a wider range add up.
    harmonic_modes : sequence of (l, m), optional
        Default: all of the approximant.
    prior : cogwheel prior class, object, str, or pair (drawing, physical), optional
        Instead of the default prior and its power law, see
        :mod:`dotpe_exec.banks.own_prior`; recorded in ``bank_config.json``.
    executor, n_procs, progress
        Where tasks run, as in :func:`dotpe_exec.run_multicore`; ``progress`` shows a bar.
    runner : PhaseRunner, optional
        Instead of ``executor`` and ``n_procs``.
    resume : bool
        Go on with a partial build of the same recipe.
    overwrite : bool
        Replace a bank of another recipe, or a finished one. Only files of a bank are
        removed.

    Returns
    -------
    pathlib.Path
        The folder.

    Raises
    ------
    InputError
        An argument cannot be used.
    BankError
        The folder holds something else, another process is building in it, or the
        approximant has no waveform for many draws in a row.
    RunDirectoryError
        The disk is full or the folder cannot be written; the build can go on later.
    """
    check_path("folder", folder)
    for name, value in (
        ("resume", resume),
        ("overwrite", overwrite),
        ("progress", progress),
    ):
        flag(name, value)
    folder = Path(os.path.abspath(Path(folder).expanduser()))  # noqa: PTH100 (keep links)
    chosen = event is not None and pn_phase_tol is None
    searched = None
    if mchirp_range is not None or prior is None:
        searched = parse_mchirp_range("mchirp_range", mchirp_range)
    if prior_mchirp_range is not None:
        searched = parse_mchirp_range("prior_mchirp_range", prior_mchirp_range)
    fbin, pn_phase_tol = choose_bins(
        fbin, event, pn_phase_tol, approximant, f_ref, searched
    )
    recipe = make_recipe(
        bank_size=bank_size,
        mchirp_range=mchirp_range,
        q_min=q_min,
        f_ref=f_ref,
        approximant=approximant,
        fbin=fbin,
        seed=recorded_seed(folder, resume) if seed is None else seed,
        blocksize=blocksize,
        alpha=alpha,
        prior_mchirp_range=prior_mchirp_range,
        harmonic_modes=harmonic_modes,
        prior=prior,
    )
    if is_finished(folder) and not overwrite:
        refuse_other(folder, recipe)
        open_bank(folder)
        return folder
    check_space(
        folder, recipe.bank_size * math.prod(recipe.handle(folder).block_shape(0)[1:])
    )
    with _runner(runner, executor, n_procs, progress) as phase_runner, locked(folder):
        if chosen and isinstance(phase_runner.monitor, Monitor):
            phase_runner.monitor.say(
                f"{len(recipe.fbin)} frequency bins: pn_phase_tol is {pn_phase_tol:g}, "
                "chosen from the event"
            )
        prepare_folder(folder, recipe, resume, overwrite)
        _generate_blocks(folder, recipe, phase_runner)
        _finish(folder, recipe, pn_phase_tol)
    open_bank(folder)
    return folder


def build_banks(
    folder: str | os.PathLike,
    *,
    n_banks: int,
    mchirp_range: Sequence[float],
    alpha: float = -1.7,
    seed: int | None = None,
    executor: str | types.Submits | None = None,
    n_procs: int | None = None,
    runner: PhaseRunner | None = None,
    progress: bool = True,
    **arguments: Any,
) -> dict[str, Path]:
    """Build several banks that share a prior over one wide range of chirp masses.

    The range is cut where each part holds the same number of draws of the power law (or of
    a prior of one's own), so that together the banks are one proposal. Each bank's weights
    average to its share of the prior, and the evidences of the banks add up to the evidence
    under it.

    Parameters
    ----------
    folder : path
        Parent of the banks' folders ``bank_0``, ``bank_1``, ...
    n_banks : int
    mchirp_range : (float, float)
        The wide range [solar masses].
    alpha, seed, executor, n_procs, runner, progress
        As in :func:`build_bank`.
    **arguments
        Further ones of :func:`build_bank`; ``bank_size`` is that of each bank.

    Returns
    -------
    dict of pathlib.Path
        By bank id: what ``run_multicore`` takes as ``bank_folder``.
    """
    check_path("folder", folder)
    flag("progress", progress)
    n_banks = positive_integer("n_banks", n_banks)
    mchirp_range = parse_mchirp_range("mchirp_range", mchirp_range)
    alpha = number("alpha", alpha, minimum=-np.inf)
    if arguments.get("prior_mchirp_range") is None:
        arguments["prior_mchirp_range"] = mchirp_range
    if "bank_size" in arguments:  # each with one mode and few bins: no bank is smaller
        size = positive_integer("bank_size", arguments["bank_size"])
        check_space(Path(folder), n_banks * size * 2 * FEWEST_BINS)
    edges = _edges(n_banks, mchirp_range, alpha, arguments)
    folders = {f"bank_{k}": Path(folder) / f"bank_{k}" for k in range(n_banks)}
    with _runner(runner, executor, n_procs, progress) as phase_runner:
        return {
            bank_id: build_bank(
                path,
                mchirp_range=(edges[k], edges[k + 1]),
                alpha=alpha,
                seed=None if seed is None else _child_seed(seed, k),
                runner=phase_runner,
                **arguments,
            )
            for k, (bank_id, path) in enumerate(folders.items())
        }


def _edges(
    n_banks: int,
    mchirp_range: tuple[float, float],
    alpha: float,
    arguments: dict[str, Any],
) -> list[float]:
    """Return where a range is cut into parts with the same number of draws each."""
    quantiles = np.linspace(0, 1, n_banks + 1)
    if arguments.get("prior") is None:
        edges = powerlaw_quantile(quantiles, mchirp_range, alpha)
    else:
        own = own_prior(
            arguments["prior"],
            mchirp_range=arguments["prior_mchirp_range"],
            q_min=arguments.get("q_min", 0.2),
            f_ref=arguments.get("f_ref", 50.0),
            within=mchirp_range,
        )
        # Not by the seed of the banks: a build that goes on must cut at the same places.
        drawn_ik = own.draw(_EDGE_DRAWS, seeds.generator(0, "edges of banks"))
        edges = np.quantile(chirp_mass(drawn_ik[:, 0], drawn_ik[:, 1]), quantiles)
    edges[0], edges[-1] = mchirp_range
    return edges.tolist()


def build_bank_command(
    folder: str | os.PathLike, *, n_banks: int = 1, **arguments: Any
) -> list[Path]:
    """Build one bank in ``folder``, or several in folders below it; return theirs."""
    if n_banks == 1:
        return [build_bank(folder, **arguments)]
    return list(build_banks(folder, n_banks=n_banks, **arguments).values())


def _child_seed(seed: int, k: int) -> int:
    """Return the seed of the k-th of several banks."""
    seed = integer("seed", seed, minimum=0)
    return int(seeds.generator(seed, "banks", k).integers(2**31))


def _generate_blocks(folder: Path, recipe: BankRecipe, runner: PhaseRunner) -> None:
    """Generate the waveforms of all blocks that are not complete, and write them."""
    bank = recipe.handle(folder)
    missing = [k for k in range(bank.n_blocks) if read_record(folder, recipe, k) is None]
    if not missing:
        return
    tasks = _tasks(recipe, missing, runner)
    writers: dict[int, BlockWriter] = {}
    attempts: dict[int, dict[int, int]] = {k: {} for k in missing}
    n_direct = dict.fromkeys(missing, 0)
    try:
        for task, result in runner.map(
            "bank",
            generate_waveforms,
            tasks,
            n_tasks=len(tasks),
            work=_n_waveforms,
            unit="waveform",
        ):
            start = task.payload.start
            k = start // recipe.blocksize
            if k not in writers:
                writers[k] = BlockWriter(bank, k)
            writers[k].write(start, result.amplitudes_impb, result.phases_impb)
            for row in np.flatnonzero(result.attempts_i):
                attempts[k][start + int(row)] = int(result.attempts_i[row])
            n_direct[k] += int(np.sum(result.ways_i == "direct"))
            if not writers[k].n_missing:
                checksums, digests = writers.pop(k).commit()
                record = BlockRecord(checksums, attempts.pop(k), n_direct.pop(k), digests)
                write_record(folder, k, record)
    finally:
        for writer in writers.values():
            writer.discard()


def _tasks(recipe: BankRecipe, blocks: list[int], runner: PhaseRunner) -> list[Task]:
    """Return the tasks of blocks, none across two of them."""
    fbin = runner.store.put(np.array(recipe.fbin))
    parameters_ik = recipe.draw()
    proposal: Draws = (
        recipe.proposal if recipe.own is None else TravellingPrior.of(recipe.own)
    )
    tasks = []
    for k in blocks:
        stop = min((k + 1) * recipe.blocksize, recipe.bank_size)
        for start in range(k * recipe.blocksize, stop, WAVEFORMS_PER_TASK):
            rows = slice(start, min(start + WAVEFORMS_PER_TASK, stop))
            payload = GenerateTask(
                approximant=recipe.approximant,
                harmonic_modes=recipe.harmonic_modes,
                way=recipe.way,
                f_ref=recipe.f_ref,
                fbin=fbin,
                proposal=proposal,
                seed=recipe.seed,
                start=start,
                parameters_ik=parameters_ik[rows],
            )
            tasks.append(Task(f"{start:010d}", payload))
    return tasks


def _n_waveforms(task: GenerateTask) -> int:
    return len(task.parameters_ik)


def _finish(folder: Path, recipe: BankRecipe, pn_phase_tol: float | None) -> None:
    """Write table, configuration and checksums, now that all blocks are there."""
    import pandas as pd

    parameters_ik = recipe.draw()
    checksums: dict[str, str] = {}
    digests: list[int] = []
    n_redrawn = n_direct = 0
    for k in range(recipe.handle(folder).n_blocks):
        record = read_record(folder, recipe, k)
        if record is None:
            raise BankError(f"{folder}: block {k} disappeared while the bank was built")
        checksums |= {f"{WAVEFORMS_NAME}/{n}": c for n, c in record.checksums.items()}
        n_direct += record.n_direct
        digests += record.digests
        for index, attempt in record.attempts.items():
            parameters_ik[index] = redraw(recipe.proposal, recipe.seed, index, attempt)
            n_redrawn += attempt
    table = pd.DataFrame(parameters_ik, columns=list(PARAMETERS))
    weights = recipe.log_prior_weights(parameters_ik)
    # Draws without a waveform are draws of likelihood zero.
    fraction = recipe.bank_size / (recipe.bank_size + n_redrawn)
    table["log_prior_weights"] = weights + np.log(fraction)
    if n_redrawn:
        warn(
            f"{recipe.approximant} had no waveform for {n_redrawn} of "
            f"{recipe.bank_size + n_redrawn} draws; others were drawn and the weights "
            "lowered accordingly",
            stacklevel=3,
        )
    write_feather(folder / TABLE_NAME, table)
    mchirp = chirp_mass(parameters_ik[:, 0], parameters_ik[:, 1])
    mchirp_range = recipe.mchirp_range or (float(mchirp.min()), float(mchirp.max()))
    config = _config(recipe, mchirp_range, pn_phase_tol, n_redrawn, n_direct)
    write_json(folder / CONFIG_NAME, config)
    write_npy(folder / DIGESTS_NAME, np.array(digests, dtype=np.uint64))
    for name in (TABLE_NAME, CONFIG_NAME, DIGESTS_NAME):
        checksums[name] = file_digest(folder / name)
    write_json(folder / CHECKSUMS_NAME, {"algorithm": "blake2b-16", "files": checksums})
    remove_records(folder)


def _config(
    recipe: BankRecipe,
    mchirp_range: tuple[float, float],
    pn_phase_tol: float | None,
    n_redrawn: int,
    n_direct: int,
) -> dict[str, Any]:
    config = {
        "bank_size": recipe.bank_size,
        "mchirp_min": mchirp_range[0],
        "mchirp_max": mchirp_range[1],
        "q_min": recipe.q_min,
        "q_max": 1.0,
        "f_ref": recipe.f_ref,
        "fbin": recipe.fbin,
        "pn_phase_tol": pn_phase_tol,
        "approximant": recipe.approximant,
        "m_arr": first_appearance(recipe.harmonic_modes),
        "harmonic_modes": recipe.harmonic_modes,
        "seed": recipe.seed,
        "blocksize": recipe.blocksize,
        "n_redrawn": n_redrawn,
        "waveform_generation": recipe.way,
        "n_direct": n_direct,
    }
    if recipe.own is not None:
        return config | {"prior": recipe.prior_description()}
    low, high = recipe.prior_mchirp_range or mchirp_range
    default = {"alpha": recipe.alpha, "prior_mchirp_min": low, "prior_mchirp_max": high}
    return config | default


@contextlib.contextmanager
def _runner(
    runner: PhaseRunner | None, executor: Any, n_procs: int | None, progress: bool
) -> Iterator[PhaseRunner]:
    """Give the caller's runner, or one that is closed at the end."""
    if runner is not None:
        yield runner
        return
    if n_procs is not None:
        positive_integer("n_procs", n_procs)
    with (
        terminations_raise(),
        Monitor(progress) as monitor,
        # Workers that are kept for later runs are better off without LAL.
        HeldExecutor(executor, n_procs, keep_warm=False) as workers,
        PhaseRunner(ArrayStore(), workers, monitor=monitor) as own,
    ):
        yield own
