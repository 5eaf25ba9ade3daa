"""What only a task can find ends the run with the place of the damage."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from golden_runs import arguments_of_run

from dotpe_exec import run_multicore
from dotpe_exec.errors import DotpeExecError, NonFiniteError


@pytest.mark.parametrize("executor", ["serial", "loky"])
def test_waveform_with_nan_is_named(golden, tmp_path, executor):
    bank = shutil.copytree(golden / "bank_1", tmp_path / "bank")
    path = bank / "waveforms" / "phase_block_2.npy"
    phase = np.load(path)
    phase[17, 1, 0, 40] = np.nan
    np.save(path, phase)
    banks = {"good": golden / "bank_0", "bad": bank}
    with pytest.raises(DotpeExecError) as caught:
        run_multicore(
            **arguments_of_run(golden, bank_folder=banks),
            rundir=tmp_path / "run",
            executor=executor,
            n_procs=2,
        )
    assert isinstance(caught.value, NonFiniteError)
    message = str(caught.value).splitlines()[0]
    assert "phase_block_2.npy" in message or "block 2" in message
    assert str(2 * 128 + 17) in message
    assert not (tmp_path / "run" / "summary_results.json").exists()
