"""Rotation of co-precessing modes, against its formula."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dotpe_exec.kernels.twist import polar_unwrapped, twist_up, wigner_coefficients
from dotpe_exec.kernels.twist_dense import twist_up_dense, wigner_d

MODES = [(2, 2), (2, 1), (3, 3), (3, 2), (4, 4)]


@pytest.mark.parametrize(("ell", "mp"), [*MODES, (4, -3), (3, 0)])
def test_wigner_polynomials_are_orthogonal_rows_and_the_sum(ell, mp):
    beta = 0.7
    cos, sin = math.cos(beta / 2), math.sin(beta / 2)
    powers = np.array([cos ** (2 * ell - k) * sin**k for k in range(2 * ell + 1)])
    d = wigner_coefficients(ell, mp)[: 2 * ell + 1, : 2 * ell + 1] @ powers
    expected = [wigner_d(ell, m, mp, beta) for m in range(-ell, ell + 1)]
    np.testing.assert_allclose(d, expected, atol=1e-15)
    assert d @ d == pytest.approx(1, abs=1e-14)


@pytest.mark.parametrize("modes", [MODES, [(3, 2), (2, 2)], [(3, 3)]])
@pytest.mark.parametrize(("theta_jn", "turn"), [(0.9, 0.3), (0.0, 1.0), (math.pi / 2, 0)])
def test_twist_up_is_its_formula(modes, theta_jn, turn):
    rng = np.random.default_rng(0)
    n_b = 37
    m_u = list(dict.fromkeys(m for _, m in modes))
    u_l = np.array([m_u.index(m) for _, m in modes])
    h_lb = rng.normal(size=(len(modes), n_b)) + 1j * rng.normal(size=(len(modes), n_b))
    alpha, epsilon = rng.uniform(-300, 300, (2, len(m_u), n_b))
    cosine = rng.uniform(-1, 1, (len(m_u), n_b))
    amplitude, phase = np.empty((2, len(m_u), 2, n_b))
    twist_up(
        h_lb,
        np.array([ell for ell, _ in modes]),
        u_l,
        np.array(m_u),
        np.array([wigner_coefficients(ell, m) for ell, m in modes]),
        np.array([wigner_coefficients(ell, 2) for ell, _ in modes]),
        alpha,
        epsilon,
        cosine,
        theta_jn,
        turn,
        amplitude,
        phase,
    )
    by_mode = twist_up_dense(
        h_lb, modes, alpha[u_l], epsilon[u_l], cosine[u_l], theta_jn, turn
    )
    expected = np.zeros((len(m_u), 2, n_b), dtype=complex)
    np.add.at(expected, u_l, by_mode)
    np.testing.assert_allclose(amplitude * np.exp(1j * phase), expected, atol=2e-13)
    np.testing.assert_allclose(amplitude, np.abs(expected), atol=2e-13)


def test_polar_form_is_that_of_numpy():
    rng = np.random.default_rng(1)
    h = rng.normal(size=500) + 1j * rng.normal(size=500)
    h[[7, 8]] = 0, -1
    amplitude, phase = np.empty((2, 500))
    polar_unwrapped(h.real.copy(), h.imag.copy(), amplitude, phase)
    np.testing.assert_allclose(amplitude, np.abs(h), rtol=1e-15)
    np.testing.assert_allclose(phase, np.unwrap(np.angle(h)), atol=1e-12)
