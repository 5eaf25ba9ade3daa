"""Overlaps of one waveform with the data for many samples."""

from __future__ import annotations

import numpy as np
import pytest

from dotpe_exec.kernels.overlaps import overlaps


@pytest.mark.parametrize("n_f", [1, 63, 2048, 5000])
def test_are_the_sums_over_the_grid(n_f):
    rng = np.random.default_rng(n_f)
    n_m, n_d, n_s = 3, 2, 4

    def normal(*shape):
        return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)

    m_arr = np.array([2, 1, 3])
    frequencies_f = 20 + np.arange(n_f) / 128
    h_mpf, blued_df = normal(n_m, 2, n_f), normal(n_d, n_f)
    weight_df, response_dps = rng.random((n_d, n_f)), rng.standard_normal((n_d, 2, n_s))
    times_ds = 60 + 0.1 * rng.standard_normal((n_d, n_s))
    phi_s, distance_s = rng.uniform(0, 6, n_s), rng.uniform(1, 3, n_s)

    phase_ms = np.exp(1j * m_arr[:, None] * phi_s) / distance_s
    shift_dsf = np.exp(-2j * np.pi * frequencies_f * times_ds[..., None])
    h_dsf = np.einsum("dps,ms,mpf,dsf->dsf", response_dps, phase_ms, h_mpf, shift_dsf)
    dh_ds, hh_ds = overlaps(
        h_mpf, m_arr, frequencies_f, blued_df, weight_df,
        response_dps, times_ds, phi_s, distance_s,
    )  # fmt: skip
    scale = np.abs(h_dsf).max() * n_f
    expected_ds = np.einsum("dsf,df->ds", h_dsf.conj(), blued_df).real
    np.testing.assert_allclose(dh_ds, expected_ds, atol=1e-11 * scale)
    expected_ds = np.einsum("dsf,df->ds", np.abs(h_dsf) ** 2, weight_df)
    np.testing.assert_allclose(hh_ds, expected_ds, rtol=1e-10)
