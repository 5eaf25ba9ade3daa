"""Which rows of the posterior are written: all that count, or some drawn by weight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..seeds import generator
from ..warned import warn
from .evidence import negligible_below
from .results import ROW_TYPE, CombinedPosterior, all_rows, at_rows, joined

FEWEST_WRITTEN = 2**17
"""Tables of samples with weights are written whole up to so many rows."""

LEFT_OUT = 1e-6
"""Of longer tables, rows that hold less than this share of the weight are left out."""

MAX_DRAWS = 10**4
"""No more samples than this are drawn from the posterior."""


@dataclass(frozen=True)
class SampleRows:
    """Rows of the posterior to be written as samples.

    Parameters
    ----------
    posterior : CombinedPosterior
    rows : tuple of (n_k,) int
        Rows of each bank, ascending; drawn more than once they occur more than once.
    drawn : bool
        Whether rows were drawn by weight, so that each has weight 1.
    """

    posterior: CombinedPosterior
    rows: tuple[np.ndarray, ...]
    drawn: bool

    def __len__(self) -> int:
        return sum(map(len, self.rows))


def all_samples(posterior: CombinedPosterior) -> SampleRows:
    """Return all rows of the posterior, with their weights."""
    return SampleRows(posterior, posterior.kept, drawn=False)


def written_rows(ln_weights: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return the rows of each bank that are worth a place in a table.

    All rows where they are few; else the :data:`FEWEST_WRITTEN` heaviest and as many more
    as it takes to leave out less than :data:`LEFT_OUT` of the weight.
    """
    n_rows = sum(map(len, ln_weights))
    if n_rows <= FEWEST_WRITTEN:
        return [all_rows(len(ln_w)) for ln_w in ln_weights]
    together = joined(ln_weights)
    floor = min(
        negligible_below(together, LEFT_OUT),
        float(np.partition(together, n_rows - FEWEST_WRITTEN)[n_rows - FEWEST_WRITTEN]),
    )
    return [np.flatnonzero(ln_w >= floor).astype(ROW_TYPE) for ln_w in ln_weights]


def written_samples(posterior: CombinedPosterior) -> SampleRows:
    """Return the rows of all banks that are written with their weights."""
    ln_weights = [
        at_rows(bank.ln_posterior, kept)
        for bank, kept in zip(posterior.banks, posterior.kept, strict=True)
    ]
    if len(ln_weights) > 1:  # else a common factor does not matter
        ln_weights = [
            ln_w - np.log(bank.n_total)
            for bank, ln_w in zip(posterior.banks, ln_weights, strict=True)
        ]
    rows = [
        kept[some]
        for kept, some in zip(posterior.kept, written_rows(ln_weights), strict=True)
    ]
    return SampleRows(posterior, tuple(rows), drawn=False)


def typical_samples(posterior: CombinedPosterior, *, seed: int, n: int) -> SampleRows:
    """Draw rows by weight, as evenly as the weights allow (systematic sampling).

    A mean over them estimates the posterior's without bias, with less scatter than over
    independent draws. Empty where nothing has weight.
    """
    offset = generator(seed, "typical_samples").random()
    return _drawn_at(posterior, (np.arange(n) + offset) / n)


def best_sample(posterior: CombinedPosterior) -> SampleRows:
    """Return the row with the largest ``bestfit_lnlike``; none where there is none."""
    best_k = [
        at_rows(bank.coherent_set.bestfit_lnlike, kept).max(initial=-np.inf)
        for bank, kept in zip(posterior.banks, posterior.kept, strict=True)
    ]
    rows = [kept[:0] for kept in posterior.kept]
    if max(best_k, default=-np.inf) > -np.inf:
        k = int(np.argmax(best_k))
        kept = posterior.kept[k]
        row = np.argmax(at_rows(posterior.banks[k].coherent_set.bestfit_lnlike, kept))
        rows[k] = kept[row : row + 1]
    return SampleRows(posterior, tuple(rows), drawn=True)


def draw_subset(
    posterior: CombinedPosterior, *, seed: int, n_draws: int | None = None
) -> SampleRows:
    """Draw rows by weight, with replacement.

    Parameters
    ----------
    posterior : CombinedPosterior
    seed : int
        The run's seed.
    n_draws : int, optional
        Default: half the effective number of samples, at least 1. At most 10^4.

    Returns
    -------
    SampleRows
        In the posterior's order. Empty, with a warning, where nothing has weight; another
        warning says when more is drawn than the effective number of samples.
    """
    if posterior.ln_norm == -np.inf:
        warn("no sample has any weight: no samples are drawn", stacklevel=2)
        return _drawn_at(posterior, np.empty(0))
    if n_draws is None:
        n_draws = max(int(posterior.n_effective // 2), 1)
    n_draws = min(n_draws, MAX_DRAWS)
    if n_draws > posterior.n_effective:
        warn(
            f"{n_draws} samples are drawn from a posterior of {posterior.n_effective:.1f} "
            "effective samples, so that many are the same",
            stacklevel=2,
        )
    return _drawn_at(posterior, np.sort(generator(seed, "draw_subset").random(n_draws)))


def _drawn_at(posterior: CombinedPosterior, marks: np.ndarray) -> SampleRows:
    """Return the rows at which the cumulative weight reaches ``marks`` (ascending)."""
    if posterior.ln_norm == -np.inf:
        empty = np.empty(0, dtype=np.int64)
        return SampleRows(posterior, tuple(empty for _ in posterior.banks), drawn=True)
    cumulative = joined([weights(posterior, k) for k in range(len(posterior.kept))])
    np.cumsum(cumulative, out=cumulative)
    marks = marks * cumulative[-1]
    # Only rows of positive weight: their cumulative exceeds the previous one's. Rounding
    # may push a mark onto the total, beyond the last of them.
    last = np.searchsorted(cumulative, cumulative[-1])
    drawn = np.minimum(np.searchsorted(cumulative, marks, side="right"), last)
    bounds = np.cumsum([0, *map(len, posterior.kept)])
    parts = np.split(drawn, np.searchsorted(drawn, bounds[1:-1]))
    return SampleRows(
        posterior,
        tuple(
            kept[part - start]
            for kept, part, start in zip(posterior.kept, parts, bounds, strict=False)
        ),
        drawn=True,
    )


def weights(
    posterior: CombinedPosterior, k: int, rows: np.ndarray | None = None
) -> np.ndarray:
    """Return normalised weights of bank ``k``'s kept rows, or of other rows of it."""
    bank = posterior.banks[k]
    if rows is None:
        ln_posterior = at_rows(bank.ln_posterior, posterior.kept[k])
    else:
        ln_posterior = bank.ln_posterior[rows]
    if posterior.ln_norm == -np.inf:
        return np.zeros(len(ln_posterior))
    terms = ln_posterior - np.log(bank.n_total)
    terms -= posterior.ln_norm
    return np.exp(terms, out=terms)
