"""The linked bank of the benchmarks is a bank."""

from __future__ import annotations

import numpy as np
import pytest

from dotpe_exec.banks.check import check_bank
from dotpe_exec.banks.format import open_bank


@pytest.fixture(scope="module")
def make_big_bank(bench):
    return bench("big_bank").make_big_bank


def test_blocks_repeat(make_big_bank, bank_folder, tmp_path):
    folder = make_big_bank(bank_folder, tmp_path / "big", 20)
    bank = open_bank(folder)
    assert bank.n_waveforms == 20
    amplitudes, _ = bank.handle.read(np.arange(20))
    # The third block of the source is shorter and is left out.
    np.testing.assert_array_equal(amplitudes[:, 0, 0, 0], 1 + np.arange(20) % 8)
    assert check_bank(folder, n_new=0).ok  # its waveforms are made up


def test_size_must_be_whole_blocks(make_big_bank, bank_folder, tmp_path):
    with pytest.raises(ValueError, match="multiple of 4"):
        make_big_bank(bank_folder, tmp_path / "big", 21)
