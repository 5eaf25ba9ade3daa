"""A finished run under another prior, by importance weights.

Every sample stands for its share of the posterior, so multiplying its weight with the ratio
of new prior density to old one gives the posterior under the new prior, and the weighted
mean of the ratio gives the evidence. Nothing is computed again. What it costs is effective
samples: where the new prior wants what the old one hardly has, few samples count.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .derived import comoving_volume_weights
from .errors import InputError
from .kernels.importance import effective_size

if TYPE_CHECKING:
    import pandas as pd

    from .result import Run

MIN_N_EFFECTIVE_I = 20.0
"""Effective waveforms below which a reweighted result is not to be trusted."""


@dataclass(frozen=True)
class Reweighted:
    """The posterior under another prior.

    Parameters
    ----------
    run : Run
    samples : DataFrame
        The run's, with new ``weights`` that sum to 1.
    ln_evidence : float
        Under the new prior, if the ratio is one of normalised densities; for a ratio that
        is not, differences to other ratios with the same factor have a meaning.
    ln_evidence_ratio_error : float
        Monte-Carlo error of the change in ln evidence; the run's own comes on top.
    n_effective, n_effective_i : float
        Effective samples and effective waveforms after reweighting.
    """

    run: Run
    samples: pd.DataFrame
    ln_evidence: float
    ln_evidence_ratio_error: float
    n_effective: float
    n_effective_i: float

    @property
    def trustworthy(self) -> bool:
        """Whether enough waveforms count."""
        return self.n_effective_i >= MIN_N_EFFECTIVE_I

    @functools.cached_property
    def verdict(self) -> str:
        """The same in a sentence."""
        counts = (
            f"{self.n_effective:.0f} effective samples, {self.n_effective_i:.1f} effective "
            "waveforms after reweighting"
        )
        if self.trustworthy:
            return counts
        return (
            f"Not to be trusted: {counts}. The new prior wants what this run hardly has; a "
            "bank that covers it has more"
        )


def reweight(
    run: Run,
    ratio: Callable[[pd.DataFrame], Any] | None = None,
    *,
    distance: str | None = None,
) -> Reweighted:
    """Return a run's posterior under another prior; see :meth:`dotpe_exec.Run.reweight`.

    Raises
    ------
    InputError
        Neither is given, ``distance`` is unknown, or ``ratio`` returns something else than
        one finite number >= 0 for each sample, or zeros only.
    """
    if ratio is None and distance is None:
        raise InputError("give a ratio of prior densities, a distance prior, or both")
    if distance not in (None, "comoving"):
        raise InputError(f"distance is {distance!r}, expected 'comoving'")
    samples = run.samples
    factors = np.ones(len(samples))
    if distance is not None:
        factors *= _distance_factors(run)
    if ratio is not None:
        factors *= _checked(ratio(run.table()), len(samples))
    old = samples["weights"].to_numpy(float)
    if not np.sum(old * factors) > 0:
        raise InputError("the new prior vanishes at every sample of this run")
    new = old * factors
    mean = new.sum() / old.sum()
    waveforms = (
        ["bank_id", "i"] if {"bank_id", "i"} <= set(samples) else ["m1", "m2", "s1z"]
    )
    by_waveform = samples[waveforms].assign(old=old, new=new)
    sums = by_waveform.groupby(waveforms, observed=True)[["old", "new"]].sum()
    # Waveforms are the independent draws; their shares vary around the mean.
    residuals = sums["new"] - mean * sums["old"]
    error = np.sqrt(np.sum(residuals**2)) / new.sum()
    return Reweighted(
        run=run,
        samples=samples.assign(weights=new / new.sum()),
        ln_evidence=run.ln_evidence + float(np.log(mean)),
        ln_evidence_ratio_error=float(error),
        n_effective=effective_size(new),
        n_effective_i=effective_size(sums["new"].to_numpy()),
    )


def _distance_factors(run: Run) -> np.ndarray:
    """Return ratios of the normalised densities of distance, both up to the same end."""
    from .distance_table import load_distance_table

    end = float(load_distance_table().d_luminosity_max)
    grid = end * (np.arange(20000) + 0.5) / 20000
    norm = np.mean(3 * (grid / end) ** 2 * comoving_volume_weights(grid))
    return comoving_volume_weights(run.samples["d_luminosity"].to_numpy(float)) / norm


def _checked(values: Any, n: int) -> np.ndarray:
    try:
        values = np.asarray(values, float)
    except (TypeError, ValueError) as error:
        raise InputError(f"the ratio of priors is not made of numbers: {error}") from error
    if values.shape != (n,):
        raise InputError(
            f"the ratio of priors has shape {values.shape}, expected one number for each "
            f"of {n} samples"
        )
    if not (np.isfinite(values).all() and (values >= 0).all()):
        raise InputError(
            "the ratio of priors has negative or infinite values or NaN, expected finite "
            "numbers >= 0"
        )
    return values
