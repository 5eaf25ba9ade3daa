"""Sums over importance weights that are given by their natural logarithms."""

from __future__ import annotations

import numpy as np

_PART = 2**20  # weights that are squared at a time


def logsumexp(ln_terms: np.ndarray) -> float:
    """Return ln of the sum of exponentials; -inf for no terms."""
    terms = np.array(ln_terms, dtype=float)
    largest = float(terms.max(initial=-np.inf))
    return to_relative_weights(terms) if np.isfinite(largest) else largest


def relative_weights(ln_weights: np.ndarray) -> np.ndarray:
    """Return exp(ln_weights) up to a factor: the largest is 1 (all 0 if all are -inf)."""
    weights = np.array(ln_weights, dtype=float)
    to_relative_weights(weights)
    return weights


def to_relative_weights(ln_weights: np.ndarray) -> float:
    """Write :func:`relative_weights` in place of logarithms, return their ``logsumexp``."""
    largest = float(ln_weights.max(initial=-np.inf))
    if largest == -np.inf:
        ln_weights[:] = 0.0
        return largest
    ln_weights -= largest
    np.exp(ln_weights, out=ln_weights)
    return largest + float(np.log(ln_weights.sum()))


def effective_size(weights: np.ndarray) -> float:
    """Return (sum w)^2 / sum w^2, the effective number of samples (Kish 1965); 0 if none.

    Squares of the weights must be representable: the largest is best near 1.
    """
    total = np.sum(weights)
    if not total > 0:
        return 0.0
    # Part by part: of ten million weights the squares would be another array as long.
    parts = (weights[start : start + _PART] for start in range(0, len(weights), _PART))
    return float(total**2 / sum(np.sum(part**2) for part in parts))
