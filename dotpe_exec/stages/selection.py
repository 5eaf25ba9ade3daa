"""Stage 3: which waveforms are worth the coherent likelihood."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import SelectionError
from .incoherent import Candidates


@dataclass(frozen=True, eq=False)
class Survivors:
    """Waveforms of one bank that the incoherent selection kept.

    Parameters
    ----------
    inds : (n_i,) int
        Indices in the bank, in the order of the candidates; may be empty.
    lnlikes_di : (n_d, n_i) float
        Single-detector likelihoods.
    incoherent_lnlikes : (n_i,) float
        Their sums over detectors.
    """

    inds: np.ndarray
    lnlikes_di: np.ndarray
    incoherent_lnlikes: np.ndarray


def select(
    candidates: dict[str, Candidates],
    lnlikes: dict[str, np.ndarray],
    max_incoherent_lnlike_drop: float,
) -> dict[str, Survivors]:
    """Keep the waveforms whose summed likelihood is near the largest of all banks.

    Parameters
    ----------
    candidates : dict of Candidates
        By bank id.
    lnlikes : dict of (n_d, n_i) float
        Single-detector likelihoods of the candidates.
    max_incoherent_lnlike_drop : float
        Waveforms are kept whose sum over detectors is at least the largest sum over all
        banks, less this.

    Returns
    -------
    dict of Survivors
        For every bank, also one that loses all its waveforms.

    Raises
    ------
    SelectionError
        Nothing is left: there were no candidates, or the drop is negative or NaN.
    """
    sums = {bank_id: lnlikes_di.sum(axis=0) for bank_id, lnlikes_di in lnlikes.items()}
    n_candidates = sum(map(len, sums.values()))
    if n_candidates == 0:
        raise SelectionError(
            "the incoherent selection was given no waveforms at all: check n_int, "
            "i_int_start, preselected_indices and inds_path"
        )
    best = max(float(np.max(some)) for some in sums.values() if len(some))
    survivors = {}
    for bank_id, some in candidates.items():
        keep = np.flatnonzero(sums[bank_id] >= best - max_incoherent_lnlike_drop)
        survivors[bank_id] = Survivors(
            inds=np.asarray(some.inds, dtype=np.int64)[keep],
            lnlikes_di=lnlikes[bank_id][:, keep],
            incoherent_lnlikes=sums[bank_id][keep],
        )
    if not any(len(some.inds) for some in survivors.values()):
        raise SelectionError(
            f"none of {n_candidates} waveforms has an incoherent likelihood of at least "
            f"{best:.6g} - max_incoherent_lnlike_drop, which is "
            f"{max_incoherent_lnlike_drop:g}: raise max_incoherent_lnlike_drop above zero"
        )
    return survivors
