"""Sums over importance weights that are given by their natural logarithms."""

from __future__ import annotations

import numpy as np


def logsumexp(ln_terms: np.ndarray) -> float:
    """Return ln of the sum of exponentials; -inf for no terms."""
    ln_terms = np.asarray(ln_terms, dtype=float)
    largest = float(ln_terms.max(initial=-np.inf))
    if not np.isfinite(largest):
        return largest
    return largest + float(np.log(_exp_of_difference(ln_terms, largest).sum()))


def relative_weights(ln_weights: np.ndarray) -> np.ndarray:
    """Return exp(ln_weights) up to a factor: the largest is 1 (all 0 if all are -inf)."""
    largest = ln_weights.max(initial=-np.inf)
    if largest == -np.inf:
        return np.zeros(len(ln_weights))
    return _exp_of_difference(ln_weights, largest)


def _exp_of_difference(ln_terms: np.ndarray, largest: float) -> np.ndarray:
    """Return exp(ln_terms - largest), with no second array beside it."""
    terms = ln_terms - largest
    return np.exp(terms, out=terms)


def effective_size(weights: np.ndarray) -> float:
    """Return (sum w)^2 / sum w^2, the effective number of samples (Kish 1965); 0 if none.

    Squares of the weights must be representable: the largest is best near 1.
    """
    total = np.sum(weights)
    return float(total**2 / np.sum(weights**2)) if total > 0 else 0.0
