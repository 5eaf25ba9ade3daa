"""What importance weights are worth: effective number, Pareto's k, tempering."""

from __future__ import annotations

import math

import numpy as np


def effective_number_of_ln(ln_weight_i: np.ndarray) -> float:
    """Return (sum w)^2 / sum w^2 (Kish 1965) of weights given by their ln; 0 for none."""
    largest = float(np.max(ln_weight_i, initial=-np.inf))
    if largest == -np.inf:
        return 0.0
    weight_i = np.exp(ln_weight_i - largest)
    return float(weight_i.sum() ** 2 / (weight_i @ weight_i))


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
        1 where enough count anyhow; else the largest power with which they do.
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


def pareto_k(ln_weight_i: np.ndarray) -> float:
    """Return the shape k of the generalised Pareto distribution of the largest weights.

    Importance sampling is reliable up to about 0.7; beyond, the largest weights may be
    yet to come (Vehtari, Simpson, Gelman, Yao & Gabry, arXiv:1507.02646). The fit is that
    of Zhang & Stephens (2009), Technometrics 51, 316, with the prior of appendix C there,
    to the min(n / 5, 3 sqrt(n)) largest.

    Parameters
    ----------
    ln_weight_i : (n,) float
        Of all draws; -inf where the weight is zero.

    Returns
    -------
    float
        NaN where fewer than five weights are in the tail.
    """
    n = len(ln_weight_i)
    n_tail = math.ceil(min(0.2 * n, 3 * math.sqrt(n)))
    ordered = np.sort(ln_weight_i)
    if n_tail < 5 or n_tail >= n or ordered[-n_tail - 1] == ordered[-1]:
        return math.nan
    if ordered[-n_tail] == -np.inf:
        return math.nan
    weights = np.exp(ordered[-n_tail - 1 :] - ordered[-1])
    k = _fit_generalized_pareto(weights[1:] - weights[0])
    # A weak prior at 1/2, worth ten weights.
    return (n_tail * k + 10 * 0.5) / (n_tail + 10)


def _fit_generalized_pareto(excess_t: np.ndarray) -> float:
    """Return k of ascending excesses over a threshold; positive k is a heavy tail."""
    n = len(excess_t)
    n_grid = 30 + int(math.sqrt(n))
    quartile = excess_t[int(n / 4 + 0.5) - 1]
    if not quartile > 0:
        quartile = excess_t[excess_t > 0][0]
    grid = np.arange(1, n_grid + 1)
    theta_g = 1 / excess_t[-1] + (1 - np.sqrt(n_grid / (grid - 0.5))) / (3 * quartile)
    k_g = np.log1p(-theta_g[:, None] * excess_t).mean(axis=1)
    profile_g = n * (np.log(-theta_g / k_g) - k_g - 1)
    weight_g = np.exp(profile_g - profile_g.max())
    theta = float(theta_g @ weight_g / weight_g.sum())
    return float(np.log1p(-theta * excess_t).mean())
