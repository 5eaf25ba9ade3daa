"""What the stages leave in the run directory."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from ..atomic import atomic_write, write_feather, write_json, write_npy, write_npz
from ..executors.phases import PhaseRunner
from ..kernels.distance import DistanceTable
from ..machine import driver_threads
from ..rundir.directory import RunDirectory
from ..stages.binning_error import relative_binning_error
from ..stages.coherent_set import CoherentSet
from ..stages.extrinsic import ExtrinsicSamples
from ..stages.reference import Reference
from ..stages.results import (
    BankPosterior,
    Posterior,
    aggregate,
    all_samples,
    draw_subset,
    heaviest,
    marginalize_bank,
)
from ..stages.run_summary import injection_summary, summarize
from ..stages.samples import (
    bank_sample_chunks,
    sample_chunks,
    standardize,
    standardized_chunks,
)
from ..stages.selection import Survivors
from ..stages.standardize import Standardizer
from ..stages.tables import write_chunks
from .arguments import RunArguments
from .inputs import RunInputs

_N_EXACT = 50
"""Samples whose likelihood is computed exactly, to measure relative binning."""
_LARGE_BINNING_ERROR = 0.5  # in ln likelihood


def write_results(
    arguments: RunArguments,
    inputs: RunInputs,
    directory: RunDirectory,
    reference: Reference,
    extrinsic: ExtrinsicSamples,
    sets: dict[str, CoherentSet],
    table: DistanceTable,
    runner: PhaseRunner,
) -> dict[str, Any]:
    """Write tables of samples and return the summary."""
    log_prior_weights_e = extrinsic.table["log_prior_weights"].to_numpy()
    posteriors = []
    n_threads = driver_threads(runner.executor.n_workers)
    with _jobs_beside(n_threads) as start:
        for bank_id, coherent_set in sets.items():
            posterior = marginalize_bank(
                bank_id,
                coherent_set,
                log_prior_weights_i=inputs.log_prior_weights[bank_id],
                log_prior_weights_e=log_prior_weights_e,
                n_phi=arguments.n_phi,
                n_int=inputs.n_int[bank_id],
                table=table,
                n_threads=n_threads,
            )
            start(_write_bank, directory, posterior)
            posteriors.append(posterior)
        combined = aggregate(posteriors, size_limit=arguments.size_limit)
        start(_write_table, directory.prob_samples, sample_chunks(all_samples(combined)))
        return _write_samples(
            arguments, inputs, directory, reference, extrinsic, combined, table, runner
        )


@contextlib.contextmanager
def _jobs_beside(n_threads: int) -> Iterator[Callable[..., None]]:
    """Give a function that starts jobs beside this thread; at the end all have ended.

    With one thread they run at once. An error of a job is raised at the end.
    """
    if n_threads == 1:
        yield lambda job, *args: job(*args)
        return
    futures = []
    with ThreadPoolExecutor(n_threads) as pool:
        yield lambda job, *args: futures.append(pool.submit(job, *args))
        for future in futures:
            future.result()


def _write_table(path: Path, chunks: Iterator[dict[str, Any]]) -> None:
    with atomic_write(path) as temporary:
        write_chunks(temporary, chunks)


def _write_bank(directory: RunDirectory, posterior: BankPosterior) -> None:
    """Write the samples of one bank, and its waveforms' shifts in time."""
    members = posterior.coherent_set
    _write_table(
        directory.bank_prob_samples(posterior.bank_id), bank_sample_chunks(posterior)
    )
    shifts = zip(members.inds.tolist(), members.dt_linfree.tolist(), strict=True)
    write_json(
        directory.linfree_timeshifts(posterior.bank_id), {str(i): dt for i, dt in shifts}
    )


def _write_samples(
    arguments: RunArguments,
    inputs: RunInputs,
    directory: RunDirectory,
    reference: Reference,
    extrinsic: ExtrinsicSamples,
    combined: Posterior,
    table: DistanceTable,
    runner: PhaseRunner,
) -> dict[str, Any]:
    """Write the posterior's samples with all parameters, and return the summary."""
    assert arguments.seed is not None
    selection = (
        draw_subset(combined, seed=arguments.seed, n_draws=arguments.n_draws)
        if arguments.draw_subset
        else all_samples(combined)
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
    _write_table(
        directory.samples,
        standardized_chunks(selection, tables, standardizer, seed=arguments.seed),
    )
    return summarize(
        selection,
        n_ext=arguments.n_ext,
        n_phi=arguments.n_phi,
        expected_counts_e=_column(extrinsic, "expected_counts"),
        relative_binning_error=_binning_error(
            combined, standardizer, tables, reference, runner
        ),
        injection=injection_summary(inputs.event, reference.summary.asd_drift_d, table),
    )


def _column(extrinsic: ExtrinsicSamples, name: str) -> np.ndarray | None:
    return extrinsic.table[name].to_numpy() if name in extrinsic.table else None


def _binning_error(
    posterior: Posterior,
    standardizer: Standardizer,
    tables: Any,
    reference: Reference,
    runner: PhaseRunner,
) -> dict[str, float] | None:
    """Compare binned likelihoods of the heaviest samples with exact ones."""
    heavy = standardize(heaviest(posterior, _N_EXACT), tables, standardizer, seed=0)
    error = relative_binning_error(runner, reference.posterior, heavy, _N_EXACT)
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


def write_survivors(directory: RunDirectory, survivors: dict[str, Survivors]) -> None:
    """Write what the incoherent selection kept of each bank."""
    for bank_id, some in survivors.items():
        write_npz(
            directory.intrinsic_samples(bank_id),
            inds=some.inds,
            lnlikes_di=some.lnlikes_di,
            incoherent_lnlikes=some.incoherent_lnlikes,
        )


def write_extrinsic(directory: RunDirectory, extrinsic: ExtrinsicSamples) -> None:
    """Write the extrinsic samples; the table, which refers to the arrays, last."""
    write_npy(directory.response, extrinsic.response_dpe)
    write_npy(directory.timeshift, extrinsic.timeshift_dbe)
    write_feather(directory.extrinsic_samples, extrinsic.table)
