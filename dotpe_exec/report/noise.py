"""The noise levels that runs divided by, as rows of the report's table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..stages.noise_drift import drift_differences

if TYPE_CHECKING:
    from .view import RunView


def noise_rows(views: Sequence[RunView]) -> list[list[str]]:
    """Return a row for each detector: noise level near the event, and what it moves."""
    summaries = [view.run.summary for view in views]
    names = dict.fromkeys(
        name for summary in summaries for name in _by_detector(summary, "asd_drift")
    )
    rows = []
    for name in names:
        rows.append(
            [f"asd_drift of {name}", *(_level(summary, name) for summary in summaries), ""]
        )
        slopes = [
            _by_detector(summary, "d_ln_evidence_d_ln_asd_drift").get(name)
            for summary in summaries
        ]
        if any(slope is not None for slope in slopes):
            cells = ["–" if slope is None else f"{slope / 100:+.2f}" for slope in slopes]
            rows.append(
                [f"change of ln evidence per 1% in asd_drift of {name}", *cells, ""]
            )
    return rows


def noise_notes(views: Sequence[RunView]) -> list[str]:
    """Return a sentence for each pair of runs whose evidences cannot be compared."""
    return drift_differences({view.label: view.run.summary for view in views})


def _level(summary: Mapping[str, Any], name: str) -> str:
    level = _by_detector(summary, "asd_drift").get(name)
    if level is None:
        return "–"
    if summary.get("asd_drift_given"):
        return f"{level:.5g} (given)"
    error = _by_detector(summary, "asd_drift_error").get(name)
    return f"{level:.5f}" + ("" if error is None else f" ± {error:.3f}")


def _by_detector(summary: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = summary.get(key)
    return value if isinstance(value, Mapping) else {}
