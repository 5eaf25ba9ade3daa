"""Proposals and the weights of the points drawn from them."""

from __future__ import annotations

import numpy as np
import pytest

from dotpe_exec.kernels.draws import draw_from_pool
from dotpe_exec.kernels.importance import effective_size
from dotpe_exec.kernels.proposals import (
    draw_points,
    halton,
    kernel_density_proposal,
    mixture_density,
    n_sequence_dimensions,
    point_geometry,
    rotate_response,
    tempered_proposal,
)
from dotpe_exec.kernels.sky import make_sky_dictionary

DT = 1 / 2048
N_T = 200

# A network of three detectors, 20 ms across, in no particular place.
LOCATIONS_DX = np.array([[0.01, 0.0, 0.012], [-0.006, 0.008, 0.003], [0.0, -0.011, -0.002]])


@pytest.fixture(scope="module", params=[1, 2, 3])
def sky(request):
    rng = np.random.default_rng(3)
    responses_dxx = rng.normal(size=(3, 3, 3))
    responses_dxx += responses_dxx.swapaxes(1, 2)
    n_d = request.param
    return make_sky_dictionary(LOCATIONS_DX[:n_d], responses_dxx[:n_d], DT, 2**15)


def _proposals(rng, n_d):
    """Three proposals of different widths, around different times."""
    centre_jd = rng.normal(100, 4, size=(3, n_d))
    width_j = np.array([12.0, 20.0, 40.0])
    distance_jdt = np.arange(N_T) - centre_jd[..., None]
    prob_jdt = 1 / (1 + (distance_jdt / width_j[:, None, None]) ** 2) ** 2
    return prob_jdt / prob_jdt.sum(axis=-1, keepdims=True)


def _draw(rng, sky, n_j=(1000, 2000, 1000)):
    n_d = sky.delays_sd.shape[1]
    uniforms = (halton(sum(n_j), n_sequence_dimensions(n_d)) + rng.random(n_d + 3)) % 1
    return draw_points(_proposals(rng, n_d), np.array(n_j), uniforms, sky)


def test_halton_sequence_begins_with_radical_inverses():
    expected = np.array([[1 / 2, 1 / 3], [1 / 4, 2 / 3], [3 / 4, 1 / 9], [1 / 8, 4 / 9]])
    np.testing.assert_allclose(halton(4, 2), expected, rtol=1e-15)


def test_halton_sequence_refuses_dimensions_it_lacks():
    with pytest.raises(ValueError, match="at most 10 dimensions"):
        halton(4, 11)


def _likelihood(points, sky):
    """A likelihood whose integral over the prior is known, and that integral."""
    sigma = 6.0
    in_time = np.exp(-0.5 * ((points.t_first_q - 100) / sigma) ** 2)
    in_sky = 1 + 0.8 * np.sin(sky.lat_s[points.sky_q]) + np.cos(sky.lon_s[points.sky_q])
    # Flipping psi by pi/2 where this is small would change the integral.
    in_psi = 1 + 0.9 * np.cos(2 * points.psi_q) + 0.5 * np.sin(2 * points.psi_q)
    return in_time * in_sky * in_psi, np.sqrt(2 * np.pi) * sigma * DT


def test_weights_of_the_pool_integrate_without_bias(sky):
    rng = np.random.default_rng(7)
    estimates = []
    for _ in range(200):
        points = _draw(rng, sky)
        likelihood_q, truth = _likelihood(points, sky)
        estimates.append(np.sum(np.exp(points.ln_ratio_q) * likelihood_q) / points.n_total)
    error = np.std(estimates, ddof=1) / np.sqrt(len(estimates))
    assert error < 0.02 * truth
    assert abs(np.mean(estimates) - truth) < 3 * error + 1e-4 * truth


def test_drawn_samples_integrate_without_bias(sky):
    rng = np.random.default_rng(8)
    estimates = []
    for _ in range(200):
        points = _draw(rng, sky)
        likelihood_q, truth = _likelihood(points, sky)
        # The score is that of another waveform: close, but not what is integrated.
        ln_score_q = -0.5 * ((points.t_first_q - 103) / 5) ** 2 + np.cos(2 * points.psi_q)
        drawn, weights = draw_from_pool(
            ln_score_q, points.ln_ratio_q - np.log(points.n_total), 128, rng
        )
        estimates.append(np.mean(weights * likelihood_q[drawn]))
    error = np.std(estimates, ddof=1) / np.sqrt(len(estimates))
    assert error < 0.02 * truth
    assert abs(np.mean(estimates) - truth) < 3 * error + 1e-4 * truth


def test_points_lie_in_the_bins_that_were_drawn(sky):
    points = _draw(np.random.default_rng(9), sky)
    times_qd, response_qdp = point_geometry(points, sky)
    # Within the bin at the first detector; elsewhere the delay is rounded too.
    assert np.max(np.abs(times_qd[:, 0] - points.bins_qd[:, 0])) <= 0.5
    assert np.max(np.abs(times_qd - points.bins_qd)) <= 1.0
    norm_qd = np.sum(response_qdp**2, axis=-1)
    expected = np.sum(sky.fplus_fcross_sdp[points.sky_q].astype(float) ** 2, axis=-1)
    np.testing.assert_allclose(norm_qd, expected, rtol=1e-5)
    assert np.all((points.psi_q >= 0) & (points.psi_q < np.pi))


def test_mixture_density_is_the_weighted_sum_of_products():
    rng = np.random.default_rng(2)
    prob_jdt, bins_qd = _proposals(rng, 2), rng.integers(N_T, size=(50, 2))
    share_j = np.array([0.2, 0.5, 0.3])
    expected = np.einsum(
        "j,jq,jq->q",
        share_j,
        prob_jdt[:, 0, bins_qd[:, 0]],
        prob_jdt[:, 1, bins_qd[:, 1]],
    )
    np.testing.assert_allclose(mixture_density(bins_qd, prob_jdt, share_j), expected)


def test_tempered_proposal_keeps_to_delays_that_light_allows(sky):
    n_d = sky.delays_sd.shape[1]
    lnlike_dt = np.zeros((n_d, N_T))
    lnlike_dt[0, 100] = 200.0
    prob_dt = tempered_proposal(lnlike_dt, 0.5, sky)
    np.testing.assert_allclose(prob_dt.sum(axis=1), 1)
    assert np.all(prob_dt >= 0)
    assert prob_dt[0, 100] > 0.999
    for d in range(1, n_d):
        reach = np.linalg.norm(LOCATIONS_DX[d] - LOCATIONS_DX[0]) / DT + 1
        far = np.abs(np.arange(N_T) - 100) > reach
        assert prob_dt[d, far].sum() < 1e-3
        assert np.all(prob_dt[d, ~far][2:-2] > 0)


def test_kernel_density_follows_the_weights_and_has_tails():
    bins_qd = np.array([[50, 120], [52, 120], [150, 10]])
    prob_dt = kernel_density_proposal(bins_qd, np.array([1.0, 1.0, 0.0]), N_T)
    np.testing.assert_allclose(prob_dt.sum(axis=1), 1)
    assert abs(np.argmax(prob_dt[0]) - 51) <= 1
    assert np.argmax(prob_dt[1]) == 120
    assert np.all(prob_dt > 0)
    # Symmetric about the points: the histogram is not displaced.
    np.testing.assert_allclose(prob_dt[1, 110], prob_dt[1, 130], rtol=1e-12)


def test_polarisation_rotates_the_response():
    response_qdp = np.array([[[0.3, 0.4]], [[0.3, 0.4]], [[0.3, 0.4]]])
    rotated = rotate_response(response_qdp, np.array([0.0, np.pi / 4, np.pi / 2]))
    np.testing.assert_allclose(
        rotated[:, 0], [[0.3, 0.4], [0.4, -0.3], [-0.3, -0.4]], atol=1e-15
    )


def test_effective_size_counts_equal_weights():
    np.testing.assert_allclose(effective_size(np.array([2.0, 2.0, 2.0, 0.0])), 3)
    assert effective_size(np.zeros(4)) == 0
