"""The results of a run as a table in the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..verdict import LIMITED, RELIABLE, UNUSABLE, verdict_of
from .corner import with_derived_columns
from .intervals import weighted_quantiles

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table
    from rich.text import Text

_ROWS = (
    ("mchirp", "chirp mass, detector frame", "M☉", ".2f"),
    ("q", "mass ratio m2/m1", "", ".2f"),
    ("chieff", "effective spin", "", ".2f"),
    ("d_luminosity", "luminosity distance", "Mpc", ".0f"),
)


def results_table(samples: pd.DataFrame, summary: dict[str, Any]) -> Table:
    """Return the table of medians, 90% intervals, evidence and sample sizes."""
    from rich.table import Table

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


_STYLES = {RELIABLE: "green", LIMITED: "yellow", UNUSABLE: "bold red"}


def verdict_text(summary: Mapping[str, Any]) -> Text:
    """Return the verdict in words, with a colour for those who see one."""
    from rich.text import Text

    verdict = verdict_of(summary)
    text = Text()
    text.append(f"Verdict: {verdict.sentence}\n", style=_STYLES[verdict.status])
    for finding in verdict.findings:
        text.append(f"- {finding.title}", style=_STYLES[finding.status])
        text.append(f". {finding.advice}\n")
    return text


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
