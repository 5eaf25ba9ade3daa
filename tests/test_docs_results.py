"""The page on results lists every column and key that a run has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dotpe_exec import load

_BY_NAME = (
    "per_bank_results",
    "edges",
    "asd_drift",
    "asd_drift_error",
    "d_ln_evidence_d_ln_asd_drift",
    "goodness_of_fit",
)
"""Whose keys are banks, edges, detectors."""

PAGE = Path(__file__).parents[1] / "docs" / "results.md"


@pytest.fixture(scope="module")
def documented():
    """Names in code spans of the page."""
    return set(re.findall(r"`([A-Za-z_0-9]+)`", PAGE.read_text(encoding="utf-8")))


def keys(content):
    for key, value in content.items():
        yield key
        if isinstance(value, dict) and key not in _BY_NAME:
            yield from keys(value)


def test_every_column_and_key_is_listed(finished, documented):
    run = load(finished)
    names = [
        *run.samples,
        *run.prob_samples,
        *run.extrinsic_samples,
        *run.derived,
        *(re.sub("^[LV]1_", "H1_", name) for name in run.detectors),
        *keys(run.summary),
        *next(iter(run.summary["per_bank_results"].values())),
        *run.summary["goodness_of_fit"]["H"],
        *run.summary["diagnostics"]["findings"][0],
    ]
    assert sorted(set(names) - documented) == []


def test_every_attribute_of_the_result_is_listed(documented):
    from dotpe_exec import Run

    text = PAGE.read_text(encoding="utf-8")
    public = [name for name in vars(Run) if not name.startswith("_")]
    assert [
        name for name in public if name not in documented and f"`{name}(" not in text
    ] == []
