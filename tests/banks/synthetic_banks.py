"""Small banks of random numbers: made in milliseconds, no waveform is generated."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

N_WAVEFORMS, BLOCKSIZE, N_B = 11, 4, 6

CONFIG = {
    "bank_size": N_WAVEFORMS,
    "mchirp_min": 20.0,
    "mchirp_max": 31.0,
    "q_min": 0.2,
    "f_ref": 50.0,
    "fbin": [20.0, 25.0, 31.0, 40.0, 60.0, 100.0],
    "approximant": "IMRPhenomXPHM",
    "m_arr": [2, 3],
    "harmonic_modes": [[2, 2], [3, 3]],
    "blocksize": BLOCKSIZE,
    "seed": 5,
}


def write_bank(folder: Path, config: dict | None = None, seed: int = 0) -> Path:
    """Write a bank with random numbers for waveforms; amplitudes tell their index."""
    config = CONFIG | (config or {})
    rng = np.random.default_rng(seed)
    (folder / "waveforms").mkdir(parents=True)
    (folder / "bank_config.json").write_text(json.dumps(config))
    n = config["bank_size"]
    pd.DataFrame(
        {
            "m1": rng.uniform(30, 40, n),
            "m2": rng.uniform(20, 30, n),
            **{
                name: rng.uniform(-0.5, 0.5, n)
                for name in ("s1z", "s1x_n", "s1y_n", "s2z", "s2x_n", "s2y_n")
            },
            "iota": rng.uniform(0, np.pi, n),
            "log_prior_weights": rng.normal(0, 0.1, n),
        }
    ).to_feather(folder / "intrinsic_sample_bank.feather")
    shape = (len(config["m_arr"]), 2, len(config["fbin"]))
    for k, start in enumerate(range(0, n, config["blocksize"])):
        inds = np.arange(start, min(start + config["blocksize"], n))
        amplitudes = (1 + inds)[:, None, None, None] * np.ones(shape)
        np.save(folder / f"waveforms/amplitudes_block_{k}.npy", amplitudes)
        phases = rng.normal(size=(len(inds), *shape))
        np.save(folder / f"waveforms/phase_block_{k}.npy", phases)
    return folder


class FailingGenerator:
    """Stands in for LALSimulation's waveforms by mode; fails where it is told to.

    Parameters
    ----------
    fails : callable
        From the parameters to whether there is no waveform.
    how : str
        ``error``, ``nan`` or ``zero``.
    n_m : int
        Number of modes.
    """

    def __init__(self, fails, how: str = "error", n_m: int = 4):
        self.fails, self.how, self.n_m = fails, how, n_m

    def __call__(self, frequencies_f, source):
        """Return a waveform of the primary mass's amplitude, or fail."""
        par_dic = source.parameters
        # A quarter of a turn from one frequency to the next.
        turns_b = np.resize([1, 1j, -1, -1j], len(frequencies_f))
        h_mpb = np.tile(par_dic["m1"] * turns_b, (self.n_m, 2, 1))
        if not self.fails(par_dic):
            return h_mpb
        if self.how == "error":
            raise RuntimeError("Invalid argument")
        if self.how == "nan":
            h_mpb[-1, 1, -1] = np.nan
            return h_mpb
        return 0 * h_mpb
