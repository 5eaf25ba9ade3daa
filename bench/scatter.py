"""Scatter of ln evidence over seeds of the extrinsic draws, against the reported error.

    python bench/scatter.py EVENT BANK [BANK ...] [--seeds 20] [--n-ext 512] [--par-dic-0 F]

Reference and incoherent stage are done once; extrinsic samples are drawn, and the coherent
likelihood and the evidence computed, with seeds 0, 1, ... Printed for each seed: ln
evidence, the extrinsic part of its reported error, effective extrinsic samples, and the
smallest effective number of them that any waveform with more than 1% of the evidence has;
then the scatter, and the mean reported error over it.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dotpe_exec.banks.format import open_bank
from dotpe_exec.distance_table import load_distance_table
from dotpe_exec.events.load import load_event
from dotpe_exec.executors.phases import PhaseRunner
from dotpe_exec.executors.store import ArrayStore
from dotpe_exec.executors.threads import OneThread
from dotpe_exec.stages.coherent import coherent_sets
from dotpe_exec.stages.evidence import (
    EvidenceTerms,
    effective_number,
    ln_evidence_error,
    logsumexp,
)
from dotpe_exec.stages.extrinsic import draw_extrinsic_samples
from dotpe_exec.stages.incoherent import Candidates, incoherent_lnlikes
from dotpe_exec.stages.reference import find_reference
from dotpe_exec.stages.results import marginalize_bank
from dotpe_exec.stages.selection import select

HEAVY = 0.01
"""Share of the evidence above which a waveform's own extrinsic samples are counted."""


@dataclass(frozen=True)
class Draw:
    """What one seed of the extrinsic draws gave.

    Parameters
    ----------
    ln_evidence, error : float
        With the extrinsic part of its reported standard error.
    n_effective_e : float
    smallest : float
        Effective number of extrinsic samples of the waveform of more than ``HEAVY`` of
        the evidence that has fewest; NaN where there is no such waveform.
    n_heavy : int
        Number of such waveforms.
    """

    ln_evidence: float
    error: float
    n_effective_e: float
    smallest: float
    n_heavy: int


@dataclass(frozen=True)
class Case:
    """An event and banks, with the stages done that seeds of the draws share."""

    event: Any
    bank_folders: Sequence[str | Path]
    n_phi: int = 32
    n_t: int = 64
    par_dic_0: dict[str, float] | None = None
    mchirp_guess: float | None = None

    def _prepare(self, runner: PhaseRunner) -> tuple:
        event = load_event(self.event)
        banks = {
            f"bank_{k}": open_bank(folder, f"bank_{k}")
            for k, folder in enumerate(self.bank_folders)
        }
        reference = find_reference(
            event, banks["bank_0"].config, n_t=self.n_t, par_dic_0=self.par_dic_0,
            mchirp_guess=self.mchirp_guess, banks=banks,
        )  # fmt: skip
        candidates = {
            bank_id: Candidates(bank.handle, range(bank.n_waveforms))
            for bank_id, bank in banks.items()
        }
        lnlikes = incoherent_lnlikes(
            runner, candidates, reference.incoherent, n_phi=self.n_phi, i_batch=512
        )
        return event, banks, reference, select(candidates, lnlikes, 20.0)

    def draws(self, seeds: Sequence[int], n_ext: int) -> Iterator[Draw]:
        """Yield the evidence for each seed of the extrinsic draws."""
        table = load_distance_table()
        with (
            tempfile.TemporaryDirectory() as folder,
            PhaseRunner(ArrayStore(folder)) as runner,
        ):
            event, banks, reference, survivors = self._prepare(runner)
            log_prior_weights = {
                key: bank.log_prior_weights() for key, bank in banks.items()
            }
            n_int = {key: bank.n_waveforms for key, bank in banks.items()}
            for seed in seeds:
                samples = draw_extrinsic_samples(
                    runner, banks, survivors, reference, event, n_ext=n_ext,
                    n_phi=self.n_phi, seed=seed, distance_table=table,
                    log_prior_weights=log_prior_weights,
                )  # fmt: skip
                sets = coherent_sets(
                    runner, {key: bank.handle for key, bank in banks.items()}, survivors,
                    reference.summary, samples.response_dpe, samples.timeshift_dbe,
                    n_phi=self.n_phi, i_blocksize=512, e_blocksize=512,
                    max_bestfit_lnlike_diff=20.0, size_limit=10**7, seed=seed,
                )  # fmt: skip
                posteriors = [
                    marginalize_bank(
                        key, sets[key], log_prior_weights_i=log_prior_weights[key],
                        log_prior_weights_e=samples.table["log_prior_weights"].to_numpy(),
                        n_phi=self.n_phi, n_int=n_int[key], table=table,
                    )
                    for key in banks
                ]  # fmt: skip
                yield _draw(posteriors, n_ext, self.n_phi)


def _draw(posteriors: Sequence[Any], n_ext: int, n_phi: int) -> Draw:
    error = ln_evidence_error(
        [
            EvidenceTerms(p.coherent_set.i, p.coherent_set.e, p.ln_posterior, p.n_int)
            for p in posteriors
        ],
        n_ext=n_ext,
        n_phi=n_phi,
    )
    ln_evidence = logsumexp(np.array([p.ln_evidence for p in posteriors]))
    weight_e, sizes = np.zeros(n_ext), []
    for p in posteriors:
        weights = np.exp(p.ln_posterior - np.log(p.n_total) - ln_evidence)
        i, e = p.coherent_set.i, p.coherent_set.e
        weight_e += np.bincount(e, weights=weights, minlength=n_ext)
        share_i = np.bincount(i, weights=weights)
        sizes += [
            effective_number(np.bincount(e[i == heavy], weights=weights[i == heavy]))
            for heavy in np.flatnonzero(share_i > HEAVY)
        ]
    return Draw(
        ln_evidence=ln_evidence,
        error=np.nan if error is None else error.extrinsic,
        n_effective_e=effective_number(weight_e),
        smallest=min(sizes, default=np.nan),
        n_heavy=len(sizes),
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("event")
    parser.add_argument("banks", nargs="+")
    parser.add_argument("--n-ext", type=int, default=512)
    parser.add_argument("--n-phi", type=int, default=32)
    parser.add_argument("--n-t", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--mchirp-guess", type=float)
    parser.add_argument("--par-dic-0", type=Path, help="JSON file: no search")
    arguments = parser.parse_args()
    par_dic_0 = json.loads(arguments.par_dic_0.read_text()) if arguments.par_dic_0 else None
    case = Case(
        arguments.event, arguments.banks, n_phi=arguments.n_phi, n_t=arguments.n_t,
        par_dic_0=par_dic_0, mchirp_guess=arguments.mchirp_guess,
    )  # fmt: skip
    draws = []
    with OneThread():
        for draw in case.draws(range(arguments.seeds), arguments.n_ext):
            draws.append(draw)
            print(
                f"ln evidence {draw.ln_evidence:.3f} +- {draw.error:.3f}, "
                f"{draw.n_effective_e:.0f} effective extrinsic samples of "
                f"{arguments.n_ext}, at least {draw.smallest:.0f} for each of "
                f"{draw.n_heavy} waveforms of more than 1%",
                flush=True,
            )
    scatter = np.std([draw.ln_evidence for draw in draws], ddof=1)
    reported = np.mean([draw.error for draw in draws])
    print(
        f"scatter {scatter:.4f} over {len(draws)} seeds; mean reported error "
        f"{reported:.4f}, {reported / scatter:.2f} times that"
    )


if __name__ == "__main__":
    main()
