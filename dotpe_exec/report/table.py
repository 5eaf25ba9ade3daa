"""The results of a run as a table in the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..verdict import LIMITED, RELIABLE, UNUSABLE, verdict_of
from .corner import with_derived_columns
from .intervals import interval_text, with_error

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table
    from rich.text import Text

_ROWS = (
    ("mchirp", "chirp mass, detector frame", "M☉"),
    ("q", "mass ratio m2/m1", ""),
    ("chieff", "effective spin", ""),
    ("d_luminosity", "luminosity distance", "Mpc"),
)


def printable(text: str) -> Text:
    """Return text of a file as it stands: no markup, nothing that steers terminals."""
    from rich.text import Text

    return Text("".join(char if char.isprintable() else "\ufffd" for char in text))


def results_table(samples: pd.DataFrame, summary: dict[str, Any]) -> Table:
    """Return the table of medians, 90% intervals, evidence and sample sizes."""
    from rich.table import Table

    table = Table(
        title="Posterior: median and 90% interval, with Monte-Carlo errors",
        title_justify="left",
    )
    table.add_column("quantity")
    table.add_column("value", justify="right")
    table.add_column("unit")
    samples = with_derived_columns(samples)
    for column, label, unit in _ROWS:
        table.add_row(label, interval_text(samples, column), unit)
    table.add_section()
    evidence = "-inf"
    if summary["ln_evidence"] is not None:
        evidence = with_error(summary["ln_evidence"], summary.get("ln_evidence_error"), 2)
    table.add_row("ln evidence", evidence, "")
    for key, label in (
        ("n_effective", "effective samples"),
        ("n_effective_i", "effective waveforms"),
        ("n_effective_e", "effective extrinsic samples"),
    ):
        number = summary[key]
        table.add_row(label, f"{number:.1f}" if number < 100 else f"{number:.0f}", "")
    if sky := summary.get("sky"):
        table.add_section()
        for level in (50, 90):
            table.add_row(f"sky, {level}%", f"{sky[f'area_{level}']:.3g}", "deg²")
        for level in (50, 90):
            volume = sky[f"volume_{level}"] / 1e6
            table.add_row(f"volume, {level}%", f"{volume:.3g}", "10⁶ Mpc³")
    return table


_STYLES = {RELIABLE: "green", LIMITED: "yellow", UNUSABLE: "bold red"}


def verdict_text(summary: Mapping[str, Any]) -> Text:
    """Return the verdict in words, with a colour for those who see one."""
    from rich.text import Text

    verdict = verdict_of(summary)
    text = Text()
    text.append(f"Verdict: {verdict.sentence}\n", style=_STYLES[verdict.status])
    for finding in verdict.findings:
        title, advice = printable(finding.title), printable(finding.advice)
        text.append(f"- {title.plain}", style=_STYLES.get(finding.status, ""))
        text.append(f". {advice.plain}\n")
    return text


def timing_table(report: dict[str, Any], summary: dict[str, Any]) -> Table:
    """Return the table of seconds per stage, and what the cores' time bought."""
    from rich.table import Table

    table = Table(title="Time", title_justify="left")
    table.add_column("stage")
    table.add_column("seconds", justify="right")
    for stage, seconds in report["stages"].items():
        table.add_row(printable(stage), f"{seconds:.1f}")
    total = sum(report["stages"].values())
    table.add_section()
    table.add_row("total", f"{total:.1f}")
    core_seconds = total * report["config"]["n_procs"]
    table.add_row(
        "effective samples per core-second", f"{summary['n_effective'] / core_seconds:.0f}"
    )
    return table
