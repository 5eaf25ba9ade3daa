"""A finished run under another prior or likelihood, by importance weights.

Every sample stands for its share of the posterior, so multiplying its weight with the ratio
of new prior density and likelihood to the old ones gives the new posterior, and the
weighted mean of the ratio gives the evidence. What it costs is effective samples: where the
new posterior is where the old one hardly was, few samples count.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import seeds
from ..derived import comoving_volume_weights
from ..errors import InputError
from ..kernels.importance import effective_size
from .likelihood import OtherData, other_likelihoods

if TYPE_CHECKING:
    import pandas as pd

    from ..result import Run

MIN_N_EFFECTIVE_I = 20.0
"""Effective waveforms below which a reweighted result is not to be trusted."""


MOST_SAMPLES = 10_000
"""Samples that likelihoods are computed of; so many are drawn by weight of more."""


@dataclass(frozen=True)
class Reweighted:
    """The posterior under another prior or likelihood.

    Parameters
    ----------
    run : Run
    samples : DataFrame
        The run's, with new ``weights`` that sum to 1; under other data also ``lnl_new`` and
        ``calibration_curve``, see :meth:`dotpe_exec.Run.reweight`.
    ln_evidence : float
        Under the new prior, if the ratio is one of normalised densities; for a ratio that
        is not, differences to other ratios with the same factor have a meaning.
    ln_evidence_ratio_error : float
        Monte-Carlo error of the change in ln evidence; the run's own comes on top.
    n_effective, n_effective_i : float
        Effective samples and effective waveforms after reweighting.
    remarks : tuple of str
        What else is to be known.
    curves : dict
        Calibration curves at the bins' edges by detector, (n_curves, n_b) complex; empty
        without.
    """

    run: Run
    samples: pd.DataFrame
    ln_evidence: float
    ln_evidence_ratio_error: float
    n_effective: float
    n_effective_i: float
    remarks: tuple[str, ...] = ()
    curves: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)

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
        counts = "; ".join([counts, *self.remarks])
        if self.trustworthy:
            return counts
        return (
            f"Not to be trusted: {counts}. The new posterior is where this run hardly has "
            "samples; a run of its own has more"
        )


def reweight(
    run: Run,
    ratio: Callable[[pd.DataFrame], Any] | None = None,
    *,
    distance: str | None = None,
    other: OtherData | None = None,
    **where: Any,
) -> Reweighted:
    """Return a run's posterior under other assumptions: :meth:`dotpe_exec.Run.reweight`.

    Raises
    ------
    InputError
        Neither is given, ``distance`` is unknown, or ``ratio`` returns something else than
        one finite number >= 0 for each sample, or zeros only.
    """
    new_data = other is not None and (
        other.changes_likelihood or other.calibration is not None
    )
    if ratio is None and distance is None and not new_data:
        raise InputError(
            "give a ratio of prior densities, a distance prior, psds, asd_drift, "
            "approximant or calibration"
        )
    if distance not in (None, "comoving"):
        raise InputError(f"distance is {distance!r}, expected 'comoving'")
    if new_data and run.summary.get("calibration"):
        raise InputError(
            f"{run.path.name} is averaged over calibration already: psds, asd_drift, "
            "approximant and calibration need a run without"
        )
    samples = run.samples
    factors = np.ones(len(samples))
    if distance is not None:
        factors *= _distance_factors(run)
    if ratio is not None:
        factors *= _checked(ratio(run.table()), len(samples))
    old = samples["weights"].to_numpy(float)
    if not np.sum(old * factors) > 0:
        raise InputError("the new prior vanishes at every sample of this run")
    ln_scale, found = 0.0, None
    if new_data:
        assert other is not None
        rows = _drawn(old)
        samples, old = samples.iloc[rows[0]].reset_index(drop=True), rows[1]
        found = other_likelihoods(run, samples, other, **where)
        samples = found.samples
        ln_scale = float(found.ln_ratio_s[old > 0].max())
        factors = factors[rows[0]] * np.exp(found.ln_ratio_s - ln_scale)
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
        ln_evidence=run.ln_evidence + float(np.log(mean)) + ln_scale,
        ln_evidence_ratio_error=float(error),
        n_effective=effective_size(new),
        n_effective_i=effective_size(sums["new"].to_numpy()),
        remarks=() if found is None else found.remarks,
        curves={} if found is None else found.curves,
    )


def _drawn(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return at most ``MOST_SAMPLES`` rows to compute likelihoods of, and their weights."""
    if len(weights) <= MOST_SAMPLES:
        return np.arange(len(weights)), weights
    rng = seeds.generator(0, "samples to reweight")
    rows = rng.choice(len(weights), MOST_SAMPLES, p=weights / weights.sum())
    return np.sort(rows), np.ones(MOST_SAMPLES)


def _distance_factors(run: Run) -> np.ndarray:
    """Return ratios of the normalised densities of distance, both up to the same end."""
    from ..distance_table import load_distance_table

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
