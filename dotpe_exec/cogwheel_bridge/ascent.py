"""Maximisers that converge: to a place that does not depend on the way there."""

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
_MAX_QUASI_NEWTON = 5
# Second derivatives count as at least so large, and below so many standard deviations
# values of the function do not tell which of two places is higher.
_FLAT = 0.1
_SMALL_SIGMAS = 0.01


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


def quasi_newton_maximum(
    function: Callable[[np.ndarray], float],
    start_k: np.ndarray,
    step: float,
    tolerance: float,
) -> tuple[np.ndarray, bool]:
    """Climb a smooth function whose curvature is roughly known, a few steps.

    Second derivatives are learnt from gradients on the way (Broyden, Fletcher, Goldfarb and
    Shanno): a step costs 2 n_k evaluations where :func:`newton_maximum` needs 2 n_k^2.

    Parameters
    ----------
    function : callable
        Takes (n_k,) float, -inf where it is not defined. At a maximum it falls by about
        1/2 along each unit vector, or by less.
    start_k : (n_k,) float
    step : float
        Of the central differences.
    tolerance : float
        The place is found when the next step would be so many standard deviations (of a
        Gaussian with the same curvature).

    Returns
    -------
    place_k : (n_k,) float
    found : bool
        Whether this is the end of the climb: a maximum, as far as can be told.
    """
    place_k = np.array(start_k, dtype=float)
    value, gradient_k, curvature_k = _slopes(function, place_k, step)
    if not (np.isfinite(gradient_k).all() and np.isfinite(value)):
        return place_k, True  # At the edge of the domain
    fresh_kk = np.diag(1 / np.clip(np.abs(curvature_k), _FLAT, None))
    inverse_kk = fresh_kk
    for _ in range(_MAX_QUASI_NEWTON):
        move_k = inverse_kk @ gradient_k
        sigmas = np.sqrt(max(move_k @ gradient_k, 0.0))
        # Where coordinates fold there is no slope, although it may be the lowest place.
        valley_k = curvature_k > _MAX_NOISE * np.abs(curvature_k).max()
        if valley_k.any():
            away_k = np.copysign(np.maximum(np.abs(move_k), _LEAVE_SADDLE), move_k)
            move_k = np.where(valley_k, away_k, move_k)
        elif sigmas < tolerance:
            return place_k, True
        move_k *= min(1.0, _MAX_SIGMAS / np.linalg.norm(move_k))
        before_k, gradient_before_k = place_k, gradient_k
        for fraction in (1.0, 0.5, 0.25, 0.1, 0.03, 0.01):
            # Where function values cannot tell, the derivatives do.
            near = sigmas < _SMALL_SIGMAS and not valley_k.any()
            if near or function(place_k + fraction * move_k) > value:
                place_k = place_k + fraction * move_k
                break
        else:
            if inverse_kk is fresh_kk:
                return place_k, True
            inverse_kk = fresh_kk
            continue
        value, gradient_k, curvature_k = _slopes(function, place_k, step)
        if not np.isfinite(gradient_k).all():
            return before_k, True
        inverse_kk = _learnt(inverse_kk, place_k - before_k, gradient_before_k - gradient_k)
    return place_k, False


def _learnt(
    inverse_kk: np.ndarray, moved_k: np.ndarray, change_k: np.ndarray
) -> np.ndarray:
    """Return the inverse of the curvature that explains a change of the gradient, too."""
    product = moved_k @ change_k
    if not product > 1e-3 * np.linalg.norm(moved_k) * np.linalg.norm(change_k):
        return inverse_kk  # Not a hill there
    project_kk = np.eye(len(moved_k)) - np.outer(moved_k, change_k) / product
    learnt_kk = project_kk @ inverse_kk @ project_kk.T
    return learnt_kk + np.outer(moved_k, moved_k) / product


def _slopes(
    function: Callable[[np.ndarray], float], place_k: np.ndarray, step: float
) -> tuple[float, np.ndarray, np.ndarray]:
    """Return value, gradient and second derivative along each coordinate."""
    value = function(place_k)
    moves_kk = step * np.eye(len(place_k))
    up_k = np.array([function(place_k + move_k) for move_k in moves_kk])
    down_k = np.array([function(place_k - move_k) for move_k in moves_kk])
    return value, (up_k - down_k) / (2 * step), (up_k + down_k - 2 * value) / step**2


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
