"""A small signal, a bank with checksums, and a finished run whose extrinsic samples serve
further runs: whole runs in tenths of a second."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from small_runs import PAR_DIC, arguments, summary_of

from dotpe_exec import run


@pytest.fixture(scope="session")
def undamaged(tmp_path_factory) -> Path:
    """Inputs of small runs, not to be changed."""
    from dotpe_exec.banks.build import build_bank
    from dotpe_exec.events import save_event, simulate_event

    folder = tmp_path_factory.mktemp("attacked")
    event = simulate_event(
        "attacked", "HL", duration=4.0, fmax=256.0, injection=PAR_DIC, seed=1
    )
    save_event(event, folder / "event.npz")
    (folder / "par_dic_0.json").write_text(json.dumps(PAR_DIC, indent=2))
    build_bank(
        folder / "bank", bank_size=64, blocksize=32, mchirp_range=(28, 32), q_min=0.6,
        event=folder / "event.npz", pn_phase_tol=0.2, seed=1, executor="serial",
        progress=False,
    )  # fmt: skip
    drawn = run(**arguments(folder, extrinsic_samples=None, rundir=folder / "drawn"))
    (folder / "extrinsic").mkdir()
    for name in ("extrinsic_samples.feather", "run_checksums.json"):
        shutil.copy(drawn / name, folder / "extrinsic")
    shutil.rmtree(drawn)
    return folder


@pytest.fixture(scope="session")
def undisturbed_run(undamaged, tmp_path_factory) -> Path:
    """The run that nobody disturbed; not to be changed."""
    rundir = tmp_path_factory.mktemp("undisturbed") / "run"
    return run(**arguments(undamaged, rundir=rundir))


@pytest.fixture(scope="session")
def expected(undisturbed_run) -> dict:
    """Its summary."""
    return summary_of(undisturbed_run)
