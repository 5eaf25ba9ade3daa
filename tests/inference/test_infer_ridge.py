"""A posterior along whose ridge polarisation and sky change with masses and spins."""

from __future__ import annotations

import warnings

import pytest

from dotpe_exec import infer, load
from dotpe_exec.events import simulate_event

SIGNAL = {
    "m1": 26.4222, "m2": 4.468, "s1x_n": -0.6899, "s1y_n": 0.1833, "s1z": -0.4121,
    "s2x_n": 0.0021, "s2y_n": -0.5119, "s2z": -0.7036, "l1": 0.0, "l2": 0.0,
    "iota": 1.1648, "psi": 0.4389, "phi_ref": 6.1008, "ra": 3.4146, "dec": 0.452,
    "t_geocenter": -0.0078, "d_luminosity": 270.4743, "f_ref": 50.0,
}  # fmt: skip
SEEDS = (1, 20261129)


@pytest.mark.slow  # seven minutes of one core
def test_seeds_find_the_same_evidence(tmp_path):
    """Without extrinsic samples for the reference waveform the second had 3 less."""
    event = simulate_event(
        "ridge", "HLV", duration=32.0, fmax=1024.0, tgps=1200010000.0, injection=SIGNAL,
        seed=20261129,
    )  # fmt: skip
    event.injection = None  # nothing is to be known
    found = []
    for seed in SEEDS:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", UserWarning
            )  # the mass ratio's range ends in it
            rundir = infer(
                event, n_effective=300, mchirp_range=(6.0, 15.0), q_min=0.125, f_ref=50.0,
                seed=seed, rundir=tmp_path / str(seed), executor="serial", progress=False,
            )  # fmt: skip
        found.append(load(rundir).ln_evidence)
    # Their stated errors are 0.05; the ends of the ridge are met more or less.
    assert found[0] == pytest.approx(found[1], abs=0.5)
