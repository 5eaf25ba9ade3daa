"""Weighted quantiles, their Monte-Carlo errors, and how many digits of them to show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .modes import separations, split

if TYPE_CHECKING:
    import pandas as pd

INTERVAL = (0.05, 0.5, 0.95)


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


def quantile_errors(
    values: np.ndarray,
    weights: np.ndarray,
    groups: Sequence[np.ndarray],
    probabilities: Sequence[float],
) -> np.ndarray:
    """Return standard errors of weighted quantiles, for samples that come in groups.

    The share of the weight below a quantile varies as the sum over groups of
    u_g^2, with u_g the group's weight below less its part of what is expected there. With
    two ways to group, samples of one waveform and those of one extrinsic sample, the two
    add up, less what both count, the pairs (Cameron, Gelbach & Miller 2011, equation 2.8).
    That error of a probability is translated into one of the value by the quantiles on
    both sides.

    Parameters
    ----------
    values, weights : (n,) float
    groups : sequence of (n,) int
        One or two, not negative; each sample's number in each.
    probabilities : sequence of float

    Returns
    -------
    (len(probabilities),) float
    """
    values, weights = np.asarray(values, float), np.asarray(weights, float)
    weights = weights / weights.sum()
    groups = [np.unique(group, return_inverse=True)[1] for group in groups]
    both = groups[0]
    for group in groups[1:]:
        both = both * (int(group.max()) + 1) + group
    both = np.unique(both, return_inverse=True)[1]
    errors = []
    quantiles = weighted_quantiles(values, weights, probabilities)
    for quantile, probability in zip(quantiles, probabilities, strict=True):
        excess = weights * ((values <= quantile) - probability)
        pairs = float((np.bincount(both, excess) ** 2).sum())
        variance = sum(float((np.bincount(g, excess) ** 2).sum()) for g in groups)
        variance = max(variance - (len(groups) - 1) * pairs, pairs)
        errors.append(_half_width(values, weights, probability, np.sqrt(variance)))
    return np.array(errors)


def _half_width(
    values: np.ndarray, weights: np.ndarray, probability: float, error: float
) -> float:
    """Return half the distance of the quantiles at ``probability`` -+ ``error``.

    Where a few groups hold all the weight both may be the same value: then those further
    out count. A side that leaves the distribution says nothing: the other counts alone.
    """
    for wider in (1, 2, 4, 8):
        ends = probability + wider * error * np.array([-1, 0, 1])
        low, middle, high = weighted_quantiles(values, weights, np.clip(ends, 0, 1))
        sides = [middle - low] * bool(ends[0] >= 0) + [high - middle] * bool(ends[2] <= 1)
        found = float(np.mean(sides or [middle - low, high - middle]))
        if found > 0:
            return found / wider
    return 0.0


def with_error(value: float, error: float | None, n_digits: int) -> str:
    """Return a number with its error, and no digit that the error makes meaningless.

    Parameters
    ----------
    value : float
    error : float or None
        Shown where it changes the last digit.
    n_digits : int
        Most decimals to show.
    """
    if error is not None and error > 0:
        exponent = int(np.floor(np.log10(error)))
        # One digit of the error, two where it begins with 1.
        leading_one = round(error / 10.0**exponent, 6) < 2
        n_digits = min(n_digits, -exponent + leading_one)
    shown = max(n_digits, 0)
    text = f"{round(value, n_digits) + 0.0:.{shown}f}"  # zero is added: -0 becomes 0
    if error is None or round(error, n_digits) == 0:
        return text
    return f"{text} ± {round(error, n_digits):.{shown}f}"


def interval_text(samples: pd.DataFrame, column: str) -> str:
    """Return median and 90% interval of a column, each with its Monte-Carlo error.

    Modes that are apart have an interval each, and their shares:
    ``0.4 [0.2, 0.8] or 2.7 [2.4, 3.0] (62% / 38%)``.

    Errors need to know which samples share a waveform (``i``, ``bank_id``) and an
    extrinsic sample (``e``); without these columns there are none.
    """
    values, weights = samples[column].to_numpy(float), samples["weights"].to_numpy(float)
    groups = sample_groups(samples) if {"i", "e"} <= set(samples.columns) else None
    used = weights > 0
    mode = split(
        values, separations(values[used], weights[used], independent_samples(samples))
    )
    texts, shares = [], []
    for k in range(int(mode.max(initial=0)) + 1):
        rows = mode == k
        mine = None if groups is None else [group[rows] for group in groups]
        texts.append(_interval(values[rows], weights[rows], mine))
        shares.append(weights[rows].sum() / weights.sum())
    if len(texts) == 1:
        return texts[0]
    return " or ".join(texts) + f" ({' / '.join(f'{share:.0%}' for share in shares)})"


def _interval(
    values: np.ndarray, weights: np.ndarray, groups: Sequence[np.ndarray] | None
) -> str:
    quantiles = weighted_quantiles(values, weights, INTERVAL)
    errors: Sequence[float | None] = [None] * len(INTERVAL)
    if groups is not None:
        errors = quantile_errors(values, weights, groups, INTERVAL).tolist()
    n_digits = decimals(quantiles[2] - quantiles[0])
    low, median, high = (
        with_error(value, error, n_digits)
        for value, error in zip(quantiles.tolist(), errors, strict=True)
    )
    return f"{median} [{low}, {high}]"


def independent_samples(samples: pd.DataFrame) -> float:
    """Return how many samples count as independent: at most the waveforms that count."""
    weights = samples["weights"].to_numpy(float)
    if "i" in samples:
        keys = ["bank_id", "i"] if "bank_id" in samples else ["i"]
        grouped = samples.groupby(keys, observed=True)["weights"].sum()
        weights = grouped.to_numpy(float)
    return float(weights.sum() ** 2 / (weights**2).sum())


def sample_groups(samples: pd.DataFrame) -> list[np.ndarray]:
    """Return which samples share a waveform, and which an extrinsic sample, (n,) each."""
    i, e = samples["i"].to_numpy(), samples["e"].to_numpy()
    if "bank_id" in samples:
        bank = np.unique(samples["bank_id"].astype(str), return_inverse=True)[1]
        i = i * (int(bank.max(initial=0)) + 1) + bank
    return [i, e]
