"""From the final likelihoods to what the results stage writes."""

from __future__ import annotations

import numpy as np

from ..executors.threads import OneThread
from ..kernels.importance import logsumexp, relative_weights
from ..stages.coherent_set import CoherentSet, Probes
from ..stages.evidence import (
    EvidenceSums,
    effective_number,
    effective_number_of,
)
from ..stages.results import BankPosterior
from .tasks import FinalResult


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
    """Return the indices, ascending, of the fewest that leave out at most such a share."""
    order = np.argsort(-ln_contribution_i, kind="stable")
    cumulative = np.cumsum(relative_weights(ln_contribution_i)[order])
    n = int(np.searchsorted(cumulative, (1 - left_out) * cumulative[-1])) + 1
    return np.sort(order[:n])
