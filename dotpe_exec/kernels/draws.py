"""Drawing a fixed number of points of unequal importance from a pool.

Systematic sampling with unequal probabilities (Madow 1949): every point of the pool is
drawn as often as its expected count says, rounded up or down, so no point is drawn twice
that need not be, and the inverse expected count weighs it without bias (Horvitz & Thompson
1952).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

DRAW_SHARES = {1.0: 0.88, 0.5: 0.08, 0.0: 0.04}
"""Shares of the samples, by the power of the score by which they are drawn."""

_FLOOR = 1e-12


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
    # Floored, so that sums of what is hardly important do not underflow.
    importance_q = np.where(
        positive, np.maximum(importance_q / importance_q.max(), _FLOOR), 0
    )
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


def draw_from_pool(
    ln_mixture_q: np.ndarray,
    ln_ratio_q: np.ndarray,
    n: int,
    rng: np.random.Generator,
    shares: Mapping[float, float] = DRAW_SHARES,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw points by posterior weight and return them with their prior weights.

    Parameters
    ----------
    ln_mixture_q : (n_q,) float
        ln of a score: the better it is proportional to the likelihood, averaged over the
        waveforms of interest, the smaller the variance. No score biases the weights.
    ln_ratio_q : (n_q,) float
        ln of the weights that the points of the pool have now.
    n : int
        Number of draws.
    rng : numpy.random.Generator
    shares : dict of float
        Shares of the draws, by the power of the score by which they are made: 1 is by
        posterior weight, 0 by ``ln_ratio_q`` alone. With a share for 0, every point can be
        drawn.

    Returns
    -------
    drawn : (n,) int
        Indices of points, ascending.
    weights : (n,) float
        For any function f of the points, mean(weights * f[drawn]) is an unbiased estimate
        of sum_q exp(ln_ratio_q) f_q.
    """
    importance_q = np.zeros(len(ln_ratio_q))
    for power, share in shares.items():
        ln_weight_q = ln_ratio_q + (power * ln_mixture_q if power else 0.0)
        largest = np.max(ln_weight_q)
        if largest > -np.inf:
            weight_q = np.exp(ln_weight_q - largest)
            importance_q += share / np.sum(weight_q) * weight_q
    counts_q = expected_counts(importance_q, n)
    drawn = systematic_draw(counts_q, rng.random())
    return drawn, n * np.exp(ln_ratio_q[drawn] - np.log(counts_q[drawn]))


def _capped_shares(importance_q: np.ndarray, n: int) -> np.ndarray:
    """Return min(1, c importance) with c such that the sum is n."""
    order = np.argsort(-importance_q, kind="stable")
    descending = importance_q[order]
    # With the k most important points capped, c = (n - k) / (sum of the others). The
    # smallest k for which nothing else exceeds 1 is wanted; k = n - 1 always does.
    remaining = np.cumsum(descending[::-1])[::-1][:n]
    scale = (n - np.arange(n)) / remaining
    k = int(np.argmax(scale * descending[:n] <= 1 + 1e-12))
    shares = np.empty(len(importance_q))
    shares[order] = np.minimum(1.0, scale[k] * descending)
    shares[order[:k]] = 1.0
    return shares
