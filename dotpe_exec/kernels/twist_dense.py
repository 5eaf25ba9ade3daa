"""The twist-up written out as its formula, to check the fast kernel against."""

from __future__ import annotations

import math

import numpy as np


def wigner_d(ell: int, m: int, mp: int, beta) -> np.ndarray:
    """Return Wigner's d^l_{m m'}(beta), by its sum over factorials."""
    factorial = math.factorial
    total = 0.0 * np.asarray(beta)
    norm = math.sqrt(
        factorial(ell + m) * factorial(ell - m) * factorial(ell + mp) * factorial(ell - mp)
    )
    for k in range(max(0, m - mp), min(ell + m, ell - mp) + 1):
        denominator = (
            factorial(ell + m - k)
            * factorial(ell - mp - k)
            * factorial(k)
            * factorial(k - m + mp)
        )
        total = total + (-1) ** k * norm / denominator * np.cos(beta / 2) ** (
            2 * ell + m - mp - 2 * k
        ) * np.sin(beta / 2) ** (2 * k - m + mp)
    return total


def twist_up_dense(
    modes_lb: np.ndarray,
    harmonic_modes: list[tuple[int, int]],
    alpha_lb: np.ndarray,
    epsilon_lb: np.ndarray,
    cos_beta_lb: np.ndarray,
    theta_jn: float,
    turn: float,
) -> np.ndarray:
    """Return the polarisations (n_l, 2, n_b) of each co-precessing mode.

    arXiv:2004.06503, eqs. 3.5 to 3.7 and C17: h_+ and h_x are sums over m of
    exp(-i m alpha) d^l_{m,-m'}(beta) Y_lm and exp(i m alpha) d^l_{m m'}(beta) Y*_lm.

    Parameters
    ----------
    modes_lb : (n_l, n_b) complex
        Co-precessing modes (l, -m').
    harmonic_modes : list of (l, m')
    alpha_lb, epsilon_lb, cos_beta_lb : (n_l, n_b) float
        Euler angles [rad].
    theta_jn, turn : float
        Angle between J and the observer, and between their polarisation axes [rad].
    """
    h_lpb = []
    for (ell, mp), h, alpha, epsilon, cosine in zip(
        harmonic_modes, modes_lb, alpha_lb, epsilon_lb, cos_beta_lb, strict=True
    ):
        beta = np.arccos(cosine)
        down, up = 0.0, 0.0
        for m in range(-ell, ell + 1):
            y = math.sqrt((2 * ell + 1) / (4 * math.pi)) * wigner_d(ell, m, 2, theta_jn)
            down = down + np.exp(-1j * m * alpha) * wigner_d(ell, m, -mp, beta) * y
            up = up + np.exp(1j * m * alpha) * wigner_d(ell, m, mp, beta) * y
        factor = 0.5 * h * np.exp(-1j * mp * epsilon)
        plus = factor * (down + (-1) ** ell * up)
        cross = 1j * factor * (down - (-1) ** ell * up)
        cos, sin = math.cos(2 * turn), math.sin(2 * turn)
        h_lpb.append([cos * plus + sin * cross, cos * cross - sin * plus])
    return np.array(h_lpb)
