"""Fixtures for tests of banks."""

from __future__ import annotations

from pathlib import Path

import pytest
from synthetic_banks import write_bank


@pytest.fixture
def bank_folder(tmp_path) -> Path:
    """A good bank of 11 waveforms in blocks of 4, that a test may damage."""
    return write_bank(tmp_path / "bank")
