"""The results of a run as a table in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

_ROWS = (
    ("mchirp", "chirp mass, detector frame", "M☉", ".2f"),
    ("q", "mass ratio m2/m1", "", ".2f"),
    ("chieff", "effective spin", "", ".2f"),
    ("d_luminosity", "luminosity distance", "Mpc", ".0f"),
)


def weighted_quantiles(values, weights, probabilities) -> np.ndarray:
    """Return quantiles of weighted samples (inverse of the mid-point cumulative).

    Parameters
    ----------
    values, weights : (n,) float
    probabilities : sequence of float

    Returns
    -------
    (len(probabilities),) float
    """
    values, weights = np.asarray(values, float), np.asarray(weights, float)
    order = np.argsort(values)
    cumulative = np.cumsum(weights[order])
    midpoints = (cumulative - 0.5 * weights[order]) / cumulative[-1]
    return np.interp(probabilities, midpoints, values[order])


def decimals(width: float) -> int:
    """Return how many decimals show an interval of this width to two digits."""
    if not (np.isfinite(width) and width > 0):
        return 2
    return int(np.clip(1 - np.floor(np.log10(width)), 0, 6))


def interval(low: float, median: float, high: float) -> str:
    """Return a median and its interval as text, with the digits that its width allows."""
    n_digits = decimals(high - low)
    # Adding zero turns -0 into 0.
    low, median, high = (round(float(x), n_digits) + 0.0 for x in (low, median, high))
    return f"{median:.{n_digits}f} [{low:.{n_digits}f}, {high:.{n_digits}f}]"


def results_table(samples: pd.DataFrame, summary: dict[str, Any]) -> Table:
    """Return the table of medians, 90% intervals, evidence and sample sizes."""
    from rich.table import Table

    from .corner import with_derived_columns

    table = Table(title="Posterior: median and 90% interval", title_justify="left")
    table.add_column("quantity")
    table.add_column("value", justify="right")
    table.add_column("unit")
    samples = with_derived_columns(samples)
    for column, label, unit, form in _ROWS:
        low, median, high = weighted_quantiles(
            samples[column], samples["weights"], (0.05, 0.5, 0.95)
        )
        value = f"{median:{form}}  [{low:{form}}, {high:{form}}]"
        table.add_row(label, value, unit)
    table.add_section()
    error = summary.get("ln_evidence_error")
    evidence = "-inf" if summary["ln_evidence"] is None else f"{summary['ln_evidence']:.2f}"
    table.add_row("ln evidence", evidence + (f" ± {error:.2f}" if error else ""), "")
    for key, label in (
        ("n_effective", "effective samples"),
        ("n_effective_i", "effective waveforms"),
        ("n_effective_e", "effective extrinsic samples"),
    ):
        table.add_row(label, f"{summary[key]:.1f}", "")
    return table


def timing_table(report: dict[str, Any], summary: dict[str, Any]) -> Table:
    """Return the table of seconds per stage, and what the cores' time bought."""
    from rich.table import Table

    table = Table(title="Time", title_justify="left")
    table.add_column("stage")
    table.add_column("seconds", justify="right")
    for stage, seconds in report["stages"].items():
        table.add_row(stage, f"{seconds:.1f}")
    total = sum(report["stages"].values())
    table.add_section()
    table.add_row("total", f"{total:.1f}")
    core_seconds = total * report["config"]["n_procs"]
    table.add_row(
        "effective samples per core-second", f"{summary['n_effective'] / core_seconds:.0f}"
    )
    return table
