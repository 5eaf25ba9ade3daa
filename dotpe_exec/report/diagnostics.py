"""What could be wrong with a run, in plain words."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..derived import chirp_mass
from .view import RunView

# Below the first: caution; below the second: not to be trusted.
MIN_N_EFFECTIVE = (1000.0, 100.0)
MIN_N_EFFECTIVE_I = (100.0, 20.0)
MIN_N_EFFECTIVE_E = (200.0, 50.0)
MAX_DISCARDED_FRACTION = 0.05
MAX_BINNING_ERROR = 0.5
MAX_EVIDENCE_ERROR = 0.5
MAX_FAILED_PROPOSALS = 0.5
EDGE_WIDTH, MAX_EDGE_WEIGHT = 0.02, 0.01
"""Share of a bank's range that counts as its edge; share of the weight allowed there."""


@dataclass(frozen=True)
class Finding:
    """Something that the reader of a result should know.

    Parameters
    ----------
    title : str
        What was found.
    text : str
        What it means and what helps.
    severe : bool
        Whether the result is not to be trusted because of it.
    """

    title: str
    text: str
    severe: bool = False


def diagnose(view: RunView, *, files_only: bool = False) -> list[Finding]:
    """Return what is suspicious about a run, worst first; empty if nothing is.

    Parameters
    ----------
    view : RunView
    files_only : bool
        Leave out what the numbers of the summary say.
    """
    run = view.run
    of_summary = [
        *_effective_samples(run.summary),
        *_evidence(run.summary),
        *_binning(run.summary),
    ]
    of_files = [
        *_size_limit(view),
        *_edges(view),
        *_proposals(run.report),
        *_crashes(run.report),
    ]
    return of_files if files_only else of_summary + of_files


def _number(value: Any) -> float | None:
    """Return a finite number, None for anything else (the summary has null for -inf)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def _effective_samples(summary: Mapping[str, Any]) -> Iterator[Finding]:
    limits = (
        (
            "n_effective",
            MIN_N_EFFECTIVE,
            "effective samples",
            "Intervals and contours are uncertain. See below whether waveforms or "
            "extrinsic samples are scarce.",
        ),
        (
            "n_effective_i",
            MIN_N_EFFECTIVE_I,
            "effective waveforms",
            "Masses and spins rest on a few waveforms of the bank. A larger bank, or one "
            "that covers a narrower range around the posterior, helps.",
        ),
        (
            "n_effective_e",
            MIN_N_EFFECTIVE_E,
            "effective extrinsic samples",
            "Sky position, distance and arrival time rest on a few samples. A larger n_ext "
            "helps.",
        ),
    )
    for key, (enough, least), name, advice in limits:
        value = _number(summary.get(key))
        if value is not None and value < enough:
            yield Finding(f"Only {value:.1f} {name}", advice, severe=value < least)


def _evidence(summary: Mapping[str, Any]) -> Iterator[Finding]:
    evidence = _number(summary.get("ln_evidence"))
    if evidence is None:
        yield Finding(
            "No evidence",
            "No combination of waveform, extrinsic sample and phase fits the data at all.",
            severe=True,
        )
        return
    discarded = _number(summary.get("ln_evidence_discarded"))
    if discarded is not None:
        fraction = 1 / (1 + math.exp(min(evidence - discarded, 700.0)))
        if fraction > MAX_DISCARDED_FRACTION:
            yield Finding(
                f"About {fraction:.0%} of the evidence was discarded",
                "It lies in combinations below the threshold of the coherent stage. A "
                "larger max_bestfit_lnlike_diff (and size_limit, if that was reached) "
                "keeps them.",
            )
    error = _number(summary.get("ln_evidence_error"))
    if error is not None and error > MAX_EVIDENCE_ERROR:
        yield Finding(
            f"ln evidence is uncertain by {error:.2f}",
            "More waveforms or a larger n_ext make it more certain; "
            "ln_evidence_error_parts in the summary says which.",
        )


def _binning(summary: Mapping[str, Any]) -> Iterator[Finding]:
    largest = _number((summary.get("relative_binning_error") or {}).get("largest"))
    if largest is not None and largest > MAX_BINNING_ERROR:
        yield Finding(
            f"Relative binning is wrong by up to {largest:.2f} in ln likelihood",
            "Measured against the full frequency grid for the heaviest samples. A bank "
            "with finer bins (smaller pn_phase_tol) or a reference waveform closer to the "
            "posterior (par_dic_0) helps.",
        )


def _size_limit(view: RunView) -> Iterator[Finding]:
    limit = view.run.kwargs.get("size_limit")
    n_samples = view.run.summary.get("n_distance_marginalizations")
    if not isinstance(limit, int) or not isinstance(n_samples, int):
        return
    per_bank = [n_rows(view.run.files.bank_prob_samples(b)) for b in view.run.bank_ids]
    total = n_rows(view.run.files.prob_samples)
    if max([total, *per_bank], default=0) >= limit:
        yield Finding(
            f"The size limit of {limit} samples was reached",
            "The samples with the lowest likelihoods were left out; a larger size_limit "
            "keeps them.",
        )


def n_rows(path: Any) -> int:
    """Return the number of rows of a feather file without reading them, 0 without one."""
    from pyarrow import ArrowInvalid, ipc, memory_map

    if not path.is_file():
        return 0
    try:
        with memory_map(str(path)) as source, ipc.open_file(source) as file:
            return sum(file.get_batch(k).num_rows for k in range(file.num_record_batches))
    except ArrowInvalid:  # an older feather format, which only reading can count
        return len(pd.read_feather(path, columns=["i"]))


def _edges(view: RunView) -> Iterator[Finding]:
    """Find weight at the ends of the range that all banks cover together."""
    samples = view.run.samples
    weights = samples["weights"].to_numpy(float)
    if not view.bank_tables or set(view.run.bank_ids) - set(view.bank_tables):
        return  # ranges are not known
    tables = pd.concat([t[["m1", "m2"]] for t in view.bank_tables.values()])
    m1, m2 = samples["m1"].to_numpy(float), samples["m2"].to_numpy(float)
    mchirps = chirp_mass(tables["m1"].to_numpy(), tables["m2"].to_numpy())
    ratios = (tables["m2"] / tables["m1"]).to_numpy()
    mchirp = chirp_mass(m1, m2)
    margin = EDGE_WIDTH * (mchirps.max() - mchirps.min())
    q_margin = EDGE_WIDTH * (ratios.max() - ratios.min())
    ends = (
        ("lower chirp-mass", mchirps.min(), mchirp < mchirps.min() + margin),
        ("upper chirp-mass", mchirps.max(), mchirp > mchirps.max() - margin),
        # The upper end of the mass ratio is the prior's, not the bank's.
        ("lower mass-ratio", ratios.min(), m2 / m1 < ratios.min() + q_margin),
    )
    for name, value, at_edge in ends:
        share = float(np.sum(weights[at_edge]) / weights.sum())
        if share > MAX_EDGE_WEIGHT:
            yield Finding(
                f"Samples at the bank's {name} edge",
                f"{share:.1%} of the weight lies within {EDGE_WIDTH:.0%} of the range at "
                f"{value:.3g}: the posterior may go on beyond. A bank that reaches further "
                "shows whether it does.",
            )


def _proposals(report: Mapping[str, Any] | None) -> Iterator[Finding]:
    made = (report or {}).get("n_proposals")
    tried = (report or {}).get("n_proposals_tried")
    if made and tried and tried - made > MAX_FAILED_PROPOSALS * tried:
        yield Finding(
            "Many waveforms gave no proposal",
            f"Of {tried} waveforms, {tried - made} fit no sky position: their arrival "
            "times in the detectors contradict each other. Noise in one detector may look "
            "like a signal; check the data, the detectors and the bank's range.",
        )


def _crashes(report: Mapping[str, Any] | None) -> Iterator[Finding]:
    phases = (report or {}).get("phases", {})
    n_crashes = sum(phase.get("n_worker_crashes", 0) for phase in phases.values())
    if n_crashes:
        yield Finding(
            f"Workers died {n_crashes} time(s)",
            "What they ran was repeated and the results are complete, but memory may be "
            "short: fewer processes or smaller batches need less.",
        )
