"""Weighted sums over samples: evidence, its Monte-Carlo error, effective numbers.

Everything here takes natural logarithms of weights and returns defined values when all
weights vanish: an evidence of zero (ln -inf) and effective numbers of zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..kernels.importance import effective_size
from .ordering import stable_order
from .threaded_columns import ROWS_AT_A_TIME


def negligible_below(ln_weights: np.ndarray, share: float) -> float:
    """Return a value such that all terms below it hold less than ``share`` of the sum.

    Found in a histogram, so that the terms need not be sorted: to 1/16, on the safe side.
    """
    largest = float(ln_weights.max(initial=-np.inf))
    if largest == -np.inf:
        return -np.inf
    n_bins = 16 * 64  # down to e^-64 of the largest
    held = np.zeros(n_bins)
    for start in range(0, len(ln_weights), ROWS_AT_A_TIME):
        terms = ln_weights[start : start + ROWS_AT_A_TIME]
        terms = terms[terms > -np.inf] - largest
        depth = np.minimum((terms * -16).astype(np.int64), n_bins - 1)
        held += np.bincount(depth, np.exp(terms), minlength=n_bins)
    below = np.cumsum(held[::-1])[::-1]
    first = int(np.argmax(below < share * below[0])) if below[-1] < share * below[0] else 0
    return largest - first / 16 if first else -np.inf


def effective_number(weights: np.ndarray) -> float:
    """Return Kish's effective number of samples, whatever the scale of the weights."""
    largest = weights.max(initial=0.0)
    if not largest > 0:
        return 0.0
    return effective_size(weights if largest == 1 else weights / largest)


def effective_number_of(inds: np.ndarray, weights: np.ndarray) -> float:
    """Return the effective number of distinct indices: weights are summed by index first.

    Parameters
    ----------
    inds : (n,) int
        Not negative.
    weights : (n,) float
    """
    return effective_number(np.bincount(inds, weights=weights))


@dataclass(frozen=True)
class EvidenceTerms:
    """What a set of waveforms contributes to the evidence.

    Parameters
    ----------
    i, e : (n,) int
        Intrinsic and extrinsic index of each term; those not there are zero.
    ln_posterior : (n,) float
        ln(w_i w_e L_ieo).
    n_int : int
        Number of waveforms considered.
    """

    i: np.ndarray
    e: np.ndarray
    ln_posterior: np.ndarray
    n_int: int


def combined_terms(banks: Sequence[EvidenceTerms]) -> EvidenceTerms:
    """Return the terms of several banks as those of one that holds all their waveforms.

    Z = sum_k mean_i Y_ki is the mean over all N waveforms of Y_ki N / N_k.
    """
    if len(banks) == 1:
        return banks[0]
    n_int = sum(terms.n_int for terms in banks)
    starts = np.cumsum([0, *(int(terms.i.max(initial=-1)) + 1 for terms in banks)])
    i = [terms.i + start for terms, start in zip(banks, starts, strict=False)]
    ln_posterior = [terms.ln_posterior + np.log(n_int / terms.n_int) for terms in banks]
    return EvidenceTerms(
        np.concatenate([np.empty(0, np.int64), *i]),
        np.concatenate([np.empty(0, np.int32), *(terms.e for terms in banks)]),
        np.concatenate([np.empty(0), *ln_posterior]),
        n_int,
    )


@dataclass(frozen=True)
class EvidenceError:
    """Standard errors of ln Z.

    Parameters
    ----------
    total : float
        Of fresh banks and fresh extrinsic samples.
    intrinsic : float
        Of fresh banks, the extrinsic samples given.
    extrinsic : float
        Of fresh extrinsic samples, the banks given.
    """

    total: float
    intrinsic: float
    extrinsic: float


def ln_evidence_error(
    terms: EvidenceTerms,
    *,
    n_ext: int,
    n_phi: int,
    expected_counts_e: np.ndarray | None = None,
) -> EvidenceError | None:
    """Return the Monte-Carlo standard error of ln Z.

    Z = mean_i mean_e Y_ie with Y = w_i w_e mean_o L. Waveforms and extrinsic samples are
    two crossed sets of random draws, so that

        Var Z = sigma_i^2 / n_i + sigma_e^2 / n_e + sigma_ie^2 / (n_i n_e).

    With the mean squares of a two-way layout, S_i^2 of the row means (over e), S_e^2 of
    the column means (over i) and S_ie^2 of the residuals,

        v = S_i^2 / n_i + S_e^2 / n_e - S_ie^2 / (n_i n_e)

    is its unbiased estimator (Searle, Casella & McCulloch, *Variance Components*, 1992,
    chapter 4; it is the variance of a two-sample U-statistic, Hoeffding 1948); its first
    two parts are the variances with the one set of draws given, the other fresh. The last
    term is also a lower bound of Var Z, which v is kept above. Several banks count as one
    (:func:`combined_terms`), whose waveforms are draws like any others.

    The extrinsic samples themselves are drawn in two phases: points for a pool, then
    samples from the pool, in proportion to a score. The better the score, the more alike
    are the column means Y_e, and the less their scatter says about the pool's. With c_e the
    expected count of a sample,

        v_pool = sum_e c_e Y_e^2 / n_e^2

    estimates the sum over the pool of its points' squared terms, which is the variance of
    a pool of independent points (Sarndal, Swensson & Wretman 1992, section 9.3, with
    Z^2 / n_pool neglected); it is added to v and to its extrinsic part. Both phases are
    spread systematically or quasi-randomly, which makes the error smaller than for the
    independent draws assumed here (ibid., section 4.5), so that the estimate errs on the
    safe side. What the orbital phases and the relative binning contribute is not in it.

    Parameters
    ----------
    terms : EvidenceTerms
        Of one bank, or of several combined.
    n_ext, n_phi : int
    expected_counts_e : (n_ext,) float, optional
        How often each extrinsic sample was to be drawn from the pool, on average; without
        it, the error of the pool is not included.

    Returns
    -------
    EvidenceError or None
        Standard deviations of Z over Z; None where it is not defined: no weight at all, or
        fewer than two extrinsic samples or waveforms.
    """
    largest = float(terms.ln_posterior.max(initial=-np.inf))
    if largest == -np.inf:
        return None
    i, e, y = _sum_phases(terms, largest, n_ext)
    y = y / n_phi
    rows_i = np.bincount(i, weights=y) / n_ext
    sums = EvidenceSums(
        np.bincount(e, weights=y, minlength=n_ext),
        float((rows_i**2).sum()),
        float((y**2).sum()),
        terms.n_int,
    )
    return evidence_error(sums, expected_counts_e)


@dataclass(frozen=True)
class EvidenceSums:
    """What waveforms contribute to the evidence, summed up; see :func:`ln_evidence_error`.

    Parameters
    ----------
    columns_e : (n_ext,) float
        Sums over waveforms of Y_ie, up to a common factor.
    rows_squared : float
        Sum over waveforms of (mean over e of Y_ie)^2.
    cells_squared : float
        Sum of Y_ie^2.
    n_int : int
        Number of waveforms considered.
    """

    columns_e: np.ndarray
    rows_squared: float
    cells_squared: float
    n_int: int


def evidence_error(
    sums: EvidenceSums, expected_counts_e: np.ndarray | None = None
) -> EvidenceError | None:
    """Return the error that :func:`ln_evidence_error` describes, from sums.

    Parameters
    ----------
    sums : EvidenceSums
    expected_counts_e : (n_ext,) float, optional

    Returns
    -------
    EvidenceError or None
    """
    n_ext, n_int = len(sums.columns_e), sums.n_int
    columns_e = sums.columns_e / n_int
    mean = float(columns_e.sum()) / n_ext if n_ext else 0.0
    if n_ext < 2 or n_int < 2 or not mean > 0:
        return None
    n_cells = n_int * n_ext
    # Sums of squared deviations; cells and rows that are not listed are zero.
    rows = sums.rows_squared - n_int * mean**2
    columns = float(((columns_e - mean) ** 2).sum())
    total = sums.cells_squared - n_cells * mean**2
    residuals = total - n_ext * rows - n_int * columns
    variance_rows = rows / (n_int - 1) / n_int
    variance_columns = columns / (n_ext - 1) / n_ext
    variance_residuals = residuals / ((n_int - 1) * (n_ext - 1)) / n_cells
    variance = max(
        variance_rows + variance_columns - variance_residuals, variance_residuals
    )
    variance_pool = 0.0
    if expected_counts_e is not None:
        variance_pool = float(expected_counts_e @ columns_e**2) / n_ext**2
    variances = variance + variance_pool, variance_rows, variance_columns + variance_pool
    return EvidenceError(*(float(np.sqrt(max(v, 0.0))) / mean for v in variances))


def _sum_phases(
    terms: EvidenceTerms, ln_scale: float, n_ext: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (i, e, sum over o of exp(ln_posterior - ln_scale)), each pair once.

    Terms that together cannot matter at single precision are left out.
    """
    floor = ln_scale - 20 - np.log(max(len(terms.ln_posterior), 1))
    i, e, ln_posterior = terms.i, terms.e, terms.ln_posterior
    if not (ln_posterior > floor).all():  # columns are long, and seldom have to be copied
        kept = np.flatnonzero(ln_posterior > floor)
        i, e, ln_posterior = i[kept], e[kept], ln_posterior[kept]
        del kept
    listed = np.flatnonzero(np.bincount(i))
    number = np.zeros(int(i.max(initial=-1)) + 1, dtype=np.int64)
    number[listed] = np.arange(len(listed))

    def pairs_and_weights(some: slice) -> tuple[np.ndarray, np.ndarray]:
        pairs = number[i[some]]
        pairs *= n_ext
        pairs += e[some]
        weights = ln_posterior[some] - ln_scale
        return pairs, np.exp(weights, out=weights)

    if len(listed) * n_ext <= 4 * len(i):  # a table of all pairs is no larger
        sums = np.zeros(len(listed) * n_ext)
        for start in range(0, len(i), ROWS_AT_A_TIME):
            np.add.at(sums, *pairs_and_weights(slice(start, start + ROWS_AT_A_TIME)))
        pairs = np.flatnonzero(sums)
        summed = sums[pairs]
    else:
        pairs, weights = pairs_and_weights(slice(None))
        order = stable_order(pairs)
        pairs, weights = pairs[order], weights[order]
        starts = np.flatnonzero(np.diff(pairs, prepend=-1))
        summed = np.add.reduceat(weights, starts) if len(starts) else weights
        pairs = pairs[starts]
    return listed[pairs // n_ext], pairs % n_ext, summed
