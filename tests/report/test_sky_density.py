"""Densities of directions: what should hold 90% does, in little more than its area."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from requirements import needs

from dotpe_exec.executors.threads import one_thread
from dotpe_exec.report.skymap import credible_areas

RADIUS, WIDTH, LENGTH = np.radians([60.0, 3.0, 40.0])


@pytest.fixture(autouse=True)
def threads_of_a_sky_map():
    """One, as maps are made: two that wait for each other take twenty times as long."""
    with one_thread():
        yield


def ring(rng: np.random.Generator, n: int) -> np.ndarray:
    """Directions on a part of a ring, as two detectors leave; right ascensions from 0."""
    angle, along = RADIUS + WIDTH * rng.normal(size=n), LENGTH * rng.normal(size=n)
    x, y, z = (
        np.sin(angle) * np.cos(along),
        np.sin(angle) * np.sin(along),
        np.cos(angle),
    )
    y, z = 0.8 * y - 0.6 * z, 0.6 * y + 0.8 * z  # along neither coordinate
    return np.stack([np.arctan2(y, x) % (2 * np.pi), np.arcsin(z)], axis=1)


def area_and_share(density, others: np.ndarray) -> tuple[float, float]:
    """Return the area said to hold 90% [square degrees], and how many others it holds."""
    from ligo.skymap.moc import uniq2pixarea

    with contextlib.redirect_stderr(io.StringIO()):
        table = density.as_healpix(top_nside=8)
        found = density(others)
    square_degrees = credible_areas(table)[0.9]
    density_u = np.asarray(table["PROBDENSITY"], float)
    order = np.argsort(-density_u)
    areas = np.degrees(1) ** 2 * np.cumsum(uniq2pixarea(np.asarray(table["UNIQ"]))[order])
    edge = np.interp(square_degrees, areas, density_u[order])
    return square_degrees, float(np.mean(found > edge))


@needs("ligo.skymap")
def test_a_thin_ring_is_not_widened():
    from ligo.skymap.kde import Clustered2DSkyKDE

    from dotpe_exec.report.sky_density import fitted_density

    rng = np.random.default_rng(1)
    others, points = ring(rng, 2000), ring(rng, 500)
    wide = Clustered2DSkyKDE(points, max_k=1, trials=1, jobs=1)
    wide_area, wide_share = area_and_share(wide, others)
    area, share = area_and_share(fitted_density(points), others)
    # That of both Gaussians, on a strip of the sphere.
    true_area = np.pi * -2 * np.log(0.1) * WIDTH * LENGTH * np.sin(RADIUS)
    true_area *= np.degrees(1) ** 2
    assert abs(area / true_area - 1) < 0.08
    assert wide_area / true_area > 1.5  # what this is for
    assert abs(share - 0.9) < 0.03 < wide_share - 0.9


@needs("ligo.skymap")
def test_width_alone_makes_up_for_clusters_that_do_not_follow_the_ring(monkeypatch):
    from dotpe_exec.report import sky_density

    monkeypatch.setattr(sky_density, "N_CLUSTERS", (1,))
    density = sky_density.fitted_density(ring(np.random.default_rng(1), 500))
    (kernel,) = density.kdes
    assert kernel.factor < 0.6 * kernel.scotts_factor()


@needs("ligo.skymap")
def test_a_gaussian_keeps_its_kernels_and_repetitions_do_not_narrow_them():
    from dotpe_exec.report.sky_density import fitted_density

    points = np.random.default_rng(2).normal(1.0, 0.05, (300, 2))
    # Equal but for rounding, as after a transformation of coordinates.
    repeated = np.concatenate([points, points * (1 + 1e-15)])
    for directions in (points, repeated):
        density = fitted_density(directions)
        assert min(kde.factor / kde.scotts_factor() for kde in density.kdes) > 0.75


@needs("ligo.skymap")
def test_few_distinct_directions_have_a_density_and_one_has_none():
    from dotpe_exec.report.sky_density import fitted_density

    points = np.repeat([[1.0, 0.5], [1.1, 0.5], [1.0, 0.6], [1.2, 0.7]], 20, axis=0)
    assert fitted_density(points).k == 1
    with pytest.raises(np.linalg.LinAlgError):
        fitted_density(points[:20])
