"""The intrinsic part of the evidence's reported error against the scatter over small banks.

    python bench/run.py intrinsic-error RUNDIR [--parts 128 64 32 16]

A bank's waveforms are independent draws, so consecutive parts of it are banks of their own.
For each number of parts: ln evidence of every part with the run's extrinsic samples, their
scatter, and the intrinsic part of the error that ``ln_evidence_error`` states for each. The
estimator is unbiased for the variance of the evidence Z itself, hence the last ratio: the
root mean square of the errors of Z over the scatter of Z.

Parts take from the run what it accepted: of a quiet signal that is everything, of a loud
one what is near the best of the whole bank.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from measure import Report, Table

from dotpe_exec.errors import InputError
from dotpe_exec.kernels.importance import logsumexp, relative_weights
from dotpe_exec.loading import load_run
from dotpe_exec.stages.evidence import (
    EvidenceTerms,
    combined_terms,
    effective_number,
    ln_evidence_error,
)

PARTS = (128, 64, 32, 16)


@dataclass(frozen=True)
class RunTerms:
    """What a run's evidence is the sum of.

    Parameters
    ----------
    banks : list of EvidenceTerms
        Waveforms counted from the first that was considered, rows in order of waveforms.
    n_ext, n_phi : int
    """

    banks: list[EvidenceTerms]
    n_ext: int
    n_phi: int


@dataclass(frozen=True)
class PartFigures:
    """One part of a run's banks.

    Parameters
    ----------
    ln_evidence, error : float
        The latter the intrinsic part of the stated standard error.
    n_effective_i : float
        Effective number of its waveforms.
    """

    ln_evidence: float
    error: float
    n_effective_i: float


def read_terms(rundir: Path) -> RunTerms:
    """Return the terms of a finished run's evidence.

    Raises
    ------
    InputError
        Its waveforms were not a range of the bank's, so that parts of it are no draws.
    MissingFileError, RunDirectoryError
    """
    run = load_run(rundir)
    n_ext, n_phi = run.kwargs["n_ext"], run.kwargs["n_phi"]
    for name in ("preselected_indices", "load_inds"):
        if run.kwargs.get(name):
            raise InputError(
                f"{rundir} is a run with {name}, expected a range of waveforms"
            )
    start = run.kwargs.get("i_int_start") or 0
    banks = []
    for bank_id, results in run.summary["per_bank_results"].items():
        table = pd.read_feather(
            run.files.bank_prob_samples(bank_id), columns=["i", "e", "ln_posterior"]
        )
        i = table["i"].to_numpy() - start
        order = np.argsort(i, kind="stable")
        banks.append(
            EvidenceTerms(
                i=i[order],
                e=table["e"].to_numpy()[order],
                ln_posterior=table["ln_posterior"].to_numpy()[order],
                n_int=results["N_k"] // (n_ext * n_phi),
            )
        )
    return RunTerms(banks, n_ext, n_phi)


def part_of(terms: EvidenceTerms, part: int, n_parts: int) -> EvidenceTerms:
    """Return one of equal parts of a bank; what does not fill the last is left out."""
    n_int = terms.n_int // n_parts
    rows = slice(*np.searchsorted(terms.i, [part * n_int, (part + 1) * n_int]))
    return EvidenceTerms(
        terms.i[rows] - part * n_int, terms.e[rows], terms.ln_posterior[rows], n_int
    )


def part_figures(run: RunTerms, n_parts: int) -> list[PartFigures]:
    """Return the figures of all parts, each made of one part of every bank.

    Raises
    ------
    InputError
        There are too many parts for a bank, or the error of one is not defined.
    """
    n_cells = run.n_ext * run.n_phi
    found = []
    for part in range(n_parts):
        banks = [part_of(terms, part, n_parts) for terms in run.banks]
        error = ln_evidence_error(combined_terms(banks), n_ext=run.n_ext, n_phi=run.n_phi)
        if error is None:
            raise InputError(
                f"part {part} of {n_parts} has no weight, or one waveform of a bank"
            )
        ln_weights = np.concatenate(
            [terms.ln_posterior - np.log(n_cells * terms.n_int) for terms in banks]
        )
        # Waveforms of different banks are different waveforms.
        firsts = np.cumsum([0, *(terms.n_int for terms in banks)])
        i = np.concatenate(
            [terms.i + first for terms, first in zip(banks, firsts, strict=False)]
        )
        weight_i = np.bincount(i, weights=relative_weights(ln_weights))
        found.append(
            PartFigures(logsumexp(ln_weights), error.intrinsic, effective_number(weight_i))
        )
    return found


def error_table(run: RunTerms, numbers_of_parts: Sequence[int]) -> Table:
    """Return the table: a row for each number of parts."""
    n_kept = sum(len(terms.i) for terms in run.banks)
    table = Table(
        "intrinsic_error",
        f"{sum(terms.n_int for terms in run.banks)} waveforms, {run.n_ext} extrinsic "
        f"samples, {run.n_phi} phases; {n_kept} combinations were kept. Known to: the "
        "relative standard error of the scatter, were the draws normal.",
    )
    for n_parts in numbers_of_parts:
        figures = part_figures(run, n_parts)
        ln_evidence, error = np.transpose([(f.ln_evidence, f.error) for f in figures])
        scatter = ln_evidence.std(ddof=1)
        evidence = np.exp(ln_evidence - ln_evidence.max())
        rms_error = np.sqrt(np.mean((error * evidence) ** 2))
        table.add(
            banks=n_parts,
            waveforms_each=sum(terms.n_int // n_parts for terms in run.banks),
            effective=float(np.median([f.n_effective_i for f in figures])),
            scatter_of_ln_Z=scatter,
            mean_reported=error.mean(),
            ratio=error.mean() / scatter,
            ratio_for_Z=rms_error / evidence.std(ddof=1),
            known_to=f"{100 / np.sqrt(2 * (n_parts - 1)):.0f}%",
        )
    return table


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("rundir", type=Path, help="of a finished run")
    parser.add_argument("--parts", type=int, nargs="+", default=PARTS)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    if min(arguments.parts) < 2:
        parser.error(f"--parts has {min(arguments.parts)}, expected at least 2")
    report = Report(arguments)
    report.show(error_table(read_terms(arguments.rundir), arguments.parts))
    report.write()


if __name__ == "__main__":
    main()
