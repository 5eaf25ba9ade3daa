"""Chi-squared in bands: its distribution, and how bands are cut."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from dotpe_exec.kernels.chi_squared import cell_overlaps, chi_squared, equal_bands


@pytest.mark.parametrize("amplitude", [0.0, 30.0 * np.exp(0.4j)])
def test_bands_of_any_shares_give_the_distribution_of_chi_squared(amplitude):
    rng = np.random.default_rng(1)
    hh_j = np.array([1.0, 3.0, 0.5, 2.0, 2.5])
    noise_nj = np.sqrt(hh_j) * (
        rng.normal(size=(4000, 5)) + 1j * rng.normal(size=(4000, 5))
    )
    values = [chi_squared(dh_j + amplitude * hh_j, hh_j)[0] for dh_j in noise_nj]
    assert stats.kstest(values, stats.chi2(8).cdf).pvalue > 0.01


def test_signal_to_noise_ratio_is_the_filters():
    hh_j = np.array([1.0, 3.0])
    value, snr = chi_squared(5j * hh_j, hh_j)
    assert value == pytest.approx(0, abs=1e-12)
    assert snr == pytest.approx(5 * np.sqrt(4.0))


def test_cells_add_up_to_inner_products():
    rng = np.random.default_rng(2)
    h_df = rng.normal(size=(2, 50)) + 1j * rng.normal(size=(2, 50))
    data_df = rng.normal(size=(2, 50)) + 1j * rng.normal(size=(2, 50))
    weight_df = rng.random((2, 50))
    cell_f = np.repeat(np.arange(10), 5)
    dh_dc, hh_dc = cell_overlaps(h_df, data_df, weight_df, cell_f, 12)
    assert dh_dc.shape == hh_dc.shape == (2, 12)
    np.testing.assert_allclose(
        dh_dc[:, 3], (data_df * h_df.conj())[:, 15:20].sum(axis=1), rtol=1e-12
    )
    np.testing.assert_allclose(hh_dc.sum(axis=1), (weight_df * abs(h_df) ** 2).sum(axis=1))


def test_bands_hold_equal_parts_and_none_is_empty():
    hh_c = np.concatenate([np.zeros(20), np.exp(-np.linspace(0, 5, 900)), np.zeros(80)])
    starts_j = equal_bands(hh_c, 16)
    shares_j = np.add.reduceat(hh_c, starts_j) / hh_c.sum()
    assert len(starts_j) == 16
    np.testing.assert_allclose(shares_j, 1 / 16, rtol=0.15)


@pytest.mark.parametrize("hh_c", [[0, 0, 5, 0], [1, 0, 0, 1], [0, 9, 1, 1, 0]])
def test_few_cells_make_fewer_bands(hh_c):
    starts_j = equal_bands(np.array(hh_c, float), 16)
    assert (np.add.reduceat(hh_c, starts_j) > 0).all()
    assert len(starts_j) <= np.count_nonzero(hh_c)
