"""Proposals around a point that is known to fit well.

A loud, long signal leaves so little of the prior that draws from it say next to nothing
about where the posterior is. The reference waveform is near its maximum, and the curvature
of the likelihood there says how wide it is in which direction.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..kernels.mixture import GaussianMixture

REACH = 2.5
"""How far from the prior's centre a point had better be, in each coordinate: beyond, the
prior has an edge, and the posterior is rather within."""

STEPS = 3.0 ** -np.arange(12)
"""Of the differences: the largest is chosen up to which the likelihood changes little."""

DROP = 2.0
"""What is little, in ln likelihood."""

PRECISIONS = (1.0, 10.0, 100.0)
"""Least curvatures of the components' ln density: those of directions that are hardly
determined are differences of large numbers."""


def proposals_around(
    lnlike: Callable[[np.ndarray], np.ndarray], start_k: np.ndarray
) -> GaussianMixture | None:
    """Return Gaussians as wide as the posterior near a point, if it has a likelihood.

    Parameters
    ----------
    lnlike : callable
        From (n, n_k) points to (n,) ln likelihoods, NaN where there is no model; the prior
        is a standard normal distribution.
    start_k : (n_k,) float
    """
    n_k = len(start_k)
    unit_kk = np.eye(n_k)
    probes_sjkx = (
        start_k
        + STEPS[:, None, None, None] * np.array([1.0, -1.0])[:, None, None] * unit_kk
    )
    values = lnlike(np.concatenate([start_k[None], probes_sjkx.reshape(-1, n_k)]))
    centre = values[0]
    if not np.isfinite(centre):
        return None
    sides_sjk = values[1:].reshape(len(STEPS), 2, n_k)
    with np.errstate(invalid="ignore"):
        small_sk = np.abs(sides_sjk - centre).max(axis=1) < DROP
    # Farther out it may come back: another maximum says nothing of this one.
    small_sk = np.logical_and.accumulate(small_sk[::-1])[::-1]
    # The largest step, the smallest where none is small enough (or has a model).
    step_k = STEPS[np.where(small_sk.any(axis=0), small_sk.argmax(axis=0), -1)]
    moves_kk = step_k[:, None] * unit_kk
    pairs = [(k, m) for k in range(n_k) for m in range(k)]
    signs = ((1, 1), (1, -1), (-1, 1), (-1, -1))
    corners = [
        start_k + s * moves_kk[k] + t * moves_kk[m] for k, m in pairs for s, t in signs
    ]
    corner_ps = lnlike(np.array(corners)).reshape(-1, len(signs))
    row_k = np.searchsorted(-STEPS, -step_k)
    both_jk = sides_sjk[row_k, :, np.arange(n_k)].T
    # In units of the steps; ln likelihoods that are not known count as no curvature.
    own_k = np.nan_to_num(2 * centre - both_jk.sum(axis=0), posinf=0.0, neginf=0.0)
    curvature_kk = np.diag(own_k)
    mixed_p = -np.nan_to_num(
        corner_ps @ np.array([1, -1, -1, 1]) / 4, posinf=0.0, neginf=0.0
    )
    for (k, m), mixed in zip(pairs, mixed_p, strict=True):
        curvature_kk[k, m] = curvature_kk[m, k] = mixed
    precision_kk = curvature_kk / np.outer(step_k, step_k) + unit_kk
    precision_r, vectors_kr = np.linalg.eigh(precision_kk)
    factors = [
        np.linalg.cholesky(vectors_kr / np.maximum(precision_r, least) @ vectors_kr.T)
        for least in PRECISIONS
    ]
    n_c = len(factors)
    return GaussianMixture(
        np.full(n_c, 1 / n_c), np.tile(start_k, (n_c, 1)), np.array(factors)
    )
