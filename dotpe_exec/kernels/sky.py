"""Sky positions by the delays with which a signal reaches the detectors.

A sky dictionary is a fine, even cover of the sphere whose samples are filed by their
arrival-time delays between detectors, in units of a time bin. Given the bins in which a
signal arrives at each detector it tells which sky positions are consistent with them, and
how much of the isotropic prior they hold. The idea is that of cogwheel's
``SkyDictionary`` (Roulet et al. 2024, arXiv:2404.02435); the samples here are a Fibonacci
lattice and the dictionary is two arrays, so that worker processes can share it.

Index letters: s sky sample, c cell of equal delays, d detector, q point.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .compiling import kernel

GOLDEN_RATIO = (1 + 5**0.5) / 2

# Sky samples whose antenna responses are computed at a time, in the processor's cache.
_BLOCK = 2**12


@dataclass(frozen=True)
class SkyDictionary:
    """Isotropic sky samples, sorted by cell of equal delays between detectors.

    Parameters
    ----------
    lat_s, lon_s : (n_s,) float
        Earth-fixed latitude and longitude [rad].
    fplus_fcross_sdp : (n_s, n_d, 2) float32
        Antenna responses at psi = 0.
    delays_sd : (n_s, n_d) float
        Delay of each detector from geocenter [s].
    low_d, n_delays_d : (n_d - 1,) int
        Smallest delay from the first detector, in bins, and number of delays, for the
        other detectors: cells are numbered in C order over these.
    starts_c : (n_c + 1,) int
        The samples of cell c are ``starts_c[c]`` to ``starts_c[c + 1]``.
    pair_low_dd : (n_d, n_d) int
        Smallest delay of the second detector from the first, in bins.
    pair_prior_ddt : (n_d, n_d, n) float
        Prior of that delay, from the smallest on: samples count with the cube of their
        summed antenna response, that is with the volume in which a source is seen.
    dt : float
        Width of a time bin [s].
    """

    lat_s: np.ndarray
    lon_s: np.ndarray
    fplus_fcross_sdp: np.ndarray
    delays_sd: np.ndarray
    low_d: np.ndarray
    n_delays_d: np.ndarray
    starts_c: np.ndarray
    pair_low_dd: np.ndarray
    pair_prior_ddt: np.ndarray
    dt: float


def fibonacci_sphere(n_s: int, offset: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Return latitude and longitude [rad] of a Fibonacci lattice of equal-area points.

    Parameters
    ----------
    n_s : int
        Number of points.
    offset : float
        Turn of the lattice around the poles, as a fraction of a full turn.
    """
    s = np.arange(n_s)
    lat = np.arcsin((2 * s + 1) / n_s - 1)
    lon = 2 * np.pi * ((s / GOLDEN_RATIO + offset) % 1)
    return lat, lon


def geocenter_delays(
    locations_dx: np.ndarray, lat: np.ndarray, lon: np.ndarray
) -> np.ndarray:
    """Return the delays (n_d, n_s) [s] of detectors from geocenter.

    Parameters
    ----------
    locations_dx : (n_d, 3) float
        Earth-fixed positions of the detectors [light seconds].
    lat, lon : (n_s,) float
        Earth-fixed direction of the source [rad].
    """
    coslat = np.cos(lat)
    return -locations_dx @ np.array(
        [np.cos(lon) * coslat, np.sin(lon) * coslat, np.sin(lat)]
    )


def antenna_responses(
    responses_dxx: np.ndarray, lat: np.ndarray, lon: np.ndarray
) -> np.ndarray:
    """Return (F+, Fx) at psi = 0, (n_s, n_d, 2).

    F+ = D_ij (x_i x_j - y_i y_j), Fx = D_ij (x_i y_j + y_i x_j) with the detector's
    response tensor D and the wave frame's axes x (west) and y (north).

    Parameters
    ----------
    responses_dxx : (n_d, 3, 3) float
        Detector response tensors.
    lat, lon : (n_s,) float
        Earth-fixed direction of the source [rad].
    """
    sinlat = np.sin(lat)
    x = np.array([np.sin(lon), -np.cos(lon), np.zeros_like(lon)])
    y = np.array([x[1] * sinlat, -x[0] * sinlat, np.cos(lat)])
    pairs = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
    weights_dk = np.array(
        [
            responses_dxx[:, i, j] + (responses_dxx[:, j, i] if i != j else 0)
            for i, j in pairs
        ]
    ).T
    plus_ks = np.array([x[i] * x[j] - y[i] * y[j] for i, j in pairs])
    cross_ks = np.array([(x[i] * y[j] + y[i] * x[j]) for i, j in pairs])
    return np.stack([weights_dk @ plus_ks, weights_dk @ cross_ks], axis=-1).swapaxes(0, 1)


def make_sky_dictionary(
    locations_dx: np.ndarray,
    responses_dxx: np.ndarray,
    dt: float,
    n_s: int,
    offset: float = 0.0,
) -> SkyDictionary:
    """Cover the sky with samples and file them by their delays from the first detector.

    Parameters
    ----------
    locations_dx : (n_d, 3) float
        Earth-fixed positions of the detectors [light seconds].
    responses_dxx : (n_d, 3, 3) float
        Detector response tensors.
    dt : float
        Width of a time bin [s].
    n_s : int
        Number of sky samples.
    offset : float
        See :func:`fibonacci_sphere`.
    """
    n_d = len(locations_dx)
    lat_s, lon_s = fibonacci_sphere(n_s, offset)
    delays_ds = geocenter_delays(locations_dx, lat_s, lon_s)
    bins_ds = np.rint((delays_ds[1:] - delays_ds[0]) / dt).astype(np.int64)
    low_d = bins_ds.min(axis=1)
    n_delays_d = bins_ds.max(axis=1) - low_d + 1
    cell_s = np.zeros(n_s, dtype=np.int64)
    for bins_s, low, n_delays in zip(bins_ds, low_d, n_delays_d, strict=True):
        cell_s = cell_s * n_delays + (bins_s - low)
    order = np.argsort(cell_s, kind="stable")
    counts_c = np.bincount(cell_s, minlength=int(np.prod(n_delays_d)))
    # Array by array and row by row: rows of several numbers are slow to sort.
    lat_s, lon_s = lat_s[order], lon_s[order]
    delays_ds = np.take(delays_ds, order, axis=1)
    fplus_fcross_sdp = np.empty((n_s, n_d, 2), dtype=np.float32)
    for start in range(0, n_s, _BLOCK):
        part = slice(start, start + _BLOCK)
        fplus_fcross_sdp[part] = antenna_responses(responses_dxx, lat_s[part], lon_s[part])

    volume_s = np.einsum("sdp,sdp->s", fplus_fcross_sdp, fplus_fcross_sdp) ** 1.5
    pair_low_dd = np.zeros((n_d, n_d), dtype=np.int64)
    priors = {}
    for d, e in np.argwhere(~np.eye(n_d, dtype=bool)):
        pair_bins_s = np.rint((delays_ds[e] - delays_ds[d]) / dt).astype(np.int64)
        pair_low_dd[d, e] = pair_bins_s.min()
        priors[d, e] = np.bincount(pair_bins_s - pair_low_dd[d, e], weights=volume_s)
    n_max = max((len(prior_t) for prior_t in priors.values()), default=1)
    pair_prior_ddt = np.zeros((n_d, n_d, n_max))
    for (d, e), prior_t in priors.items():
        pair_prior_ddt[d, e, : len(prior_t)] = prior_t

    return SkyDictionary(
        lat_s=lat_s,
        lon_s=lon_s,
        fplus_fcross_sdp=fplus_fcross_sdp,
        delays_sd=np.ascontiguousarray(delays_ds.T),
        low_d=low_d,
        n_delays_d=n_delays_d,
        starts_c=np.concatenate([[0], np.cumsum(counts_c)]),
        pair_low_dd=pair_low_dd,
        pair_prior_ddt=pair_prior_ddt,
        dt=float(dt),
    )


def consistent_samples(
    bins_qd: np.ndarray, u_q: np.ndarray, sky: SkyDictionary
) -> tuple[np.ndarray, np.ndarray]:
    """Return a sky sample consistent with arrival bins, and its cell's share of the sky.

    Parameters
    ----------
    bins_qd : (n_q, n_d) int
        Time bin of arrival at each detector.
    u_q : (n_q,) float
        Uniform numbers in [0, 1) that choose among a cell's samples.
    sky : SkyDictionary

    Returns
    -------
    sky_q : (n_q,) int
        Index of the sample; -1 where no sky position has these delays.
    fraction_q : (n_q,) float
        Fraction of the sphere with these delays.
    """
    # Copies: arrays of the store are read-only, for which numba would compile anew.
    return _consistent_samples(
        bins_qd, u_q, np.array(sky.low_d), np.array(sky.n_delays_d), np.array(sky.starts_c)
    )


@kernel()
def _consistent_samples(bins_qd, u_q, low_d, n_delays_d, starts_c):
    n_q, n_d = bins_qd.shape
    n_s = starts_c[-1]
    sky_q = np.full(n_q, -1, dtype=np.int64)
    fraction_q = np.zeros(n_q)
    for q in range(n_q):
        cell = 0
        for d in range(1, n_d):
            delay = bins_qd[q, d] - bins_qd[q, 0] - low_d[d - 1]
            if delay < 0 or delay >= n_delays_d[d - 1]:
                cell = -1
                break
            cell = cell * n_delays_d[d - 1] + delay
        if cell < 0:
            continue
        count = starts_c[cell + 1] - starts_c[cell]
        if count > 0:
            sky_q[q] = starts_c[cell] + min(int(u_q[q] * count), count - 1)
            fraction_q[q] = count / n_s
    return sky_q, fraction_q
