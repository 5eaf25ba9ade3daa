"""How heavy the tail of importance weights is: the shape of a fitted Pareto distribution.

Vehtari, Simpson, Gelman, Yao & Gabry, arXiv:1507.02646: below 0.5 a sum of weights has a
finite variance and its error can be believed; above 0.7 it converges too slowly to be of
use at any practical size.
"""

from __future__ import annotations

import math

import numpy as np

_SMALLEST_TAIL = 5
# A weak prior at k = 1/2, worth so many points of the tail (ibid., appendix G).
_PRIOR_POINTS, _PRIOR_K = 10, 0.5


def pareto_k(weights: np.ndarray, n_total: int | None = None) -> float | None:
    """Return the shape k of the generalised Pareto distribution of the largest weights.

    Parameters
    ----------
    weights : (n,) float
        Not negative, up to a common factor.
    n_total : int, optional
        How many there are with those that vanish and are not listed; default n.

    Returns
    -------
    float or None
        None where fewer than five weights in the tail are positive.
    """
    n_total = max(len(weights), n_total or 0)
    n_tail = math.ceil(min(0.2 * n_total, 3 * math.sqrt(n_total)))
    ordered = np.sort(weights[weights > 0])
    cutoff = ordered[-n_tail - 1] if len(ordered) > n_tail else 0.0
    excess = ordered[-n_tail:] - cutoff
    excess = excess[excess > 0]
    if len(excess) < _SMALLEST_TAIL:
        return None
    n = len(excess)
    k = _fit(excess / excess[-1])
    return float((k * n + _PRIOR_K * _PRIOR_POINTS) / (n + _PRIOR_POINTS))


def _fit(x: np.ndarray) -> float:
    """Return the shape of sorted excesses (Zhang & Stephens, Technometrics 51, 316, 2009).

    Their estimate is a posterior mean over a grid of theta = -k / sigma, for which the
    likelihood has the best k in closed form; the sign of k is that of heavy tails here.
    """
    n_grid = 30 + int(math.sqrt(len(x)))
    first_quartile = x[int(len(x) / 4 + 0.5) - 1]
    position = np.arange(1, n_grid + 1) - 0.5
    theta = 1 / x[-1] + (1 - np.sqrt(n_grid / position)) / (3 * first_quartile)
    k = np.log1p(-theta[:, None] * x).mean(axis=1)
    ln_likelihood = len(x) * (np.log(-theta / k) - k - 1)
    likelihood = np.exp(ln_likelihood - ln_likelihood.max())
    return float(np.log1p(-(theta @ likelihood / likelihood.sum()) * x).mean())
