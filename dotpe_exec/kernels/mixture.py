"""Mixtures of Gaussians: densities, draws, and a fit to weighted points.

Expectation maximisation (Dempster, Laird & Rubin 1977) with weights on the points, and
covariances that a prior keeps from collapsing where few points count. scikit-learn's
``GaussianMixture`` takes no weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .draws import expected_counts, systematic_draw

_LN_2PI = float(np.log(2 * np.pi))
_ROWS_AT_ONCE = 2048

MAX_ITERATIONS, TOLERANCE = 60, 1e-3
"""When a fit ends: steps, or gain in mean ln density from one to the next."""

MAX_POINTS = 8192
"""Points that a fit looks at: the heaviest, and a draw of the others."""

PSEUDO_COUNTS = 20.0
"""Effective points of the prior of each component's covariance."""


@dataclass(frozen=True)
class GaussianMixture:
    """A mixture of ``n_c`` Gaussians in ``n_k`` dimensions.

    Parameters
    ----------
    share_c : (n_c,) float
        Sums to one.
    mean_ck : (n_c, n_k) float
    factor_ckl : (n_c, n_k, n_k) float
        Lower Cholesky factors of the covariances.
    """

    share_c: np.ndarray
    mean_ck: np.ndarray
    factor_ckl: np.ndarray

    def ln_density(self, z_ik: np.ndarray) -> np.ndarray:
        """Return ln of the density, (n,)."""
        ln_i = np.empty(len(z_ik))
        for start in range(0, len(z_ik), _ROWS_AT_ONCE):
            rows = slice(start, start + _ROWS_AT_ONCE)
            ln_i[rows] = _ln_sum(self._ln_terms(z_ik[rows]))
        return ln_i

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Return ``n`` draws, (n, n_k), shared out among the components systematically."""
        counts_c = np.maximum(n * self.share_c / self.share_c.sum(), 0.0)
        c_i = systematic_draw(counts_c, rng.random())
        normal_ik = rng.standard_normal((n, self.mean_ck.shape[1]))
        return self.mean_ck[c_i] + np.einsum("ikl,il->ik", self.factor_ckl[c_i], normal_ik)

    def widened(self, factor: float) -> GaussianMixture:
        """Return the mixture with all components wider by a factor."""
        return GaussianMixture(self.share_c, self.mean_ck, factor * self.factor_ckl)

    def _ln_terms(self, z_ik: np.ndarray) -> np.ndarray:
        """Return ln of share times density of each component, (n, n_c)."""
        n_c, n_k = self.mean_ck.shape
        inverse_ckl = np.linalg.inv(self.factor_ckl)
        # One product for all components.
        y_ix = z_ik @ inverse_ckl.reshape(n_c * n_k, n_k).T
        y_ix -= np.einsum("ckl,cl->ck", inverse_ckl, self.mean_ck).ravel()
        y_ick = y_ix.reshape(len(z_ik), n_c, n_k)
        ln_ic = -0.5 * np.einsum("ick,ick->ic", y_ick, y_ick)
        ln_det_c = np.log(np.diagonal(inverse_ckl, axis1=1, axis2=2)).sum(axis=1)
        with np.errstate(divide="ignore"):
            return ln_ic + (ln_det_c + np.log(self.share_c) - 0.5 * n_k * _LN_2PI)


def standard_normal(n_k: int) -> GaussianMixture:
    """Return the standard normal distribution as a mixture of one."""
    return GaussianMixture(np.ones(1), np.zeros((1, n_k)), np.eye(n_k)[None])


def combine(parts: Sequence[tuple[float, GaussianMixture]]) -> GaussianMixture:
    """Return the mixture of mixtures, each with its share."""
    return GaussianMixture(
        np.concatenate([share * mixture.share_c for share, mixture in parts]),
        np.concatenate([mixture.mean_ck for _, mixture in parts]),
        np.concatenate([mixture.factor_ckl for _, mixture in parts]),
    )


def fit_mixture(
    z_ik: np.ndarray, weight_i: np.ndarray, n_c: int, rng: np.random.Generator
) -> GaussianMixture:
    """Fit a mixture to weighted points.

    Covariances are those of the points that a component stands for, mixed with
    ``PSEUDO_COUNTS`` effective points of the covariance of all points, shrunk to the volume
    of one of ``n_c`` equal parts.

    Parameters
    ----------
    z_ik : (n, n_k) float
    weight_i : (n,) float
        Not negative, not all zero.
    n_c : int
        Number of components; fewer where fewer points have weight.
    rng : numpy.random.Generator
    """
    used = np.flatnonzero(weight_i > 0)
    z_ik, weight_i = z_ik[used], weight_i[used] / np.sum(weight_i[used])
    n_effective = 1 / np.sum(weight_i**2)
    if len(z_ik) > MAX_POINTS:
        counts_i = expected_counts(weight_i, MAX_POINTS)
        drawn = systematic_draw(counts_i, rng.random())
        z_ik, weight_i = z_ik[drawn], weight_i[drawn] / counts_i[drawn]
        weight_i /= weight_i.sum()
    n_c = min(n_c, len(z_ik))
    n_k = z_ik.shape[1]
    # In units of the points' own scatter.
    origin_k = weight_i @ z_ik
    scatter_kl = (z_ik - origin_k).T @ ((z_ik - origin_k) * weight_i[:, None])
    ridge = 1e-6 * max(float(np.trace(scatter_kl)) / n_k, 1e-12)
    scale_kl = np.linalg.cholesky(scatter_kl + ridge * np.eye(n_k))
    y_ik = np.linalg.solve(scale_kl, (z_ik - origin_k).T).T
    fitted = _maximize(y_ik, weight_i, _centres(y_ik, weight_i, n_c, rng), n_effective)
    return GaussianMixture(
        fitted.share_c,
        origin_k + fitted.mean_ck @ scale_kl.T,
        scale_kl @ fitted.factor_ckl,
    )


def _centres(
    y_ik: np.ndarray, weight_i: np.ndarray, n_c: int, rng: np.random.Generator
) -> np.ndarray:
    """Return points far from each other (k-means++, Arthur & Vassilvitskii 2007)."""
    chosen = [_draw_one(weight_i, rng)]
    distance_i = np.full(len(y_ik), np.inf)
    for _ in range(n_c - 1):
        distance_i = np.minimum(distance_i, np.sum((y_ik - y_ik[chosen[-1]]) ** 2, axis=1))
        chosen.append(_draw_one(weight_i * distance_i, rng))
    return y_ik[chosen]


def _draw_one(weight_i: np.ndarray, rng: np.random.Generator) -> int:
    cumulative_i = np.cumsum(weight_i)
    place = np.searchsorted(cumulative_i, rng.random() * cumulative_i[-1], side="right")
    return int(min(place, len(weight_i) - 1))


def _maximize(
    y_ik: np.ndarray, weight_i: np.ndarray, centre_ck: np.ndarray, n_effective: float
) -> GaussianMixture:
    n_c, n_k = centre_ck.shape
    prior_kl = n_c ** (-2 / n_k) * np.eye(n_k)
    mixture = GaussianMixture(
        np.full(n_c, 1 / n_c),
        centre_ck,
        np.broadcast_to(np.linalg.cholesky(prior_kl), (n_c, n_k, n_k)),
    )
    monomial_ix = _monomials(y_ik)
    last = -np.inf
    for _ in range(MAX_ITERATIONS):
        part_ic = monomial_ix @ _polynomials(mixture)
        largest_i = part_ic.max(axis=1)
        part_ic -= largest_i[:, None]
        np.exp(part_ic, out=part_ic)
        sum_i = part_ic.sum(axis=1)
        mean = float(weight_i @ (largest_i + np.log(sum_i)))
        if mean - last < TOLERANCE:
            break
        last = mean
        part_ic *= (weight_i / sum_i)[:, None]
        share_c, mean_ck, second_ckl = _moments(part_ic.T @ monomial_ix, n_k)
        scatter_ckl = second_ckl - share_c[:, None, None] * (
            mean_ck[:, :, None] * mean_ck[:, None, :]
        )
        covariance_ckl = (n_effective * scatter_ckl + PSEUDO_COUNTS * prior_kl) / (
            n_effective * share_c + PSEUDO_COUNTS
        )[:, None, None]
        mixture = GaussianMixture(
            share_c / share_c.sum(), mean_ck, np.linalg.cholesky(covariance_ckl)
        )
    return mixture


def _monomials(y_ik: np.ndarray) -> np.ndarray:
    """Return 1, y_k and y_k y_l, k <= l, in a row: (n, n_x).

    The ln of a Gaussian is a polynomial of these, and its moments are sums of them: each
    step of the fit is two matrix products.
    """
    rows, columns = np.triu_indices(y_ik.shape[1])
    square_ix = y_ik[:, rows] * y_ik[:, columns]
    return np.concatenate([np.ones((len(y_ik), 1)), y_ik, square_ix], axis=1)


def _polynomials(mixture: GaussianMixture) -> np.ndarray:
    """Return the coefficients of ln of share times density, (n_x, n_c).

    Terms cancel: digits are lost as many as the condition number of the covariances has,
    which ``PSEUDO_COUNTS`` bounds.
    """
    n_k = mixture.mean_ck.shape[1]
    rows, columns = np.triu_indices(n_k)
    inverse_ckl = np.linalg.inv(mixture.factor_ckl)
    precision_ckl = inverse_ckl.transpose(0, 2, 1) @ inverse_ckl
    slope_ck = np.einsum("ckl,cl->ck", precision_ckl, mixture.mean_ck)
    ln_c = np.log(np.diagonal(inverse_ckl, axis1=1, axis2=2)).sum(axis=1)
    ln_c += np.log(mixture.share_c) - 0.5 * n_k * _LN_2PI
    ln_c -= 0.5 * np.einsum("ck,ck->c", slope_ck, mixture.mean_ck)
    square_cx = np.where(rows == columns, -0.5, -1.0) * precision_ckl[:, rows, columns]
    return np.concatenate([ln_c[:, None], slope_ck, square_cx], axis=1).T


def _moments(sum_cx: np.ndarray, n_k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return weight, mean and sum of products (c, k, l) from sums of :func:`_monomials`."""
    rows, columns = np.triu_indices(n_k)
    share_c = sum_cx[:, 0] + 1e-12
    second_ckl = np.empty((len(sum_cx), n_k, n_k))
    second_ckl[:, rows, columns] = sum_cx[:, 1 + n_k :]
    second_ckl[:, columns, rows] = sum_cx[:, 1 + n_k :]
    return share_c, sum_cx[:, 1 : 1 + n_k] / share_c[:, None], second_ckl


def _ln_sum(ln_ic: np.ndarray) -> np.ndarray:
    """Return ln of the sum of exponentials over the last axis."""
    largest_i = ln_ic.max(axis=1)
    return largest_i + np.log(np.exp(ln_ic - largest_i[:, None]).sum(axis=1))
