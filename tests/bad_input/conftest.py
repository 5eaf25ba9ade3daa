"""Good inputs of a run, and copies of them that a test may damage."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from banks.synthetic_banks import write_bank
from refusals import N_EXT, PAR_DIC, WorkStarted

from dotpe_exec.inference import entry


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    """Good inputs: an event of two detectors, two banks, extrinsic samples, indices."""
    from dotpe_exec.events import simulate_event

    folder = tmp_path_factory.mktemp("template")
    event = simulate_event("tiny", "HL", duration=4.0, fmax=128.0, seed=1)
    event.to_npz(filename=folder / "event.npz")
    for k in range(2):
        write_bank(folder / f"bank_{k}", seed=k)
    rng = np.random.default_rng(0)
    pd.DataFrame(
        {
            "lat": rng.uniform(-1, 1, N_EXT),
            "lon": rng.uniform(0, 6, N_EXT),
            "psi": rng.uniform(0, 3, N_EXT),
            "t_geocenter": rng.normal(0, 0.01, N_EXT),
            "weights": rng.uniform(0.1, 1, N_EXT),
            "log_prior_weights": rng.normal(0, 1, N_EXT),
        }
    ).to_feather(folder / "extrinsic_samples.feather")
    np.savez(folder / "intrinsic_samples.npz", inds=np.arange(4))
    (folder / "par_dic_0.json").write_text(json.dumps(PAR_DIC))
    return folder


@pytest.fixture
def folder(template, tmp_path, monkeypatch):
    """A copy of the good inputs that a test may damage."""

    def work_starts(*args, **kwargs):
        raise WorkStarted

    monkeypatch.setattr(entry, "run_stages", work_starts)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return shutil.copytree(template, tmp_path / "inputs")
