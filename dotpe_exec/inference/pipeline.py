"""The six stages, in order: reads like the method."""

from __future__ import annotations

from ..atomic import write_feather, write_json
from ..config import ResolvedConfig
from ..distance_table import load_distance_table
from ..executors.phases import PhaseRunner
from ..machine import describe_machine, driver_threads
from ..monitor import Monitor
from ..profiling import ProfilingRunner
from ..rundir.directory import RunDirectory
from ..stages.coherent import batch_size, coherent_sets
from ..stages.extrinsic import draw_extrinsic_samples, load_extrinsic_samples
from ..stages.incoherent import incoherent_lnlikes
from ..stages.reference import find_reference, save_posterior
from ..stages.selection import select
from ..stages.warmup import start_workers
from .arguments import RunArguments
from .inputs import RunInputs, problem_size
from .memory_model import worker_bytes_by_phase
from .output import write_extrinsic, write_results, write_survivors


def run_stages(
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
    start_workers(runner.executor)
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
        write_survivors(directory, survivors)

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
        write_extrinsic(directory, extrinsic)

    # Now that the survivors are known: before, their batches could only be bounded.
    i_blocksize = batch_size(survivors, config.i_blocksize)
    monitor.predict_memory(
        worker_bytes_by_phase(problem_size(arguments, inputs), i_blocksize)
    )
    with monitor.stage("coherent"):
        sets = coherent_sets(
            runner,
            banks,
            survivors,
            reference.summary,
            extrinsic.response_dpe,
            extrinsic.timeshift_dbe,
            n_phi=arguments.n_phi,
            i_blocksize=i_blocksize,
            e_blocksize=config.e_blocksize,
            max_bestfit_lnlike_diff=arguments.max_bestfit_lnlike_diff,
            size_limit=arguments.size_limit,
            seed=arguments.seed,
            pairs_per_message=config.pairs_per_task,
            i_tile=config.i_tile,
            e_tile=config.e_tile,
            n_threads=driver_threads(runner.executor.n_workers),
        )

    with monitor.stage("results"):
        summary = write_results(
            arguments, inputs, directory, reference, extrinsic, sets, table, runner
        )

    tasks = monitor.tasks_frame()
    write_feather(directory.tasks, tasks)
    report = monitor.report() | {
        "executor": runner.executor.name,
        "n_proposals": extrinsic.n_proposals,
        "n_proposals_tried": extrinsic.n_proposals_tried,
        "config": config.to_dict(),
        "machine": describe_machine(),
    }
    write_json(directory.report, report)
    if isinstance(runner, ProfilingRunner):
        runner.write(directory, tasks, report)
    # Last: a directory with a summary is a finished run.
    directory.finish(summary)
