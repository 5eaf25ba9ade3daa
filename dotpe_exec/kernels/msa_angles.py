"""Euler angles of a precessing binary, by multiple-scale analysis.

The orbital angular momentum L precesses about the total one, J, at an angle theta_L whose
cosine nutates with the magnitude S of the total spin. Equations are those of Chatziioannou,
Klein, Yunes and Cornish, arXiv:1703.03967 ("CKYC"), with the choices that the default of
IMRPhenomXPHM makes (arXiv:2004.06503, section IV D; version 223 of LALSimulation): the
secular phases to fourth order of five, the corrections of first order with absolute values
where CKYC have signs, and the norm of L to 3PN in theta_L alone.

Units: G = c = M = 1, with M the total mass; m1 >= m2.
"""

from __future__ import annotations

import math

import numpy as np

from .compiling import kernel
from .elliptic import elliptic_f, jacobi_sn
from .trigonometry import arctangent, cos_sin

#: Squared spin difference S+^2 - S-^2 below which nutation is left out.
_NUTATION_LIMIT = 1e-5
#: Largest coefficient of fifth order that the expansion is trusted with.
_LARGEST_OMEGA5 = 1000.0

#: Of two evaluations of cos theta_L, over four.
_COSINE_ROUNDING = 1e-16

_SQRT3 = math.sqrt(3.0)

# Layout of the constants' array.
(
    _ETA,
    _Q,
    _DELTA,
    _S1SQ,
    _S2SQ,
    _SEFF,
    _SAV2,
    _C1,
    _G0,
    _PSI0,
    _PSI1,
    _PSI2,
    _S0SQ,
    _PHIZ_0,
    _ZETA_0,
    _L,
    _OMEGA_Z,
    _OMEGA_ZETA,
) = (*range(16), 20, 25)
N_CONSTANTS = 30


@kernel()
def msa_constants(m1, m2, spin1_x, spin2_x, v_ref):
    """Return the constants of a binary's precession.

    Parameters
    ----------
    m1, m2 : float
        Masses in any unit, m1 >= m2.
    spin1_x, spin2_x : (3,) float
        Dimensionless spins at the reference frequency, z along L.
    v_ref : float
        (pi M f_ref)^(1/3)

    Returns
    -------
    constants : (N_CONSTANTS,) float
        For :func:`msa_angles`.
    ok : bool
        False where the expansion is not used: |Omega_z^(5)| > 1000 or NaN, or a spin that
        is zero or along L.
    """
    constants = np.zeros(N_CONSTANTS)
    # Rounded as LALSimulation's: near equal masses the rounding is amplified.
    total = m1 + m2
    delta_m = (m1 - m2) / total
    m1, m2 = m1 / total, m2 / total
    q = m2 / m1
    eta = 0.25 * (1.0 - delta_m * delta_m)
    eta2 = eta * eta
    delta = (1.0 - q) / (1.0 + q)
    s1x, s1y, s1z = spin1_x[0] * eta / q, spin1_x[1] * eta / q, spin1_x[2] * eta / q
    s2x, s2y, s2z = spin2_x[0] * eta * q, spin2_x[1] * eta * q, spin2_x[2] * eta * q
    s1sq = (math.sqrt(_square(spin1_x)) * (m1 * m1)) ** 2
    s2sq = (math.sqrt(_square(spin2_x)) * (m2 * m2)) ** 2
    s1s2 = s1x * s2x + s1y * s2y + s1z * s2z
    s0x, s0y, s0z = s1x + s2x, s1y + s2y, s1z + s2z
    s0sq = math.sqrt(s0x * s0x + s0y * s0y + s0z * s0z) ** 2
    seff = (1.0 + q) * s1z + (1.0 + 1.0 / q) * s2z

    constants[_ETA], constants[_Q], constants[_DELTA] = eta, q, delta
    constants[_S1SQ], constants[_S2SQ], constants[_SEFF] = s1sq, s2sq, seff
    constants[_S0SQ] = s0sq
    aligned = (s1x == 0 and s1y == 0) or (s2x == 0 and s2y == 0)

    l_ref = eta / v_ref
    j_z = l_ref + s0z
    j_ref = math.sqrt(s0x * s0x + s0y * s0y + j_z * j_z)
    b, root, cosine = _cubic(constants, l_ref, j_ref)
    theta = math.acos(cosine) / 3.0
    spl2 = abs(2.0 * root * math.cos(theta) - b / 3.0)
    smi2 = abs(2.0 * root * math.cos(theta - 2.0 * math.pi / 3.0) - b / 3.0)
    s3sq = 2.0 * root * math.cos(theta - 4.0 * math.pi / 3.0) - b / 3.0
    sav2 = 0.5 * (spl2 + smi2)  # CKYC eq. 45
    c1 = 0.5 * (j_ref * j_ref - l_ref * l_ref - sav2) / l_ref * eta  # eq. 41
    constants[_SAV2], constants[_C1] = sav2, c1

    # Norm of L: L (1 + v^2 (l0 + v l1 + v^2 (l2 + v l3 + v^2 l4))).
    pi2 = math.pi * math.pi
    constants[_L] = 3.0 / 2.0 + eta / 6.0
    constants[_L + 1] = _beta(-14.0 / 6.0, -3.0 / 2.0, s1z, s2z, q)
    constants[_L + 2] = 27.0 / 8.0 - 19.0 / 8.0 * eta + eta2 / 24.0
    constants[_L + 3] = _beta(
        -11.0 / 2.0 + 133.0 / 72.0 * eta, -33.0 / 8.0 + 7.0 / 4.0 * eta, s1z, s2z, q
    )
    constants[_L + 4] = (
        135.0 / 16.0
        + (-6889.0 / 144.0 + 41.0 / 24.0 * pi2) * eta
        + 31.0 / 24.0 * eta2
        + 7.0 / 1296.0 * eta2 * eta
    )

    # Inverse of the frequency's derivative, eqs. A1 to A5.
    a0 = 96.0 / 5.0 * eta
    a2 = eta * (-1486.0 / 35.0 - 264.0 / 5.0 * eta)
    a3 = eta * (384.0 * math.pi / 5.0 + _beta(-904.0 / 5.0, -120.0, s1z, s2z, q))
    sigma = (-494.0 / 5.0 * s1s2 + 1442.0 / 5.0 * s1z * s2z) / eta
    tau = (
        q * (-233.0 / 5.0 * s1sq + 719.0 / 5.0 * s1z * s1z)
        + (-233.0 / 5.0 * s2sq + 719.0 / 5.0 * s2z * s2z) / q
    ) / eta
    a4 = eta * (
        34103.0 / 945.0 + eta * (13661.0 / 105.0 + eta * (944.0 / 15.0)) + sigma + tau
    )
    g0 = 1.0 / a0
    g2 = -a2 / (a0 * a0)
    g3 = -a3 / (a0 * a0)
    g4 = -(a4 * a0 - a2 * a2) / (a0 * a0 * a0)
    constants[_G0] = g0

    # Phase of the nutation, eq. 51 with C1 to C3.
    k = c1 / eta
    q2, pq, mq = q * q, 1.0 + q, 1.0 - q
    mq2 = (1.0 - q2) * (1.0 - q2)
    first = (
        4.0 * k * k * pq * pq
        - 8.0 * k * q * pq * seff
        - 4.0 * (mq2 * s1sq - q2 * seff * seff)
    )
    second = (
        4.0 * k * k * q2 * pq * pq
        - 8.0 * k * q2 * pq * seff
        - 4.0 * (mq2 * s2sq - q2 * seff * seff)
    )
    psi1 = 3.0 * (2.0 * eta2 * seff - c1) / (eta * delta * delta)
    psi2 = 3.0 * g2 / g0 + 0.75 * pq * pq / (mq * mq * mq * mq) * (
        -20.0 * k * k * q2 * pq * pq
        + 2.0 * mq2 * (q * (2.0 + q) * s1sq + (1.0 + 2.0 * q) * s2sq - 2.0 * q * sav2)
        + 4.0 * q2 * (7.0 + 6.0 * q + 7.0 * q2) * k * seff
        - 2.0 * q2 * (3.0 + 4.0 * q + 3.0 * q2) * seff * seff
        + q * math.sqrt(abs(first * second))
    )
    constants[_PSI1], constants[_PSI2] = psi1, psi2

    # Precession-averaged rates of phi_z and zeta, appendices D and E.
    rm = spl2 - smi2
    cp = spl2 * eta2 - c1 * c1
    cm = smi2 * eta2 - c1 * c1
    root = math.sqrt(abs(cp * cm))
    d2 = (cp - root) / eta2
    d4 = -0.5 * rm * root / eta2 - cp / (eta2 * eta2) * (root - cp)
    dw = 4.0 * cp - 4.0 * d2 * eta2
    a_d = (
        -3.0
        * pq
        / q
        * (2.0 * pq * eta2 * seff * c1 - pq * c1 * c1 + mq * eta2 * (s1sq - s2sq))
        / dw
    )
    c_d = 3.0 / 32.0 / eta * rm * rm / dw
    h_d = -2.0 * (2.0 * d2 - rm) * c1 / dw
    f_d = (rm * d2 - d4 - 0.25 * rm * rm) / dw
    g_d = 3.0 / 16.0 / eta2 / eta * rm * rm * (c1 - eta2 * seff) / dw
    af, ah2, h2 = a_d * f_d, a_d * h_d * h_d, h_d * h_d
    z0 = 0.5 + 0.75 / eta + a_d
    z1 = -0.75 * seff / eta - a_d * seff - a_d * h_d
    z2 = a_d * h_d * seff + c_d - af + ah2
    z3 = (af - c_d - ah2) * (seff + h_d) + af * h_d
    z4 = (c_d + ah2 - 2.0 * af) * (h_d * seff + h2 - f_d) - af * f_d
    z5 = (
        (c_d - af + ah2) * f_d * (seff + 2.0 * h_d)
        - (c_d + ah2 - 2.0 * af) * h2 * (seff + h_d)
        - af * f_d * h_d
    )
    constants[_OMEGA_Z] = 3.0 * g0 * z0
    constants[_OMEGA_Z + 1] = 3.0 * g0 * z1
    constants[_OMEGA_Z + 2] = 3.0 * (g0 * z2 + g2 * z0)
    constants[_OMEGA_Z + 3] = 3.0 * (g0 * z3 + g2 * z1 + g3 * z0)
    constants[_OMEGA_Z + 4] = 3.0 * (g0 * z4 + g2 * z2 + g3 * z1 + g4 * z0)
    ratio = c1 / eta2
    y1, y2 = z1 + z0 * ratio, z2 + z1 * ratio
    y3, y4 = z3 + z2 * ratio + g_d, z4 + z3 * ratio - g_d * seff - g_d * h_d
    constants[_OMEGA_ZETA] = -g0 * z0
    constants[_OMEGA_ZETA + 1] = -1.5 * g0 * y1
    constants[_OMEGA_ZETA + 2] = -3.0 * (g0 * y2 + g2 * z0)
    constants[_OMEGA_ZETA + 3] = 3.0 * (g0 * y3 + g2 * y1 + g3 * z0)
    constants[_OMEGA_ZETA + 4] = 3.0 * (g0 * y4 + g2 * y2 + g3 * y1 + g4 * z0)

    # S at the reference frequency is given, which fixes the phase of nutation.
    if abs(spl2 - smi2) >= _NUTATION_LIMIT:
        m = (smi2 - spl2) / (s3sq - spl2)
        sn2 = (s0sq - spl2) / (smi2 - spl2)
        volume = l_ref * (s1x * s2y - s1y * s2x)
        sign = 1.0 if volume > 0 else (-1.0 if volume < 0 else 0.0)
        if -1e-5 < sn2 < 1.00001:
            sn = sign * math.sqrt(min(max(sn2, 0.0), 1.0))
            constants[_PSI0] = elliptic_f(sn, m) - _psi(constants, v_ref)
    v_f, angles, logs = np.full(1, v_ref), np.empty((4, 1)), np.empty((3, 1))
    _nutation(constants, v_f, angles, logs)
    _add_secular(constants, v_f, np.log(logs), angles)
    constants[_PHIZ_0], constants[_ZETA_0] = -angles[0, 0], -angles[1, 0]
    ok = abs(z5) <= _LARGEST_OMEGA5 and not aligned
    return constants, ok


def msa_angles(constants: np.ndarray, v_f: np.ndarray) -> np.ndarray:
    """Return the angles of L about J at orbital velocities.

    Free of branches and of calls to the C library, so that several velocities are done
    at once; the logarithms are NumPy's for the same reason.

    Parameters
    ----------
    constants : (N_CONSTANTS,) float
        From :func:`msa_constants`.
    v_f : (n_f,) float
        (pi M f)^(1/3), with f twice the orbital frequency.

    Returns
    -------
    (4, n_f) float
        phi_z and zeta: azimuth of L about J and third Euler angle, both zero at the
        reference frequency [rad]. Cosine of the angle between L and J, NaN where the
        model has none. And an estimate of how far two evaluations of phi_z may differ
        because of rounding [rad], times the sine of half the opening angle, with which it
        moves a waveform's largest modes; and of how far that sine may. It is large where
        J^2 = (L +- S-)^2, and where L is nearly along J.
    """
    angles_jf, logs_jf = np.empty((4, len(v_f))), np.empty((3, len(v_f)))
    _nutation(constants, v_f, angles_jf, logs_jf)
    np.log(logs_jf, out=logs_jf)
    _add_secular(constants, v_f, logs_jf, angles_jf)
    return angles_jf


@kernel()
def _nutation(constants, v_f, angles_jf, arguments_jf):
    """Write the angles without their secular phases, and what these need logarithms of."""
    eta, delta, seff = constants[_ETA], constants[_DELTA], constants[_SEFF]
    sav2, c1, k = constants[_SAV2], constants[_C1], constants[_C1] / constants[_ETA]
    q, sav = constants[_Q], math.sqrt(sav2)
    difference = constants[_S1SQ] - constants[_S2SQ]
    l0, l1, l2, l3, l4 = constants[_L : _L + 5]
    for f in range(v_f.size):
        v = v_f[f]
        v2 = v * v
        l_norm = eta / v
        j_norm = math.sqrt(l_norm * l_norm + 2.0 * l_norm * k + sav2)
        s3sq, smi2, spl2 = _roots(constants, l_norm, j_norm)
        series = 1.0 + v * constants[_PSI1] + v2 * constants[_PSI2]
        psi = constants[_PSI0] - 0.75 * constants[_G0] * delta * series / (v2 * v)
        nutates = abs(smi2 - spl2) >= _NUTATION_LIMIT
        sn = jacobi_sn(psi, (smi2 - spl2) / (s3sq - spl2))
        ssq = spl2 + ((smi2 - spl2) * sn * sn if nutates else 0.0)
        phiz, zeta, rounding = _corrections(
            q, eta, seff, difference * delta, v, l_norm, j_norm, s3sq, smi2, spl2, psi
        )
        angles_jf[0, f] = phiz if nutates else 0.0
        angles_jf[1, f] = zeta if nutates else 0.0
        norm = l_norm * (1.0 + v2 * (l0 + v * l1 + v2 * (l2 + v * l3 + v2 * l4)))
        j3 = math.sqrt(norm * norm + 2.0 * norm * k + sav2)
        cosine = 0.5 * (j3 * j3 + norm * norm - ssq) / (norm * j3)
        cosine = 1.0 if cosine > 1.0 else cosine
        cosine = -1.0 if cosine < -1.0 else cosine
        angles_jf[2, f] = cosine
        sine = math.sqrt(0.5 * (1.0 - cosine))
        rounding = (rounding if nutates else 0.0) * sine + _COSINE_ROUNDING / sine
        at_limit = abs(abs(smi2 - spl2) - _NUTATION_LIMIT) < 1e-12
        angles_jf[3, f] = np.inf if at_limit else rounding
        arguments_jf[0, f] = abs(c1 + j_norm * eta + eta * l_norm)
        arguments_jf[1, f] = abs(c1 + j_norm * sav * v + sav2 * v)
        arguments_jf[2, f] = v


@kernel()
def _add_secular(constants, v_f, logs_jf, angles_jf):
    """Add the secular phases: eq. 66 with D22 to D26, and F5."""
    eta, c1 = constants[_ETA], constants[_C1]
    sav2, k = constants[_SAV2], constants[_C1] / constants[_ETA]
    eta2, sav = eta * eta, math.sqrt(constants[_SAV2])
    z0, z1, z2, z3, z4 = constants[_OMEGA_Z : _OMEGA_Z + 5]
    y0, y1, y2, y3, y4 = constants[_OMEGA_ZETA : _OMEGA_ZETA + 5]
    inv_eta = 1.0 / eta
    inv_eta2 = inv_eta * inv_eta
    inv_eta3, inv_eta4 = inv_eta * inv_eta2, inv_eta2 * inv_eta2
    c1sq = c1 * c1
    for f in range(v_f.size):
        v = v_f[f]
        v2 = v * v
        l_norm = eta / v
        j_norm = math.sqrt(l_norm * l_norm + 2.0 * l_norm * k + sav2)
        log1, log2, log_v = logs_jf[0, f], logs_jf[1, f], logs_jf[2, f]
        phi0 = (j_norm * inv_eta4) * (
            0.5 * c1sq
            - c1 * eta2 / (6.0 * v)
            - sav2 * eta2 / 3.0
            - eta2 * eta2 / (3.0 * v2)
        ) - (0.5 * c1 * inv_eta) * (c1sq * inv_eta4 - sav2 * inv_eta2) * log1
        phi1 = (
            -0.5 * j_norm * inv_eta2 * (c1 + eta * l_norm)
            + 0.5 * inv_eta3 * (c1sq - eta2 * sav2) * log1
        )
        phi2 = -j_norm + sav * log2 - c1 * log1 * inv_eta
        phi3 = j_norm * v - eta * log1 + c1 * log2 / sav
        phi4 = (0.5 * j_norm / sav2 * v) * (c1 + v * sav2) - (0.5 / (sav2 * sav)) * (
            c1sq - eta2 * sav2
        ) * log2
        angles_jf[0, f] += (
            phi0 * z0 + phi1 * z1 + phi2 * z2 + phi3 * z3 + phi4 * z4 + constants[_PHIZ_0]
        )
        angles_jf[1, f] += (
            eta * (y0 / (v2 * v) + y1 / v2 + y2 / v + y3 * log_v + y4 * v)
            + constants[_ZETA_0]
        )


@kernel()
def _square(spin_x):
    return spin_x[0] * spin_x[0] + spin_x[1] * spin_x[1] + spin_x[2] * spin_x[2]


@kernel()
def _beta(a, b, s1z, s2z, q):
    """Return a spin-orbit coupling of the two spins."""
    return s1z * (a + b * q) + s2z * (a + b / q)


@kernel()
def _psi(constants, v):
    """Return the phase of nutation less its constant, eq. 51."""
    series = 1.0 + v * constants[_PSI1] + v * v * constants[_PSI2]
    return -0.75 * constants[_G0] * constants[_DELTA] * series / (v * v * v)


@kernel(forceinline=True)
def _roots(constants, l_norm, j_norm):
    """Return S3^2, S-^2 and S+^2, the roots of S^2's equation of motion (eq. 21)."""
    b, root, cosine = _cubic(constants, l_norm, j_norm)
    theta = arctangent(math.sqrt((1.0 - cosine) * (1.0 + cosine)), cosine) / 3.0
    # cos(theta), cos(theta - 2 pi / 3) and cos(theta + 2 pi / 3), 0 <= theta <= pi / 3.
    cos_theta, sin_theta = cos_sin(theta)
    high = 2.0 * root * cos_theta - b / 3.0
    middle = -root * (cos_theta - _SQRT3 * sin_theta) - b / 3.0
    low = -root * (cos_theta + _SQRT3 * sin_theta) - b / 3.0
    return low, abs(middle), abs(high)


@kernel(forceinline=True)
def _cubic(constants, l_norm, j_norm):
    """Return -3 times the mean of the roots, their spread and the cosine of 3 theta."""
    q, eta, delta = constants[_Q], constants[_ETA], constants[_DELTA]
    s1sq, s2sq, seff = constants[_S1SQ], constants[_S2SQ], constants[_SEFF]
    j2, l2 = j_norm * j_norm, l_norm * l_norm
    d = j2 - l2
    difference = s1sq - s2sq
    # Coefficients of the cubic, eqs. B2 to B4.
    b = (l2 + s1sq) * q + 2.0 * l_norm * seff - 2.0 * j2 - s1sq - s2sq + (l2 + s2sq) / q
    c = (
        d * d
        - 2.0 * l_norm * seff * d
        - 2.0 * ((1.0 - q) / q) * l2 * (s1sq - q * s2sq)
        + 4.0 * eta * l2 * seff * seff
        - 2.0 * delta * difference * seff * l_norm
        + 2.0 * ((1.0 - q) / q) * (q * s1sq - s2sq) * j2
    )
    e = (
        ((1.0 - q) / q) * (s2sq - q * s1sq) * (d * d)
        + delta * delta * difference * difference * l2 / eta
        + 2.0 * delta * l_norm * seff * difference * d
    )
    p = c - b * b / 3.0
    r = (2.0 / 27.0) * (b * b * b) - b * c / 3.0 + e
    root = math.sqrt(-p / 3.0)
    cosine = 1.5 * r / p / root
    cosine = 1.0 if cosine > 1.0 else cosine
    cosine = -1.0 if cosine < -1.0 else cosine
    return b, root, cosine


@kernel(forceinline=True)
def _corrections(q, eta, seff, spin_delta, v, l_norm, j_norm, s3sq, smi2, spl2, psi):
    """Return corrections of first order to phi_z and zeta (67, F19), and rounding."""
    v2 = v * v
    v4 = v2 * v2
    eta3 = eta * eta * eta
    rm = spl2 - smi2
    j2, l2 = j_norm * j_norm, l_norm * l_norm
    dj = j2 - spl2
    factor = 1.0 - seff * v
    # Eqs. B6 to B11.
    c0 = j_norm * (
        0.75
        * factor
        * v2
        * (
            eta3
            + 4.0 * eta3 * seff * v
            - 2.0 * eta * (dj + 2.0 * spin_delta) * v2
            - 4.0 * eta * seff * dj * (v2 * v)
            + dj * dj * v4 / eta
        )
    )
    c2 = j_norm * (
        -1.5 * eta * rm * (1.0 + 2.0 * seff * v - dj * v2 / (eta * eta)) * factor * v4
    )
    c4 = j_norm * (0.75 / eta * rm * rm * factor * (v4 * v2))
    spl = math.sqrt(spl2)
    d_up = j2 - (l_norm + spl) * (l_norm + spl)
    d_down = j2 - (l_norm - spl) * (l_norm - spl)
    d0 = -d_up * d_down
    d2 = -2.0 * rm * (j2 + l2 - spl2)
    d4 = -rm * rm
    sd = math.sqrt(abs(d2 * d2 - 4.0 * d0 * d4))  # eq. B20
    total = d0 + d2 + d4
    denominator = 2.0 * d0 + d2 + sd
    nc = 2.0 * total / denominator  # eqs. B16, B17
    nd = denominator / (2.0 * d0)
    c_den = 2.0 * d0 * sd * total
    psi_dot = -0.75 * (v4 * v2) * factor * math.sqrt((spl2 - s3sq) / eta)
    cosine, sine = cos_sin(psi)
    c_4, d_4 = c4 * d0 * (2.0 * d0 + d2 + sd), c4 * d0 * (2.0 * d0 + d2 - sd)
    c_2, d_2 = c2 * d0 * (d2 + 2.0 * d4 - sd), c2 * d0 * (d2 + 2.0 * d4 + sd)
    c_0 = c0 * (2.0 * d0 * d4 - (d2 + d4) * (d2 - sd))
    d_0 = c0 * (-2.0 * d0 * d4 + (d2 + d4) * (d2 + sd))
    c_weight = abs((c_4 - c_2 - c_0) / c_den)
    d_weight = abs(-d_4 + d_2 - d_0) / c_den
    c_size = _oscillation(nc, cosine, sine) / psi_dot
    d_size = _oscillation(nd, cosine, sine) / psi_dot
    c_term, d_term = c_weight * c_size, d_weight * d_size
    # Nearly equal roots amplify the rounding of their equation's coefficients.
    scale = spl2 + smi2 + abs(s3sq) + l2 / q
    gap = rm if rm < smi2 - s3sq else smi2 - s3sq
    amplified_roots = scale * (1.0 + scale / abs(gap))
    amplified = 1.0 + (l_norm + spl) / spl * amplified_roots * (
        1.0 / abs(d_up) + 1.0 / abs(d_down)
    )
    cancellation = amplified * (abs(d0) + abs(d2) + abs(d4)) / abs(total)
    rounding = 1e-16 * (
        abs(c_size)
        * ((abs(c_4) + abs(c_2) + abs(c_0)) / abs(c_den) + c_weight * cancellation)
        + abs(d_size)
        * ((abs(d_4) + abs(d_2) + abs(d_0)) / abs(c_den) + abs(d_weight) * cancellation)
        + (c_weight / abs(nc - 1.0) + abs(d_weight) * math.sqrt(abs(nd)) / abs(nd - 1.0))
        / abs(psi_dot)
    )
    rounding += 1e-16 * (abs(c_term) + abs(d_term)) * amplified_roots / rm
    # Eqs. F20, F21.
    a_theta = 0.5 * (j_norm / l_norm + l_norm / j_norm - spl2 / (j_norm * l_norm))
    b_theta = 0.5 * rm / (j_norm * l_norm)
    phiz = c_term + d_term
    zeta = a_theta * phiz + 2.0 * b_theta * d0 * (c_term / (sd - d2) - d_term / (sd + d2))
    phiz, zeta = phiz if phiz == phiz else 0.0, zeta if zeta == zeta else 0.0
    return phiz, zeta, rounding


@kernel(forceinline=True)
def _oscillation(n, cosine, sine):
    """Return sqrt n / (n - 1) (psi - atan(sqrt n tan psi)), psi in (-pi/2, pi/2)."""
    root = math.sqrt(abs(n))
    # The difference of the two angles lies in (-pi/2, pi/2).
    x = cosine * cosine + root * sine * sine
    term = root / (n - 1.0) * arctangent((1.0 - root) * sine * cosine, x)
    return term if n != 1.0 else 0.0
