"""Fixtures for tests of banks."""

from __future__ import annotations

from pathlib import Path

import pytest
from synthetic_banks import FailingGenerator, write_bank

from dotpe_exec.banks import recipe
from dotpe_exec.waveforms import generator as generator_module


@pytest.fixture
def bank_folder(tmp_path) -> Path:
    """A good bank of 11 waveforms in blocks of 4, that a test may damage."""
    return write_bank(tmp_path / "bank")


@pytest.fixture
def stand_in(monkeypatch):
    """Replace LAL by a generator that fails where told to; returns how to tell it."""

    def use(fails=lambda par_dic: False, **kwargs):
        generator = FailingGenerator(fails, **kwargs)
        monkeypatch.setattr(recipe, "generation_way", lambda *_: "direct")
        monkeypatch.setattr(generator_module, "generate_modes", generator)

    use()
    return use
