"""Calibration envelopes like those of the LVK."""

import numpy as np


def write_envelope(path, seed=0, width=0.05):
    """Write an envelope with a bias and wiggles."""
    rng = np.random.default_rng(seed)
    f = np.geomspace(5, 4096, 200)
    wave = np.sin(np.log(f) * 2 + rng.uniform(0, 6))
    amplitude, phase = 1 + 0.03 * wave, 0.02 * np.cos(np.log(f) + seed)
    sigma = width * (1 + 0.3 * np.sin(np.log(f)))
    np.savetxt(path, np.stack([f, amplitude, phase, amplitude - sigma, phase - sigma,
                               amplitude + sigma, phase + sigma], axis=1))  # fmt: skip
    return path
