"""Density of directions: kernels in clusters, chosen by how well they foretell others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ligo.skymap.kde import Clustered2DSkyKDE
    from scipy.stats import gaussian_kde

N_CLUSTERS = (1, 2, 4, 6, 8, 12)
"""To choose from."""
_MIN_DISTINCT = 20
"""Distinct directions in a cluster, on average."""
_NARROWEST, _TOLERANCE = 0.3, 0.05
_N_DIGITS = 9  # of coordinates that are the same but for rounding
_SMALLEST = np.finfo(float).tiny


def fitted_density(directions: np.ndarray) -> Clustered2DSkyKDE:
    """Return the kernel density estimate of directions that foretells them best.

    ``ligo.skymap`` takes Scott's rule for the widths of kernels, which is for points from a
    Gaussian. Two detectors leave a thin ring of directions, which such kernels widen: of a
    thousand directions, the area that should hold 90% holds 93% and is a fifth too large.
    Here the width, and into how many clusters the directions are divided, are those for
    which the density at each direction, as estimated from the others, is largest in the
    mean of its logarithm (likelihood cross-validation: Habbema, Hermans & van den Broek
    1974; Duin 1976). Repetitions of a direction are left out with it: they would ask for
    kernels of no width.

    Parameters
    ----------
    directions : (n, 2) float
        Right ascensions and declinations [rad].

    Returns
    -------
    ligo.skymap.kde.Clustered2DSkyKDE

    Raises
    ------
    numpy.linalg.LinAlgError
        The directions are all the same, or on one line.
    """
    from ligo.skymap.kde import Clustered2DSkyKDE

    density = Clustered2DSkyKDE(directions, max_k=1, trials=1, jobs=1)
    points = density.transform(directions)
    best, best_score = None, -np.inf
    for kernels in _divisions(points):
        density.kdes, density.k = kernels, len(kernels)
        score = _fit_width(density)
        if score > best_score:
            best, best_score = kernels, score
    assert best is not None
    density.kdes, density.k = best, len(best)
    return density


def _divisions(points: np.ndarray) -> Iterator[list[gaussian_kde]]:
    """Yield kernels around points, divided into clusters: for each number, once."""
    from scipy.cluster.vq import ClusterError, kmeans2
    from scipy.stats import gaussian_kde

    root = np.linalg.cholesky(np.cov(points, rowvar=False))
    whitened = np.linalg.solve(root, points.T).T
    n_distinct = len(np.unique(np.round(points, _N_DIGITS), axis=0))
    for k in N_CLUSTERS:
        if k > max(n_distinct // _MIN_DISTINCT, 1):
            continue
        try:
            _, labels = kmeans2(whitened, k, minit="++", seed=k, missing="raise")
            yield [gaussian_kde(points[labels == j].T) for j in range(k)]
        except (ClusterError, ValueError, np.linalg.LinAlgError):
            if k == 1:
                raise
            # Some cluster has no kernel: too few points, or on a line.


def _fit_width(density: Clustered2DSkyKDE) -> float:
    """Give kernels the width that foretells their points best; return how well it does.

    The width is at most that of Scott's rule, by the same factor in all clusters.
    """
    from scipy.optimize import minimize_scalar

    kernels = density.kdes
    widths = [kernel.scotts_factor() for kernel in kernels]
    points = np.concatenate([kernel.dataset.T for kernel in kernels])
    n_same = np.concatenate([_repetitions(kernel.dataset) for kernel in kernels])
    n_others = len(points) - n_same

    def set_width(ln_scale: float) -> None:
        for kernel, width in zip(kernels, widths, strict=True):
            kernel.set_bandwidth(np.exp(ln_scale) * width)

    def loss(ln_scale: float) -> float:
        set_width(ln_scale)
        own = np.concatenate(
            [
                np.full(kernel.n, np.linalg.det(2 * np.pi * kernel.covariance) ** -0.5)
                for kernel in kernels
            ]
        )
        others = (len(points) * density.eval_kdes(points) - n_same * own) / n_others
        return -float(np.mean(np.log(np.maximum(others, _SMALLEST))))

    found = minimize_scalar(
        loss, bounds=(np.log(_NARROWEST), 0.0), method="bounded",
        options={"xatol": _TOLERANCE},
    )  # fmt: skip
    set_width(found.x)
    return -float(found.fun)


def _repetitions(points: np.ndarray) -> np.ndarray:
    """Return how often each point is there; (n_coordinates, n) to (n,)."""
    _, which, counts = np.unique(
        np.round(points, _N_DIGITS), axis=1, return_inverse=True, return_counts=True
    )
    return counts[which.ravel()]
