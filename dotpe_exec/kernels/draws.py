"""Drawing a fixed number of points of unequal importance from a pool.

Systematic sampling with unequal probabilities (Madow 1949): every point of the pool is
drawn as often as its expected count says, rounded up or down, so no point is drawn twice
that need not be, and the inverse expected count weighs it without bias (Horvitz & Thompson
1952).
"""

from __future__ import annotations

import numpy as np


def expected_counts(importance_q: np.ndarray, n: int) -> np.ndarray:
    """Return how often each point is to be drawn, on average, in n draws.

    Proportional to importance, but at most 1 (a second copy of a point tells nothing new)
    unless there are fewer than n points of positive importance: then each of them is drawn
    the same number of times, and what is left is shared out as above.

    Parameters
    ----------
    importance_q : (n_q,) float
        Not negative, not all zero.
    n : int
        Number of draws.

    Returns
    -------
    (n_q,) float
        Sums to n.
    """
    positive = importance_q > 0
    copies, n_rest = divmod(n, int(np.count_nonzero(positive)))
    counts_q = np.where(positive, float(copies), 0.0)
    if n_rest:
        counts_q += _capped_shares(importance_q, n_rest)
    return counts_q


def systematic_draw(counts_q: np.ndarray, u: float) -> np.ndarray:
    """Return the indices drawn, in order, each floor or ceil of its expected count times.

    Parameters
    ----------
    counts_q : (n_q,) float
        Expected counts; their sum is an integer. Neighbours compete for a draw, so an
        order in which neighbours are alike makes a stratified draw.
    u : float
        Uniform number in [0, 1).
    """
    cumulative_q = np.cumsum(counts_q)
    n = round(float(cumulative_q[-1]))
    cumulative_q *= n / cumulative_q[-1]
    drawn = np.searchsorted(cumulative_q, np.arange(n) + u, side="right")
    # Rounding may push the last mark beyond the last point that can be drawn.
    return np.minimum(drawn, np.flatnonzero(counts_q)[-1])


def _capped_shares(importance_q: np.ndarray, n: int) -> np.ndarray:
    """Return min(1, c importance) with c such that the sum is n."""
    order = np.argsort(-importance_q, kind="stable")
    descending = importance_q[order] / importance_q[order[0]]
    # With the k most important points capped, c = (n - k) / (sum of the others). The
    # smallest k for which nothing else exceeds 1 is wanted; k = n - 1 always does.
    remaining = np.cumsum(descending[::-1])[::-1][:n]
    scale = (n - np.arange(n)) / remaining
    k = int(np.argmax(scale * descending[:n] <= 1 + 1e-12))
    shares = np.empty(len(importance_q))
    shares[order] = np.minimum(1.0, scale[k] * descending)
    shares[order[:k]] = 1.0
    return shares
