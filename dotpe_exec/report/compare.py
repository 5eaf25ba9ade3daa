"""How much the marginal posteriors of several runs differ."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

_N_BINS = 50


def jensen_shannon(
    values: np.ndarray, weights: np.ndarray, others: np.ndarray, their_weights: np.ndarray
) -> float:
    """Return the Jensen-Shannon divergence of two weighted samples [bit], 0 to 1.

    Of histograms with common bins that hold all of both.

    Parameters
    ----------
    values, weights : (n,) float
    others, their_weights : (m,) float
    """
    low = min(values.min(), others.min())
    high = max(values.max(), others.max())
    if not high > low:
        return 0.0
    edges = np.linspace(low, high, _N_BINS + 1)
    p, q = (
        np.histogram(x, edges, weights=w)[0] / np.sum(w)
        for x, w in ((values, weights), (others, their_weights))
    )
    middle = (p + q) / 2
    return float((_relative_entropy(p, middle) + _relative_entropy(q, middle)) / 2)


def _relative_entropy(p: np.ndarray, q: np.ndarray) -> float:
    some = p > 0
    return float(np.sum(p[some] * np.log2(p[some] / q[some])))


def pairs(labels: Sequence[str]) -> list[tuple[int, int, str]]:
    """Return positions and names of all pairs of runs."""
    return [
        (j, k, f"{labels[j]} – {labels[k]}")
        for j, k in itertools.combinations(range(len(labels)), 2)
    ]
