"""Mixtures over arrival time, sky position and polarisation."""

import numpy as np
import pytest

from dotpe_exec.kernels.sky import geocenter_delays
from dotpe_exec.kernels.sky_mixture import LN_PRIOR_VOLUME, SkyFrame, SkyMixture

LOCATIONS_DX = np.array([[-0.007, -0.013, 0.015], [-0.0002, -0.018, 0.010]])


@pytest.mark.parametrize("n_d", [1, 2])
def test_coordinates_go_back_and_forth(n_d):
    rng = np.random.default_rng(0)
    frame = SkyFrame.of(LOCATIONS_DX[:n_d])
    np.testing.assert_allclose(frame.axes_xx @ frame.axes_xx.T, np.eye(3), atol=1e-12)
    lat, lon = np.arcsin(rng.uniform(-1, 1, 100)), rng.uniform(0, 2 * np.pi, 100)
    again = frame.directions(*frame.angles(lat, lon))
    np.testing.assert_allclose(again, (lat, lon), atol=1e-9)


def test_a_cosine_is_a_delay():
    frame = SkyFrame.of(LOCATIONS_DX)
    lat, lon = frame.directions(np.full(50, 0.3), np.linspace(0, 6, 50))
    delays_dq = geocenter_delays(LOCATIONS_DX, lat, lon)
    np.testing.assert_allclose(np.ptp(delays_dq[1] - delays_dq[0]), 0, atol=1e-12)


def fitted(rng):
    """Points across the seams of both angles, some beyond a cosine of one."""
    points_qk = np.column_stack(
        [
            rng.normal(100, 3, 2000),
            np.clip(rng.normal(0.9, 0.1, 2000), -1, 1),
            rng.normal(0.1, 0.8, 2000) % (2 * np.pi),
            rng.normal(3.1, 0.6, 2000) % np.pi,
        ]
    )
    return SkyMixture.fit(points_qk, rng.random(2000), 6, rng)


def test_density_integrates_to_the_share_that_is_drawn():
    """By importance sampling from the prior, over the whole range and a part of it."""
    rng = np.random.default_rng(1)
    mixture = fitted(rng)
    drawn_qk = mixture.draw(200_000, rng)
    assert 0.5 < len(drawn_qk) / 200_000 < 0.95
    n = 400_000
    prior_qk = rng.uniform([80, 0, 0, 0], [120, 1, 2 * np.pi, np.pi], (n, 4))
    ratio_q = np.exp(mixture.ln_density(prior_qk) + LN_PRIOR_VOLUME + np.log(40 / 2))
    for inside in (
        lambda points_qk: np.ones(len(points_qk), dtype=bool),
        lambda points_qk: (points_qk[:, 2] < 1) & (points_qk[:, 3] > 2),
    ):
        terms_q = ratio_q * inside(prior_qk)
        error = terms_q.std() / np.sqrt(n)
        share = (inside(drawn_qk) & (drawn_qk[:, 1] > 0)).sum() / 200_000
        assert error < 0.05 * share
        assert terms_q.mean() == pytest.approx(share, abs=4 * error + 0.005)
