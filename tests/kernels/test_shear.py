"""Taking off a coordinate what a polynomial of others says of it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dotpe_exec.kernels.mixture import fit_mixture
from dotpe_exec.kernels.shear import REACH, ShearedMixture, fit_shear

DETERMINED = [(0, (1, 2, 3)), (2, (1, 3))]


def curved(n, seed, noise=0.02):
    """Points on a sheet: the first coordinate a cubic of the others, the third of one."""
    rng = np.random.default_rng(seed)
    z_ik = rng.normal(size=(n, 4))
    z_ik[:, 2] = 0.5 * z_ik[:, 1] ** 2 + noise * z_ik[:, 2]
    cubic_i = z_ik[:, 1] - 0.4 * z_ik[:, 1] * z_ik[:, 3] + 0.2 * z_ik[:, 3] ** 3
    z_ik[:, 0] = cubic_i + noise * z_ik[:, 0]
    return z_ik


def test_what_a_polynomial_says_is_taken_off():
    z_ik = curved(20000, seed=1)
    weight_i = np.where(np.abs(z_ik[:, [1, 3]]).max(axis=1) < REACH, 1.0, 0.0)
    shear = fit_shear(z_ik, weight_i, DETERMINED)
    scatter_k = shear.straight(z_ik)[weight_i > 0].std(axis=0)
    assert scatter_k[0] < 0.04 and scatter_k[2] < 0.04
    np.testing.assert_array_equal(shear.straight(z_ik)[:, [1, 3]], z_ik[:, [1, 3]])


def test_few_points_say_little():
    """Fitted to noise, the polynomial hardly changes anything."""
    rng = np.random.default_rng(2)
    z_ik = rng.normal(size=(60, 4))
    shear = fit_shear(z_ik, np.ones(60), DETERMINED)
    other_ik = rng.normal(size=(5000, 4))
    moved_ik = shear.straight(other_ik) - other_ik
    assert moved_ik[:, [0, 2]].std(axis=0).max() < 0.6


@given(st.integers(0, 1000), st.floats(0.1, 30))
def test_there_and_back(seed, far):
    z_ik = curved(300, seed)
    shear = fit_shear(z_ik, np.ones(300), DETERMINED)
    points_ik = far * np.random.default_rng(seed + 1).normal(size=(50, 4))
    back_ik = shear.curved(shear.straight(points_ik))
    np.testing.assert_allclose(back_ik, points_ik, rtol=1e-9, atol=1e-9)


def test_far_away_it_goes_on_as_at_the_edge():
    z_ik = curved(2000, seed=3)
    shear = fit_shear(z_ik, np.ones(2000), DETERMINED)
    taken = [
        (far_ik - shear.straight(far_ik))[0]
        for far_ik in (np.full((1, 4), 1e3), np.full((1, 4), 1e6))
    ]
    np.testing.assert_allclose(taken[0], taken[1], rtol=1e-6, atol=1e-6)


def test_draws_are_distributed_as_the_density_says():
    """What lies in a cube: by counting draws, and by integrating the density."""
    z_ik = curved(3000, seed=4, noise=0.3)
    weight_i = np.ones(3000)
    shear = fit_shear(z_ik, weight_i, DETERMINED)
    rng = np.random.default_rng(5)
    mixture = fit_mixture(shear.straight(z_ik), weight_i, 4, rng)
    density = ShearedMixture(mixture, shear)
    drawn_ik = density.draw(40000, rng)
    counted = np.mean((np.abs(drawn_ik) < 1).all(axis=1))
    cube_ik = rng.uniform(-1, 1, size=(40000, 4))
    integrated = 16 * np.exp(density.ln_density(cube_ik)).mean()
    assert counted == pytest.approx(integrated, rel=0.06)


def test_no_coordinate_that_is_determined():
    z_ik = curved(100, seed=6)
    shear = fit_shear(z_ik, np.ones(100), [])
    np.testing.assert_array_equal(shear.straight(z_ik), z_ik)
