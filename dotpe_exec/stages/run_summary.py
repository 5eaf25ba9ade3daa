"""The summary of a run: ``summary_results.json``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..kernels.distance import DistanceTable, lnlike_marginalized
from ..kernels.importance import logsumexp
from ..verdict import judge
from .evidence import (
    EvidenceSums,
    EvidenceTerms,
    combined_terms,
    evidence_error,
    ln_evidence_error,
)
from .sample_rows import SampleRows

if TYPE_CHECKING:
    from cogwheel.data import EventData


def summarize(
    samples: SampleRows,
    *,
    n_ext: int,
    n_phi: int,
    n_written: int | None = None,
    expected_counts_e: np.ndarray | None = None,
    relative_binning_error: Mapping[str, float] | None = None,
    exact: Mapping[str, float] | None = None,
    calibration: Mapping[str, Any] | None = None,
    injection: Mapping[str, float] | None = None,
    reliability: Mapping[str, Any] | None = None,
    evidence_sums: EvidenceSums | None = None,
) -> dict[str, Any]:
    """Return the content of ``summary_results.json``.

    Parameters
    ----------
    samples : SampleRows
        The samples that are written.
    n_ext, n_phi : int
    n_written : int, optional
        Rows of the table of samples with weights.
    expected_counts_e : (n_ext,) float, optional
        How often each extrinsic sample was to be drawn from the pool, on average.
    relative_binning_error, injection : mapping, optional
        Added as they are.
    exact, calibration : mapping, optional
        With :func:`.evidence_change`: they change the evidence and add to its error.
    reliability : mapping, optional
        Other numbers that the verdict looks at, by their keys in the summary.
    evidence_sums : EvidenceSums, optional
        Where the samples are draws from all that were evaluated.

    Returns
    -------
    dict
        With the verdict, ``diagnostics``. -inf and NaN, for which JSON has no number, are
        None.
    """
    posterior = samples.posterior
    banks = posterior.banks
    if evidence_sums is not None:
        error = evidence_error(evidence_sums, expected_counts_e)
    else:
        error = ln_evidence_error(
            combined_terms(
                [
                    EvidenceTerms(
                        bank.coherent_set.i,
                        bank.coherent_set.e,
                        bank.ln_posterior,
                        bank.n_int,
                    )
                    for bank in banks
                ]
            ),
            n_ext=n_ext,
            n_phi=n_phi,
            expected_counts_e=expected_counts_e,
        )
    summary: dict[str, Any] = {
        "n_effective": posterior.n_effective,
        "n_effective_i": posterior.n_effective_i,
        "n_effective_e": posterior.n_effective_e,
        "bestfit_lnlike_max": _largest(
            bank.coherent_set.bestfit_lnlike[rows]
            for bank, rows in zip(banks, samples.rows, strict=True)
        ),
        "lnl_marginalized_max": _largest(
            bank.lnl_marginalized[rows]
            for bank, rows in zip(banks, samples.rows, strict=True)
        ),
        "n_i_inds_used": sum(len(bank.coherent_set.inds) for bank in banks),
        "ln_evidence": logsumexp(np.array([bank.ln_evidence for bank in banks])),
        "ln_evidence_error": None if error is None else error.total,
        "ln_evidence_error_parts": {
            "intrinsic": None if error is None else error.intrinsic,
            "extrinsic": None if error is None else error.extrinsic,
        },
        "ln_evidence_discarded": logsumexp(
            np.array([bank.ln_evidence_discarded for bank in banks])
        ),
        "n_distance_marginalizations": sum(map(len, banks)),
        "n_banks": len(banks),
        "per_bank_results": {
            bank.bank_id: {
                "ln_evidence": bank.ln_evidence,
                "n_effective": bank.n_effective,
                "n_effective_i": bank.n_effective_i,
                "n_effective_e": bank.n_effective_e,
                "n_inds_used": len(bank.coherent_set.inds),
                "N_k": bank.n_total,
            }
            for bank in banks
        },
    }
    if relative_binning_error is not None:
        summary["relative_binning_error"] = dict(relative_binning_error)
    if n_written is not None:
        summary["n_prob_samples"] = n_written
    for key, before, change in (
        ("exact_likelihoods", "ln_evidence_binned", exact),
        ("calibration", "ln_evidence_uncalibrated", calibration),
    ):
        if change is None:
            continue
        summary[key] = {before: summary["ln_evidence"], **change}
        summary["ln_evidence"] += change["ln_evidence_change"]
        if error is not None:
            summary["ln_evidence_error"] = math.hypot(
                summary["ln_evidence_error"], change["ln_evidence_change_error"]
            )
    if injection is not None:
        summary["injection"] = dict(injection)
    summary = _finite_or_none(summary | dict(reliability or {}))
    summary["diagnostics"] = judge(summary).to_dict()
    return summary


def _largest(parts: Iterable[np.ndarray]) -> float:
    return max((float(part.max(initial=-np.inf)) for part in parts), default=-np.inf)


def _finite_or_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite_or_none(item) for key, item in value.items()}
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def injection_summary(
    event_data: EventData, asd_drift_d: np.ndarray, table: DistanceTable
) -> dict[str, float] | None:
    """Return likelihoods of the signal that an event carries, None if it carries none.

    Parameters
    ----------
    event_data : cogwheel.data.EventData
        Its injection holds ``d_h`` and ``h_h`` by detector at the injected distance.
    asd_drift_d : (n_d,) float
        Inner products are divided by its square.
    table : DistanceTable

    Returns
    -------
    dict or None
        ``bestfit_lnlike`` and ``lnl_marginalized``. None also for an injection that does
        not say what these need.
    """
    injection = event_data.injection
    if not injection or not {"d_h", "h_h", "par_dic"} <= injection.keys():
        return None
    d_luminosity = injection["par_dic"].get("d_luminosity")
    if d_luminosity is None:
        return None
    asd_drift_d = np.asarray(asd_drift_d, dtype=float)
    d_h = float(np.sum(np.real(injection["d_h"]) / asd_drift_d**2))
    h_h = float(np.sum(np.real(injection["h_h"]) / asd_drift_d**2))
    lnl_marginalized = lnlike_marginalized(d_h * d_luminosity, h_h * d_luminosity**2, table)
    return {
        "bestfit_lnlike": 0.5 * d_h**2 / h_h if d_h > 0 and h_h > 0 else 0.0,
        "lnl_marginalized": float(lnl_marginalized),
    }
