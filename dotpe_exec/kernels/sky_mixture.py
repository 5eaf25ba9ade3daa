"""Mixtures of Gaussians over arrival time, sky position and polarisation.

A point is the arrival time at the first detector [bins], the cosine of the angle to the
line through the first two detectors, the azimuth around that line, and the polarisation
angle: the prior is uniform in all four, and a ring of equal delay is a line of constant
cosine. Azimuth and polarisation are periodic; densities sum over their periods.

Index letters: q point, k coordinate, x Cartesian axis.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .mixture import GaussianMixture, combine, fit_mixture

PERIODS = {2: 2 * np.pi, 3: np.pi}
"""By coordinate: azimuth and polarisation [rad]."""

LN_PRIOR_VOLUME = float(np.log(2 * 2 * np.pi * np.pi))
"""ln of the range of cosine, azimuth and polarisation."""

WIDE_SHARE, WIDE = 0.3, 1.6
"""Part of a fitted mixture whose components are so much wider."""

_N_HISTOGRAM = 24


@dataclass(frozen=True)
class SkyFrame:
    """Axes of the coordinates: the first along the line through two detectors.

    ``axes_xx`` holds them as rows.
    """

    axes_xx: np.ndarray

    @classmethod
    def of(cls, locations_dx: np.ndarray) -> SkyFrame:
        """Return the frame of detectors at such positions; Earth's, for a single one."""
        first = np.array([0.0, 0.0, 1.0])
        if len(locations_dx) > 1:
            baseline = locations_dx[1] - locations_dx[0]
            if np.linalg.norm(baseline) > 0:  # two may share a site
                first = baseline / np.linalg.norm(baseline)
        least = np.eye(3)[np.argmin(np.abs(first))]
        second = np.cross(first, least)
        second /= np.linalg.norm(second)
        return cls(np.array([first, second, np.cross(first, second)]))

    def angles(self, lat: np.ndarray, lon: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return cosine and azimuth of Earth-fixed directions."""
        direction_xq = np.array(
            [np.cos(lon) * np.cos(lat), np.sin(lon) * np.cos(lat), np.sin(lat)]
        )
        along, second, third = self.axes_xx @ direction_xq
        return along, np.arctan2(third, second) % PERIODS[2]

    def directions(
        self, cosine: np.ndarray, azimuth: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return Earth-fixed latitude and longitude [rad]."""
        sine = np.sqrt(np.maximum(1 - cosine**2, 0))
        parts_xq = np.array([cosine, sine * np.cos(azimuth), sine * np.sin(azimuth)])
        x, y, z = self.axes_xx.T @ parts_xq
        return np.arcsin(np.clip(z, -1, 1)), np.arctan2(y, x) % (2 * np.pi)


@dataclass(frozen=True)
class SkyMixture:
    """A fitted mixture, in coordinates of zero mean and unit scatter.

    Parameters
    ----------
    mixture : GaussianMixture
    cut_k, origin_k, scale_k : (4,) float
        Where periodic coordinates begin; mean and scatter from there on.
    """

    mixture: GaussianMixture
    cut_k: np.ndarray
    origin_k: np.ndarray
    scale_k: np.ndarray

    @classmethod
    def fit(
        cls,
        points_qk: np.ndarray,
        weight_q: np.ndarray,
        n_c: int,
        rng: np.random.Generator,
    ) -> SkyMixture:
        """Fit a mixture of ``n_c`` components, and wider ones, to weighted points."""
        cut_k = np.zeros(4)
        for k, period in PERIODS.items():
            cut_k[k] = _emptiest(points_qk[:, k], weight_q, period)
        y_qk = _unrolled(points_qk, cut_k)
        share_q = weight_q / np.sum(weight_q)
        origin_k = share_q @ y_qk
        scale_k = np.sqrt(share_q @ (y_qk - origin_k) ** 2)
        scale_k = np.maximum(scale_k, 1e-6)
        fitted = fit_mixture((y_qk - origin_k) / scale_k, weight_q, n_c, rng)
        parts = [(1 - WIDE_SHARE, fitted), (WIDE_SHARE, fitted.widened(WIDE))]
        return cls(combine(parts), cut_k, origin_k, scale_k)

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Return those of ``n`` draws, (at most n, 4), that are points.

        Others have a cosine above one, or lie more than a period away from the ends of a
        periodic coordinate: :meth:`ln_density` knows nothing of what those would add.
        """
        y_qk = self.origin_k + self.scale_k * self.mixture.draw(n, rng)
        inside_q = np.abs(y_qk[:, 1]) <= 1
        for k, period in PERIODS.items():
            inside_q &= (y_qk[:, k] >= -period) & (y_qk[:, k] < 2 * period)
        points_qk = y_qk[inside_q] + self.cut_k
        for k, period in PERIODS.items():
            points_qk[:, k] %= period
        return points_qk

    def ln_density(self, points_qk: np.ndarray) -> np.ndarray:
        """Return ln of the density of what :meth:`draw` returns, (n_q,).

        Per bin and radian squared; its integral is the share of the draws that are points.
        """
        y_qk = _unrolled(points_qk, self.cut_k)
        ln_q = np.full(len(points_qk), -np.inf)
        for turns in np.ndindex(3, 3):
            shifted_qk = y_qk.copy()
            for (k, period), turn in zip(PERIODS.items(), turns, strict=True):
                shifted_qk[:, k] += (turn - 1) * period
            scaled_qk = (shifted_qk - self.origin_k) / self.scale_k
            ln_q = np.logaddexp(ln_q, self.mixture.ln_density(scaled_qk))
        return ln_q - np.log(self.scale_k).sum()


def _unrolled(points_qk: np.ndarray, cut_k: np.ndarray) -> np.ndarray:
    y_qk = points_qk - cut_k
    for k, period in PERIODS.items():
        y_qk[:, k] %= period
    return y_qk


def _emptiest(values_q: np.ndarray, weight_q: np.ndarray, period: float) -> float:
    """Return where on a circle there is the least weight."""
    edges = np.linspace(0, period, _N_HISTOGRAM + 1)
    counts, _ = np.histogram(values_q % period, bins=edges, weights=weight_q)
    smooth = counts + 0.5 * (np.roll(counts, 1) + np.roll(counts, -1))
    least = int(np.argmin(smooth))
    return float(0.5 * (edges[least] + edges[least + 1]))
