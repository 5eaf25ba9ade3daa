"""The six stages, in order: reads like the method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..atomic import write_feather, write_json
from ..distance_table import load_distance_table
from ..executors.backends import installed_executors
from ..executors.phases import PhaseRunner
from ..freed_memory import return_freed_memory
from ..kernels.distance import DistanceTable
from ..machine import describe_machine, driver_threads
from ..monitor import Monitor
from ..stages.binning_error import (
    N_SAMPLES,
    binning_differences,
    binning_error,
    reweighted,
)
from ..stages.coherent import batch_size, coherent_sets
from ..stages.coherent_set import CoherentSet
from ..stages.corrections import correct_samples
from ..stages.evidence import EvidenceSums
from ..stages.extrinsic import (
    ExtrinsicSamples,
    draw_extrinsic_samples,
    load_extrinsic_samples,
    prepare_sky,
)
from ..stages.extrinsic_origin import check_origin
from ..stages.goodness_of_fit import goodness_of_fit
from ..stages.incoherent import incoherent_lnlikes
from ..stages.noise_drift import drift_by_detector, drift_summary
from ..stages.reference import Reference, find_reference, save_posterior
from ..stages.reliability import reliability
from ..stages.results import BankPosterior, aggregate, marginalize_bank
from ..stages.run_summary import injection_summary, summarize
from ..stages.sample_rows import (
    best_sample,
    draw_subset,
    typical_samples,
    written_samples,
)
from ..stages.samples import standardize, standardized_chunks, to_frame
from ..stages.selection import Survivors, select
from ..stages.standardize import Standardizer
from .inputs import RunInputs
from .memory_model import worker_bytes_by_phase
from .output import SampleWriter, write_extrinsic, write_survivors
from .resolved import ResolvedRun

STAGES = ("reference", "incoherent", "extrinsic", "coherent", "results")
"""In order; the selection, which takes no time, is part of the incoherent one."""


def run_stages(run: ResolvedRun, runner: PhaseRunner, monitor: Monitor) -> dict[str, Any]:
    """Do the six stages, write their results, and return the run's summary."""
    write_json(run.directory.run_kwargs, run.arguments.record())
    # The driver has a core for it only where others have theirs.
    if run.arguments.extrinsic_samples is None and runner.executor.n_workers > 1:
        prepare_sky(run.inputs.event.detector_names)
    table = load_distance_table()
    monitor.plan(STAGES)
    with monitor.stage("reference"):
        reference = _reference(run)
    with monitor.stage("incoherent"):
        survivors = _survivors(run, runner, reference)
    with monitor.stage("extrinsic"):
        extrinsic = _extrinsic_samples(run, runner, reference, survivors, table)
    # Now that the survivors are known: before, their batches could only be bounded.
    i_blocksize = batch_size(survivors, run.config.i_blocksize)
    monitor.predict_memory(worker_bytes_by_phase(run.size, i_blocksize))
    with monitor.stage("coherent"):
        sets = _accepted_sets(run, runner, reference, survivors, extrinsic, i_blocksize)
        return_freed_memory()  # what putting millions of samples in order took
    with monitor.stage("results"):
        summary = _results(run, runner, reference, extrinsic, sets, table)
    write_feather(run.directory.tasks, monitor.tasks_frame())
    write_json(
        run.directory.report,
        monitor.report()
        | {
            "executor": runner.executor.name,
            "n_proposals": extrinsic.n_proposals,
            "n_proposals_tried": extrinsic.n_proposals_tried,
            "config": run.config.to_dict(),
            "machine": describe_machine() | {"executors": installed_executors()},
        },
    )
    return summary


def _reference(run: ResolvedRun) -> Reference:
    """Stage 1: a waveform that fits the data, and the summaries made with it."""
    arguments, inputs = run.arguments, run.inputs
    reference = find_reference(
        inputs.event,
        inputs.bank_config,
        n_t=arguments.n_t,
        mchirp_guess=arguments.mchirp_guess,
        par_dic_0=arguments.par_dic_0,
        refine_reference=arguments.refine_reference,
        asd_drift=drift_by_detector(arguments.asd_drift, inputs.event.detector_names),
        coherent_posterior_kwargs=arguments.coherent_posterior_kwargs,
        banks=inputs.banks,
    )
    save_posterior(reference.posterior, run.directory.path)
    return reference


def _survivors(
    run: ResolvedRun, runner: PhaseRunner, reference: Reference
) -> dict[str, Survivors]:
    """Stages 2 and 3: likelihoods in each detector alone, and whom they leave."""
    arguments, candidates = run.arguments, run.inputs.candidates
    digests: dict[str, np.ndarray] = {}
    lnlikes = incoherent_lnlikes(
        runner,
        candidates,
        reference.incoherent,
        n_phi=arguments.n_phi_incoherent or arguments.n_phi,
        i_batch=run.config.i_batch,
        tasks_per_message=run.config.batches_per_task,
        digests=digests,
    )
    run.record.read_waveforms(digests)
    survivors = select(candidates, lnlikes, arguments.max_incoherent_lnlike_drop)
    write_survivors(run.directory, survivors)
    return survivors


def _extrinsic_samples(
    run: ResolvedRun,
    runner: PhaseRunner,
    reference: Reference,
    survivors: dict[str, Survivors],
    table: DistanceTable,
) -> ExtrinsicSamples:
    """Stage 4: sky, polarisation and arrival time, drawn or loaded."""
    arguments, inputs = run.arguments, run.inputs
    par_dic_0: dict[str, float] | None = reference.par_dic_0
    if arguments.extrinsic_samples is None:
        extrinsic = draw_extrinsic_samples(
            runner,
            inputs.banks,
            survivors,
            reference,
            inputs.event,
            n_ext=arguments.n_ext,
            n_phi=arguments.n_phi,
            seed=run.seed,
            distance_table=table,
            log_prior_weights=inputs.log_prior_weights,
            coherent_score_min_n_effective_prior=(
                arguments.coherent_score_min_n_effective_prior
            ),
            n_int=inputs.n_int,
        )
    else:
        if not check_origin(arguments.extrinsic_samples, reference.par_dic_0):
            par_dic_0 = None
        extrinsic = load_extrinsic_samples(
            arguments.extrinsic_samples,
            arguments.n_ext,
            fbin=inputs.bank_config.fbin,
            detector_names=inputs.event.detector_names,
            tcoarse=inputs.event.tcoarse,
        )
    write_extrinsic(run.directory, extrinsic, par_dic_0)
    return extrinsic


def _accepted_sets(
    run: ResolvedRun,
    runner: PhaseRunner,
    reference: Reference,
    survivors: dict[str, Survivors],
    extrinsic: ExtrinsicSamples,
    i_blocksize: int,
) -> dict[str, CoherentSet]:
    """Stage 5: the coherent likelihood of all that is left."""
    arguments, config = run.arguments, run.config
    return coherent_sets(
        runner,
        {bank_id: bank.handle for bank_id, bank in run.inputs.banks.items()},
        survivors,
        reference.summary,
        extrinsic.response_dpe,
        extrinsic.timeshift_dbe,
        n_phi=arguments.n_phi,
        i_blocksize=i_blocksize,
        e_blocksize=config.e_blocksize,
        max_bestfit_lnlike_diff=arguments.max_bestfit_lnlike_diff,
        size_limit=arguments.size_limit,
        seed=run.seed,
        pairs_per_message=config.pairs_per_task,
        i_tile=config.i_tile,
        e_tile=config.e_tile,
        n_threads=driver_threads(runner.executor.n_workers),
    )


def _results(
    run: ResolvedRun,
    runner: PhaseRunner,
    reference: Reference,
    extrinsic: ExtrinsicSamples,
    sets: dict[str, CoherentSet],
    table: DistanceTable,
) -> dict[str, Any]:
    """Stage 6: distance, weights, samples with all their parameters, evidence."""
    arguments, inputs = run.arguments, run.inputs
    n_threads = driver_threads(runner.executor.n_workers)
    with SampleWriter(run.directory, n_threads) as write:
        banks = []
        for bank_id, coherent_set in sets.items():
            banks.append(
                marginalize_bank(
                    bank_id,
                    coherent_set,
                    log_prior_weights_i=inputs.log_prior_weights[bank_id],
                    log_prior_weights_e=extrinsic.log_prior_weights_e,
                    n_phi=arguments.n_phi,
                    n_int=inputs.n_int[bank_id],
                    table=table,
                    n_threads=n_threads,
                )
            )
            write.bank(banks[-1])
        return write_posterior(
            write,
            banks,
            runner,
            inputs,
            reference,
            extrinsic,
            table,
            n_phi=arguments.n_phi,
            seed=run.seed,
            size_limit=arguments.size_limit,
            draw=arguments.draw_subset,
            n_draws=arguments.n_draws,
            exact_likelihoods=arguments.exact_likelihoods,
        )


def write_posterior(
    write: SampleWriter,
    banks: Sequence[BankPosterior],
    runner: PhaseRunner,
    inputs: RunInputs,
    reference: Reference,
    extrinsic: ExtrinsicSamples,
    table: DistanceTable,
    *,
    n_phi: int,
    seed: int,
    size_limit: int,
    draw: bool,
    n_draws: int | None,
    exact_likelihoods: bool = False,
    evidence_sums: EvidenceSums | None = None,
) -> dict[str, Any]:
    """Write the samples of all banks together, and return the run's summary.

    With ``draw``, samples are drawn by weight. ``evidence_sums`` is needed where a bank's
    samples are draws from all that were evaluated, see :func:`.run_summary.summarize`.
    """
    posterior = aggregate(banks, size_limit=size_limit)
    samples = written = written_samples(posterior)
    write.prob_samples(written)
    if draw:
        samples = draw_subset(posterior, seed=seed, n_draws=n_draws)
    standardizer = Standardizer(
        reference.posterior.prior,
        tgps=inputs.event.tgps,
        f_ref=inputs.bank_config.f_ref,
        n_phi=n_phi,
        extrinsic_samples=extrinsic.table,
        table=table,
    )
    bank_tables = {bank_id: bank.table() for bank_id, bank in inputs.banks.items()}
    chunks = standardized_chunks(samples, bank_tables, standardizer, seed=seed)
    likelihood = reference.posterior.likelihood
    exact = calibration = differences = None
    if (exact_likelihoods or inputs.envelopes) and len(samples):
        drawn = list(chunks)
        frame = to_frame(drawn)
        corrected = correct_samples(
            runner, likelihood, reference.summary, frame,
            exact=exact_likelihoods, envelopes=inputs.envelopes, seed=seed,
        )  # fmt: skip
        chunks = reweighted(drawn, corrected.ln_ratio_s, corrected.columns)
        exact, calibration = corrected.exact, corrected.calibration
        differences = corrected.differences_s
        write.calibration_curves(inputs.bank_config.fbin, corrected.curves)
    if differences is None:
        typical = typical_samples(posterior, seed=seed, n=N_SAMPLES)
        frame = standardize(typical, bank_tables, standardizer, seed=seed)
        differences = binning_differences(runner, likelihood, frame)
    write.samples(chunks)
    best = standardize(best_sample(posterior), bank_tables, standardizer, seed=seed)
    fit = goodness_of_fit(runner, likelihood, best)
    noise = drift_summary(likelihood, frame, error_d=reference.asd_drift_error_d)
    return summarize(
        samples,
        n_written=len(written),
        n_ext=len(extrinsic.table),
        n_phi=n_phi,
        expected_counts_e=extrinsic.expected_counts_e,
        relative_binning_error=binning_error(differences),
        exact=exact,
        calibration=calibration,
        injection=injection_summary(inputs.event, reference.summary.asd_drift_d, table),
        reliability={"reference_moved_by": reference.moved_by, "goodness_of_fit": fit}
        | noise
        | reliability(
            posterior,
            bank_tables,
            extrinsic,
            reference.posterior,
            table=table,
            size_limit=size_limit,
            considered={b: some.inds for b, some in inputs.candidates.items()},
        ),
        evidence_sums=evidence_sums,
    )
