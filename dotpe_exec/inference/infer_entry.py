"""From an event to posterior samples without a bank: waveforms are drawn as needed."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import types
from ..adaptive.likelihood import BATCH
from ..config import MulticoreConfig, resolve_config
from ..errors import InputError
from ..events import load_event
from ..events.calibration import Envelope
from ..executors.phases import PhaseRunner
from ..executors.resolve import HeldExecutor
from ..executors.store import ArrayStore
from ..interrupts import terminations_raise
from ..monitor import Monitor
from ..profiling import ProfilingRunner
from ..rundir.directory import RunDirectory, RunState, choose
from ..rundir.identity import RunIdentity, event_digest
from ..seeds import draw_seed
from ..stages.noise_drift import drift_by_detector
from ..stages.reference import check_reference_arguments
from ..stages.warmup import compiling_ahead, prepare_workers
from ..validation import flag
from .bank_pilot import BankPilot, bank_pilot
from .infer_arguments import BANK_ID, InferArguments
from .infer_event import bank_config_for, prior_description
from .infer_final import N_EXT, N_EXT_MOST
from .infer_stages import infer_stages
from .inputs import envelope_digests, gather_envelopes
from .memory_model import ProblemSize, largest_n_ext, refuse_too_large

logger = logging.getLogger(__name__)


def infer(
    event: types.Event,
    *,
    n_effective: float = 4000,
    max_waveforms: int = 100_000,
    mchirp_range: Sequence[float] | None = None,
    q_min: float = 0.1,
    bank_folder: types.Banks | None = None,
    prior: Any = None,
    approximant: str = "IMRPhenomXPHM",
    f_ref: float = 50.0,
    pn_phase_tol: float | None = None,
    n_ext: int | None = None,
    n_phi: int = 32,
    n_t: int = 64,
    seed: int | None = None,
    n_draws: int | None = None,
    event_dir: types.Path | None = None,
    rundir: types.Path | None = None,
    par_dic_0: Mapping[str, float] | types.Path | None = None,
    asd_drift: float | Sequence[float] | Mapping[str, float] | None = None,
    coherent_posterior_kwargs: Mapping[str, Any] | None = None,
    exact_likelihoods: bool = False,
    save_waveforms: bool = False,
    calibration: Mapping[str, types.Path] | None = None,
    calibration_correction: str = "data",
    executor: str | types.Submits | None = None,
    multicore_config: MulticoreConfig | Mapping[str, Any] | None = None,
    n_procs: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
    profile: bool = False,
) -> Path:
    """Infer the parameters of an event without a bank.

    Waveforms are drawn from the prior, then from mixtures fitted to the weighted waveforms
    so far, until ``n_effective`` of them count. What is left is a run directory as that of
    :func:`dotpe_exec.run_multicore`, and in its ``banks/adapted`` a bank. The prior is
    cogwheel's ``IntrinsicIASPrior``: uniform in the detector-frame component masses, in
    the effective spin, and isotropic in inclination; times an isotropic sky, and distances
    uniform in volume.

    Parameters
    ----------
    event : path, cogwheel.data.EventData or str
        Event file (``.npz``), event object, or the name of a bundled event.
    n_effective : float
        Effective number of waveforms, 1 / sum of squared shares of the evidence, at which
        to stop.
    max_waveforms : int
        Number of waveforms at which to stop in any case.
    mchirp_range : (float, float), optional
        Prior range of the detector-frame chirp mass [solar masses]. None: a coarse search
        of the data finds one, which is widened where the posterior reaches its edge.
    q_min : float
        Smallest mass ratio m2 / m1 of the prior.
    bank_folder : path, sequence of paths, str or dict, optional
        Banks of which up to 4096 waveforms, drawn at random, take the place of the first
        draws from the prior; without ``mchirp_range``, the prior's range is theirs.
    prior : cogwheel prior class, object, str, or pair (drawing, physical), optional
        Instead of the default prior, see :mod:`dotpe_exec.banks.own_prior`; it needs a
        density (``ln_prob``). ``mchirp_range`` must be given; what the prior has outside
        of it and below ``q_min`` is left out and not made up for: the evidence is the
        part within.
    approximant : str
        One that cogwheel knows.
    f_ref : float
        Reference frequency of the spins [Hz].
    pn_phase_tol : float, optional
        Post-Newtonian phase tolerance of the frequency bins [rad]. None: 0.05, or less
        where a quick matched filter says that the event is loud.
    n_ext : int, optional
        Number of extrinsic samples of the final likelihoods. None: 1024, or as many, up to
        8192 and what fits into the memory, as their part of the error of ln evidence needs
        to fall below 0.02.
    n_phi, n_t : int
        Number of orbital phases, and of arrival times on the single-detector grids.
    seed : int, optional
        Of every random draw; None draws one, which is recorded in the run directory.
    n_draws : int, optional
        How many samples are drawn by weight; default: half the effective number.
    event_dir, rundir : path
        ``rundir`` is the run directory; with ``event_dir`` alone it is ``event_dir/run_0``,
        ``run_1``, ..., the first that does not exist.
    par_dic_0 : dict, path of a JSON file, optional
        Parameters of the reference waveform; skips the search for one.
    asd_drift : float, sequence, dict or None
        The noise level of each detector near the event, as in
        :func:`dotpe_exec.run_multicore`; 1 switches its estimate off.
    coherent_posterior_kwargs : dict, optional
        Overrides of the arguments of ``cogwheel.posterior.Posterior.from_event``.
    exact_likelihoods : bool
        Compute likelihoods of the drawn samples on the full frequency grid; their weights
        and the evidence follow.
    save_waveforms : bool
        Also write the waveforms of the bank: some 25 kB each.
    calibration : dict of path, optional
        Calibration envelopes by detector (``{"H1": path}``), as bilby reads them: weights
        and evidence are averaged over 200 curves drawn from them, see
        :mod:`dotpe_exec.events.calibration`.
    calibration_correction : {"data", "template"}
        What the files' factors are applied to, as in bilby; files of the LVK: data.
    executor, multicore_config, n_procs
        Where tasks run, as in :func:`dotpe_exec.run_multicore`.
    resume : bool
        Continue the run in ``rundir``; with an empty or absent directory, start it.
    overwrite : bool
        Replace results in ``rundir``, which is refused otherwise.
    progress : bool
        Show progress.
    profile : bool
        Also write ``profile_output.prof`` and ``.txt`` and ``trace.json``.

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
    arguments = InferArguments.of(locals())
    for name, value in (
        ("resume", resume),
        ("overwrite", overwrite),
        ("progress", progress),
        ("profile", profile),
    ):
        flag(name, value)
    if resume and overwrite:
        raise InputError("resume and overwrite exclude each other, expected one of them")
    config = resolve_config(multicore_config=multicore_config, n_procs=n_procs)
    event_data = load_event(arguments.event)
    pilot = None if bank_folder is None else bank_pilot(arguments)
    if pilot is not None:
        arguments = dataclasses.replace(arguments, mchirp_range=pilot.mchirp_range)
    described = prior_description(arguments)
    bank_config = bank_config_for(event_data, arguments)
    envelopes = gather_envelopes(arguments, event_data)
    drift_by_detector(arguments.asd_drift, event_data.detector_names)  # or refuse it
    check_reference_arguments(
        bank_config, arguments.par_dic_0, arguments.coherent_posterior_kwargs
    )
    size = ProblemSize(
        n_m=len(bank_config.m_arr),
        n_b=len(bank_config.fbin),
        n_ext=N_EXT if arguments.n_ext is None else arguments.n_ext,
        n_d=len(event_data.detector_names),
        n_phi=arguments.n_phi,
        n_phi_incoherent=arguments.n_phi,
        n_t=arguments.n_t,
        n_waveforms=BATCH,
    )
    refuse_too_large(config, size)
    n_ext_most = largest_n_ext(config, size, N_EXT_MOST)
    with terminations_raise(), contextlib.ExitStack() as held:
        workers = held.enter_context(HeldExecutor(executor, config.n_procs))
        directory = choose(rundir, event_dir, resume=resume)
        arguments = _with_seed(arguments, directory, resume)
        held.enter_context(directory)
        given = [arguments.event, *(arguments.calibration or {}).values()]
        state = directory.prepare(
            _identity(arguments, event_data, pilot, described, envelopes),
            resume=resume,
            overwrite=overwrite,
            keep=[Path(path) for path in given if isinstance(path, str | Path)],
        )
        if state is RunState.FINISHED:
            return directory.path
        held.callback(shutil.rmtree, directory.adapting_folder, ignore_errors=True)
        prepare_workers(workers, bank_config.m_arr, waveforms=True)
        make_runner = (
            functools.partial(ProfilingRunner, files=directory) if profile else PhaseRunner
        )
        with directory.checkpoint() as checkpoint:
            with (
                Monitor(progress, workers.n_workers) as monitor,
                ArrayStore(in_process=workers.shares_memory) as store,
                make_runner(
                    store, workers, checkpoint=checkpoint, monitor=monitor
                ) as runner,
                compiling_ahead(
                    monitor, workers.n_workers, bank_config.m_arr, waveforms=True
                ),
            ):
                summary = infer_stages(
                    arguments,
                    event_data,
                    directory,
                    runner,
                    monitor,
                    envelopes,
                    pilot,
                    n_ext_most,
                )
            # Last: a directory with a summary is a finished run.
            directory.finish(summary)
        checkpoint.remove()
    return directory.path


def _with_seed(
    arguments: InferArguments, directory: RunDirectory, resume: bool
) -> InferArguments:
    """Return the arguments with a seed: given, the earlier attempt's, or a fresh one."""
    if arguments.seed is not None:
        return arguments
    seed = directory.stored_seed() if resume else None
    return dataclasses.replace(arguments, seed=draw_seed() if seed is None else seed)


def _identity(
    arguments: InferArguments,
    event_data: Any,
    pilot: BankPilot | None,
    prior: dict[str, str] | None,
    envelopes: Mapping[str, Envelope],
) -> RunIdentity:
    elsewhere = {"event", "event_dir", "rundir", "bank_folder", "prior", "calibration",
                 "calibration_correction"}  # fmt: skip
    parameters = {k: v for k, v in vars(arguments).items() if k not in elsewhere}
    parameters["coherent_posterior_kwargs"] = arguments.record()[
        "coherent_posterior_kwargs"
    ]
    if prior is not None:
        parameters["prior"] = prior
    parameters["calibration"] = envelope_digests(envelopes)
    parameters["pilot"] = None if pilot is None else pilot.identities
    return RunIdentity(
        event_name=event_data.eventname,
        event=event_digest(event_data),
        banks={BANK_ID: "drawn for the event"},
        parameters=parameters,
    )
