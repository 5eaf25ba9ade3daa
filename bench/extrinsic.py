"""Extrinsic stage on an event and a bank: seconds, effective samples, scatter, oracle.

    python bench/extrinsic.py EVENT BANK --mchirp-guess 20 --n-phi 32 --seeds 5 --oracle 12

Runs the reference and incoherent stages once, then draws extrinsic samples with several
seeds on one core (the first draw, which may compile, is not timed). Printed for each:
processor seconds, ln evidence, effective extrinsic samples, and the smallest effective
number of any waveform that carries more than 1% of the evidence. With ``--oracle`` the
heaviest waveforms are compared with cogwheel's ``MarginalizedExtrinsicLikelihood``; what
is left of the difference with many samples is relative binning.
"""

from __future__ import annotations

import argparse
import tempfile
import time

import numpy as np

from dotpe_exec.banks.format import open_bank
from dotpe_exec.distance_table import load_distance_table
from dotpe_exec.events.load import load_event
from dotpe_exec.executors.phases import PhaseRunner
from dotpe_exec.executors.store import ArrayStore
from dotpe_exec.executors.threads import OneThread
from dotpe_exec.kernels.coherent_dense import coherent_dense
from dotpe_exec.kernels.distance import lnlike_marginalized
from dotpe_exec.kernels.waveforms import linear_free_waveforms
from dotpe_exec.stages.extrinsic import draw_extrinsic_samples
from dotpe_exec.stages.incoherent import Candidates, incoherent_lnlikes
from dotpe_exec.stages.reference import find_reference
from dotpe_exec.stages.selection import select

INTRINSIC = ("m1", "m2", "s1z", "s1x_n", "s1y_n", "s2z", "s2x_n", "s2y_n", "iota")


def lnlike_averaged(handle, inds, summary, samples, n_phi, table):
    """Likelihood averaged over phases, marginalised over distance, (n_i, n_e)."""
    lnlike_ie = np.empty((len(inds), len(samples.table)))
    for row, i in enumerate(inds):
        h_impb, _ = linear_free_waveforms(*handle.read(np.array([i])), summary.line_fit)
        dh_ieo, hh_ieo = coherent_dense(
            h_impb, summary, samples.response_dpe, samples.timeshift_dbe, n_phi
        )
        # Where the distance table ends.
        dh_eo = np.maximum(dh_ieo[0], -10 * np.sqrt(hh_ieo[0]))
        lnlike_eo = lnlike_marginalized(dh_eo, hh_ieo[0], table)
        largest = lnlike_eo.max()
        with np.errstate(divide="ignore"):
            mean_e = np.log(np.mean(np.exp(lnlike_eo - largest), axis=1))
        lnlike_ie[row] = mean_e + largest
    return lnlike_ie


def figures(lnlike_ie, ln_prior_i, log_weights_e):
    """Return ln evidence, effective samples, the smallest of heavy waveforms, shares."""
    ln_ie = lnlike_ie + ln_prior_i[:, None] + log_weights_e
    largest = ln_ie.max()
    weight_ie = np.exp(ln_ie - largest)
    total_e, total_i = weight_ie.sum(axis=0), weight_ie.sum(axis=1)
    share_i = total_i / total_i.sum()
    size_i = total_i**2 / np.sum(weight_ie**2, axis=1)
    return (
        largest + np.log(total_i.sum() / len(total_e)),
        total_e.sum() ** 2 / np.sum(total_e**2),
        size_i[share_i > 0.01].min(),
        share_i,
    )


def oracle_lnlikes(event_data, bank, par_dic_0, inds, n_repeats=6):
    """Mean and standard error of cogwheel's extrinsic-marginalised ln likelihood."""
    from cogwheel.likelihood.marginalized_extrinsic import MarginalizedExtrinsicLikelihood
    from cogwheel.waveform import WaveformGenerator

    config = bank.config
    oracle = MarginalizedExtrinsicLikelihood(
        event_data,
        WaveformGenerator.from_event_data(
            event_data, config.approximant, harmonic_modes=config.harmonic_modes
        ),
        par_dic_0,
        fbin=np.asarray(config.fbin),
        coherent_score={
            "n_qmc_sequences": n_repeats,
            "min_n_effective": 200,
            "max_log2n_qmc": 16,
        },
    )
    table = bank.table()
    results = []
    for i in inds:
        par_dic = {name: float(table[name].iloc[i]) for name in INTRINSIC}
        par_dic |= {"f_ref": config.f_ref, "l1": 0.0, "l2": 0.0}
        lnlikes = np.array([oracle.lnlike(par_dic) for _ in range(n_repeats)])
        likelihoods = np.exp(lnlikes - lnlikes.max())
        error = likelihoods.std(ddof=1) / likelihoods.mean() / np.sqrt(n_repeats)
        results.append((lnlikes.max() + np.log(likelihoods.mean()), error))
    return np.array(results).T


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("event")
    parser.add_argument("bank")
    parser.add_argument("--mchirp-guess", type=float)
    parser.add_argument("--n-ext", type=int, default=512)
    parser.add_argument("--n-phi", type=int, default=32)
    parser.add_argument("--n-t", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--oracle", type=int, default=0, help="waveforms to compare")
    arguments = parser.parse_args()

    with OneThread():
        run(arguments)


def run(arguments: argparse.Namespace) -> None:
    """Measure and print."""
    event_data, bank = load_event(arguments.event), open_bank(arguments.bank, "bank_0")
    table, log_prior_weights = load_distance_table(), bank.log_prior_weights()
    reference = find_reference(
        event_data, bank.config, n_t=arguments.n_t, mchirp_guess=arguments.mchirp_guess
    )
    ln_evidences = []
    with tempfile.TemporaryDirectory() as folder, PhaseRunner(ArrayStore(folder)) as runner:
        candidates = {"bank_0": Candidates(bank.handle, range(bank.n_waveforms))}
        lnlikes = incoherent_lnlikes(
            runner, candidates, reference.incoherent, n_phi=arguments.n_phi, i_batch=512
        )
        survivors = select(candidates, lnlikes, 20.0)
        inds = survivors["bank_0"].inds
        ln_prior_i = log_prior_weights[inds] - np.log(bank.n_waveforms)
        print(f"{len(inds)} survivors of {bank.n_waveforms}")
        for seed in range(-1, arguments.seeds):
            start = time.process_time()
            samples = draw_extrinsic_samples(
                runner,
                {"bank_0": bank},
                survivors,
                reference,
                event_data,
                n_ext=arguments.n_ext,
                n_phi=arguments.n_phi,
                seed=max(seed, 0),
                distance_table=table,
                log_prior_weights={"bank_0": log_prior_weights},
            )
            seconds = time.process_time() - start
            if seed < 0:
                continue
            lnlike_ie = lnlike_averaged(
                bank.handle, inds, reference.summary, samples, arguments.n_phi, table
            )
            log_weights_e = samples.table["log_prior_weights"].to_numpy()
            ln_evidence, n_effective, smallest, share_i = figures(
                lnlike_ie, ln_prior_i, log_weights_e
            )
            ln_evidences.append(ln_evidence)
            print(
                f"seed {seed}: {seconds:.2f} s, ln evidence {ln_evidence:.3f}, effective "
                f"extrinsic samples {n_effective:.0f} of {arguments.n_ext}, at least "
                f"{smallest:.0f} for waveforms of more than 1%"
            )
    print(f"scatter of ln evidence over seeds: {np.std(ln_evidences):.4f}")
    if arguments.oracle:
        heaviest = np.argsort(-share_i)[: arguments.oracle]
        theirs, error = oracle_lnlikes(
            event_data, bank, reference.par_dic_0, inds[heaviest]
        )
        ln_i = lnlike_ie[heaviest] + log_weights_e
        largest = ln_i.max(axis=1)
        ours = largest + np.log(np.mean(np.exp(ln_i - largest[:, None]), axis=1))
        for i, ln_ours, ln_theirs, ln_error in zip(
            inds[heaviest], ours, theirs, error, strict=True
        ):
            print(
                f"waveform {i}: ours {ln_ours:.3f}, "
                f"oracle {ln_theirs:.3f} +- {ln_error:.3f}"
            )
        print(
            f"mean difference {np.mean(ours - theirs):.3f}, std {np.std(ours - theirs):.3f}"
        )


if __name__ == "__main__":
    main()
