"""Stage 6: from accepted sets to posterior samples, evidence and summary.

Per bank, ln_posterior = lnl_marginalized + log_prior_weights_i + log_prior_weights_e and
Z_k = sum exp(ln_posterior) / N_k with N_k = n_phi n_ext n_int_k; banks' evidences add up.
Samples carry weights proportional to exp(ln_posterior) / N_k.

What is kept in memory is the accepted set, two numbers for each of its members, and row
numbers; tables are made of them chunk by chunk (:mod:`dotpe_exec.stages.samples`).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import NonFiniteError
from ..kernels.distance import DistanceTable, lnlike_marginalized
from ..kernels.importance import logsumexp, relative_weights, to_relative_weights
from ..warned import warn
from .discarded_probes import PROBES_PER_WAVEFORM
from .evidence import (
    effective_number,
    effective_number_of,
)
from .threaded_columns import for_ranges

if TYPE_CHECKING:
    from .coherent_set import CoherentSet, Probes

ROW_TYPE = np.int32
"""Of rows of a bank's samples, of which memory holds fewer than 2^31."""

_LOWEST_OVERLAP = -10.0  # of d_h / sqrt(h_h) in cogwheel's table


@dataclass(frozen=True)
class BankPosterior:
    """The accepted set of one bank with distance marginalised.

    Parameters
    ----------
    bank_id : str
    coherent_set : CoherentSet
    lnl_marginalized, ln_posterior : (n,) float
        For each of its members.
    n_int, n_total : int
        Waveforms considered before any selection, and N_k = n_phi n_ext n_int.
    ln_evidence : float
        lnZ_k; -inf where nothing has weight.
    ln_evidence_discarded : float
        Estimate for survivors' samples outside the set; -inf where no probe was outside.
    n_effective, n_effective_i, n_effective_e : float
        Effective numbers of samples, of waveforms and of extrinsic samples.
    """

    bank_id: str
    coherent_set: CoherentSet
    lnl_marginalized: np.ndarray
    ln_posterior: np.ndarray
    n_int: int
    n_total: int
    ln_evidence: float
    ln_evidence_discarded: float
    n_effective: float
    n_effective_i: float
    n_effective_e: float

    def __len__(self) -> int:
        return len(self.ln_posterior)


@dataclass(frozen=True)
class CombinedPosterior:
    """The posterior of all banks.

    Parameters
    ----------
    banks : tuple of BankPosterior
    kept : tuple of (n_k,) int
        Rows of each bank that are among the ``size_limit`` best, ascending.
    ln_norm : float
        ln of the sum of exp(ln_posterior) / N_k over these; -inf if it vanishes.
    n_effective : float
        Effective number of samples of these.
    shares_i : tuple of (n_waveforms,) float
        Share of the weight of each bank's waveforms, by index in the bank (as far as any
        has weight); all together they sum to 1.
    shares_e : (n_e,) float
        The same by extrinsic sample, over all banks.
    """

    banks: tuple[BankPosterior, ...]
    kept: tuple[np.ndarray, ...]
    ln_norm: float
    n_effective: float
    shares_i: tuple[np.ndarray, ...]
    shares_e: np.ndarray

    @property
    def n_effective_i(self) -> float:
        """Effective number of waveforms, all banks together."""
        return effective_number(np.concatenate([np.empty(0), *self.shares_i]))

    @property
    def n_effective_e(self) -> float:
        """Effective number of extrinsic samples."""
        return effective_number(self.shares_e)

    @property
    def n_int(self) -> int:
        """Waveforms considered before any selection, all banks together."""
        return sum(bank.n_int for bank in self.banks)


def marginalize_bank(
    bank_id: str,
    coherent_set: CoherentSet,
    *,
    log_prior_weights_i: np.ndarray,
    log_prior_weights_e: np.ndarray,
    n_phi: int,
    n_int: int,
    table: DistanceTable,
    n_threads: int = 1,
) -> BankPosterior:
    """Marginalise distance for the members of a bank's accepted set.

    Parameters
    ----------
    bank_id : str
    coherent_set : CoherentSet
    log_prior_weights_i : (n_waveforms,) float
        Of every waveform of the bank.
    log_prior_weights_e : (n_ext,) float
        Of every extrinsic sample.
    n_phi, n_int : int
        Number of orbital phases, and of waveforms considered before any selection.
    table : DistanceTable
    n_threads : int
        Among which long sets are shared; the numbers do not depend on it.

    Returns
    -------
    BankPosterior

    Raises
    ------
    NonFiniteError
        Naming the bank and the waveform.
    """
    members = coherent_set
    n_ext = len(log_prior_weights_e)
    lnl_marginalized, ln_posterior = _ln_posterior(
        bank_id, members, log_prior_weights_i, log_prior_weights_e, table, n_threads
    )
    n_total = n_phi * n_ext * n_int
    relative = relative_weights(ln_posterior)
    return BankPosterior(
        bank_id=bank_id,
        coherent_set=members,
        lnl_marginalized=lnl_marginalized,
        ln_posterior=ln_posterior,
        n_int=n_int,
        n_total=n_total,
        ln_evidence=logsumexp(ln_posterior) - float(np.log(n_total)),
        ln_evidence_discarded=_ln_evidence_discarded(
            bank_id, members, log_prior_weights_i, log_prior_weights_e, n_int, table
        ),
        n_effective=effective_number(relative),
        n_effective_i=effective_number_of(members.i, relative),
        n_effective_e=effective_number_of(members.e, relative),
    )


def _ln_posterior(
    bank_id: str,
    samples: CoherentSet | Probes,
    log_prior_weights_i: np.ndarray,
    log_prior_weights_e: np.ndarray,
    table: DistanceTable,
    n_threads: int = 1,
) -> tuple[np.ndarray, np.ndarray]:
    lnl_marginalized = np.empty(len(samples.i))
    ln_posterior = np.empty(len(samples.i))

    def fill(some: slice) -> None:
        lnl_marginalized[some], ln_posterior[some] = _ln_posterior_rows(
            bank_id, samples, some, log_prior_weights_i, log_prior_weights_e, table
        )

    for_ranges(fill, len(samples.i), n_threads)
    return lnl_marginalized, ln_posterior


def _ln_posterior_rows(
    bank_id: str,
    samples: CoherentSet | Probes,
    some: slice,
    log_prior_weights_i: np.ndarray,
    log_prior_weights_e: np.ndarray,
    table: DistanceTable,
) -> tuple[np.ndarray, np.ndarray]:
    i, e, d_h, h_h = (
        column[some] for column in (samples.i, samples.e, samples.d_h, samples.h_h)
    )
    # The table ends where data and waveform are opposite by ten sigmas, and its
    # continuation grows from there; the likelihood does not.
    opposite = _LOWEST_OVERLAP * np.sqrt(np.maximum(h_h, 0.0))
    lnl_marginalized = lnlike_marginalized(np.maximum(d_h, opposite), h_h, table)
    ln_posterior = lnl_marginalized + log_prior_weights_i[i]
    ln_posterior += log_prior_weights_e[e]
    bad = np.isnan(ln_posterior) | (ln_posterior == np.inf)
    if bad.any():
        k = int(np.argmax(bad))
        raise NonFiniteError(
            f"bank {bank_id}: the posterior of waveform {i[k]} at extrinsic sample "
            f"{e[k]} is {ln_posterior[k]} (d_h = {d_h[k]}, h_h = {h_h[k]}), expected a "
            "finite number"
        )
    return lnl_marginalized, ln_posterior


def _ln_evidence_discarded(
    bank_id: str,
    coherent_set: CoherentSet,
    log_prior_weights_i: np.ndarray,
    log_prior_weights_e: np.ndarray,
    n_int: int,
    table: DistanceTable,
) -> float:
    """Return ln of the mean over waveforms of the mean over probes of what is outside."""
    probes = coherent_set.probes
    ln_outside = _ln_posterior(
        bank_id, probes, log_prior_weights_i, log_prior_weights_e, table
    )[1][~probes.inside]
    return logsumexp(ln_outside) - float(np.log(PROBES_PER_WAVEFORM * n_int))


def aggregate(banks: Sequence[BankPosterior], *, size_limit: int) -> CombinedPosterior:
    """Combine the posteriors of banks, keeping the ``size_limit`` heaviest samples.

    Samples of equal weight at the limit are kept in the order of banks and rows. A
    posterior without any weight is possible, and warned of.
    """
    ln_weights = [bank.ln_posterior - np.log(bank.n_total) for bank in banks]
    kept = _heaviest(ln_weights, size_limit)
    relative = joined(
        [at_rows(ln_w, rows) for ln_w, rows in zip(ln_weights, kept, strict=True)]
    )
    del ln_weights
    ln_norm = to_relative_weights(relative)
    if ln_norm == -np.inf:
        warn(
            "no sample has any weight: the evidence is zero and there is nothing to draw "
            "from (are all log_prior_weights -inf?)",
            stacklevel=2,
        )
    total = float(relative.sum()) or 1.0
    bounds = np.cumsum([0, *map(len, kept)])
    n_e = max((int(bank.coherent_set.e.max(initial=-1)) + 1 for bank in banks), default=0)
    shares_i, shares_e = [], np.zeros(n_e)
    for bank, rows, first, last in zip(banks, kept, bounds, bounds[1:], strict=False):
        weights_s = relative[first:last]
        members = bank.coherent_set
        shares_i.append(np.bincount(at_rows(members.i, rows), weights=weights_s) / total)
        _add_at(shares_e, at_rows(members.e, rows), weights_s)
    shares_e /= total
    return CombinedPosterior(
        banks=tuple(banks),
        kept=tuple(kept),
        ln_norm=ln_norm,
        n_effective=effective_number(relative),
        shares_i=tuple(shares_i),
        shares_e=shares_e,
    )


def _add_at(totals: np.ndarray, inds: np.ndarray, terms: np.ndarray) -> None:
    """Add terms to the totals of their indices, in order, with no long array beside."""

    def add(some: slice) -> None:
        np.add.at(totals, inds[some], terms[some])

    for_ranges(add, len(inds), 1)


def at_rows(column: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return ``column[rows]``, of ascending rows; the column itself if these are all."""
    return column if len(rows) == len(column) else column[rows]


def all_rows(n: int) -> np.ndarray:
    """Return 0 to ``n - 1``, in the short type that rows of tables have."""
    return np.arange(n, dtype=ROW_TYPE)


def joined(columns: Sequence[np.ndarray]) -> np.ndarray:
    """Return columns of floats one after the other; a single one as it is."""
    return columns[0] if len(columns) == 1 else np.concatenate([np.empty(0), *columns])


def _heaviest(ln_weights: Sequence[np.ndarray], size_limit: int) -> list[np.ndarray]:
    if sum(map(len, ln_weights)) <= size_limit:
        return [all_rows(len(ln_w)) for ln_w in ln_weights]
    together = np.concatenate(ln_weights)
    lowest = np.partition(together, len(together) - size_limit)[-size_limit]
    keep = together > lowest
    tied = np.flatnonzero(together == lowest)
    keep[tied[: size_limit - np.count_nonzero(keep)]] = True
    bounds = np.cumsum([0, *map(len, ln_weights)])
    return [
        np.flatnonzero(keep[start:stop]).astype(ROW_TYPE)
        for start, stop in itertools.pairwise(bounds)
    ]
