"""Mixtures of Gaussians: densities, draws and fits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from dotpe_exec.kernels import mixture as module
from dotpe_exec.kernels.mixture import (
    GaussianMixture,
    combine,
    fit_mixture,
    standard_normal,
)


def two_blobs():
    return GaussianMixture(
        np.array([0.3, 0.7]),
        np.array([[-2.0, 0.0], [1.0, 1.0]]),
        np.array([[[0.5, 0.0], [0.2, 0.4]], [[1.0, 0.0], [-0.3, 0.6]]]),
    )


def test_density_is_that_of_scipy():
    mixture, z_ik = two_blobs(), np.random.default_rng(0).normal(size=(3000, 2))
    expected = sum(
        share * stats.multivariate_normal(mean, factor @ factor.T).pdf(z_ik)
        for share, mean, factor in zip(
            mixture.share_c, mixture.mean_ck, mixture.factor_ckl, strict=True
        )
    )
    np.testing.assert_allclose(np.exp(mixture.ln_density(z_ik)), expected, rtol=1e-10)


def test_draws_have_the_density():
    """The mean of prior over mixture, under the mixture, is one."""
    mixture = combine([(0.6, two_blobs()), (0.4, standard_normal(2).widened(3.0))])
    z_ik = mixture.draw(20000, np.random.default_rng(1))
    ratio_i = np.exp(standard_normal(2).ln_density(z_ik) - mixture.ln_density(z_ik))
    assert ratio_i.mean() == pytest.approx(1, abs=5 * ratio_i.std() / np.sqrt(20000))


def test_fit_finds_the_blobs():
    truth, rng = two_blobs(), np.random.default_rng(2)
    z_ik = 4 * rng.normal(size=(40000, 2))
    ln_weight_i = truth.ln_density(z_ik) + np.sum(z_ik**2, axis=1) / 32
    fitted = fit_mixture(z_ik, np.exp(ln_weight_i), 2, rng)
    order = np.argsort(fitted.mean_ck[:, 0])
    np.testing.assert_allclose(fitted.share_c[order], truth.share_c, atol=0.04)
    np.testing.assert_allclose(fitted.mean_ck[order], truth.mean_ck, atol=0.15)
    for c, expected in zip(order, truth.factor_ckl, strict=True):
        covariance = fitted.factor_ckl[c] @ fitted.factor_ckl[c].T
        np.testing.assert_allclose(covariance, expected @ expected.T, atol=0.12)


def test_points_without_weight_do_not_matter():
    rng = np.random.default_rng(3)
    z_ik = rng.normal(size=(200, 3))
    weight_i = rng.random(200)
    more_ik = np.concatenate([z_ik, 50 + z_ik])
    more_i = np.concatenate([weight_i, np.zeros(200)])
    fits = [
        fit_mixture(z, w, 3, np.random.default_rng(0))
        for z, w in ((z_ik, weight_i), (more_ik, more_i))
    ]
    np.testing.assert_array_equal(fits[0].mean_ck, fits[1].mean_ck)


@given(
    n=st.integers(1, 40), n_k=st.integers(1, 6), n_c=st.integers(1, 8),
    same=st.booleans(), seed=st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_any_points_give_a_proper_density(n, n_k, n_c, same, seed):
    """Also few of them, all in one place, or with one of all the weight."""
    rng = np.random.default_rng(seed)
    z_ik = np.ones((n, n_k)) if same else rng.normal(size=(n, n_k))
    weight_i = np.exp(30 * rng.normal(size=n))
    mixture = fit_mixture(z_ik, weight_i / weight_i.max(), n_c, rng)
    assert np.isfinite(mixture.ln_density(rng.normal(size=(20, n_k)))).all()
    assert np.isfinite(mixture.draw(20, rng)).all()


def test_many_points_are_thinned_without_bias(monkeypatch):
    monkeypatch.setattr(module, "MAX_POINTS", 500)
    rng = np.random.default_rng(5)
    z_ik = rng.normal(size=(20000, 2))
    weight_i = np.exp(-2 * (z_ik[:, 0] - 1) ** 2)
    fitted = fit_mixture(z_ik, weight_i, 1, rng)
    np.testing.assert_allclose(
        fitted.mean_ck[0], weight_i @ z_ik / weight_i.sum(), atol=0.1
    )


@given(n_k=st.integers(1, 9), n_c=st.integers(1, 12), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_products_of_a_step_are_densities_and_moments(n_k, n_c, seed):
    """Against the written-out sums; components as narrow as a fit may make them."""
    rng = np.random.default_rng(seed)
    factor_ckl = 0.05 * np.tril(rng.normal(size=(n_c, n_k, n_k)))
    factor_ckl[:, np.arange(n_k), np.arange(n_k)] = rng.uniform(0.02, 1.0, size=(n_c, n_k))
    mixture = GaussianMixture(
        rng.dirichlet(np.ones(n_c)), rng.normal(size=(n_c, n_k)), factor_ckl
    )
    y_ik = 3 * rng.normal(size=(50, n_k))
    monomial_ix = module._monomials(y_ik)
    np.testing.assert_allclose(
        monomial_ix @ module._polynomials(mixture), mixture._ln_terms(y_ik),
        rtol=1e-9, atol=1e-8,
    )  # fmt: skip
    part_ic = rng.dirichlet(np.ones(n_c), size=50)
    share_c, mean_ck, second_ckl = module._moments(part_ic.T @ monomial_ix, n_k)
    np.testing.assert_allclose(share_c, part_ic.sum(axis=0))
    np.testing.assert_allclose(share_c[:, None] * mean_ck, part_ic.T @ y_ik, atol=1e-9)
    np.testing.assert_allclose(
        second_ckl, np.einsum("ic,ik,il->ckl", part_ic, y_ik, y_ik), atol=1e-9
    )
