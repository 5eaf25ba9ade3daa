"""The survivors of all banks as the extrinsic stage sees them: in order of promise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import SelectionError
from ..kernels.summary import LineFit, Summary
from ..kernels.waveforms import linear_free_waveforms

if TYPE_CHECKING:
    from ..banks.format import Bank
    from ..banks.waveforms import BankHandle
    from .selection import Survivors

PARENT_TEMPERATURE = 2.0
"""Parents are drawn by incoherent likelihood to the power of its inverse."""


@dataclass(frozen=True)
class RankedSurvivors:
    """Survivors of all banks, best first; arrays run over survivors.

    ``bank_k`` is the position of the bank, ``ln_prior_k`` the ln of the prior weight per
    waveform considered, ``lnlike_k`` the incoherent ln likelihood.
    """

    banks: tuple[BankHandle, ...]
    bank_k: np.ndarray
    index_k: np.ndarray
    ln_prior_k: np.ndarray
    lnlike_k: np.ndarray

    def read_waveforms(self, k: int, line_fit: LineFit) -> np.ndarray:
        """Return the linear-free waveform (n_m, 2, n_b) of candidate k."""
        amplitudes_impb, phases_impb = self.banks[self.bank_k[k]].read(
            self.index_k[k : k + 1]
        )
        return linear_free_waveforms(amplitudes_impb, phases_impb, line_fit)[0][0]


def rank_survivors(
    banks: Mapping[str, Bank],
    survivors: Mapping[str, Survivors],
    log_prior_weights: Mapping[str, np.ndarray],
    n_int: Mapping[str, int] | None,
) -> RankedSurvivors:
    """Return the survivors of all banks by likelihood times prior weight."""
    bank_ids = list(survivors)
    columns = []
    for k, bank_id in enumerate(bank_ids):
        inds = np.asarray(survivors[bank_id].inds, dtype=np.int64)
        n_k = n_int[bank_id] if n_int else banks[bank_id].handle.n_waveforms
        columns.append(
            (
                np.full(len(inds), k),
                inds,
                np.asarray(log_prior_weights[bank_id], dtype=float)[inds] - np.log(n_k),
                np.asarray(survivors[bank_id].incoherent_lnlikes, dtype=float),
            )
        )
    bank_k, index_k, ln_prior_k, lnlike_k = map(np.concatenate, zip(*columns, strict=True))
    possible = np.flatnonzero(ln_prior_k > -np.inf)
    if not len(possible):
        raise SelectionError(
            "no surviving waveform has prior weight, so there is nothing to draw extrinsic "
            "samples for: raise max_incoherent_lnlike_drop or use another bank"
        )
    order = possible[np.argsort(-(ln_prior_k + lnlike_k)[possible], kind="stable")]
    return RankedSurvivors(
        banks=tuple(banks[bank_id].handle for bank_id in bank_ids),
        bank_k=bank_k[order],
        index_k=index_k[order],
        ln_prior_k=ln_prior_k[order],
        lnlike_k=lnlike_k[order],
    )


def draw_parents(
    candidates: RankedSurvivors,
    rng: np.random.Generator,
    temperature: float = PARENT_TEMPERATURE,
) -> np.ndarray:
    """Return all candidates in random order, by tempered likelihood times prior weight.

    Drawing without replacement by the exponential race (Gumbel's trick).
    """
    ln_share_k = candidates.lnlike_k / temperature + candidates.ln_prior_k
    return np.argsort(-(ln_share_k + rng.gumbel(size=len(ln_share_k))), kind="stable")


def typical_integrand(
    candidates: RankedSurvivors, parents: np.ndarray, summary: Summary
) -> np.ndarray:
    """Return the size by frequency bin of what is integrated for (d|h), (n_b,)."""
    scale_b = np.zeros(len(summary.fbin_b))
    for k in parents:
        h_mpb = candidates.read_waveforms(k, summary.line_fit)
        scale_b += np.sum(np.abs(summary.dh_weights_dmpb * h_mpb), axis=(0, 1, 2))
    return scale_b
