"""Whether a result is to be trusted: the run's own diagnostics, or those of its files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .diagnostics import Finding, diagnose
from .view import RunView

GOOD, CAUTION, BAD = "good", "caution", "bad"
_GOOD_WORDS = {"good", "ok", "pass", "passed", "fine", "trusted", "green"}
_BAD_WORDS = {"bad", "fail", "failed", "unreliable", "untrusted", "red", "error"}
_SENTENCES = {
    GOOD: "Nothing suspicious was found",
    CAUTION: "To be used with caution",
    BAD: "Not to be trusted",
}


@dataclass(frozen=True)
class Verdict:
    """What to think of a result.

    Parameters
    ----------
    status : str
        As the run wrote it; else ``"good"``, ``"caution"`` or ``"bad"``.
    findings : tuple of Finding
        What is wrong, worst first.
    """

    status: str
    findings: tuple[Finding, ...]

    @property
    def level(self) -> str:
        """One of ``"good"``, ``"caution"``, ``"bad"``: the colour."""
        word = self.status.strip().lower()
        if word in _GOOD_WORDS:
            return GOOD
        return BAD if word in _BAD_WORDS else CAUTION

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        return _SENTENCES[self.level]

    def __str__(self) -> str:
        lines = [f"- {finding.title}: {finding.text}" for finding in self.findings]
        return "\n".join([f"{self.sentence}.", *lines])


def verdict(view: RunView) -> Verdict:
    """Return the verdict on a run.

    What ``summary_results.json`` says under ``diagnostics`` counts, and what only the other
    files show (the bank's edges, the size limit, workers that died) is added; for older
    directories everything is found from the files.
    """
    stored = view.run.summary.get("diagnostics")
    if not isinstance(stored, Mapping):
        findings = tuple(diagnose(view))
        return Verdict(_status(findings), findings)
    findings = tuple(
        _finding(entry)
        for entry in stored.get("findings") or ()
        if isinstance(entry, Mapping)
    )
    others = tuple(diagnose(view, files_only=True))
    status = str(stored.get("status") or _status(findings))
    if others and Verdict(status, ()).level == GOOD:
        status = CAUTION
    return Verdict(status, findings + others)


def _status(findings: tuple[Finding, ...]) -> str:
    if any(finding.severe for finding in findings):
        return BAD
    return CAUTION if findings else GOOD


def _finding(entry: Mapping[str, Any]) -> Finding:
    title = entry.get("title") or entry.get("message") or entry.get("key") or "a finding"
    numbers = [
        f"{name} {_number(entry[name])}"
        for name in ("value", "threshold")
        if isinstance(entry.get(name), int | float)
    ]
    text = ". ".join(
        part
        for part in (
            ", ".join(numbers),
            str(entry.get("advice") or entry.get("text") or ""),
        )
        if part
    )
    return Finding(str(title), text)


def _number(value: float) -> str:
    return f"{value:.4g}"
