"""Whole runs of tenths of a second, for attacks on what they read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PAR_DIC = {
    "m1": 37.0, "m2": 31.0, "ra": 1.2, "dec": -0.4, "iota": 0.6, "psi": 0.9, "phi_ref": 1.0,
    "s1x_n": 0.0, "s1y_n": 0.0, "s1z": 0.1, "s2x_n": 0.0, "s2y_n": 0.0, "s2z": 0.0,
    "l1": 0.0, "l2": 0.0, "f_ref": 50.0, "d_luminosity": 900.0, "t_geocenter": 0.0,
}  # fmt: skip


# Of the prior in Posterior.json. Finding it takes as long as all the rest of a run.
RANGE = {"ref_wf_finder_kwargs": {"mchirp_range": [20.0, 45.0]}}


def arguments(folder: Path, **changes: Any) -> dict[str, Any]:
    """Arguments of ``run`` for inputs in ``folder``."""
    return {
        "event": folder / "event.npz",
        "bank_folder": folder / "bank",
        "n_ext": 64,
        "n_phi": 16,
        "n_t": 32,
        "seed": 5,
        "par_dic_0": folder / "par_dic_0.json",
        "extrinsic_samples": folder / "extrinsic" / "extrinsic_samples.feather",
        "coherent_posterior_kwargs": RANGE,
        "rundir": folder / "run",
        "progress": False,
    } | changes


def infer_arguments(folder: Path, **changes: Any) -> dict[str, Any]:
    """Arguments of ``infer`` for inputs in ``folder``: seconds, few waveforms."""
    return {
        "event": folder / "event.npz",
        "par_dic_0": folder / "par_dic_0.json",
        "coherent_posterior_kwargs": RANGE,
        "mchirp_range": (26, 34),
        "q_min": 0.5,
        "n_effective": 8,
        "max_waveforms": 600,
        "n_ext": 64,
        "n_phi": 16,
        "n_t": 32,
        "seed": 5,
        "executor": "serial",
        "progress": False,
    } | changes


def summary_of(rundir: Path) -> dict[str, Any]:
    return json.loads((rundir / "summary_results.json").read_text())
