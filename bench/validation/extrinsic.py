"""Extrinsic stage on an event and its banks: seconds, effective samples, scatter, oracle.

    python bench/validation/extrinsic.py EVENT BANK [BANK ...] [--seeds 20] [--oracle 12]

Runs the reference and incoherent stages once, then the extrinsic and coherent ones with
seeds 0, 1, ... on one core. Printed for each: processor seconds of the extrinsic stage (the
first may include compilation), ln evidence, the extrinsic part of its reported error,
effective extrinsic samples, and the smallest effective number of them that any waveform
with more than 1% of the evidence has; then the scatter of ln evidence over the seeds, and
the mean reported error over it.

With ``--oracle`` the heaviest waveforms' likelihoods, averaged over 2048 weighted extrinsic
samples and over the whole pool from which such are drawn, are compared with cogwheel's
``MarginalizedExtrinsicLikelihood``. What is left of the difference for the whole pool is
relative binning, of which the two codes have different kinds. The oracle takes minutes;
``--oracle-file`` keeps what it found.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from dotpe_exec.banks.format import Bank, open_bank
from dotpe_exec.distance_table import load_distance_table
from dotpe_exec.events.load import load_event
from dotpe_exec.executors.phases import PhaseRunner
from dotpe_exec.executors.store import ArrayStore
from dotpe_exec.executors.threads import OneThread
from dotpe_exec.kernels.coherent_dense import coherent_dense
from dotpe_exec.kernels.distance import DistanceTable, lnlike_marginalized
from dotpe_exec.kernels.importance import logsumexp
from dotpe_exec.kernels.waveforms import linear_free_waveforms
from dotpe_exec.stages import extrinsic
from dotpe_exec.stages.coherent import coherent_sets
from dotpe_exec.stages.evidence import (
    EvidenceTerms,
    combined_terms,
    effective_number,
    ln_evidence_error,
)
from dotpe_exec.stages.incoherent import Candidates, incoherent_lnlikes
from dotpe_exec.stages.reference import Reference, find_reference
from dotpe_exec.stages.results import BankPosterior, marginalize_bank
from dotpe_exec.stages.selection import Survivors, select

HEAVY = 0.01
"""Share of the evidence above which a waveform's own extrinsic samples are counted."""

N_EXT_ORACLE = 2048
"""Extrinsic samples of the comparison with the oracle."""

SAMPLES_AT_ONCE = 2048

INTRINSIC = ("m1", "m2", "s1z", "s1x_n", "s1y_n", "s2z", "s2x_n", "s2y_n", "iota")


@dataclass(frozen=True)
class Case:
    """An event and banks, with the stages done that all seeds share."""

    event: Any
    banks: Mapping[str, Bank]
    reference: Reference
    survivors: Mapping[str, Survivors]
    n_phi: int
    table: DistanceTable
    runner: PhaseRunner

    def log_prior_weights(self) -> dict[str, np.ndarray]:
        """Return those of all waveforms, by bank."""
        return {bank_id: bank.log_prior_weights() for bank_id, bank in self.banks.items()}

    def draw(self, seed: int, n_ext: int) -> extrinsic.ExtrinsicSamples:
        """Draw extrinsic samples."""
        return extrinsic.draw_extrinsic_samples(
            self.runner, self.banks, self.survivors, self.reference, self.event,
            n_ext=n_ext, n_phi=self.n_phi, seed=seed, distance_table=self.table,
            log_prior_weights=self.log_prior_weights(),
        )  # fmt: skip

    def posteriors(
        self, samples: extrinsic.ExtrinsicSamples, seed: int
    ) -> list[BankPosterior]:
        """Return the posterior of each bank with these extrinsic samples."""
        sets = coherent_sets(
            self.runner, {key: bank.handle for key, bank in self.banks.items()},
            self.survivors, self.reference.summary, samples.response_dpe,
            samples.timeshift_dbe, n_phi=self.n_phi, i_blocksize=512, e_blocksize=512,
            max_bestfit_lnlike_diff=20.0, size_limit=10**7, seed=seed,
        )  # fmt: skip
        log_prior_weights = self.log_prior_weights()
        return [
            marginalize_bank(
                bank_id, sets[bank_id], log_prior_weights_i=log_prior_weights[bank_id],
                log_prior_weights_e=samples.table["log_prior_weights"].to_numpy(),
                n_phi=self.n_phi, n_int=bank.n_waveforms, table=self.table,
            )
            for bank_id, bank in self.banks.items()
        ]  # fmt: skip


@contextlib.contextmanager
def prepare(
    event: str | Path,
    bank_folders: Sequence[str | Path],
    *,
    n_phi: int = 32,
    n_t: int = 64,
    par_dic_0: Mapping[str, float] | None = None,
    mchirp_guess: float | None = None,
) -> Iterator[Case]:
    """Do the stages that all seeds share."""
    event_data = load_event(event)
    banks = {
        f"bank_{k}": open_bank(folder, f"bank_{k}") for k, folder in enumerate(bank_folders)
    }
    reference = find_reference(
        event_data, banks["bank_0"].config, n_t=n_t, par_dic_0=par_dic_0,
        mchirp_guess=mchirp_guess, banks=banks,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder, PhaseRunner(ArrayStore(folder)) as runner:
        candidates = {
            bank_id: Candidates(bank.handle, range(bank.n_waveforms))
            for bank_id, bank in banks.items()
        }
        lnlikes = incoherent_lnlikes(
            runner, candidates, reference.incoherent, n_phi=n_phi, i_batch=512
        )
        survivors = select(candidates, lnlikes, 20.0)
        yield Case(
            event_data, banks, reference, survivors, n_phi, load_distance_table(), runner
        )


def _terms(posterior: BankPosterior) -> EvidenceTerms:
    members = posterior.coherent_set
    return EvidenceTerms(members.i, members.e, posterior.ln_posterior, posterior.n_int)


@dataclass(frozen=True)
class Figures:
    """What one draw of extrinsic samples gave.

    Parameters
    ----------
    ln_evidence, error : float
        With the extrinsic part of its reported standard error.
    n_effective_e : float
    smallest : float
        Effective number of extrinsic samples of the waveform of more than ``HEAVY`` of the
        evidence that has fewest; NaN where there is no such waveform.
    shares : list of (float, str, int)
        Share of the evidence, bank and index of such waveforms, the heaviest first.
    """

    ln_evidence: float
    error: float
    n_effective_e: float
    smallest: float
    shares: list[tuple[float, str, int]]

    @classmethod
    def of(
        cls,
        posteriors: Sequence[BankPosterior],
        samples: extrinsic.ExtrinsicSamples,
        n_phi: int,
    ) -> Figures:
        """Take them from the banks' posteriors."""
        n_ext = len(samples.table)
        error = ln_evidence_error(
            combined_terms([_terms(p) for p in posteriors]),
            n_ext=n_ext,
            n_phi=n_phi,
            expected_counts_e=samples.table["expected_counts"].to_numpy(),
        )
        ln_evidence = logsumexp(np.array([p.ln_evidence for p in posteriors]))
        weight_e, sizes, shares = np.zeros(n_ext), [], []
        for p in posteriors:
            weights = np.exp(p.ln_posterior - np.log(p.n_total) - ln_evidence)
            i, e = p.coherent_set.i, p.coherent_set.e
            weight_e += np.bincount(e, weights=weights, minlength=n_ext)
            share_i = np.bincount(i, weights=weights)
            for k in np.flatnonzero(share_i > HEAVY):
                own_e = np.bincount(e[i == k], weights=weights[i == k])
                sizes.append(effective_number(own_e))
            heaviest = np.argsort(-share_i)[:100]
            shares += [(float(share_i[k]), p.bank_id, int(k)) for k in heaviest]
        return cls(
            ln_evidence=ln_evidence,
            error=np.nan if error is None else error.extrinsic,
            n_effective_e=effective_number(weight_e),
            smallest=min(sizes, default=np.nan),
            shares=sorted(shares, reverse=True),
        )


def lnlike_averaged(
    case: Case, bank_id: str, i: int, samples: extrinsic.ExtrinsicSamples
) -> tuple[float, float]:
    """Return ln of the weighted mean over samples, phases and distance, and its error.

    By the dense reference of the coherent kernel. The standard error takes the samples as
    drawn independently, so that it is too large.
    """
    summary = case.reference.summary
    amplitudes_impb, phases_impb = case.banks[bank_id].handle.read(np.array([i]))
    h_impb, _ = linear_free_waveforms(amplitudes_impb, phases_impb, summary.line_fit)
    ln_e = samples.table["log_prior_weights"].to_numpy().copy()
    for start in range(0, len(ln_e), SAMPLES_AT_ONCE):
        part = slice(start, start + SAMPLES_AT_ONCE)
        dh_ieo, hh_ieo = coherent_dense(
            h_impb, summary, samples.response_dpe[..., part],
            samples.timeshift_dbe[..., part], case.n_phi,
        )  # fmt: skip
        # Where the distance table ends.
        dh_eo = np.maximum(dh_ieo[0], -10 * np.sqrt(hh_ieo[0]))
        lnlike_eo = lnlike_marginalized(dh_eo, hh_ieo[0], case.table)
        ln_e[part] += np.logaddexp.reduce(lnlike_eo, axis=1) - np.log(case.n_phi)
    likelihood_e = np.exp(ln_e - ln_e.max())
    error = likelihood_e.std(ddof=1) / likelihood_e.mean() / np.sqrt(len(ln_e))
    return float(ln_e.max() + np.log(likelihood_e.mean())), float(error)


def draw_whole_pool(case: Case, seed: int) -> extrinsic.ExtrinsicSamples:
    """Return all points of the pool as extrinsic samples."""

    def keep_all(
        _score: np.ndarray, ln_ratio_q: np.ndarray, _n: int, _rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        return np.arange(len(ln_ratio_q)), len(ln_ratio_q) * np.exp(ln_ratio_q)

    with mock.patch.object(extrinsic, "draw_from_pool", keep_all):
        return case.draw(seed, 1)


def oracle_lnlikes(
    case: Case, waveforms: Sequence[tuple[str, int]], n_repeats: int = 6
) -> list[tuple[float, float]]:
    """Return mean and standard error of cogwheel's marginalised ln likelihood."""
    from cogwheel.likelihood.marginalized_extrinsic import MarginalizedExtrinsicLikelihood
    from cogwheel.waveform import WaveformGenerator

    config = next(iter(case.banks.values())).config
    oracle = MarginalizedExtrinsicLikelihood(
        case.event,
        WaveformGenerator.from_event_data(
            case.event, config.approximant, harmonic_modes=config.harmonic_modes
        ),
        case.reference.par_dic_0,
        fbin=np.asarray(config.fbin),
        coherent_score={
            "n_qmc_sequences": n_repeats,
            "min_n_effective": 200,
            "max_log2n_qmc": 16,
        },
    )
    results = []
    for bank_id, i in waveforms:
        row = case.banks[bank_id].table().iloc[i]
        par_dic = {name: float(row[name]) for name in INTRINSIC}
        par_dic |= {"f_ref": config.f_ref, "l1": 0.0, "l2": 0.0}
        lnlikes = np.array([oracle.lnlike(par_dic) for _ in range(n_repeats)])
        likelihoods = np.exp(lnlikes - lnlikes.max())
        error = likelihoods.std(ddof=1) / likelihoods.mean() / np.sqrt(n_repeats)
        results.append((float(lnlikes.max() + np.log(likelihoods.mean())), float(error)))
    return results


def compare_with_oracle(case: Case, n_waveforms: int, file: Path | None) -> None:
    """Print the likelihoods of the heaviest waveforms beside the oracle's."""
    known: list[dict[str, Any]] = []
    if file is not None and file.exists():
        known = json.loads(file.read_text())
    samples = case.draw(0, N_EXT_ORACLE)
    if known:
        waveforms = [(entry["bank"], entry["i"]) for entry in known[:n_waveforms]]
    else:
        figures = Figures.of(case.posteriors(samples, 0), samples, case.n_phi)
        waveforms = [(bank_id, i) for _, bank_id, i in figures.shares[:n_waveforms]]
        lnlikes = oracle_lnlikes(case, waveforms)
        known = [
            {"bank": bank_id, "i": i, "lnl": lnlike, "err": error}
            for (bank_id, i), (lnlike, error) in zip(waveforms, lnlikes, strict=True)
        ]
        if file is not None:
            file.write_text(json.dumps(known, indent=1))
    pool = draw_whole_pool(case, 0)
    differences, pool_differences = [], []
    for (bank_id, i), theirs in zip(waveforms, known, strict=False):
        ours, error = lnlike_averaged(case, bank_id, i, samples)
        whole, _ = lnlike_averaged(case, bank_id, i, pool)
        differences.append(ours - theirs["lnl"])
        pool_differences.append(whole - theirs["lnl"])
        print(
            f"{bank_id} {i}: oracle {theirs['lnl']:.3f} +- {theirs['err']:.3f}, ours "
            f"{differences[-1]:+.3f} +- {error:.3f}, whole pool of {len(pool.table)} "
            f"{pool_differences[-1]:+.3f}",
            flush=True,
        )
    for name, values in (("ours", differences), ("whole pool", pool_differences)):
        print(f"{name} - oracle: mean {np.mean(values):+.3f}, std {np.std(values):.3f}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("event")
    parser.add_argument("banks", nargs="+")
    parser.add_argument("--mchirp-guess", type=float)
    parser.add_argument("--par-dic-0", type=Path, help="reference waveform, a JSON file")
    parser.add_argument("--n-ext", type=int, default=512)
    parser.add_argument("--n-phi", type=int, default=32)
    parser.add_argument("--n-t", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--oracle", type=int, default=0, help="waveforms to compare")
    parser.add_argument(
        "--oracle-file", type=Path, help="JSON file of the oracle's figures"
    )
    arguments = parser.parse_args()
    par_dic_0 = None
    if arguments.par_dic_0 is not None:
        par_dic_0 = json.loads(arguments.par_dic_0.read_text())
    with (
        OneThread(),
        prepare(
            arguments.event, arguments.banks, n_phi=arguments.n_phi, n_t=arguments.n_t,
            par_dic_0=par_dic_0, mchirp_guess=arguments.mchirp_guess,
        ) as case,
    ):  # fmt: skip
        n_survivors = sum(len(survivors.inds) for survivors in case.survivors.values())
        print(f"{n_survivors} survivors", flush=True)
        measure_scatter(case, arguments.seeds, arguments.n_ext)
        if arguments.oracle:
            compare_with_oracle(case, arguments.oracle, arguments.oracle_file)


def measure_scatter(case: Case, n_seeds: int, n_ext: int) -> None:
    """Print the figures of each seed and their scatter."""
    all_figures = []
    for seed in range(n_seeds):
        start = time.process_time()
        samples = case.draw(seed, n_ext)
        seconds = time.process_time() - start
        figures = Figures.of(case.posteriors(samples, seed), samples, case.n_phi)
        all_figures.append(figures)
        n_heavy = sum(share > HEAVY for share, _, _ in figures.shares)
        print(
            f"seed {seed}: {seconds:.2f} s, ln evidence {figures.ln_evidence:.3f} +- "
            f"{figures.error:.3f}, {figures.n_effective_e:.0f} effective extrinsic samples "
            f"of {n_ext}, at least {figures.smallest:.0f} for each of {n_heavy} waveforms "
            "of more than 1%",
            flush=True,
        )
    if n_seeds < 2:
        return
    scatter = np.std([figures.ln_evidence for figures in all_figures], ddof=1)
    reported = np.mean([figures.error for figures in all_figures])
    print(
        f"scatter of ln evidence {scatter:.4f}; mean reported error {reported:.4f}, "
        f"{reported / scatter:.2f} times that"
    )


if __name__ == "__main__":
    main()
