"""Fixtures shared by all tests, and the one place that knows where reference data lies.

``DOTPE_EXEC_REFERENCE_DATA`` names a folder with ``golden/hlv`` (see its README) and
``strain``; by default the folder ``shared`` beside the checkout. Tests that need it are
skipped, with the reason, where it is missing.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REFERENCE_DATA = Path(
    os.environ.get(
        "DOTPE_EXEC_REFERENCE_DATA", Path(__file__).resolve().parents[2] / "shared"
    )
)


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder of the golden three-detector case."""
    folder = REFERENCE_DATA / "golden" / "hlv"
    if not folder.is_dir():
        pytest.skip(f"no reference data at {folder} (set DOTPE_EXEC_REFERENCE_DATA)")
    return folder


@pytest.fixture(scope="session")
def strain() -> Path:
    """The folder of public LIGO strain around GW150914."""
    folder = REFERENCE_DATA / "strain"
    if not folder.is_dir():
        pytest.skip(f"no reference data at {folder} (set DOTPE_EXEC_REFERENCE_DATA)")
    return folder
