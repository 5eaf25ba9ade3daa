"""Weighted quantiles, and how many digits of them to show."""

from __future__ import annotations

import numpy as np


def weighted_quantiles(values, weights, probabilities) -> np.ndarray:
    """Return quantiles of weighted samples (inverse of the mid-point cumulative).

    Parameters
    ----------
    values, weights : (n,) float
    probabilities : sequence of float

    Returns
    -------
    (len(probabilities),) float
    """
    values, weights = np.asarray(values, float), np.asarray(weights, float)
    order = np.argsort(values)
    cumulative = np.cumsum(weights[order])
    midpoints = (cumulative - 0.5 * weights[order]) / cumulative[-1]
    return np.interp(probabilities, midpoints, values[order])


def decimals(width: float) -> int:
    """Return how many decimals show an interval of this width to two digits."""
    if not (np.isfinite(width) and width > 0):
        return 2
    return int(np.clip(1 - np.floor(np.log10(width)), 0, 6))
