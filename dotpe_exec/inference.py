"""DOT-PE from event and banks to posterior samples: the six stages, in order."""

from __future__ import annotations

import dataclasses
import functools
import warnings
from pathlib import Path
from typing import Any

from .arguments import RunArguments, flag
from .atomic import atomic_write, write_feather, write_json, write_npy, write_npz
from .config import MulticoreConfig, ResolvedConfig, load_cached_config, resolve_config
from .distance_table import load_distance_table
from .errors import InputError
from .executors.phases import PhaseRunner
from .executors.resolve import resolve_executor
from .executors.store import ArrayStore
from .identity import RunIdentity, event_digest, file_digest
from .inputs import RunInputs, gather_inputs
from .machine import describe_machine
from .memory import ProblemSize, fit_memory
from .monitor import Monitor
from .profiling import ProfilingRunner
from .rundir import RunDirectory, RunState, choose
from .runfiles import RunFiles
from .seeds import draw_seed
from .stages.coherent import coherent_sets
from .stages.coherent_set import CoherentSet
from .stages.extrinsic import (
    ExtrinsicSamples,
    draw_extrinsic_samples,
    load_extrinsic_samples,
)
from .stages.incoherent import incoherent_lnlikes
from .stages.reference import (
    Reference,
    find_reference,
    relative_binning_error,
    save_posterior,
)
from .stages.results import (
    Posterior,
    aggregate,
    all_samples,
    draw_subset,
    heaviest,
    marginalize_bank,
)
from .stages.samples import (
    bank_sample_chunks,
    sample_chunks,
    standardize,
    standardized_chunks,
)
from .stages.selection import Survivors, select
from .stages.standardize import Standardizer
from .stages.summary import injection_summary, summarize
from .stages.tables import write_chunks

_N_EXACT = 50
"""Samples whose likelihood is computed exactly, to measure relative binning."""
_LARGE_BINNING_ERROR = 0.5  # in ln likelihood


def run_multicore(
    event: Any,
    bank_folder: Any,
    n_ext: int,
    n_phi: int,
    n_t: int,
    n_int: Any = None,
    blocksize: int = 512,
    single_detector_blocksize: int = 512,
    i_int_start: int = 0,
    seed: int | None = None,
    load_inds: bool = False,
    inds_path: Any = None,
    size_limit: int = 10**7,
    draw_subset: bool = True,
    n_draws: int | None = None,
    event_dir: Any = None,
    rundir: Any = None,
    coherent_score_min_n_effective_prior: float = 100,
    max_incoherent_lnlike_drop: float = 20,
    max_bestfit_lnlike_diff: float = 20,
    mchirp_guess: float | None = None,
    extrinsic_samples: Any = None,
    n_phi_incoherent: int | None = None,
    preselected_indices: Any = None,
    bank_logw_override: Any = None,
    coherent_posterior_kwargs: Any = None,
    *,
    executor: Any = None,
    multicore_config: MulticoreConfig | None = None,
    n_procs: int | None = None,
    i_batch: int | None = None,
    batches_per_task: int | None = None,
    pairs_per_task: int | None = None,
    e_blocksize: int | None = None,
    par_dic_0: Any = None,
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
    arguments = RunArguments(
        event=event,
        bank_folder=bank_folder,
        n_ext=n_ext,
        n_phi=n_phi,
        n_t=n_t,
        n_int=n_int,
        blocksize=blocksize,
        single_detector_blocksize=single_detector_blocksize,
        i_int_start=i_int_start,
        seed=seed,
        load_inds=load_inds,
        inds_path=inds_path,
        size_limit=size_limit,
        draw_subset=draw_subset,
        n_draws=n_draws,
        event_dir=event_dir,
        rundir=rundir,
        coherent_score_min_n_effective_prior=coherent_score_min_n_effective_prior,
        max_incoherent_lnlike_drop=max_incoherent_lnlike_drop,
        max_bestfit_lnlike_diff=max_bestfit_lnlike_diff,
        mchirp_guess=mchirp_guess,
        extrinsic_samples=extrinsic_samples,
        n_phi_incoherent=n_phi_incoherent,
        preselected_indices=preselected_indices,
        bank_logw_override=bank_logw_override,
        coherent_posterior_kwargs=coherent_posterior_kwargs,
        par_dic_0=par_dic_0,
    )
    for name, value in (
        ("resume", resume),
        ("overwrite", overwrite),
        ("progress", progress),
    ):
        flag(name, value)
    if resume and overwrite:
        raise InputError("resume and overwrite exclude each other, expected one of them")
    config = resolve_config(
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
    inputs = gather_inputs(arguments)
    bank_config = inputs.bank_config
    config = fit_memory(
        config, ProblemSize(len(bank_config.m_arr), len(bank_config.fbin), arguments.n_ext)
    )
    workers = resolve_executor(executor, config.n_procs)
    runner_class = ProfilingRunner if profile else PhaseRunner
    directory = choose(rundir, event_dir, resume=resume)
    arguments = _with_seed(arguments, directory, resume)
    with directory:
        state = directory.prepare(
            _identity(arguments, inputs),
            resume=resume,
            overwrite=overwrite,
            keep=_input_files(arguments),
        )
        if state is RunState.FINISHED:
            return directory.path
        config = config.with_sizes(directory.record_sizes(config.sizes()))
        with (
            directory.checkpoint() as checkpoint,
            Monitor(progress, workers.n_workers) as monitor,
            ArrayStore() as store,
            runner_class(store, workers, checkpoint=checkpoint, monitor=monitor) as runner,
        ):
            _run_stages(arguments, inputs, config, directory, runner, monitor)
        checkpoint.remove()
    return directory.path


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


@functools.wraps(run_and_profile_multicore, assigned=())
def run_and_profile(*args: Any, **kwargs: Any) -> tuple[Path, str]:
    """Run the inference in this process, as :func:`run` does, and profile it.

    Takes the arguments of :func:`run`; returns what :func:`run_and_profile_multicore` does.
    """
    return run_and_profile_multicore(*args, **{"executor": "serial", **kwargs})


@functools.wraps(run_multicore, assigned=())
def run(*args: Any, **kwargs: Any) -> Path:
    """Run the inference in this process, one task after the other.

    The same as :func:`run_multicore` with ``executor="serial"`` and the default sizes: its
    reference, and the debugger's friend. Takes the same arguments.
    """
    return run_multicore(*args, **{"executor": "serial", **kwargs})


def _run_stages(
    arguments: RunArguments,
    inputs: RunInputs,
    config: ResolvedConfig,
    directory: RunDirectory,
    runner: PhaseRunner,
    monitor: Monitor,
) -> None:
    """Do the six stages and write their results."""
    assert arguments.seed is not None
    banks = {bank_id: bank.handle for bank_id, bank in inputs.banks.items()}
    write_json(directory.run_kwargs, arguments.record())
    table = load_distance_table()

    with monitor.stage("reference"):
        reference = find_reference(
            inputs.event,
            inputs.bank_config,
            n_t=arguments.n_t,
            mchirp_guess=arguments.mchirp_guess,
            par_dic_0=arguments.par_dic_0,
            coherent_posterior_kwargs=arguments.coherent_posterior_kwargs,
            banks=inputs.banks,
        )
        save_posterior(reference.posterior, directory.path)

    with monitor.stage("incoherent"):
        lnlikes = incoherent_lnlikes(
            runner,
            inputs.candidates,
            reference.incoherent,
            n_phi=arguments.n_phi_incoherent or arguments.n_phi,
            i_batch=config.i_batch,
            tasks_per_message=config.batches_per_task,
        )
        survivors = select(inputs.candidates, lnlikes, arguments.max_incoherent_lnlike_drop)
        _write_survivors(directory, survivors)

    with monitor.stage("extrinsic"):
        if arguments.extrinsic_samples is None:
            extrinsic = draw_extrinsic_samples(
                runner,
                inputs.banks,
                survivors,
                reference,
                inputs.event,
                n_ext=arguments.n_ext,
                n_phi=arguments.n_phi,
                seed=arguments.seed,
                distance_table=table,
                log_prior_weights=inputs.log_prior_weights,
                coherent_score_min_n_effective_prior=(
                    arguments.coherent_score_min_n_effective_prior
                ),
                n_int=inputs.n_int,
            )
        else:
            extrinsic = load_extrinsic_samples(
                arguments.extrinsic_samples,
                arguments.n_ext,
                fbin=inputs.bank_config.fbin,
                detector_names=inputs.event.detector_names,
                tcoarse=inputs.event.tcoarse,
            )
        _write_extrinsic(directory, extrinsic)

    with monitor.stage("coherent"):
        sets = coherent_sets(
            runner,
            banks,
            survivors,
            reference.summary,
            extrinsic.response_dpe,
            extrinsic.timeshift_dbe,
            n_phi=arguments.n_phi,
            i_blocksize=config.i_blocksize,
            e_blocksize=config.e_blocksize,
            max_bestfit_lnlike_diff=arguments.max_bestfit_lnlike_diff,
            size_limit=arguments.size_limit,
            seed=arguments.seed,
            pairs_per_message=config.pairs_per_task,
        )

    with monitor.stage("results"):
        summary = _write_results(
            arguments, inputs, directory, reference, extrinsic, sets, table
        )

    tasks = monitor.tasks_frame()
    write_feather(directory.tasks, tasks)
    report = monitor.report() | {
        "executor": runner.executor.name,
        "config": config.to_dict(),
        "machine": describe_machine(),
    }
    write_json(directory.report, report)
    if isinstance(runner, ProfilingRunner):
        runner.write(directory, tasks, report)
    # Last: a directory with a summary is a finished run.
    write_json(directory.summary, summary)


def _write_results(
    arguments: RunArguments,
    inputs: RunInputs,
    directory: RunDirectory,
    reference: Reference,
    extrinsic: ExtrinsicSamples,
    sets: dict[str, CoherentSet],
    table: Any,
) -> dict[str, Any]:
    """Write tables of samples and return the summary."""
    assert arguments.seed is not None
    log_prior_weights_e = extrinsic.table["log_prior_weights"].to_numpy()
    posteriors = []
    for bank_id, coherent_set in sets.items():
        posterior = marginalize_bank(
            bank_id,
            coherent_set,
            log_prior_weights_i=inputs.log_prior_weights[bank_id],
            log_prior_weights_e=log_prior_weights_e,
            n_phi=arguments.n_phi,
            n_int=inputs.n_int[bank_id],
            table=table,
        )
        with atomic_write(directory.bank_prob_samples(bank_id)) as path:
            write_chunks(path, bank_sample_chunks(posterior))
        write_json(
            directory.linfree_timeshifts(bank_id),
            {
                str(i): dt
                for i, dt in zip(
                    coherent_set.inds.tolist(),
                    coherent_set.dt_linfree.tolist(),
                    strict=True,
                )
            },
        )
        posteriors.append(posterior)

    combined = aggregate(posteriors, size_limit=arguments.size_limit)
    everything = all_samples(combined)
    with atomic_write(directory.prob_samples) as path:
        write_chunks(path, sample_chunks(everything))
    selection = (
        draw_subset(combined, seed=arguments.seed, n_draws=arguments.n_draws)
        if arguments.draw_subset
        else everything
    )
    standardizer = Standardizer(
        reference.posterior.prior,
        tgps=inputs.event.tgps,
        f_ref=inputs.bank_config.f_ref,
        n_phi=arguments.n_phi,
        extrinsic_samples=extrinsic.table,
        table=table,
    )
    tables = {bank_id: bank.table() for bank_id, bank in inputs.banks.items()}
    with atomic_write(directory.samples) as path:
        write_chunks(
            path, standardized_chunks(selection, tables, standardizer, seed=arguments.seed)
        )
    return summarize(
        selection,
        n_ext=arguments.n_ext,
        n_phi=arguments.n_phi,
        relative_binning_error=_binning_error(combined, standardizer, tables, reference),
        injection=injection_summary(inputs.event, reference.summary.asd_drift_d, table),
    )


def _binning_error(
    posterior: Posterior, standardizer: Standardizer, tables: Any, reference: Reference
) -> dict[str, float] | None:
    """Compare binned likelihoods of the heaviest samples with exact ones."""
    heavy = standardize(heaviest(posterior, _N_EXACT), tables, standardizer, seed=0)
    error = relative_binning_error(reference.posterior, heavy, _N_EXACT)
    if error is None:
        return None
    mean, largest = error
    if mean > _LARGE_BINNING_ERROR:
        warnings.warn(
            f"relative binning changes ln likelihoods by {mean:.2f} on average (at most "
            f"{largest:.2f}): build the bank with more frequency bins (a smaller "
            "pn_phase_tol)",
            stacklevel=2,
        )
    return {"mean": mean, "largest": largest}


def _write_survivors(directory: RunDirectory, survivors: dict[str, Survivors]) -> None:
    for bank_id, some in survivors.items():
        write_npz(
            directory.intrinsic_samples(bank_id),
            inds=some.inds,
            lnlikes_di=some.lnlikes_di,
            incoherent_lnlikes=some.incoherent_lnlikes,
        )


def _write_extrinsic(directory: RunDirectory, extrinsic: ExtrinsicSamples) -> None:
    write_npy(directory.response, extrinsic.response_dpe)
    write_npy(directory.timeshift, extrinsic.timeshift_dbe)
    write_feather(directory.extrinsic_samples, extrinsic.table)


def _with_seed(
    arguments: RunArguments, directory: RunDirectory, resume: bool
) -> RunArguments:
    """Return the arguments with a seed: given, the earlier attempt's, or a fresh one."""
    if arguments.seed is not None:
        return arguments
    seed = directory.stored_seed() if resume else None
    return dataclasses.replace(arguments, seed=draw_seed() if seed is None else seed)


def _identity(arguments: RunArguments, inputs: RunInputs) -> RunIdentity:
    """Return what makes the run this run: content and parameters, not paths."""
    elsewhere = {"event", "bank_folder", "event_dir", "rundir", "n_int", "i_int_start",
                 "load_inds", "inds_path", "preselected_indices", "bank_logw_override",
                 "extrinsic_samples"}  # fmt: skip
    parameters = {
        name: value for name, value in vars(arguments).items() if name not in elsewhere
    }
    parameters["coherent_posterior_kwargs"] = arguments.record()[
        "coherent_posterior_kwargs"
    ]
    parameters["candidates"] = {b: c.inds for b, c in inputs.candidates.items()}
    parameters["n_int"] = inputs.n_int
    parameters["log_prior_weights"] = inputs.log_prior_weights
    if arguments.extrinsic_samples is not None:
        parameters["extrinsic_samples"] = file_digest(arguments.extrinsic_samples)
    return RunIdentity(
        event_name=inputs.event.eventname,
        event=event_digest(inputs.event),
        banks={bank_id: bank.identity() for bank_id, bank in inputs.banks.items()},
        parameters=parameters,
    )


def _input_files(arguments: RunArguments) -> list[Path]:
    """Return files of this run's input, which overwriting must not remove."""
    given = [arguments.event, arguments.extrinsic_samples, arguments.inds_path]
    if arguments.extrinsic_samples is not None:
        beside = Path(arguments.extrinsic_samples)
        given += [beside.with_name(n) for n in ("response_dpe.npy", "timeshift_dbe.npy")]
    if isinstance(arguments.inds_path, dict):
        given += arguments.inds_path.values()
    return [Path(path) for path in given if isinstance(path, str | Path)]
