"""From the final likelihoods to what the results stage writes."""

from __future__ import annotations

import numpy as np

from ..executors.threads import OneThread
from ..kernels.draws import systematic_draw
from ..kernels.importance import logsumexp, relative_weights
from ..kernels.weights import bounded_weights
from ..stages.coherent_set import CoherentSet, Probes
from ..stages.evidence import (
    EvidenceSums,
    effective_number,
    effective_number_of,
)
from ..stages.results import BankPosterior
from .tasks import FinalResult

THIN, THIN_ROOT = 0.3, 0.3
"""Waveforms below the first share of the typical weight are thinned out, by their weight
and, for the second share, by its root: what the exploring likelihood has underestimated
must not come to weigh much more than the others."""


def bank_posterior(
    bank_id: str,
    inds: np.ndarray,
    result: FinalResult,
    *,
    ln_weight_i: np.ndarray,
    n_int: int,
    n_phi: int,
    ln_discarded: float,
) -> BankPosterior:
    """Return the samples drawn from each waveform as the posterior of a bank.

    Each of a waveform's draws stands for an equal part of what the waveform contributes to
    the evidence: ``ln_posterior`` is ln of that part, times the number of (e, o), so that
    it sums to the evidence as the samples of a bank do that are not drawn.

    Parameters
    ----------
    bank_id : str
    inds : (n_i,) int
        Indices in the bank of the waveforms of ``result``.
    result : FinalResult
    ln_weight_i : (n_i,) float
        ln of prior over proposal density.
    n_int : int
        Number of waveforms drawn.
    n_phi : int
    ln_discarded : float
        ln of the sum of weight times likelihood of waveforms that are not in ``result``.
    """
    n_i, n_j = result.e_ij.shape
    n_ext = len(result.columns_e)
    n_total = n_phi * n_ext * n_int
    ln_contribution_i = ln_weight_i + result.lnlike_i
    i_s = np.repeat(np.arange(n_i), n_j)
    e_s, o_s = result.e_ij.ravel(), result.o_ij.ravel()
    code_s = (i_s * n_ext + e_s) * n_phi + o_s
    counted = np.isfinite(ln_contribution_i)[i_s]
    _, first, copies = np.unique(code_s[counted], return_index=True, return_counts=True)
    rows = np.flatnonzero(counted)[first]
    bestfit_s = result.bestfit_ij.ravel()[rows]
    order = np.lexsort((code_s[rows], bestfit_s))
    rows, copies = rows[order], copies[order]
    ln_posterior = (
        ln_contribution_i[i_s[rows]] + np.log(copies / n_j) + np.log(n_phi * n_ext)
    )
    none = np.zeros(0, dtype=np.int64)
    members = CoherentSet(
        i=inds[i_s[rows]].astype(np.int64),
        e=e_s[rows].astype(np.int32),
        o=o_s[rows].astype(np.int32),
        d_h=result.dh_ij.ravel()[rows],
        h_h=result.hh_ij.ravel()[rows],
        bestfit_lnlike=bestfit_s[order],
        inds=np.asarray(inds, dtype=np.int64),
        dt_linfree=result.dt_i,
        probes=Probes(none, none, none, np.zeros(0), np.zeros(0), np.zeros(0, bool)),
        n_evaluated=n_i * n_ext,
    )
    with OneThread():
        return BankPosterior(
            bank_id=bank_id,
            coherent_set=members,
            lnl_marginalized=result.lnlike_ij.ravel()[rows],
            ln_posterior=ln_posterior,
            n_int=n_int,
            n_total=n_total,
            ln_evidence=logsumexp(ln_contribution_i) - float(np.log(n_int)),
            ln_evidence_discarded=ln_discarded - float(np.log(n_int)),
            n_effective=effective_number(relative_weights(ln_posterior)),
            n_effective_i=effective_number(relative_weights(ln_contribution_i)),
            n_effective_e=effective_number_of(np.arange(n_ext), result.columns_e),
        )


def evidence_sums(
    result: FinalResult, *, ln_weight_i: np.ndarray, ln_scale: float, n_int: int
) -> EvidenceSums:
    """Return what the error of the evidence is made of.

    Parameters
    ----------
    result, ln_weight_i, n_int
        As in :func:`bank_posterior`.
    ln_scale : float
        What was taken off ``ln_weight_i`` in the sums of ``result``.
    """
    rows_i = np.exp(ln_weight_i - ln_scale + result.lnlike_i)
    return EvidenceSums(result.columns_e, float((rows_i**2).sum()), result.squares, n_int)


def carrying(ln_contribution_i: np.ndarray, left_out: float) -> np.ndarray:
    """Return the indices, ascending, of the fewest that leave out at most such a share.

    A share of bounded weights: one far too heavy point must not make all others negligible.
    """
    order = np.argsort(-ln_contribution_i, kind="stable")
    cumulative = np.cumsum(bounded_weights(ln_contribution_i)[order])
    n = int(np.searchsorted(cumulative, (1 - left_out) * cumulative[-1])) + 1
    return np.sort(order[:n])


def thin(
    ln_contribution_i: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the waveforms of which final likelihoods are worth their cost.

    Light waveforms are drawn with a probability that falls with their weight, and stand for
    those that are not (Horvitz & Thompson 1952): sums over them keep their mean, whatever
    the weights that the draw was made with. Of one measured run half of the waveforms kept
    0.93 of the effective number.

    Parameters
    ----------
    ln_contribution_i : (n,) float
        ln of what each contributes to the evidence, nearly.
    rng : numpy.random.Generator

    Returns
    -------
    kept : (n_kept,) int
        Ascending.
    ln_stand_in : (n_kept,) float
        ln of how many waveforms each stands for.
    """
    probability_i = thinning(ln_contribution_i)
    # Neighbours in the systematic draw are alike: a stratified draw.
    order = np.argsort(-ln_contribution_i, kind="stable")
    kept = np.sort(order[_systematic(probability_i[order], rng)])
    return kept, -np.log(probability_i[kept])


def thinning(ln_contribution_i: np.ndarray) -> np.ndarray:
    """Return the probability with which :func:`thin` keeps each waveform, (n,)."""
    relative_i = bounded_weights(ln_contribution_i)
    typical = np.sum(relative_i**2) / np.sum(relative_i)
    x_i = relative_i / (THIN * typical)
    return np.minimum((1 - THIN_ROOT) * x_i + THIN_ROOT * np.sqrt(x_i), 1.0)


def effective_thinned(ln_contribution_i: np.ndarray) -> float:
    """Return how many waveforms count, on average, of those that :func:`thin` keeps."""
    if not np.max(ln_contribution_i, initial=-np.inf) > -np.inf:
        return 0.0
    relative_i = bounded_weights(ln_contribution_i)
    used = relative_i > 0
    squares = relative_i[used] ** 2 / thinning(ln_contribution_i)[used]
    return float(np.sum(relative_i) ** 2 / np.sum(squares))


def _systematic(probability_i: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw each with its probability, at most once."""
    missing = np.ceil(probability_i.sum()) - probability_i.sum()
    # An item that is nobody makes the expected number an integer.
    drawn = systematic_draw(np.append(probability_i, missing), rng.random())
    return drawn[drawn < len(probability_i)]
