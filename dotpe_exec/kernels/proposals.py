"""Proposals for arrival times, and the points drawn from a mixture of them.

A proposal is a probability for each detector's time bin of arrival, independent between
detectors. Points are drawn from several proposals by quasi-Monte-Carlo; each gets a sky
position consistent with its arrival times, a polarisation angle and a time within the
bin. All points together sample one mixture, so the ratio of prior to mixture density
weighs each of them (balance heuristic of multiple importance sampling: Veach & Guibas
1995; as applied to arrival times: Roulet et al. 2024, arXiv:2404.02435).

The prior is isotropic in the sky, uniform in polarisation, and of density 1 per second in
the arrival time. Bins that fit no sky position have no prior: such points are counted in
the number of points drawn, and nowhere else.

Index letters: d detector, t time bin, q point, j proposal, u dimension of the sequence.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .compiling import kernel
from .sky import SkyDictionary, consistent_samples

# Arrival times that one detector deems impossible keep this share of the largest delay
# prior, so that no proposal excludes what another detector may favour.
_DELAY_FLOOR = 1e-6

_PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29)


@dataclass(frozen=True)
class Points:
    """Physical points of extrinsic parameters drawn from a mixture of proposals.

    Parameters
    ----------
    bins_qd : (n_q, n_d) int
        Time bin of arrival at each detector.
    sky_q : (n_q,) int
        Sample of the sky dictionary.
    t_first_q : (n_q,) float
        Arrival time at the first detector, in bins from the grid's start.
    psi_q : (n_q,) float
        Polarisation angle [rad].
    ln_ratio_q : (n_q,) float
        ln of prior density / mixture density [1].
    n_total : int
        Points drawn, the unphysical ones included: for any function f,
        ``sum(exp(ln_ratio_q) * f_q) / n_total`` estimates the integral of prior times f.
    """

    bins_qd: np.ndarray
    sky_q: np.ndarray
    t_first_q: np.ndarray
    psi_q: np.ndarray
    ln_ratio_q: np.ndarray
    n_total: int


def halton(n: int, n_dim: int) -> np.ndarray:
    """Return the first n points of the Halton sequence, (n, n_dim) in (0, 1).

    Radical inverses of 1, 2, ..., n in the first prime bases (Halton 1960).
    """
    if n_dim > len(_PRIMES):
        raise ValueError(f"the Halton sequence has at most {len(_PRIMES)} dimensions")
    points = np.zeros((n, n_dim))
    for u, base in enumerate(_PRIMES[:n_dim]):
        remainder = np.arange(1, n + 1)
        digit_value = 1.0 / base
        while remainder.any():
            remainder, digit = np.divmod(remainder, base)
            points[:, u] += digit * digit_value
            digit_value /= base
    return points


def n_sequence_dimensions(n_d: int) -> int:
    """Number of uniform numbers that a point takes: times, sky, time in the bin, psi."""
    return n_d + 3


def tempered_proposal(lnlike_dt: np.ndarray, beta: float, sky: SkyDictionary) -> np.ndarray:
    """Return the arrival-time proposal that single-detector likelihoods suggest.

    The loudest detector's probability is its likelihood to the power ``beta``; that of
    every other detector is multiplied by the prior of the arrival time there given the
    louder ones' proposals.

    Parameters
    ----------
    lnlike_dt : (n_d, n_t) float
        ln likelihood of the arrival time at each detector.
    beta : float
        Inverse temperature.
    sky : SkyDictionary

    Returns
    -------
    prob_dt : (n_d, n_t) float
        Sums to 1 along t.
    """
    n_d, n_t = lnlike_dt.shape
    prob_dt = np.empty((n_d, n_t))
    order = np.argsort(-lnlike_dt.max(axis=1), kind="stable")
    for rank, d in enumerate(order):
        prob_t = np.exp(beta * (lnlike_dt[d] - lnlike_dt[d].max()))
        for louder in order[:rank]:
            prior_t = _shifted_convolution(
                prob_dt[louder], sky.pair_prior_ddt[louder, d], sky.pair_low_dd[louder, d]
            )
            prob_t *= prior_t / prior_t.max() + _DELAY_FLOOR
        prob_dt[d] = prob_t / prob_t.sum()
    return prob_dt


def kernel_density_proposal(
    bins_qd: np.ndarray, weights_q: np.ndarray, n_t: int
) -> np.ndarray:
    """Return the arrival-time proposal that weighted points suggest.

    A histogram per detector, smoothed by a Cauchy kernel (heavy tails keep the weights
    bounded) of Silverman's width, one bin at least.

    Parameters
    ----------
    bins_qd : (n_q, n_d) int
    weights_q : (n_q,) float
        Posterior weights, normalised or not.
    n_t : int

    Returns
    -------
    prob_dt : (n_d, n_t) float
        Sums to 1 along t.
    """
    weights_q = weights_q / weights_q.sum()
    silverman = (0.75 / np.sum(weights_q**2)) ** -0.2
    lags = np.arange(-n_t + 1, n_t)
    prob_dt = np.empty((bins_qd.shape[1], n_t))
    for d, bins_q in enumerate(bins_qd.T):
        histogram = np.bincount(bins_q, weights=weights_q, minlength=n_t)
        mean = weights_q @ bins_q
        std = np.sqrt(weights_q @ (bins_q - mean) ** 2)
        kernel = 1 / (1 + (lags / max(1.0, silverman * std)) ** 2)
        occupied = np.flatnonzero(histogram)
        windows = np.lib.stride_tricks.sliding_window_view(kernel, n_t)[::-1]
        prob_t = histogram[occupied] @ windows[occupied]
        prob_dt[d] = prob_t / prob_t.sum()
    return prob_dt


def draw_points(
    prob_jdt: np.ndarray,
    n_j: np.ndarray,
    uniforms_qu: np.ndarray,
    sky: SkyDictionary,
) -> Points:
    """Draw points from a mixture of proposals.

    Parameters
    ----------
    prob_jdt : (n_j, n_d, n_t) float
        Probabilities of the arrival bins, normalised along t.
    n_j : (n_j,) int
        Number of points drawn from each proposal.
    uniforms_qu : (sum(n_j), n_d + 3) float
        Uniform numbers in [0, 1).
    sky : SkyDictionary

    Returns
    -------
    Points
        Those that are physical.
    """
    bins_qd = draw_bins(prob_jdt, n_j, uniforms_qu)
    return points_from_bins(bins_qd, uniforms_qu, prob_jdt, n_j, sky)


def draw_bins(prob_jdt: np.ndarray, n_j: np.ndarray, uniforms_qu: np.ndarray) -> np.ndarray:
    """Return arrival bins (sum(n_j), n_d) by inverting the proposals' cumulatives."""
    n_d, n_t = prob_jdt.shape[1:]
    bins_qd = np.empty((len(uniforms_qu), n_d), dtype=np.int64)
    stop = 0
    for prob_dt, n in zip(prob_jdt, n_j, strict=True):
        start, stop = stop, stop + int(n)
        for d in range(n_d):
            cumulative_t = np.cumsum(prob_dt[d])
            u_q = uniforms_qu[start:stop, d] * cumulative_t[-1]
            bins_qd[start:stop, d] = np.searchsorted(cumulative_t, u_q, side="right")
    return np.minimum(bins_qd, n_t - 1)


def points_from_bins(
    bins_qd: np.ndarray,
    uniforms_qu: np.ndarray,
    prob_jdt: np.ndarray,
    n_j: np.ndarray,
    sky: SkyDictionary,
) -> Points:
    """Give arrival bins a sky position, polarisation and time, and weigh them.

    Parameters
    ----------
    bins_qd : (n_q, n_d) int
        Drawn from the mixture of ``prob_jdt`` with numbers of points ``n_j``.
    uniforms_qu, prob_jdt, n_j, sky
        As in :func:`draw_points`.
    """
    n_d = bins_qd.shape[1]
    sky_q, fraction_q = consistent_samples(bins_qd, uniforms_qu[:, n_d], sky)
    physical = np.flatnonzero(sky_q >= 0)
    bins_qd = bins_qd[physical]
    mixture_q = mixture_density(bins_qd, prob_jdt, n_j / np.sum(n_j))
    return Points(
        bins_qd=bins_qd,
        sky_q=sky_q[physical],
        t_first_q=bins_qd[:, 0] + uniforms_qu[physical, n_d + 1] - 0.5,
        psi_q=np.pi * uniforms_qu[physical, n_d + 2],
        ln_ratio_q=np.log(fraction_q[physical] * sky.dt) - np.log(mixture_q),
        n_total=len(uniforms_qu),
    )


def mixture_density(
    bins_qd: np.ndarray, prob_jdt: np.ndarray, share_j: np.ndarray
) -> np.ndarray:
    """Return the probability of arrival bins under a mixture of proposals.

    mixture_q = sum_j share_j prod_d prob_jdt[j, d, bins_qd[q, d]]
    """
    return _mixture_density(bins_qd, np.ascontiguousarray(prob_jdt), share_j)


def point_geometry(points: Points, sky: SkyDictionary) -> tuple[np.ndarray, np.ndarray]:
    """Return arrival times and antenna responses of points.

    Returns
    -------
    times_qd : (n_q, n_d) float
        Arrival times, in bins from the grid's start.
    response_qdp : (n_q, n_d, 2) float
        Antenna responses rotated by psi.
    """
    delays_qd = sky.delays_sd[points.sky_q]
    times_qd = points.t_first_q[:, None] + (delays_qd - delays_qd[:, :1]) / sky.dt
    response_qdp = rotate_response(sky.fplus_fcross_sdp[points.sky_q], points.psi_q)
    return times_qd, response_qdp


def rotate_response(response_qdp: np.ndarray, psi_q: np.ndarray) -> np.ndarray:
    """Return antenna responses at polarisation angles psi.

    [[cos 2psi, sin 2psi], [-sin 2psi, cos 2psi]] applied to the responses at psi = 0.

    Parameters
    ----------
    response_qdp : (n_q, n_d, 2) float
        (F+, Fx) at psi = 0.
    psi_q : (n_q,) float
        Polarisation angles [rad].
    """
    cosine, sine = np.cos(2 * psi_q)[:, None], np.sin(2 * psi_q)[:, None]
    plus, cross = response_qdp[..., 0], response_qdp[..., 1]
    return np.stack([cosine * plus + sine * cross, cosine * cross - sine * plus], axis=-1)


def _shifted_convolution(prob_t: np.ndarray, delay_t: np.ndarray, low: int) -> np.ndarray:
    """Convolve probabilities in time with those of delays that start at ``low``."""
    n_t = len(prob_t)
    full = np.convolve(prob_t, delay_t)
    shifted = np.zeros(n_t)
    first, last = max(low, 0), min(low + len(full), n_t)
    if first < last:
        shifted[first:last] = full[first - low : last - low]
    return shifted


@kernel()
def _mixture_density(bins_qd, prob_jdt, share_j):
    n_q, n_d = bins_qd.shape
    density_q = np.zeros(n_q)
    for j in range(len(share_j)):
        for q in range(n_q):
            product = share_j[j]
            for d in range(n_d):
                product *= prob_jdt[j, d, bins_qd[q, d]]
            density_q[q] += product
    return density_q
