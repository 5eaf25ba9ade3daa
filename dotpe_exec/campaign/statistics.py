"""Whether posteriors of injections are right: P-P test, coverage, bias."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .evaluate import TESTED

if TYPE_CHECKING:
    import pandas as pd

LEVELS = (0.5, 0.9)
"""Credible levels of which the coverage is given."""
FEWEST = 5
"""Injections below which no statistics are made."""


@dataclass(frozen=True)
class Calibration:
    """How posteriors of one parameter hold the true values.

    Parameters
    ----------
    name : str
    below_n : (n,) float
        Posterior probability below the true value, ascending.
    p_value : float
        Of a Kolmogorov-Smirnov test for uniformity.
    coverage : tuple of float
        Share of the true values in central intervals of :data:`LEVELS`.
    coverage_error : tuple of float
        Standard deviation that it has by chance.
    bias, bias_error : float
        Mean of (posterior mean - true value) / standard deviation.
    """

    name: str
    below_n: np.ndarray
    p_value: float
    coverage: tuple[float, ...]
    coverage_error: tuple[float, ...]
    bias: float
    bias_error: float


def calibrations(table: pd.DataFrame) -> list[Calibration]:
    """Return one entry per parameter; none where there are too few injections."""
    from scipy.stats import kstest

    found = []
    for name in TESTED:
        below_n = np.sort(table[f"below_{name}"].dropna().to_numpy(dtype=float))
        if len(below_n) < FEWEST:
            continue
        bias_n = table[f"bias_{name}"].dropna().to_numpy(dtype=float)
        n = len(below_n)
        found.append(
            Calibration(
                name,
                below_n,
                float(kstest(below_n, "uniform").pvalue),
                tuple(float(np.mean(np.abs(below_n - 0.5) < 0.5 * lv)) for lv in LEVELS),
                tuple(float(np.sqrt(lv * (1 - lv) / n)) for lv in LEVELS),
                float(np.mean(bias_n)),
                float(np.std(bias_n) / np.sqrt(max(len(bias_n), 1))),
            )
        )
    return found


def combined_p_value(some: list[Calibration]) -> float:
    """Return the p-value of all parameters together (Fisher's method).

    Parameters are taken as independent, which they are not entirely.
    """
    from scipy.stats import combine_pvalues

    return float(combine_pvalues([max(one.p_value, 1e-300) for one in some]).pvalue)
