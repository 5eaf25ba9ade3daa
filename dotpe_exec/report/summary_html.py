"""A run in a notebook: its verdict, then its results."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from ..errors import DotpeExecError
from ..verdict import LIMITED, RELIABLE, UNUSABLE
from .intervals import interval_text

if TYPE_CHECKING:
    from ..result import Run

_COLORS = {RELIABLE: "#009e73", LIMITED: "#e69f00", UNUSABLE: "#c0392b"}
_ROWS = (
    ("mchirp", "chirp mass, detector frame", "M☉"),
    ("mass_1_source", "primary mass, source frame", "M☉"),
    ("mass_2_source", "secondary mass, source frame", "M☉"),
    ("chieff", "effective spin", ""),
    ("d_luminosity", "luminosity distance", "Mpc"),
)


def run_html(run: Run) -> str:
    """Return a small HTML summary; of a run that is not finished, its path."""
    try:
        verdict = run.diagnostics
        rows = [
            (name, interval_text(run.table(column), column), unit)
            for column, name, unit in _ROWS
        ]
    except DotpeExecError as error:
        return f"<p><strong>{escape(str(run.path))}</strong>: {escape(str(error))}</p>"
    rows.append(("ln evidence", f"{run.ln_evidence:.2f} ± {run.ln_evidence_error:.2f}", ""))
    color = _COLORS[verdict.status]
    findings = "".join(
        f"<li><strong>{escape(f.title)}.</strong> {escape(f.advice)}</li>"
        for f in verdict.findings
    )
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    return (
        f'<div style="border-left:4px solid {color};padding:.4em .8em">'
        f"<strong>{escape(verdict.sentence)}</strong><ul>{findings}</ul></div>"
        f"<table><caption>{escape(str(run.path))}</caption><tbody>{body}</tbody></table>"
    )
