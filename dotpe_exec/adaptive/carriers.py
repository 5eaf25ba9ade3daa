"""The waveforms for which extrinsic samples are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import SelectionError
from ..kernels.draws import expected_counts, systematic_draw
from ..kernels.importance import logsumexp
from .draws import mirrored

N_CARRIERS, MIRRORED_STEP = 512, 8
"""Waveforms, drawn by weight; and of how many of them one is mirrored, too."""

FOUND_SHARE = 0.125
"""What a waveform that was found otherwise counts, over all that were drawn."""


@dataclass(frozen=True)
class Carriers:
    """Waveforms that stand for all that were drawn so far, and for what else there may be.

    Parameters
    ----------
    z_kk : (n_k, n_dim) float
        Coordinates.
    lnlike_k : (n_k,) float
        ln likelihoods, as far as known.
    ln_weight_k : (n_k,) float
        ln of prior over proposal density, times how many waveforms each stands for.
    """

    z_kk: np.ndarray
    lnlike_k: np.ndarray
    ln_weight_k: np.ndarray


def choose_carriers(
    z_ik: np.ndarray,
    lnlike_i: np.ndarray,
    ln_weight_i: np.ndarray,
    mirrors: Sequence[tuple[int, ...]],
    rng: np.random.Generator,
    found_k: np.ndarray | None = None,
) -> Carriers:
    """Draw waveforms by weight and by its square root, and mirror some of them.

    Likelihoods are known at the present extrinsic samples, which lie where the waveforms
    that matter now have theirs. Seen from the other side of the orbit, or with the spins in
    its plane turned, they may fit as well, or better, with another part of the sky: of two
    such parts of a posterior, the one that is first found to be likelier would take all
    samples, and the other would look as if it had no likelihood, for ever. So mirrored ones
    count for as much until their own likelihoods are known: half of them by the first of
    ``mirrors``, sets of coordinates that change sign, the others by the rest in turn. The
    same holds along a ridge on which polarisation and sky change with masses and spins:
    what is next to the part that is known is hardly seen. A waveform that fits as no other
    does, and was ``found_k`` without extrinsic samples, is there too.

    Raises
    ------
    SelectionError
        No waveform has any likelihood.
    """
    ln_share_i = lnlike_i + ln_weight_i
    if not np.max(ln_share_i, initial=-np.inf) > -np.inf:
        raise SelectionError(
            "no waveform has any likelihood: the approximant failed for all that were "
            "tried; check mchirp_range, q_min and the approximant"
        )
    share_i = np.exp(ln_share_i - np.max(ln_share_i))
    wanted_i = share_i / np.sum(share_i) + np.sqrt(share_i) / np.sum(np.sqrt(share_i))
    wanted_i[share_i < 1e-12] = 0.0
    counts_i = expected_counts(wanted_i, min(N_CARRIERS, int(np.count_nonzero(wanted_i))))
    chosen = np.unique(systematic_draw(counts_i, rng.random()))
    some = np.arange(0, len(chosen), MIRRORED_STEP)
    z_kk, lnlike_k = z_ik[chosen], lnlike_i[chosen]
    ln_weight_k = ln_weight_i[chosen] - np.log(counts_i[chosen])
    for_all = np.log(len(chosen) / len(some))
    turns = [one for other in mirrors[1:] for one in (mirrors[0], other)] or mirrors
    images_kk = z_kk[some]
    for turn, mirror in enumerate(turns):
        own = slice(turn, None, len(turns))
        images_kk[own] = mirrored(images_kk[own], mirror)
    z_kk = np.concatenate([z_kk, images_kk])
    lnlike_k = np.concatenate([lnlike_k, lnlike_k[some]])
    ln_weight_k = np.concatenate([ln_weight_k, ln_weight_k[some] + for_all])
    if found_k is not None:
        highest = np.max(lnlike_k)
        ln_weight = np.log(FOUND_SHARE) + logsumexp(lnlike_k + ln_weight_k) - highest
        z_kk = np.concatenate([z_kk, found_k[np.newaxis]])
        lnlike_k = np.append(lnlike_k, highest)
        ln_weight_k = np.append(ln_weight_k, ln_weight)
    return Carriers(z_kk, lnlike_k, ln_weight_k)
