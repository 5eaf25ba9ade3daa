"""DOT-PE from event and banks to posterior samples: the public functions."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

from .. import types
from ..config import MulticoreConfig, load_cached_config, resolve_config
from ..errors import InputError
from ..executors.interface import Executor
from ..executors.phases import PhaseRunner
from ..executors.resolve import HeldExecutor
from ..executors.store import ArrayStore
from ..gc_pause import no_collection
from ..interrupts import terminations_raise
from ..machine import available_memory
from ..monitor import Monitor
from ..profiling import ProfilingRunner
from ..rundir.files import RunFiles
from ..stages.warmup import compiling_ahead, prepare_workers, start_workers
from ..validation import flag
from .arguments import RunArguments
from .inputs import gather_inputs, problem_size
from .memory_model import fit_memory
from .pipeline import run_stages
from .resolved import ResolvedRun, resolved_run

_P = ParamSpec("_P")
_R = TypeVar("_R")


def run_multicore(
    event: types.Event,
    bank_folder: types.Banks,
    n_ext: int,
    n_phi: int,
    n_t: int,
    n_int: int | Sequence[int] | Mapping[str, int] | None = None,
    blocksize: int = 512,
    single_detector_blocksize: int = 512,
    i_int_start: int = 0,
    seed: int | None = None,
    load_inds: bool = False,
    inds_path: types.Path | Mapping[str, types.Path] | None = None,
    size_limit: int = 10**7,
    draw_subset: bool = True,
    n_draws: int | None = None,
    event_dir: types.Path | None = None,
    rundir: types.Path | None = None,
    coherent_score_min_n_effective_prior: float = 100,
    max_incoherent_lnlike_drop: float = 20,
    max_bestfit_lnlike_diff: float = 20,
    mchirp_guess: float | None = None,
    extrinsic_samples: types.Path | None = None,
    n_phi_incoherent: int | None = None,
    preselected_indices: (
        types.Path | types.Integers | Mapping[str, types.Path | types.Integers] | None
    ) = None,
    bank_logw_override: types.Numbers | Mapping[str, types.Numbers] | None = None,
    coherent_posterior_kwargs: Mapping[str, Any] | None = None,
    *,
    executor: str | types.Submits | None = None,
    multicore_config: MulticoreConfig | Mapping[str, Any] | None = None,
    n_procs: int | None = None,
    i_batch: int | None = None,
    batches_per_task: int | None = None,
    pairs_per_task: int | None = None,
    e_blocksize: int | None = None,
    par_dic_0: Mapping[str, float] | types.Path | None = None,
    exact_likelihoods: bool = False,
    refine_reference: bool | None = None,
    asd_drift: float | Sequence[float] | Mapping[str, float] | None = None,
    calibration: Mapping[str, types.Path] | None = None,
    calibration_correction: str = "data",
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
    profile: bool = False,
) -> Path:
    """Infer the parameters of an event with one or more banks of waveforms.

    Parameters
    ----------
    event : path, cogwheel.data.EventData or str
        Event file (``.npz``), event object, or the name of a bundled event.
    bank_folder : path, sequence of paths, str or dict
        One bank folder, several (also separated by commas), or ``{bank_id: path}``;
        lists get the ids ``bank_0``, ``bank_1``, ...
    n_ext, n_phi, n_t : int
        Number of extrinsic samples, of orbital phases, and of arrival times on the
        single-detector grids.
    n_int : int, sequence of int, dict or None
        Number of waveforms of each bank to consider; None or [] is the whole bank, an int
        or a list of one applies to every bank.
    blocksize, single_detector_blocksize : int
        Waveforms per batch of the coherent and of the incoherent phase.
    i_int_start : int
        First waveform considered: start ... start + n_int.
    seed : int or None
        Of every random draw; None draws one, which is recorded in the run directory.
    load_inds, inds_path : bool, path or dict
        Take the candidates from the ``intrinsic_samples.npz`` of an earlier run.
    size_limit : int
        Most samples kept per bank and in all.
    draw_subset, n_draws : bool, int or None
        Draw ``n_draws`` (default: half the effective number) samples by weight.
    event_dir, rundir : path
        ``rundir`` is the run directory; with ``event_dir`` alone it is ``event_dir/run_0``,
        ``run_1``, ..., the first that does not exist.
    coherent_score_min_n_effective_prior : float
        Effective sample size under the prior that proposals of the extrinsic stage reach.
    max_incoherent_lnlike_drop, max_bestfit_lnlike_diff : float
        Thresholds of the incoherent selection (over all banks) and of the coherent set
        (per bank) below the largest ln likelihood.
    mchirp_guess : float or None
        Detector-frame chirp mass [solar masses] where the search for a reference waveform
        begins; None takes the injection's or that of the bank's best matches.
    extrinsic_samples : path or None
        ``extrinsic_samples.feather`` of an earlier run to use instead of drawing.
    n_phi_incoherent : int or None
        Orbital phases of the incoherent stage; None is ``n_phi``.
    preselected_indices : array, sequence, path of an .npy file, or dict of these
        Candidates by their index in the bank.
    bank_logw_override : array, sequence, pandas.Series, or dict of these
        Replaces the bank's ``log_prior_weights``.
    coherent_posterior_kwargs : dict or None
        Overrides of the arguments of ``cogwheel.posterior.Posterior.from_event``.
    executor : None, str, or object
        ``"serial"``, ``"process"``, ``"loky"``, ``"dask"``, ``"mpi"``; any
        ``concurrent.futures.Executor``; a ``distributed.Client``; an executor of this
        package. None is loky when more than one process is used, else serial.
    multicore_config : MulticoreConfig or None
        Sizes and processes; explicit keywords below win over it.
    n_procs, i_batch, batches_per_task, pairs_per_task, e_blocksize : int or None
        Number of worker processes; waveforms per incoherent batch; batches, and pairs of
        coherent blocks, per message to a worker; extrinsic samples per coherent block.
    par_dic_0 : dict, path of a JSON file, or None
        Parameters of the reference waveform; skips the search for one.
    exact_likelihoods : bool
        Compute the likelihoods of the samples that are drawn on the full frequency grid,
        and correct their weights and the evidence; otherwise relative binning is only
        measured, on a few of them.
    refine_reference : bool or None
        Whether the reference waveform is the likelihood's maximum, the same for every
        guess; None: unless ``par_dic_0`` is given, which is used as it is. With
        ``par_dic_0`` and True the maximum is searched around its chirp mass.
    asd_drift : float, sequence, dict or None
        The noise level of each detector near the event, relative to its power spectrum:
        one number for all, one each, or ``{"H": 1.02, ...}``. None estimates it with the
        reference waveform; 1 switches it off, as in programs that have no such thing.
    calibration : dict of path, optional
        Calibration envelopes by detector (``{"H1": path}``), as bilby reads them: weights
        and evidence are averaged over 200 curves drawn from them, see
        :mod:`dotpe_exec.events.calibration`.
    calibration_correction : {"data", "template"}
        What the files' factors are applied to, as in bilby; files of the LVK: data.
    resume : bool
        Continue the run in ``rundir``; with an empty or absent directory, start it.
    overwrite : bool
        Replace results in ``rundir``, which is refused otherwise.
    progress : bool
        Show progress.
    profile : bool
        Also write ``profile_output.prof`` and ``.txt`` (cProfile of all processes) and
        ``trace.json`` (timeline of the tasks); no other file is affected.

    Returns
    -------
    pathlib.Path
        The run directory.

    Raises
    ------
    DotpeExecError
        Subclasses of it and of the fitting built-in, see :mod:`dotpe_exec.errors`. Bad
        input is refused before any work starts.
    """
    arguments = RunArguments.of(locals())
    for name, value in (
        ("resume", resume),
        ("overwrite", overwrite),
        ("progress", progress),
        ("profile", profile),
    ):
        flag(name, value)
    if resume and overwrite:
        raise InputError("resume and overwrite exclude each other, expected one of them")
    asked = resolve_config(
        multicore_config=multicore_config,
        # A serial run is the reference: it does not depend on how this machine was tuned.
        cached=None if executor == "serial" else load_cached_config(),
        single_detector_blocksize=arguments.single_detector_blocksize,
        blocksize=arguments.blocksize,
        n_procs=n_procs,
        i_batch=i_batch,
        batches_per_task=batches_per_task,
        pairs_per_task=pairs_per_task,
        e_blocksize=e_blocksize,
    )
    with terminations_raise(), contextlib.ExitStack() as held:
        # Before workers take some. A run that is resumed may have nothing for them to do.
        free = None if resume else available_memory()
        workers = HeldExecutor(executor, asked.n_procs)
        held.push(workers)
        with no_collection():  # it imports pandas, cogwheel and LAL
            inputs = gather_inputs(
                arguments, lambda: None if resume else start_workers(workers.executor)
            )
        config = fit_memory(asked, problem_size(arguments, inputs), free)
        run = held.enter_context(
            resolved_run(arguments, inputs, config, resume=resume, overwrite=overwrite)
        )
        if run.finished:
            return run.directory.path
        if run.config.n_procs != asked.n_procs:
            workers.release()
            workers = HeldExecutor(executor, run.config.n_procs)
            held.push(workers)
        prepare_workers(workers.executor, run.inputs.bank_config.m_arr)
        _execute(run, workers.executor, progress=progress, profile=profile)
    return run.directory.path


def _execute(run: ResolvedRun, workers: Executor, *, progress: bool, profile: bool) -> None:
    make_runner = (
        functools.partial(ProfilingRunner, files=run.directory) if profile else PhaseRunner
    )
    with run.directory.checkpoint() as checkpoint:
        with (
            Monitor(progress, workers.n_workers) as monitor,
            ArrayStore(in_process=workers.shares_memory) as store,
            make_runner(store, workers, checkpoint=checkpoint, monitor=monitor) as runner,
            compiling_ahead(monitor, workers.n_workers, run.inputs.bank_config.m_arr),
        ):
            summary = run_stages(run, runner, monitor)
        run.record.refuse_changed()
        # Last: a directory with a summary is a finished run.
        run.directory.finish(summary)
    checkpoint.remove()


def _takes_arguments_of(
    function: Callable[_P, object],
) -> Callable[[Callable[..., _R]], Callable[_P, _R]]:
    """Give a function another's signature: for ``inspect``, editors, type checkers."""

    def decorate(wrapper: Callable[..., _R]) -> Callable[_P, _R]:
        functools.update_wrapper(wrapper, function, assigned=())
        return cast("Callable[_P, _R]", wrapper)

    return decorate


@_takes_arguments_of(run_multicore)
def run_and_profile_multicore(*args: Any, **kwargs: Any) -> tuple[Path, str]:
    """Run the inference and profile this process and the workers.

    Takes the arguments of :func:`run_multicore`.

    Returns
    -------
    rundir : pathlib.Path
        The run directory, with ``profile_output.prof`` (for :mod:`pstats`), the same as
        text in ``profile_output.txt``, and ``trace.json`` (a timeline, for
        ui.perfetto.dev).
    report : str
        Content of ``profile_output.txt``; empty where a finished run was resumed and
        nothing ran.
    """
    rundir = run_multicore(*args, **{**kwargs, "profile": True})
    path = RunFiles(rundir).profile_text
    return rundir, path.read_text(encoding="utf-8") if path.is_file() else ""


@_takes_arguments_of(run_multicore)
def run_and_profile(*args: Any, **kwargs: Any) -> tuple[Path, str]:
    """Run the inference in this process, as :func:`run` does, and profile it.

    Takes the arguments of :func:`run`; returns what :func:`run_and_profile_multicore` does.
    """
    return run_and_profile_multicore(*args, **{"executor": "serial", **kwargs})


@_takes_arguments_of(run_multicore)
def run(*args: Any, **kwargs: Any) -> Path:
    """Run the inference in this process, one task after the other.

    The same as :func:`run_multicore` with ``executor="serial"`` and the default sizes: its
    reference, and the debugger's friend. Takes the same arguments.
    """
    return run_multicore(*args, **{"executor": "serial", **kwargs})
