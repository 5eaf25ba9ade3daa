"""A small run directory made here: a fast stand-in for a finished run."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd


def write_run(folder, bank_folder=None, *, n=400, mchirp=25.0, seed=1, **summary):
    """Write the files of a finished run with ``n`` samples; return the folder."""
    rng = np.random.default_rng(seed)
    (folder / "banks" / "bank_0").mkdir(parents=True)
    q = rng.uniform(0.5, 1.0, n)
    m1 = mchirp * (1 + 0.01 * rng.standard_normal(n)) * (1 + q) ** 0.2 / q**0.6
    i = np.arange(n)
    samples = pd.DataFrame(
        {
            "m1": m1,
            "m2": q * m1,
            "mchirp": (q * m1**2) ** 0.6 / (m1 + q * m1) ** 0.2,
            "chieff": rng.normal(0, 0.1, n),
            "d_luminosity": rng.uniform(400, 800, n),
            "iota": rng.uniform(0, 3, n),
            "ra": np.mod(rng.normal(0, 0.1, n), 2 * np.pi),
            "dec": rng.normal(-1, 0.1, n),
            "lnl": rng.normal(50, 1, n),
            "weights": rng.uniform(0, 1, n),
            "i": i,
            "bank_id": "bank_0",
        }
    )
    samples.to_feather(folder / "samples.feather")
    samples[["i", "weights"]].to_feather(folder / "prob_samples.feather")
    samples[["i", "weights"]].to_feather(folder / "banks/bank_0/prob_samples.feather")
    np.savez(
        folder / "banks/bank_0/intrinsic_samples.npz",
        inds=i,
        lnlikes_di=np.full((2, n), 25.0),
        incoherent_lnlikes=np.linspace(30, 50, n),
    )
    kwargs = {
        "event": "GW_toy <b>",
        "bank_folder": str(bank_folder),
        "n_ext": 96,
        "n_phi": 16,
        "n_t": 64,
        "seed": seed,
        "size_limit": 10**7,
    }
    (folder / "run_kwargs.json").write_text(json.dumps(kwargs))
    values = {
        "n_effective": 1000.0,
        "n_effective_i": 100.0,
        "n_effective_e": 200.0,
        "bestfit_lnlike_max": 60.0,
        "lnl_marginalized_max": 55.0,
        "n_i_inds_used": n,
        "ln_evidence": 40.0,
        "ln_evidence_discarded": 20.0,
        "n_distance_marginalizations": n,
    } | summary
    (folder / "summary_results.json").write_text(json.dumps(values))
    return folder
