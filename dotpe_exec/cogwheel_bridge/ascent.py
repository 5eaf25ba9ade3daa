"""A maximiser that converges: to a place that does not depend on the way there."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

_MAX_NEWTON = 15
# Steps are at most so many standard deviations of a Gaussian with the same curvature,
# and directions flatter than this per step of differences squared count as so curved.
_MAX_SIGMAS = 3.0
_MIN_CURVATURE = 1e-8
# Negative curvatures, relative to the largest, that noise may feign.
_MAX_NOISE = 0.01
_LEAVE_SADDLE = 0.5


def newton_maximum(
    function: Callable[[np.ndarray], float],
    start_k: np.ndarray,
    steps_k: np.ndarray,
    tolerance: float = 1e-7,
) -> np.ndarray:
    """Return a maximum of a smooth function of few numbers, found by Newton's method.

    Derivatives are central differences, so the place found is as precise as they are,
    which is much more than a comparison of function values allows.

    Parameters
    ----------
    function : callable
        Takes (n_k,) float; -inf where it is not defined.
    start_k : (n_k,) float
    steps_k : (n_k,) float
        Of the differences: smaller than the width of the maximum by 5 to 1000.
    tolerance : float
        The place is found when the next step would be so many standard deviations (of a
        Gaussian with the same curvature).

    Returns
    -------
    (n_k,) float
    """
    place_k = np.array(start_k, dtype=float)
    for _ in range(_MAX_NEWTON):
        value, gradient_k, hessian_kk = _derivatives(function, place_k, steps_k)
        if not (np.isfinite(gradient_k).all() and np.isfinite(hessian_kk).all()):
            return place_k  # At the edge of the domain
        curvature_r, vectors_kr = np.linalg.eigh(-hessian_kk)
        width_r = np.maximum(np.abs(curvature_r), _MIN_CURVATURE) ** -0.5
        move_r = vectors_kr.T @ gradient_k * width_r  # in standard deviations
        # A saddle, which folded coordinates have where they fold, is to be left.
        saddle_r = curvature_r < -_MAX_NOISE * np.abs(curvature_r).max()
        away_r = np.copysign(np.maximum(np.abs(move_r), _LEAVE_SADDLE), move_r)
        move_r = np.where(saddle_r, away_r, move_r)
        move_r *= min(1.0, _MAX_SIGMAS / np.linalg.norm(move_r)) if move_r.any() else 0.0
        step_k = steps_k * (vectors_kr @ (move_r * width_r))
        if np.linalg.norm(move_r) < max(0.01, tolerance):
            # Where function values cannot tell, the derivatives do.
            place_k = place_k + step_k
            if np.linalg.norm(move_r) < tolerance:
                break
            continue
        for fraction in (1.0, 0.5, 0.25, 0.1, 0.03, 0.01):
            if function(place_k + fraction * step_k) > value:
                place_k = place_k + fraction * step_k
                break
        else:
            break
    return place_k


def _derivatives(
    function: Callable[[np.ndarray], float], place_k: np.ndarray, steps_k: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """Return value, gradient and second derivatives, in units of the steps."""
    n = len(place_k)
    value = function(place_k)
    moves_kk = np.diag(steps_k)
    up_k = np.array([function(place_k + move_k) for move_k in moves_kk])
    down_k = np.array([function(place_k - move_k) for move_k in moves_kk])
    hessian_kk = np.diag(up_k + down_k - 2 * value)
    for k in range(n):
        for other in range(k):
            both_k = moves_kk[k] + moves_kk[other]
            mixed = function(place_k + both_k) + function(place_k - both_k) + 2 * value
            mixed -= up_k[k] + down_k[k] + up_k[other] + down_k[other]
            hessian_kk[k, other] = hessian_kk[other, k] = mixed / 2
    return value, (up_k - down_k) / 2, hessian_kk
