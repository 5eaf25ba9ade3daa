"""The marginalised likelihood at points against the sums that define it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from dotpe_exec.kernels.distance import DistanceTable, lnlike_marginalized
from dotpe_exec.kernels.distance_grid import tabulate_distance
from dotpe_exec.kernels.extrinsic import marginalized_lnlike
from dotpe_exec.kernels.extrinsic_filter import (
    filter_series,
    mode_norms,
    prepare_filter,
    single_detector_lnlike,
    time_basis,
)
from dotpe_exec.kernels.summary import LineFit, Summary, mode_pairs

N_B, N_T, DT, T_START, TCOARSE = 40, 200, 1 / 16384, -0.01, 3.0
FBIN_B = np.linspace(20, 300, N_B)


@pytest.fixture(scope="module")
def table() -> DistanceTable:
    from dotpe_exec.distance_table import load_distance_table

    return load_distance_table()


def _problem(seed, n_d, m_arr):
    """A waveform, data that contain it, and their summary: (h|h) is positive definite."""
    rng = np.random.default_rng(seed)
    n_m = len(m_arr)
    h_mpb = rng.normal(size=(n_m, 2, N_B)) + 1j * rng.normal(size=(n_m, 2, N_B))
    h_mpb *= np.linspace(1, 0.2, n_m)[:, None, None] * 300
    weight_db = rng.uniform(0.5, 1.5, size=(n_d, N_B))
    signal_db = np.einsum("mpb,dp->db", h_mpb, rng.normal(size=(n_d, 2)))
    signal_db *= np.exp(-2j * np.pi * FBIN_B * (TCOARSE + T_START + 0.5 * N_T * DT)) / 300
    dh_weights = np.broadcast_to((weight_db * signal_db)[:, None, None], (n_d, n_m, 2, N_B))
    m, mprime = mode_pairs(n_m)
    hh_weights = np.empty((n_d, len(m), 2, 2, N_B), dtype=complex)
    hh_weights[:] = weight_db[:, None, None, None]
    hh_weights[:, m != mprime] *= 2
    summary = Summary(
        fbin_b=FBIN_B,
        m_arr=np.array(m_arr),
        dh_weights_dmpb=np.array(dh_weights),
        hh_weights_dmppb=hh_weights,
        asd_drift_d=rng.uniform(0.9, 1.1, size=n_d),
        line_fit=LineFit(FBIN_B, np.ones(N_B, complex), np.ones(N_B), 0),
    )
    times_qd = rng.uniform(0.4 * N_T, 0.6 * N_T, size=(60, n_d))
    return h_mpb, summary, times_qd, rng.normal(size=(60, n_d, 2))


def _prepare(summary, h_mpb, table, n_phi):
    scale_b = np.sum(np.abs(summary.dh_weights_dmpb * h_mpb), axis=(0, 1, 2))
    return prepare_filter(
        summary,
        scale_b,
        table,
        t_start=T_START,
        dt=DT,
        n_t=N_T,
        tcoarse=TCOARSE,
        n_phi=n_phi,
    )


def _lnlike_dense(h_mpb, summary, times_qd, response_qdp, n_phi, table):
    """Every sum written out, in double precision."""
    m, mprime = mode_pairs(len(summary.m_arr))
    phi_o = 2 * np.pi / n_phi * np.arange(n_phi)
    t_qd = T_START + TCOARSE + DT * times_qd
    shift_qdb = np.exp(2j * np.pi * FBIN_B * t_qd[..., None])
    drift_d = summary.asd_drift_d**-2.0
    dh_qm = np.einsum(
        "dmpb,mpb,qdb,qdp,d->qm",
        summary.dh_weights_dmpb,
        h_mpb.conj(),
        shift_qdb,
        response_qdp,
        drift_d,
        optimize=True,
    )
    hh_qx = np.einsum(
        "dxpPb,xpb,xPb,qdp,qdP,d->qx",
        summary.hh_weights_dmppb,
        h_mpb[m],
        h_mpb[mprime].conj(),
        response_qdp,
        response_qdp,
        drift_d,
        optimize=True,
    )
    difference_x = summary.m_arr[m] - summary.m_arr[mprime]
    dh_qo = (dh_qm @ np.exp(-1j * np.outer(summary.m_arr, phi_o))).real
    hh_qo = (hh_qx @ np.exp(1j * np.outer(difference_x, phi_o))).real
    # The table ends at an overlap of -10, where the likelihood is flat.
    dh_qo = np.maximum(dh_qo, -10 * np.sqrt(hh_qo))
    return np.log(np.mean(np.exp(lnlike_marginalized(dh_qo, hh_qo, table)), axis=1))


@pytest.mark.parametrize(
    ("n_d", "m_arr"), [(1, [2]), (1, [2, 1]), (2, [2, 1, 3, 4]), (3, [3, 2, 1]), (3, [2])]
)
@pytest.mark.parametrize("n_phi", [1, 16, 33])
def test_lnlike_is_that_of_the_dense_sums(n_d, m_arr, n_phi, table):
    h_mpb, summary, times_qd, response_qdp = _problem(n_d, n_d, m_arr)
    data = _prepare(summary, h_mpb, table, n_phi)
    series_dtc = filter_series(h_mpb[None], data, np.zeros(n_d, int), N_T)[0]
    norms_kds = mode_norms(h_mpb[None], data)[0]
    expected_q = _lnlike_dense(h_mpb, summary, times_qd, response_qdp, n_phi, table)
    # Weights that leave nothing out.
    lnlike_q = marginalized_lnlike(
        series_dtc, norms_kds, times_qd, response_qdp, -expected_q, data
    )
    assert np.max(expected_q) > 10
    np.testing.assert_allclose(lnlike_q, expected_q, rtol=1e-4, atol=0.03)


def test_what_is_left_out_is_negligible(table):
    h_mpb, summary, times_qd, response_qdp = _problem(5, 2, [2, 1])
    data = _prepare(summary, h_mpb, table, 32)
    series_dtc = filter_series(h_mpb[None], data, np.zeros(2, int), N_T)[0]
    norms_kds = mode_norms(h_mpb[None], data)[0]
    expected_q = _lnlike_dense(h_mpb, summary, times_qd, response_qdp, 32, table)
    lnlike_q = marginalized_lnlike(
        series_dtc, norms_kds, times_qd, response_qdp, np.zeros(60), data
    )
    left_out = lnlike_q == -np.inf
    assert 0 < np.count_nonzero(left_out) < 60
    largest = np.max(expected_q)
    assert np.sum(np.exp(expected_q[left_out] - largest)) < 1.0
    kept_sum = np.log(np.sum(np.exp(lnlike_q - largest)))
    np.testing.assert_allclose(
        kept_sum, np.log(np.sum(np.exp(expected_q - largest))), atol=0.03
    )


def test_window_of_the_series_is_a_part_of_the_whole(table):
    h_mpb, summary, _, _ = _problem(1, 2, [2, 1])
    data = _prepare(summary, h_mpb, table, 4)
    whole = filter_series(h_mpb[None], data, np.zeros(2, int), N_T)
    part = filter_series(h_mpb[None], data, np.array([10, 30]), 50)
    scale = np.max(np.abs(whole))
    np.testing.assert_allclose(part[0, 0] / scale, whole[0, 0, 10:60] / scale, atol=1e-6)
    np.testing.assert_allclose(part[0, 1] / scale, whole[0, 1, 30:80] / scale, atol=1e-6)


def test_time_basis_reproduces_time_shifts():
    times_t = DT * np.arange(N_T)
    project_br, expand_rt, collect_rb = time_basis(FBIN_B, times_t, np.ones(N_B))
    assert project_br.shape[1] < N_B
    exact_bt = np.exp(2j * np.pi * np.outer(FBIN_B, times_t))
    np.testing.assert_allclose(project_br @ expand_rt, exact_bt, atol=1e-4)
    # Also between the times of the grid.
    between_t = times_t[:-1] + 0.3 * DT
    exact_bt = np.exp(2j * np.pi * np.outer(FBIN_B, between_t))
    np.testing.assert_allclose(project_br @ (collect_rb @ exact_bt), exact_bt, atol=1e-4)


def test_loudest_time_is_where_the_signal_is(table):
    h_mpb, summary, _, _ = _problem(3, 2, [2])
    data = _prepare(summary, h_mpb, table, 4)
    series_dtc = filter_series(h_mpb[None], data, np.zeros(2, int), N_T)[0]
    lnlike_dt = single_detector_lnlike(series_dtc, mode_norms(h_mpb[None], data)[0], data)
    assert np.all(np.abs(np.argmax(lnlike_dt, axis=1) - N_T / 2) <= 2)


@pytest.mark.parametrize("seed", range(3))
def test_single_detector_likelihood_is_the_largest_over_amplitudes_and_phase(seed, table):
    h_mpb, summary, _, _ = _problem(seed, 2, [2, 1, 3])
    data = _prepare(summary, h_mpb, table, 16)
    series_dtc = filter_series(h_mpb[None], data, np.zeros(2, int), N_T)[0]
    norms_kds = mode_norms(h_mpb[None], data)[0]
    lnlike_dt = single_detector_lnlike(series_dtc, norms_kds, data)
    t = N_T // 2
    for d in range(2):
        largest = -np.inf
        z_mp = series_dtc[d, t].reshape(3, 2)
        for o in range(16):
            for angle in np.linspace(0, np.pi, 2000):
                f_p = np.array([np.cos(angle), np.sin(angle)])
                phase_m = data.cos_ko[data.m_arr, o] - 1j * data.sin_ko[data.m_arr, o]
                d_h = (phase_m @ z_mp @ f_p).real
                products_s = np.array([f_p[0] ** 2, f_p[0] * f_p[1], f_p[1] ** 2])
                phase_k = data.cos_ko[:, o] + 1j * data.sin_ko[:, o]
                h_h = (phase_k @ norms_kds[:, d] @ products_s).real
                largest = max(largest, d_h**2 / h_h / 2)
        assert lnlike_dt[d, t] == pytest.approx(largest, rel=1e-4)


def test_tabulated_distance_integral_is_zero_at_most_and_finite(table):
    ln_distance_xy = tabulate_distance(table)
    assert np.all(np.isfinite(ln_distance_xy))
    assert np.max(ln_distance_xy) < 0.01


def test_distance_integral_is_tabulated_once(table):
    other = dataclasses.replace(table, d_luminosity_max=2 * table.d_luminosity_max)
    assert tabulate_distance(table) is tabulate_distance(table)
    assert tabulate_distance(other) is not tabulate_distance(table)
