"""Which Euler angles are LALSimulation's but for rounding, and which it has to give."""

from __future__ import annotations

import math

import numpy as np

from .compiling import kernel


@kernel()
def choose_frequencies(rounding_f, order_f, n_b, n_used, largest_rounding, n_compared):
    """Return where LALSimulation's angles are needed.

    Parameters
    ----------
    rounding_f : (n_u * n_b,) float
        Of :func:`~.msa_angles.msa_angles`, for several m' one after the other.
    order_f : (n_u * n_b,) int
        Puts the velocities in order.
    n_b, n_used : int
        Number of frequencies of each m', and how many of them count.
    largest_rounding : float
        Beyond it, LALSimulation's angles are taken.
    n_compared : int
        How many angles with less rounding are compared.

    Returns
    -------
    inds : (n,) int
        First those to be compared, then those to be taken; all that count if too few
        could be compared.
    n_compared : int
        How many are to be compared, or zero.
    """
    small, large = np.empty(order_f.size, np.int64), np.empty(order_f.size, np.int64)
    n_small, n_large = 0, 0
    for f in order_f:
        if f % n_b >= n_used:
            continue
        if rounding_f[f] < largest_rounding:
            small[n_small] = f
            n_small += 1
        else:
            large[n_large] = f
            n_large += 1
    if n_small <= 2 * n_compared:
        for i in range(n_small):
            large[n_large + i] = small[i]
        return large[: n_large + n_small], 0
    inds = np.empty(n_compared + n_large, np.int64)
    for i in range(n_compared):
        inds[i] = small[i * (n_small - 1) // (n_compared - 1)]
    for i in range(n_large):
        inds[n_compared + i] = large[i]
    return inds, n_compared


@kernel()
def compare_angles(angles_jf, given_jf, inds_f, n_compared):
    """Return how far a waveform may be off that has these angles, not those given.

    Parameters
    ----------
    angles_jf : (4, n_g) float
        phi_z, zeta, cosine and rounding from :func:`~.msa_angles.msa_angles`.
    given_jf : (3, n_f) float
        LALSimulation's alpha, gamma = -epsilon and cosine.
    inds_f : (n_f,) int
        Where among the first they are.
    n_compared : int
        How many are compared.

    Returns
    -------
    alpha, epsilon : float
        To be added to phi_z and zeta [rad].
    error : float
        Over the waveform's largest amplitude: mostly too large, and hardly ever below
        half the error. Infinite where the angles cannot be compared.
    """
    alpha_low, alpha_high = np.inf, -np.inf
    both_low, both_high = np.inf, -np.inf
    for f in range(n_compared):
        alpha = given_jf[0, f] - angles_jf[0, inds_f[f]]
        # What is the same in both angles moves a waveform's largest modes with the sine
        # of half the opening angle only.
        both = -given_jf[1, f] - angles_jf[1, inds_f[f]] - alpha
        alpha_low, alpha_high = min(alpha_low, alpha), max(alpha_high, alpha)
        both_low, both_high = min(both_low, both), max(both_high, both)
    alpha, both = 0.5 * (alpha_low + alpha_high), 0.5 * (both_low + both_high)
    worst_0, worst_1, worst_2 = 0.0, 0.0, 0.0
    for f in range(n_compared):
        alpha_error = given_jf[0, f] - angles_jf[0, inds_f[f]]
        both_error = -given_jf[1, f] - angles_jf[1, inds_f[f]] - alpha_error - both
        alpha_error -= alpha
        sine = math.sqrt(0.5 * abs(1.0 - given_jf[2, f]))
        error_0, error_1 = abs(both_error), abs(alpha_error) * sine
        error_2 = abs(math.sqrt(0.5 * abs(1.0 - angles_jf[2, inds_f[f]])) - sine)
        if not error_0 + error_1 + error_2 < np.inf:
            return alpha, alpha + both, np.inf
        worst_0, worst_1 = max(worst_0, error_0), max(worst_1, error_1)
        worst_2 = max(worst_2, error_2)
    return alpha, alpha + both, worst_0 + worst_1 + worst_2


@kernel()
def put_angles(angles_jf, alpha, epsilon, given_jf, inds_f, n_b, n_used, out_jf):
    """Write alpha, epsilon and cosine, with the given ones where there are such.

    Parameters
    ----------
    angles_jf, alpha, epsilon, given_jf, inds_f : array, float
        As in :func:`compare_angles`.
    n_b, n_used : int
        As in :func:`choose_frequencies`.
    out_jf : (3, n_u * n_b) float
        Written; zero where no angle counts.
    """
    for f in range(out_jf.shape[1]):
        used = f % n_b < n_used
        out_jf[0, f] = angles_jf[0, f] + alpha if used else 0.0
        out_jf[1, f] = angles_jf[1, f] + epsilon if used else 0.0
        out_jf[2, f] = angles_jf[2, f] if used else 0.0
    for f in range(inds_f.size):
        i = inds_f[f]
        out_jf[0, i], out_jf[1, i] = given_jf[0, f], -given_jf[1, f]
        out_jf[2, i] = given_jf[2, f]
