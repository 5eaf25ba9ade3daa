"""Proposals around a point that fits well."""

import numpy as np
import pytest

from dotpe_exec.adaptive.around import PRECISIONS, proposals_around


def gaussian(precision_kk, centre_k):
    def lnlike(z_ik):
        offset_ik = z_ik - centre_k
        return 40 - 0.5 * np.einsum("ik,kl,il->i", offset_ik, precision_kk, offset_ik)

    return lnlike


def correlated(n_k, seed):
    """Return a precision matrix with widths from 1e-3 to 0.3 in directions of its own."""
    rng = np.random.default_rng(seed)
    rotation_kr = np.linalg.qr(rng.normal(size=(n_k, n_k)))[0]
    return rotation_kr * np.geomspace(0.3, 1e-3, n_k) ** -2.0 @ rotation_kr.T


@pytest.mark.parametrize("seed", range(3))
def test_the_first_component_is_the_posterior_of_a_gaussian(seed):
    centre_k = np.linspace(-1, 1, 5)
    precision_kk = correlated(5, seed)
    found = proposals_around(gaussian(precision_kk, centre_k), centre_k)
    assert len(found.share_c) == len(PRECISIONS)
    np.testing.assert_array_equal(found.mean_ck, np.tile(centre_k, (len(PRECISIONS), 1)))
    covariance_kk = found.factor_ckl[0] @ found.factor_ckl[0].T
    # Against the posterior: with the prior's precision. Equal shapes have product one.
    product_kk = covariance_kk @ (precision_kk + np.eye(5))
    assert np.linalg.eigvals(product_kk).real == pytest.approx(np.ones(5), rel=0.05)


def test_components_differ_in_how_wide_they_are_at_most():
    centre_k = np.zeros(4)
    precision_kk = np.diag([1e6, 1e4, 0.0, 5.0])
    found = proposals_around(gaussian(precision_kk, centre_k), centre_k)
    widest_c = [
        np.linalg.eigvalsh(factor_kl @ factor_kl.T).max() for factor_kl in found.factor_ckl
    ]
    assert widest_c == pytest.approx([1 / least for least in PRECISIONS], rel=0.01)


def test_another_maximum_does_not_make_this_one_wide():
    centre_k = np.zeros(3)

    def lnlike(z_ik):
        one = gaussian(np.diag([1e4, 1e4, 1e4]), centre_k)
        others = [gaussian(np.diag([1e4, 1e4, 1e4]), [s, 0.0, 0.0]) for s in (-1.0, 1.0)]
        return np.max([one(z_ik), *(other(z_ik) for other in others)], axis=0)

    found = proposals_around(lnlike, centre_k)
    covariance_kk = found.factor_ckl[0] @ found.factor_ckl[0].T
    assert np.diag(covariance_kk) == pytest.approx(np.full(3, 1e-4), rel=0.05)


def test_edges_of_the_model_count_as_flat():
    """NaN, where there is no model, in some of the corners and sides."""

    def lnlike(z_ik):
        ln_i = gaussian(np.diag([1e4, 1e4, 1.0]), np.zeros(3))(z_ik)
        return np.where(z_ik[:, 2] > 0, np.nan, ln_i)

    found = proposals_around(lnlike, np.zeros(3))
    assert np.isfinite(found.factor_ckl).all()
    covariance_kk = found.factor_ckl[0] @ found.factor_ckl[0].T
    assert np.diag(covariance_kk)[:2] == pytest.approx([1e-4, 1e-4], rel=0.1)


def test_a_point_without_a_likelihood_has_no_surroundings():
    assert proposals_around(lambda z_ik: np.full(len(z_ik), np.nan), np.zeros(3)) is None
