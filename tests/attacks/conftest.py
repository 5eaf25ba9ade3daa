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
def undamaged(make_once) -> Path:
    """Inputs of small runs, not to be changed."""
    return make_once("attacked", _make_inputs)


def _make_inputs(folder: Path) -> None:
    from dotpe_exec.banks.build import build_bank
    from dotpe_exec.events import save_event, simulate_event

    folder.mkdir()
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


@pytest.fixture(scope="session")
def undisturbed_run(undamaged, make_once) -> Path:
    """The run that nobody disturbed; not to be changed."""
    return make_once(
        "undisturbed", lambda folder: run(**arguments(undamaged, rundir=folder))
    )


@pytest.fixture(scope="session")
def expected(undisturbed_run) -> dict:
    """Its summary."""
    return summary_of(undisturbed_run)
