"""Waveforms of precessing binaries from those in the frame that precesses with them.

A co-precessing mode (l, m') is rotated into the inertial frame by the Euler angles alpha,
beta and epsilon of the orbital angular momentum L about J, all modes (l, m) that it spreads
over are summed in the direction of the observer, and the two polarisations are turned to
the observer's axes: arXiv:2004.06503, eqs. 3.5 to 3.7 and appendices A and C.
"""

from __future__ import annotations

import math

import numpy as np

from .compiling import CONTRACT, kernel
from .trigonometry import arctangent, cos_sin

#: Largest l of a mode.
ELL_MAX = 4
_SIZE = 2 * ELL_MAX + 1


def wigner_coefficients(ell: int, mp: int) -> np.ndarray:
    """Return Wigner's d^l_{m m'} as polynomials in the cosine and sine of half the angle.

    Parameters
    ----------
    ell, mp : int
        l and m'.

    Returns
    -------
    (9, 9) float
        d^l_{m m'}(beta) = sum_k w[m + l, k] cos(beta/2)^(2l-k) sin(beta/2)^k; zero where
        there is no such m or k.
    """
    w = np.zeros((_SIZE, _SIZE))
    factorial = math.factorial
    for m in range(-ell, ell + 1):
        norm = math.sqrt(
            factorial(ell + m)
            * factorial(ell - m)
            * factorial(ell + mp)
            * factorial(ell - mp)
        )
        for k in range(max(0, m - mp), min(ell + m, ell - mp) + 1):
            w[m + ell, 2 * k - m + mp] += (
                (-1) ** k
                * norm
                / (
                    factorial(ell + m - k)
                    * factorial(ell - mp - k)
                    * factorial(k)
                    * factorial(k - m + mp)
                )
            )
    return w


@kernel()
def n_frequencies_used(modes_lb):
    """Return how many frequencies, from the lowest, have any mode that is not zero."""
    for b in range(modes_lb.shape[1] - 1, -1, -1):
        for i in range(modes_lb.shape[0]):
            if modes_lb[i, b] != 0.0:
                return b + 1
    return 0


@kernel(fastmath=CONTRACT)
def twist_up(
    modes_lb,
    ell_l,
    u_l,
    m_u,
    wigner_lmk,
    harmonic_lmk,
    alpha_ub,
    epsilon_ub,
    cos_beta_ub,
    theta_jn,
    turn,
    amplitude_upb,
    phase_upb,
):
    """Write amplitudes and unwrapped phases of the polarisations of each m'.

    About 340 multiply-adds per frequency for the five modes of IMRPhenomXPHM.

    Parameters
    ----------
    modes_lb : (n_l, n_b) complex
        Co-precessing modes (l, -m').
    ell_l, u_l : (n_l,) int
        l of each, and the position of its m'.
    m_u : (n_u,) int
        Distinct m', above zero.
    wigner_lmk, harmonic_lmk : (n_l, 9, 9) float
        :func:`wigner_coefficients` of l with m', and with 2.
    alpha_ub, epsilon_ub, cos_beta_ub : (n_u, n_b) float
        Euler angles for each m' [rad].
    theta_jn : float
        Angle between J and the observer [rad].
    turn : float
        Angle from the polarisation axes of J to the observer's [rad].
    amplitude_upb, phase_upb : (n_u, 2, n_b) float
        Written: plus and cross; phases [rad] unwrapped along b, from (-pi, pi].
    """
    n_b = modes_lb.shape[1]
    cos_half, sin_half = math.cos(0.5 * theta_jn), math.sin(0.5 * theta_jn)
    cos_turn, sin_turn = math.cos(2.0 * turn), math.sin(2.0 * turn)
    real_pb, imag_pb = np.empty((2, n_b)), np.empty((2, n_b))
    powers_kb, multiples_mb = np.empty((_SIZE, n_b)), np.empty((2 * _SIZE, n_b))
    poly_jb = np.empty((4, n_b))
    y_m = np.empty(_SIZE)
    for u in range(m_u.size):
        mp = m_u[u]
        real_pb[:], imag_pb[:] = 0.0, 0.0
        for i in range(ell_l.size):
            if u_l[i] != u:
                continue
            ell = ell_l[i]
            _spherical_harmonics(harmonic_lmk[i], ell, cos_half, sin_half, y_m)
            _half_angle_powers(cos_beta_ub[u], 2 * ell, powers_kb)
            _multiples(alpha_ub[u], ell, multiples_mb)
            sums_jb = np.zeros((4, n_b))  # real and imaginary, with plus and cross
            for m in range(ell + 1):
                _polynomials(wigner_lmk[i], y_m, ell, m, mp, powers_kb, poly_jb)
                for b in range(n_b):
                    c, s = multiples_mb[2 * m, b], multiples_mb[2 * m + 1, b]
                    sums_jb[0, b] += c * poly_jb[0, b]
                    sums_jb[1, b] += s * poly_jb[1, b]
                    sums_jb[2, b] += c * poly_jb[2, b]
                    sums_jb[3, b] += s * poly_jb[3, b]
            for b in range(n_b):
                c, s = cos_sin(mp * epsilon_ub[u, b])
                h = modes_lb[i, b]
                re = 0.5 * (h.real * c + h.imag * s)
                im = 0.5 * (h.imag * c - h.real * s)
                # plus = cos P + i sin X, cross = i cos X - sin P.
                p_re, p_im, x_re, x_im = (
                    sums_jb[0, b],
                    sums_jb[1, b],
                    sums_jb[2, b],
                    sums_jb[3, b],
                )
                plus_re = cos_turn * p_re - sin_turn * x_im
                plus_im = cos_turn * p_im + sin_turn * x_re
                cross_re = -cos_turn * x_im - sin_turn * p_re
                cross_im = cos_turn * x_re - sin_turn * p_im
                real_pb[0, b] += re * plus_re - im * plus_im
                imag_pb[0, b] += re * plus_im + im * plus_re
                real_pb[1, b] += re * cross_re - im * cross_im
                imag_pb[1, b] += re * cross_im + im * cross_re
        for p in range(2):
            polar_unwrapped(real_pb[p], imag_pb[p], amplitude_upb[u, p], phase_upb[u, p])


@kernel(fastmath=CONTRACT)
def polar_unwrapped(real_b, imag_b, amplitude_b, phase_b):
    """Write modulus and unwrapped argument [rad], as ``numpy.unwrap`` does, to rounding."""
    for b in range(real_b.size):
        re, im = real_b[b], imag_b[b]
        amplitude_b[b] = math.sqrt(re * re + im * im)
        phase_b[b] = arctangent(im, re)
    turns = 0.0
    before = phase_b[0]
    for b in range(1, real_b.size):
        angle = phase_b[b]
        step = angle - before
        turns += (-1.0 if step > math.pi else 0.0) + (1.0 if step < -math.pi else 0.0)
        before = angle
        phase_b[b] = angle + 2.0 * math.pi * turns


@kernel()
def _spherical_harmonics(harmonic_mk, ell, cos_half, sin_half, y_m):
    """Write the harmonics of spin weight -2 at azimuth 0, by m + l."""
    norm = math.sqrt((2 * ell + 1) / (4.0 * math.pi))
    for m in range(2 * ell + 1):
        total = 0.0
        for k in range(2 * ell + 1):
            total += harmonic_mk[m, k] * cos_half ** (2 * ell - k) * sin_half**k
        y_m[m] = norm * total


@kernel(fastmath=CONTRACT)
def _half_angle_powers(cos_b, degree, powers_kb):
    """Write cos(beta/2)^(degree-k) sin(beta/2)^k for all k."""
    n_b = cos_b.size
    cos_half_b, sin_half_b = np.empty(n_b), np.empty(n_b)
    for b in range(n_b):
        cos_half_b[b] = math.sqrt(0.5 * abs(1.0 + cos_b[b]))
        sin_half_b[b] = math.sqrt(0.5 * abs(1.0 - cos_b[b]))
        powers_kb[0, b] = 1.0
    for k in range(1, degree + 1):
        for b in range(n_b):
            powers_kb[k, b] = powers_kb[k - 1, b] * sin_half_b[b]
    power_b = cos_half_b.copy()
    for k in range(degree - 1, -1, -1):
        for b in range(n_b):
            powers_kb[k, b] *= power_b[b]
            power_b[b] *= cos_half_b[b]


@kernel(fastmath=CONTRACT)
def _multiples(alpha_b, ell, multiples_mb):
    """Write cosine and sine of m alpha for m from 0 to l, one after the other."""
    for b in range(alpha_b.size):
        multiples_mb[0, b], multiples_mb[1, b] = 1.0, 0.0
        multiples_mb[2, b], multiples_mb[3, b] = cos_sin(alpha_b[b])
    for m in range(2, ell + 1):
        for b in range(alpha_b.size):
            c, s = multiples_mb[2 * m - 2, b], multiples_mb[2 * m - 1, b]
            c1, s1 = multiples_mb[2, b], multiples_mb[3, b]
            multiples_mb[2 * m, b] = c * c1 - s * s1
            multiples_mb[2 * m + 1, b] = s * c1 + c * s1


@kernel(fastmath=CONTRACT)
def _polynomials(wigner_mk, y_m, ell, m, mp, powers_kb, poly_jb):
    """Write what exp(i m alpha) and exp(-i m alpha) are multiplied by, summed up.

    d^l_{m m'} P_m and d^l_{m m'} X_m with P_m, X_m = (-1)^(m+m') Y_{l,-m} +- (-1)^l Y_{lm}:
    the sums over m and -m, which go with the cosine, and the differences, with the sine.
    """
    sign_m = -1.0 if (m + mp) % 2 else 1.0
    sign_l = -1.0 if ell % 2 else 1.0
    up, down = y_m[ell + m], y_m[ell - m]
    p_up, p_down = sign_m * down + sign_l * up, sign_m * up + sign_l * down
    x_up, x_down = sign_m * down - sign_l * up, sign_m * up - sign_l * down
    poly_jb[:] = 0.0
    for k in range(abs(m - mp) % 2, 2 * ell + 1, 2):
        w_up = wigner_mk[ell + m, k]
        w_down = 0.0 if m == 0 else wigner_mk[ell - m, k]
        p_sum, p_difference = w_up * p_up + w_down * p_down, w_up * p_up - w_down * p_down
        x_sum, x_difference = w_up * x_up + w_down * x_down, w_up * x_up - w_down * x_down
        for b in range(powers_kb.shape[1]):
            power = powers_kb[k, b]
            poly_jb[0, b] += p_sum * power
            poly_jb[1, b] += p_difference * power
            poly_jb[2, b] += x_sum * power
            poly_jb[3, b] += x_difference * power
