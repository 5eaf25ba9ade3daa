"""What a campaign keeps of one finished run: numbers for the table and for P-P tests.

A P-P test needs the prior of the analysis to be that of the signals. Injections are drawn
from the analysis' prior, but within limits (masses, signal-to-noise ratio, distance, time);
a posterior under the limited prior is the posterior under the wide one, restricted to
samples within the limits. So these are what counts, exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..kernels.masses import chirp_mass, effective_spin
from ..loading import StoredRun
from ..verdict import verdict_of

if TYPE_CHECKING:
    import pandas as pd

    from .settings import Injections

QUANTITIES = ("mchirp", "q", "m1", "m2", "chieff", "d_luminosity", "iota")
"""Those of which the table has medians and 90% intervals."""
TESTED = ("mchirp", "lnq", "chieff", "d_luminosity", "ra", "dec", "iota", "psi",
          "t_geocenter")  # fmt: skip
"""Those whose probability below the true value is kept."""
_SUMMARY = ("ln_evidence", "ln_evidence_error", "ln_evidence_discarded", "n_effective",
            "n_effective_i", "n_effective_e", "bestfit_lnlike_max",
            "lnl_marginalized_max")  # fmt: skip


def evaluate(rundir: Path, limits: Injections | None) -> dict[str, Any]:
    """Return what the table of all events says of a finished run.

    Parameters
    ----------
    rundir : Path
    limits : Injections or None
        Those that the event is one of.
    """
    run = StoredRun(rundir)
    samples = with_ratios(run.samples)
    weights = samples["weights"].to_numpy(dtype=float)
    found: dict[str, Any] = {name: run.summary.get(name) for name in _SUMMARY}
    for name in QUANTITIES:
        for key, value in zip(
            ("", "_low", "_high"),
            weighted_quantiles(samples[name].to_numpy(), weights, (0.5, 0.05, 0.95)),
            strict=True,
        ):
            found[f"{name}{key}"] = value
    verdict = verdict_of(run.summary)
    found["verdict"] = verdict.status
    found["findings"] = [one.title for one in verdict.findings]
    truth, snr = _truth(run)
    found["snr"] = snr
    if truth is not None:
        found["truth"] = truth
        inside = (
            np.ones(len(samples), dtype=bool)
            if limits is None
            else _within(samples, limits, run.summary, _injection(run))
        )
        found["share_within_limits"] = float(weights[inside].sum() / weights.sum())
        found["below"], found["bias"] = {}, {}
        if inside.any():
            some, kept = samples[inside], weights[inside]
            for name in TESTED:
                values = some[name].to_numpy(dtype=float)
                found["below"][name] = probability_below(values, kept, truth[name])
                found["bias"][name] = _bias(values, kept, truth[name])
    return found


def with_ratios(samples: pd.DataFrame) -> pd.DataFrame:
    """Return the samples with mass ratio."""
    return samples.assign(q=samples["m2"] / samples["m1"])


def _injection(run: StoredRun) -> Mapping[str, Any] | None:
    from ..events import load_event

    if run.event_file is None:
        return None
    return load_event(run.event_file).injection


def _truth(run: StoredRun) -> tuple[dict[str, float] | None, float | None]:
    """Return the injected parameters, with derived ones, and the optimal SNR."""
    injection = _injection(run)
    if not injection:
        return None, None
    par_dic = {name: float(value) for name, value in injection["par_dic"].items()}
    m1, m2 = par_dic["m1"], par_dic["m2"]
    truth = par_dic | {
        "q": m2 / m1,
        "lnq": float(np.log(m2 / m1)),
        "mchirp": chirp_mass(m1, m2),
        "chieff": effective_spin(m1, m2, par_dic["s1z"], par_dic["s2z"]),
    }
    if "h_h" not in injection:
        return truth, None
    return truth, float(np.sqrt(np.sum(injection["h_h"])))


def _within(
    samples: pd.DataFrame,
    limits: Injections,
    summary: Mapping[str, Any],
    injection: Mapping[str, Any] | None,
) -> np.ndarray:
    """Return which samples the injections could have been."""
    snr = np.sqrt(samples["h_h_1Mpc"].to_numpy(dtype=float))
    snr *= _drift(summary, injection) / samples["d_luminosity"].to_numpy(dtype=float)
    mchirp = samples["mchirp"].to_numpy()
    inside = (mchirp >= limits.mchirp_range[0]) & (mchirp <= limits.mchirp_range[1])
    inside &= samples["q"].to_numpy() >= limits.q_min
    inside &= (snr >= limits.snr_range[0]) & (snr <= limits.snr_range[1])
    inside &= samples["d_luminosity"].to_numpy() <= limits.d_luminosity_max
    inside &= np.abs(samples["t_geocenter"].to_numpy()) <= limits.time_half_range
    return inside


def _drift(summary: Mapping[str, Any], injection: Mapping[str, Any] | None) -> float:
    """Return the drift of the noise level that inner products were divided by.

    It is another for each detector; the one that explains the injection's likelihood will
    do for the network. Injections' signal-to-noise ratios know no drift.
    """
    lnlike = (summary.get("injection") or {}).get("bestfit_lnlike")
    if not lnlike or not injection or not {"d_h", "h_h"} <= injection.keys():
        return 1.0
    expected = 0.5 * np.sum(injection["d_h"]) ** 2 / np.sum(injection["h_h"])
    return float(np.sqrt(expected / lnlike))


def probability_below(values: np.ndarray, weights: np.ndarray, true_value: float) -> float:
    """Return the weight below the true value, half of it where samples equal it."""
    below = weights[values < true_value].sum() + 0.5 * weights[values == true_value].sum()
    return float(below / weights.sum())


def _bias(values: np.ndarray, weights: np.ndarray, true_value: float) -> float | None:
    """Return how far the mean is from the true value, in standard deviations."""
    mean = np.average(values, weights=weights)
    deviation = np.sqrt(np.average((values - mean) ** 2, weights=weights))
    return float((mean - true_value) / deviation) if deviation > 0 else None


def weighted_quantiles(
    values: np.ndarray, weights: np.ndarray, levels: tuple[float, ...]
) -> list[float]:
    """Return quantiles of a weighted sample."""
    order = np.argsort(values, kind="stable")
    cumulative = np.cumsum(weights[order])
    positions = (cumulative - 0.5 * weights[order]) / cumulative[-1]
    return [float(np.interp(level, positions, values[order])) for level in levels]
