"""Modes of a marginal distribution that are clearly apart."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

_N_GRID = 400
DEEPEST = 0.5
"""Between two modes the density falls below this share of the lower one's maximum."""
SMALLEST = 0.05
"""Share of the probability that a mode holds."""
FEWEST = 20
"""Effective samples from which modes are told apart."""


def separations(values: np.ndarray, weights: np.ndarray, n_effective: float) -> list[float]:
    """Return the values between modes, ascending; none where there is one mode.

    Minima of a Gaussian kernel density estimate, with Scott's width for the number of
    samples that count: few samples make few modes.

    Parameters
    ----------
    values, weights : (n,) float
    n_effective : float
        Samples that count as independent.
    """
    low, high = float(values.min()), float(values.max())
    if not high > low or n_effective < FEWEST:
        return []
    density, edges = np.histogram(values, _N_GRID, (low, high), weights=weights)
    centers = 0.5 * (edges[1:] + edges[:-1])
    mean = np.average(values, weights=weights)
    deviation = np.sqrt(np.average((values - mean) ** 2, weights=weights))
    width = 1.06 * deviation * n_effective**-0.2
    kernel = np.exp(-0.5 * ((centers[:, np.newaxis] - centers) / width) ** 2)
    # Where the range ends, so does the kernel.
    smooth = kernel @ density / kernel.sum(axis=1)
    cuts = _minima(smooth)
    shares = density / density.sum()
    while cuts:
        bounds = [0, *cuts, _N_GRID]
        parts = [slice(a, b) for a, b in itertools.pairwise(bounds)]
        peaks = [smooth[part].max() for part in parts]
        masses = [shares[part].sum() for part in parts]
        depths = [
            smooth[cut] / min(peaks[k], peaks[k + 1])
            if min(masses[k], masses[k + 1]) >= SMALLEST
            else np.inf
            for k, cut in enumerate(cuts)
        ]
        shallowest = int(np.argmax(depths))
        if depths[shallowest] < DEEPEST:
            break
        del cuts[shallowest]
    return [float(centers[cut]) for cut in cuts]


def _minima(smooth: np.ndarray) -> list[int]:
    inner = smooth[1:-1]
    return (np.flatnonzero((inner < smooth[:-2]) & (inner <= smooth[2:])) + 1).tolist()


def split(values: np.ndarray, at: Sequence[float]) -> np.ndarray:
    """Return the mode that each value belongs to, (n,) int."""
    return np.searchsorted(np.asarray(at, float), values, side="right")
