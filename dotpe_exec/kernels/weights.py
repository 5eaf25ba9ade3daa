"""What importance weights are worth: effective number, mean, tempering."""

from __future__ import annotations

import math

import numpy as np

from .importance import effective_size, relative_weights

_N_BOUNDS = 100  # the bound shrinks by nearly the root each time


def effective_number_of_ln(ln_weight_i: np.ndarray) -> float:
    """Return the effective number of weights given by their ln; 0 for none."""
    return effective_size(relative_weights(ln_weight_i))


def bounded_weights(ln_weight_i: np.ndarray) -> np.ndarray:
    """Return weights, up to a factor, none of which is more than a bounded share.

    The bound is the sum of what is returned over the root of how many weights are positive
    (Ionides 2008, for truncated importance sampling). For decisions, never for results: an
    exploring likelihood that is far too high for one point, whose extrinsic samples happen
    to suit it, must not decide about all others.

    Parameters
    ----------
    ln_weight_i : (n,) float

    Returns
    -------
    (n,) float
    """
    weight_i = relative_weights(ln_weight_i)
    root = math.sqrt(max(int(np.count_nonzero(weight_i)), 1))
    bounded_i = weight_i
    for _ in range(_N_BOUNDS):
        before, bounded_i = bounded_i, np.minimum(weight_i, bounded_i.sum() / root)
        if np.array_equal(before, bounded_i):
            break
    return bounded_i


def bounded_effective_number(ln_weight_i: np.ndarray) -> float:
    """Return the effective number of weights of which none has an unbounded share."""
    return effective_size(bounded_weights(ln_weight_i))


def truncate(ln_weight_i: np.ndarray, n_effective: float) -> np.ndarray:
    """Return ln weights with the heaviest lowered, no more than that so many count.

    Parameters
    ----------
    ln_weight_i : (n,) float
    n_effective : float
        Weights that are to count at least, if as many are positive.

    Returns
    -------
    (n,) float
    """
    if effective_number_of_ln(ln_weight_i) >= n_effective:
        return ln_weight_i
    high = float(np.max(ln_weight_i))
    low = float(np.min(ln_weight_i[ln_weight_i > -np.inf], initial=high))
    for _ in range(40):
        middle = 0.5 * (low + high)
        if effective_number_of_ln(np.minimum(ln_weight_i, middle)) >= n_effective:
            low = middle
        else:
            high = middle
    return np.minimum(ln_weight_i, low)


def ln_mean_and_error(ln_weight_i: np.ndarray) -> tuple[float, float]:
    """Return ln of the mean of weights given by their ln, and its standard error."""
    largest = float(np.max(ln_weight_i, initial=-np.inf))
    if largest == -np.inf:
        return -np.inf, np.inf
    n = len(ln_weight_i)
    ln_mean = largest + math.log(float(np.mean(np.exp(ln_weight_i - largest))))
    relative = 1 / effective_number_of_ln(ln_weight_i) - 1 / n
    return ln_mean, math.sqrt(max(relative, 0.0))


def temper(
    lnlike_i: np.ndarray, ln_ratio_i: np.ndarray, n_effective: float
) -> tuple[np.ndarray, float]:
    """Return ln weights with the likelihood to a power, so that enough points count.

    Parameters
    ----------
    lnlike_i, ln_ratio_i : (n,) float
        ln of likelihood and of prior over proposal density.
    n_effective : float
        Points that are to count at least.

    Returns
    -------
    ln_weight_i : (n,) float
        beta lnlike_i + ln_ratio_i.
    beta : float
        1 if enough points count; else the largest power with which enough do.
    """
    allowed = lnlike_i > -np.inf

    def at(beta: float) -> np.ndarray:
        ln_weight_i = np.full(len(lnlike_i), -np.inf)
        ln_weight_i[allowed] = beta * lnlike_i[allowed] + ln_ratio_i[allowed]
        return ln_weight_i

    if effective_number_of_ln(at(1.0)) >= n_effective:
        return at(1.0), 1.0
    low, high = 0.0, 1.0
    for _ in range(30):
        middle = 0.5 * (low + high)
        if effective_number_of_ln(at(middle)) >= n_effective:
            low = middle
        else:
            high = middle
    return at(low), low
