"""Straightening a curved posterior: coordinates less polynomials of the others.

A long signal leaves a thin, curved sheet of the prior: the chirp mass is known to a part in
thousands at given mass ratio and spins, and to much less without. Gaussians are a poor
likeness of it, few of them all the more. A :class:`Shear` takes off such a coordinate what
a polynomial of the others says of it. Its Jacobian is one, so that a density in the new
coordinates is one in the old; it is a triangular map as those of Moselhy & Marzouk (2012,
doi:10.1016/j.jcp.2012.07.022), fitted by least squares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .mixture import GaussianMixture

CUBIC = 3
"""Of the other coordinates, the first so many up to the third order, all to the second."""

PSEUDO_COUNTS, LINEAR_PSEUDO_COUNTS = 200.0, 20.0
"""Effective points that say that a coefficient is zero, with the target's own scatter for
their error. What a polynomial leaves unexplained is the error of the points themselves: the
better they determine it, the less the others matter. That they matter by this share made
mixtures fitted to 150 and 400 effective points of a signal of mass ratio 1/9 some 2.5 times
as efficient as 60 and 6 of the points' own kind, and changed others by less than a tenth;
of the numbers, 60 were better there by a tenth and elsewhere a little worse."""

N_REFINED = 4
"""Fits, each with the unexplained share of the one before."""

REACH = 3.0
"""In units of the points' scatter: beyond, a polynomial goes on as at this distance."""


@dataclass(frozen=True)
class Polynomial:
    """What some coordinates say of another one.

    Parameters
    ----------
    target : int
        The other one.
    others : (n_o,) int
    centre_o, scale_o : (n_o,) float
        Of the points that it was fitted to.
    centre_f, coefficient_f : (n_f,) float
        Of the terms: their means, and the polynomial's coefficients.
    centre : float
        The target's mean.
    """

    target: int
    others: np.ndarray
    centre_o: np.ndarray
    scale_o: np.ndarray
    centre_f: np.ndarray
    coefficient_f: np.ndarray
    centre: float

    def __call__(self, z_ik: np.ndarray) -> np.ndarray:
        """Return its values, (n,)."""
        x_io = (z_ik[:, self.others] - self.centre_o) / self.scale_o
        return self.centre + (_terms(x_io) - self.centre_f) @ self.coefficient_f


@dataclass(frozen=True)
class Shear:
    """Coordinates less polynomials of others.

    Parameters
    ----------
    polynomials : sequence of Polynomial
        Of each, the targets of those before it are not among the others.
    """

    polynomials: Sequence[Polynomial]

    def straight(self, z_ik: np.ndarray) -> np.ndarray:
        """Return the new coordinates of points, (n, n_k)."""
        y_ik = np.array(z_ik)
        for polynomial in self.polynomials:
            y_ik[:, polynomial.target] -= polynomial(z_ik)
        return y_ik

    def curved(self, y_ik: np.ndarray) -> np.ndarray:
        """Return the points, (n, n_k), from their new coordinates."""
        z_ik = np.array(y_ik)
        for polynomial in reversed(self.polynomials):
            z_ik[:, polynomial.target] += polynomial(z_ik)
        return z_ik


@dataclass(frozen=True)
class ShearedMixture:
    """A mixture of Gaussians in coordinates in which they are a good likeness.

    Parameters
    ----------
    mixture : GaussianMixture
        In the new coordinates.
    shear : Shear
    """

    mixture: GaussianMixture
    shear: Shear

    def ln_density(self, z_ik: np.ndarray) -> np.ndarray:
        """Return ln of the density, (n,)."""
        return self.mixture.ln_density(self.shear.straight(z_ik))

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Return ``n`` draws, (n, n_k)."""
        return self.shear.curved(self.mixture.draw(n, rng))


def fit_shear(
    z_ik: np.ndarray, weight_i: np.ndarray, determined: Sequence[tuple[int, Sequence[int]]]
) -> Shear:
    """Fit polynomials to weighted points.

    Parameters
    ----------
    z_ik : (n, n_k) float
    weight_i : (n,) float
        Not negative, not all zero.
    determined : sequence of (int, sequence of int)
        Each a coordinate, and those that it is to be expressed by.
    """
    used = np.flatnonzero(weight_i > 0)
    z_ik, weight_i = z_ik[used], weight_i[used] / np.sum(weight_i[used])
    n_effective = 1 / np.sum(weight_i**2)
    return Shear(
        [
            _fit(z_ik, weight_i, n_effective, target, np.array(others))
            for target, others in determined
        ]
    )


def _fit(
    z_ik: np.ndarray,
    weight_i: np.ndarray,
    n_effective: float,
    target: int,
    others: np.ndarray,
) -> Polynomial:
    x_io, z_i = z_ik[:, others], z_ik[:, target]
    centre_o = weight_i @ x_io
    scale_o = np.sqrt(weight_i @ (x_io - centre_o) ** 2) + 1e-9
    terms_if = _terms((x_io - centre_o) / scale_o)
    centre_f, centre = weight_i @ terms_if, float(weight_i @ z_i)
    terms_if = terms_if - centre_f
    z_i = z_i - centre
    weighted_if = terms_if * weight_i[:, None]
    square_ff, product_f = weighted_if.T @ terms_if, weighted_if.T @ z_i
    counts_f = np.full(len(centre_f), PSEUDO_COUNTS)
    counts_f[: len(others)] = LINEAR_PSEUDO_COUNTS
    held_f = counts_f / n_effective * np.diag(square_ff)
    variance = float(weight_i @ z_i**2) + 1e-30
    # Of what is fitted, a point for each term explains itself; half of them are left.
    left = max(1 - len(centre_f) / n_effective, 0.5)
    unexplained = 1.0
    for _ in range(N_REFINED):
        coefficient_f = np.linalg.solve(
            square_ff + np.diag(unexplained * held_f + 1e-9), product_f
        )
        rest_i = z_i - terms_if @ coefficient_f
        unexplained = min(float(weight_i @ rest_i**2) / variance / left, 1.0)
    return Polynomial(target, others, centre_o, scale_o, centre_f, coefficient_f, centre)


def _terms(x_io: np.ndarray) -> np.ndarray:
    """Return the terms of a polynomial but for the constant, (n, n_f)."""
    x_oi = np.clip(x_io.T, -REACH, REACH)
    n_o = len(x_oi)
    pairs = [x_oi[a] * x_oi[b] for a in range(n_o) for b in range(a + 1)]
    n_cubic = min(n_o, CUBIC)
    # The first pairs are those of the first coordinates.
    first = [(a, b) for a in range(n_cubic) for b in range(a + 1)]
    triples = [
        pairs[a * (a + 1) // 2 + b] * x_oi[c] for a, b in first for c in range(b + 1)
    ]
    return np.stack([*x_oi, *pairs, *triples], axis=1)
