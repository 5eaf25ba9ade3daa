"""The verdict of real runs: noise alone, and waveforms that end in the posterior."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from golden_runs import arguments_of_run

from dotpe_exec import run
from dotpe_exec.events import load_event, simulate_event
from dotpe_exec.kernels.masses import chirp_mass


def diagnostics(rundir):
    return json.loads((rundir / "summary_results.json").read_text())["diagnostics"]


@pytest.mark.slow  # in the attacks is a smaller one
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_noise_alone_is_no_signal(golden, tmp_path):
    event = load_event(golden / "event.npz")
    noise = simulate_event(
        "noise",
        "HLV",
        duration=1 / event.df,
        fmax=float(event.frequencies[-1]),
        seed=3,
    )
    arguments = arguments_of_run(golden, event=noise, extrinsic_samples=None)
    found = diagnostics(run(**arguments, rundir=tmp_path / "run"))
    assert found["status"] == "unusable"
    assert "nothing_found" in [finding["key"] for finding in found["findings"]]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_waveforms_that_end_in_the_posterior_are_told(golden, finished, tmp_path):
    """Those below the best waveform's chirp mass are left out."""
    arguments = arguments_of_run(golden)
    samples = pd.read_feather(finished / "samples.feather")
    best = samples.loc[samples["lnl"].idxmax()]
    lowest = chirp_mass(best["m1"], best["m2"])
    indices = {}
    for bank_id in ("bank_0", "bank_1"):
        table = pd.read_feather(golden / bank_id / "intrinsic_sample_bank.feather")
        mchirp = chirp_mass(table["m1"], table["m2"]).to_numpy()
        indices[bank_id] = np.flatnonzero(mchirp >= lowest * (1 - 1e-12))
    rundir = run(
        **arguments, preselected_indices=indices, n_int=384, rundir=tmp_path / "cut"
    )
    keys = [finding["key"] for finding in diagnostics(rundir)["findings"]]
    assert "edge_lower_mchirp_edge" in keys
    assert "edge_lower_mchirp_edge" not in [
        finding["key"] for finding in diagnostics(finished)["findings"]
    ]
