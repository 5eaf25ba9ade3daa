"""Sampling coordinates of cogwheel's ``CartesianIASPrior``, for whole arrays of samples.

Every function maps standard parameters to sampled ones. The definitions are those of the
prior's parts (cogwheel-pe 1.6, Roulet et al. 2022, arXiv:2207.03508); the angles of a
precessing binary are those of LALSimulation's ``SimInspiralTransformPrecessingWvf2PE``.
Angles are in radians, masses in solar masses, times in seconds, distances in Mpc.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .masses import effective_spin

SPEED_OF_LIGHT = 299792458.0
"""[m/s]"""

SOLAR_MASS_TIME = 4.925490947641266978197229498498379006e-6
"""G M_sun / c^3 [s], the value of LAL."""

_TWO_PI = 2 * np.pi


@dataclass(frozen=True)
class SamplingFrame:
    """What the sampling coordinates refer to.

    Parameters
    ----------
    gmst : float
        Greenwich mean sidereal time at the event [rad].
    net_axes : (3, 3) float
        Rows: Earth-fixed unit vectors i, j, k of the network's frame, see
        :func:`network_axes`.
    location : (3,) float
        Earth-fixed position of the reference detector [m].
    response : (3, 3) float
        Response tensor of the reference detector.
    f_avg : float
        Frequency that relates phase and time [Hz].
    phase_0 : float
        Phase of the reference waveform at the reference detector (:func:`detector_phase`).
    """

    gmst: float
    net_axes: np.ndarray
    location: np.ndarray
    response: np.ndarray
    f_avg: float
    phase_0: float


def mass_coordinates(m1: np.ndarray, m2: np.ndarray) -> dict[str, np.ndarray]:
    """Return chirp mass and ln mass ratio: ``mchirp`` and ``lnq``."""
    q = m2 / m1
    return {"mchirp": m1 * q**0.6 / (1 + q) ** 0.2, "lnq": np.log(q)}


def aligned_spin_coordinates(
    m1: np.ndarray, m2: np.ndarray, s1z: np.ndarray, s2z: np.ndarray
) -> dict[str, np.ndarray]:
    """Return effective spin and the quantile of s1z at fixed effective spin.

    At given chieff = (s1z + q s2z) / (1 + q) the prior on s1z is uniform where neither spin
    exceeds 1; ``cumchidiff`` is its cumulative. It is 0 where only one value is allowed.
    """
    q = m2 / m1
    chieff = effective_spin(m1, m2, s1z, s2z)
    lowest, highest = s1z_range(q, chieff)
    width = highest - lowest
    cumchidiff = np.divide(s1z - lowest, width, out=np.zeros_like(width), where=width > 0)
    return {"chieff": chieff, "cumchidiff": cumchidiff}


def aligned_spins(
    q: np.ndarray, chieff: np.ndarray, cumchidiff: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return s1z and s2z: the inverse of :func:`aligned_spin_coordinates`."""
    lowest, highest = s1z_range(q, chieff)
    s1z = lowest + cumchidiff * (highest - lowest)
    # Rounding may take the other spin beyond 1 by some 1e-16 / q.
    return s1z, np.clip(((1 + q) * chieff - s1z) / q, -1, 1)


def s1z_range(q: np.ndarray, chieff: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the least and the largest s1z with which neither spin exceeds 1."""
    return np.maximum((1 + q) * chieff - q, -1), np.minimum((1 + q) * chieff + q, 1)


def total_angular_momentum(
    m1: np.ndarray,
    m2: np.ndarray,
    spins: tuple[np.ndarray, ...],
    f_ref: float,
) -> np.ndarray:
    """Return the direction of J in the frame of the orbit.

    J = L + S1 + S2 with L = m1 m2 / v (1 + v^2 (3/2 + eta / 6)), v = (pi M f_ref)^(1/3).

    Parameters
    ----------
    m1, m2 : (...) float
    spins : s1x_n, s1y_n, s1z, s2x_n, s2y_n, s2z, (...) float each
    f_ref : float
        Reference frequency of the spins [Hz].

    Returns
    -------
    (3, ...) float
        Unit vectors; z is along L.
    """
    s1x_n, s1y_n, s1z, s2x_n, s2y_n, s2z = spins
    m_total = m1 + m2
    eta = m1 * m2 / m_total**2
    v = np.cbrt(m_total * SOLAR_MASS_TIME * np.pi * f_ref)
    orbital = m_total**2 * eta / v * (1 + v**2 * (1.5 + eta / 6))
    j_xyz = np.stack(
        [
            m1**2 * s1x_n + m2**2 * s2x_n,
            m1**2 * s1y_n + m2**2 * s2y_n,
            orbital + m1**2 * s1z + m2**2 * s2z,
        ]
    )
    return j_xyz / np.sqrt(np.sum(j_xyz**2, axis=0))


def inplane_spin_coordinates(
    m1: np.ndarray,
    m2: np.ndarray,
    spins: tuple[np.ndarray, ...],
    iota: np.ndarray,
    f_ref: float,
) -> dict[str, np.ndarray]:
    """Return inclination of J and the in-plane spins on two squares.

    Parameters
    ----------
    m1, m2, iota : (...) float
    spins : s1x_n, s1y_n, s1z, s2x_n, s2y_n, s2z, (...) float each
        In the frame with L along z and the line of sight in the y-z plane.
    f_ref : float
        Reference frequency of the spins [Hz].

    Returns
    -------
    dict
        ``costheta_jn, x1, y1, x2, y2``: cosine of the angle between J and the line of
        sight N; then, for each spin, the point on the square [-1, 1]^2 for the point on
        the unit disk with radius s_inplane / sqrt(1 - s_z^2) and azimuth phi_jl_hat
        (body 1) or phi12 (body 2). phi_jl is the azimuth of L about J, measured so that
        N is in the y-z plane, phi_jl_hat adds pi where costheta_jn < 0, and phi12 is the
        azimuth of spin 2 from spin 1.
    """
    s1x_n, s1y_n, s1z, s2x_n, s2y_n, s2z = spins
    angles = precession_angles(m1, m2, spins, iota, f_ref)
    x1, y1 = _polar_to_square(_disk_radius(s1x_n, s1y_n, s1z), angles["phi_jl_hat"])
    x2, y2 = _polar_to_square(_disk_radius(s2x_n, s2y_n, s2z), angles["phi12"])
    return {"costheta_jn": angles["costheta_jn"], "x1": x1, "y1": y1, "x2": x2, "y2": y2}


def precession_angles(
    m1: np.ndarray,
    m2: np.ndarray,
    spins: tuple[np.ndarray, ...],
    iota: np.ndarray,
    f_ref: float,
) -> dict[str, np.ndarray]:
    """Return ``costheta_jn``, ``phi_jl_hat`` and ``phi12``.

    See :func:`inplane_spin_coordinates` for parameters and definitions.
    """
    s1x_n, s1y_n, _, s2x_n, s2y_n, _ = spins
    jx, jy, jz = total_angular_momentum(m1, m2, spins, f_ref)
    sin_iota, cos_iota = np.sin(iota), np.cos(iota)
    costheta_jn = np.clip(jy * sin_iota + jz * cos_iota, -1, 1)
    # Components of L along y' (N less its part along J) and x' = y' x J, both times the
    # same length, written without differences of nearly equal numbers.
    phi_jl = np.arctan2(
        cos_iota * (jx**2 + jy**2) - jy * jz * sin_iota,
        -sin_iota * jx,
    )
    return {
        "costheta_jn": costheta_jn,
        "phi_jl_hat": phi_jl + np.pi * (costheta_jn < 0),
        "phi12": np.arctan2(s2y_n, s2x_n) - np.arctan2(s1y_n, s1x_n),
    }


def inclination_and_inplane_spins(
    m1: np.ndarray,
    m2: np.ndarray,
    aligned_spins: tuple[np.ndarray, np.ndarray],
    inplane_spins: tuple[np.ndarray, np.ndarray],
    *,
    costheta_jn: np.ndarray,
    phi_jl_hat: np.ndarray,
    phi12: np.ndarray,
    f_ref: float,
) -> dict[str, np.ndarray]:
    """Return inclination and in-plane spins; the inverse of the angles above.

    LALSimulation's ``SimInspiralTransformPrecessingNewInitialConditions`` at orbital
    phase 0, written out for arrays.

    Parameters
    ----------
    m1, m2 : (...) float
    aligned_spins, inplane_spins : pairs of (...) float
        Of both bodies: components along L, and lengths across it.
    costheta_jn, phi_jl_hat, phi12 : (...) float
        See :func:`inplane_spin_coordinates`.
    f_ref : float
        Reference frequency of the spins [Hz].

    Returns
    -------
    dict
        ``iota, s1x_n, s1y_n, s2x_n, s2y_n``.
    """
    s1z, s2z = aligned_spins
    s1, s2 = inplane_spins
    # First in the frame of L whose x axis is along the first in-plane spin.
    spins = (s1, np.zeros_like(s1), s1z, s2 * np.cos(phi12), s2 * np.sin(phi12), s2z)
    jx, jy, cos_jl = total_angular_momentum(m1, m2, spins, f_ref)
    sin_jl = np.hypot(jx, jy)
    sin_jn = np.sqrt(1 - costheta_jn**2)
    phi_jl = phi_jl_hat + np.pi * (costheta_jn < 0)
    cos_iota = sin_jl * np.sin(phi_jl) * sin_jn + cos_jl * costheta_jn
    # Azimuth about L from J to the line of sight, which then becomes the y axis.
    from_j = np.arctan2(
        -np.cos(phi_jl) * sin_jn,
        sin_jl * costheta_jn - cos_jl * np.sin(phi_jl) * sin_jn,
    )
    azimuth = np.pi / 2 - np.arctan2(jy, jx) - from_j
    return {
        "iota": np.arccos(np.clip(cos_iota, -1, 1)),
        "s1x_n": s1 * np.cos(azimuth),
        "s1y_n": s1 * np.sin(azimuth),
        "s2x_n": s2 * np.cos(azimuth + phi12),
        "s2y_n": s2 * np.sin(azimuth + phi12),
    }


def _disk_radius(sx: np.ndarray, sy: np.ndarray, sz: np.ndarray) -> np.ndarray:
    inplane = np.hypot(sx, sy)
    largest = np.sqrt(1 - sz**2)
    return np.divide(inplane, largest, out=np.zeros_like(inplane), where=largest > 0)


def _polar_to_square(
    radius: np.ndarray, azimuth: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Map the disk to the square, (x, y) = (u, v) sqrt(1/2 - sqrt(1/4 - u^2 v^2)) / |u v|.

    The 2-squircular mapping of Fong (2017), arXiv:1709.07875.
    """
    u, v = radius * np.cos(azimuth), radius * np.sin(azimuth)
    product = np.abs(u * v)
    root = np.sqrt(np.maximum(0.25 - product**2, 0))
    # Digits cancel where the product is small, and below 1e-8 none is left: the origin
    # comes out instead of nearly (u, v). Cogwheel has this, and we want its numbers.
    stretch = np.sqrt(0.5 - root)
    stretch = np.divide(stretch, product, out=np.ones_like(product), where=product > 0)
    return stretch * u, stretch * v


def network_axes(locations: np.ndarray) -> np.ndarray:
    """Return the frame in which sky positions are sampled, from two detectors.

    k is along the line from the second to the first, i the horizon and j the zenith
    halfway between them.

    Parameters
    ----------
    locations : (2, 3) float
        Earth-fixed positions [m].

    Returns
    -------
    (3, 3) float
        Rows: unit vectors i, j, k.
    """
    k_axis = _unit(locations[0] - locations[1])
    i_axis = _unit(np.cross(locations[0] + locations[1], k_axis))
    return np.stack([i_axis, np.cross(k_axis, i_axis), k_axis])


def single_detector_axes(x_arm: np.ndarray, y_arm: np.ndarray) -> np.ndarray:
    """Return the frame in which sky positions are sampled, from one detector.

    k is along the sum of the arms, i along their difference, j is the zenith; the y arm
    is first made orthogonal to the x arm.

    Parameters
    ----------
    x_arm, y_arm : (3,) float
        Earth-fixed unit vectors along the arms.

    Returns
    -------
    (3, 3) float
        Rows: unit vectors i, j, k.
    """
    y_arm = np.cross(np.cross(x_arm, y_arm), x_arm)
    k_axis, i_axis = _unit(x_arm + y_arm), _unit(y_arm - x_arm)
    return np.stack([i_axis, np.cross(k_axis, i_axis), k_axis])


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def sky_direction(lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
    """Return Earth-fixed unit vectors, (3, ...), from latitude and longitude."""
    return np.stack([np.cos(lon) * np.cos(lat), np.sin(lon) * np.cos(lat), np.sin(lat)])


def right_ascension(lon: np.ndarray, gmst: float) -> np.ndarray:
    """Return the right ascension in [0, 2 pi) of a longitude."""
    return (lon + gmst) % _TWO_PI


def network_angles(
    lat: np.ndarray, lon: np.ndarray, frame: SamplingFrame
) -> tuple[np.ndarray, np.ndarray]:
    """Return ``costhetanet`` and the azimuth phinet in [0, 2 pi) in the network's frame."""
    i, j, k = np.tensordot(frame.net_axes, sky_direction(lat, lon), axes=1)
    return k, np.arctan2(j, i) % _TWO_PI


def fold_azimuth(phinet: np.ndarray, iota: np.ndarray) -> np.ndarray:
    """Return ``phinet_hat``: phinet, plus pi where the orbit is seen face-on."""
    return (phinet + np.pi * (np.cos(iota) > 0)) % _TWO_PI


def detector_delay(lat: np.ndarray, lon: np.ndarray, frame: SamplingFrame) -> np.ndarray:
    """Return the arrival time at the reference detector from that at geocenter [s]."""
    return -np.tensordot(frame.location, sky_direction(lat, lon), axes=1) / SPEED_OF_LIGHT


def antenna_response(
    lat: np.ndarray, lon: np.ndarray, psi: np.ndarray, frame: SamplingFrame
) -> tuple[np.ndarray, np.ndarray]:
    """Return F_plus and F_cross of the reference detector.

    F_plus = X D X - Y D Y and F_cross = 2 X D Y with the response tensor D and the axes X,
    Y of the wave's frame (Anderson et al. 2001, gr-qc/0008066).
    """
    # East, and the northward vector of increasing latitude, at the source's position.
    east = np.stack([-np.sin(lon), np.cos(lon), np.zeros_like(lon)])
    north = np.stack([-np.cos(lon) * np.sin(lat), -np.sin(lon) * np.sin(lat), np.cos(lat)])
    x_axis = -np.cos(psi) * east + np.sin(psi) * north
    y_axis = np.sin(psi) * east + np.cos(psi) * north
    d_x = np.tensordot(frame.response, x_axis, axes=1)
    d_y = np.tensordot(frame.response, y_axis, axes=1)
    fplus = np.sum(x_axis * d_x - y_axis * d_y, axis=0)
    fcross = np.sum(x_axis * d_y + y_axis * d_x, axis=0)
    return fplus, fcross


def geometric_factor(fplus: np.ndarray, fcross: np.ndarray, iota: np.ndarray) -> np.ndarray:
    """Return R = (1 + cos^2 iota) / 2 F_plus - i cos iota F_cross."""
    cos_iota = np.cos(iota)
    return (1 + cos_iota**2) / 2 * fplus - 1j * cos_iota * fcross


def detector_phase(
    factor: np.ndarray, t_refdet: np.ndarray, f_avg: float, phi_ref: float = 0.0
) -> np.ndarray:
    """Return arg R + 2 phi_ref - 2 pi f_avg t_refdet in [0, 2 pi), the phase measured."""
    return (np.angle(factor) + 2 * phi_ref - _TWO_PI * f_avg * t_refdet) % _TWO_PI


def phase_coordinate(
    phi_ref: np.ndarray, factor: np.ndarray, t_refdet: np.ndarray, frame: SamplingFrame
) -> np.ndarray:
    """Return ``phi_ref_hat`` in [-pi/2, 3 pi/2), the phase at the reference detector."""
    phase = detector_phase(factor, t_refdet, frame.f_avg)
    start = -np.pi / 2
    return (phi_ref + (phase - frame.phase_0) / 2 - start) % _TWO_PI + start


def distance_coordinate(
    d_luminosity: np.ndarray, mchirp: np.ndarray, factor: np.ndarray
) -> np.ndarray:
    """Return ``d_hat``, the effective distance over mchirp^(5/6) [Mpc Msun^(-5/6)]."""
    return d_luminosity / (mchirp ** (5 / 6) * np.abs(factor))
