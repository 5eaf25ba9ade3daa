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
from ..events.bins import FEWEST_BINS
from ..executors.phases import PhaseRunner
from ..executors.resolve import HeldExecutor
from ..executors.store import ArrayStore
from ..interrupts import terminations_raise
from ..kernels.masses import chirp_mass
from ..monitor import Monitor
from ..validation import check_path, flag, integer, number, positive_integer
from .build_folder import (
    check_space,
    is_finished,
    locked,
    prepare_folder,
    recorded_seed,
    refuse_other,
)
from .build_steps import generate_blocks, write_tables
from .format import open_bank
from .own_prior import own_prior
from .prior import powerlaw_quantile
from .recipe import choose_bins, make_recipe, parse_mchirp_range

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
        generate_blocks(folder, recipe, phase_runner)
        write_tables(folder, recipe, pn_phase_tol)
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
