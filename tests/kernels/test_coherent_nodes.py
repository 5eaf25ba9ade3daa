"""Time shifts interpolated between nodes: within a measured error, and few nodes."""

from __future__ import annotations

import numpy as np
import pytest
from coherent_cases import make_case
from hypothesis import given, settings
from hypothesis import strategies as st

from dotpe_exec.kernels.coherent import TILE, prepare_coherent, project
from dotpe_exec.kernels.coherent_basis import factor_shifts
from dotpe_exec.kernels.coherent_nodes import make_nodes
from dotpe_exec.kernels.coherent_pairs import pair_modes

FBIN_B = np.linspace(20.0, 400.0, 60)


def shifts(times_e):
    return np.exp(2j * np.pi * np.outer(FBIN_B, 31.25 + times_e))


def interpolated(nodes):
    return sum(
        nodes.weights_ej[:, j] * nodes.coefficients_rg[:, nodes.first_e + j]
        for j in range(4)
    )


@given(
    st.integers(0, 10**6),
    st.integers(1, 300),
    st.sampled_from([0.0, 1e-4, 0.01, 0.3]),
    st.sampled_from([1e-6, 1e-2, 10.0]),
)
@settings(max_examples=40, deadline=None)
def test_error_is_what_is_said_and_within_the_tolerance(seed, n_e, spread, tolerance):
    rng = np.random.default_rng(seed)
    shift_be = shifts(rng.uniform(0, spread, n_e))
    basis = factor_shifts(shift_be, rng.uniform(0.5, 1.0, len(FBIN_B)), 1e-9)
    rank = rng.integers(1, len(basis.coefficients_re) + 1)
    nodes = make_nodes(basis, rank, shift_be, FBIN_B, tolerance)
    error_e = np.linalg.norm(basis.coefficients_re[:rank] - interpolated(nodes), axis=0)
    np.testing.assert_allclose(nodes.error_e, error_e, atol=1e-12)
    assert error_e.max() <= max(tolerance, 1e-12)
    assert nodes.first_e.max() + 3 < nodes.coefficients_rg.shape[1]


def test_many_samples_share_few_nodes():
    shift_be = shifts(np.random.default_rng(0).uniform(0, 0.01, 2000))
    basis = factor_shifts(shift_be, np.ones(len(FBIN_B)), 1e-9)
    nodes = make_nodes(basis, 12, shift_be, FBIN_B, 0.05)
    assert nodes.coefficients_rg.shape[1] < 100


@pytest.mark.parametrize("n_e", [3, 40])
def test_shifts_that_are_no_shifts_in_time_are_not_interpolated(n_e):
    rng = np.random.default_rng(1)
    shift_be = np.exp(2j * np.pi * rng.uniform(size=(len(FBIN_B), n_e)))
    basis = factor_shifts(shift_be, np.ones(len(FBIN_B)), 1e-9)
    nodes = make_nodes(basis, 5, shift_be, FBIN_B, 1e-3)
    np.testing.assert_array_equal(interpolated(nodes), basis.coefficients_re[:5])


@given(st.integers(0, 10**6), st.sampled_from([1e-4, 0.01, 1.0]), st.integers(1, 40))
@settings(max_examples=30, deadline=None)
def test_screened_products_are_within_the_bound(seed, time_spread, n_i):
    case = make_case(seed, n_i=n_i, n_e=60, n_b=60, time_spread=time_spread)
    prepared = prepare_coherent(case.summary, case.response_dpe, case.timeshift_dbe, 4)
    projected = project(case.h_impb, prepared)
    i_p, e_p = (x.ravel() for x in np.indices((n_i, 60)))
    exact_pmc = pair_modes(projected.a_cimq, prepared.b_ceq, i_p, e_p)
    exact_iem = (exact_pmc @ [1, 1j]).reshape(n_i, 60, -1) * 2.0**-prepared.exponent
    screened_iem = np.zeros_like(exact_iem)
    for tile, z_pgx in enumerate(projected.z_tpgx):
        z_pgcmi = z_pgx.astype(float).reshape(2, -1, 2, exact_iem.shape[2], TILE)
        z_pgmi = z_pgcmi[:, :, 0] + 1j * z_pgcmi[:, :, 1]
        n_tile = min(TILE, n_i - tile * TILE)
        for d, p, j in np.ndindex(prepared.first_node_ed.shape[1], 2, 4):
            z_emi = z_pgmi[p, prepared.first_node_ed[:, d] + j]
            weighted = prepared.node_weights_edj[:, d, 4 * p + j, None, None] * z_emi
            screened_iem[tile * TILE : tile * TILE + n_tile] += weighted.T.transpose(
                0, 2, 1
            )[:n_tile]
    error_i = np.abs(screened_iem - exact_iem).sum(axis=2).max(axis=1)
    assert (error_i <= projected.screen_error_i).all()
    assert projected.screen_error_i.max() < 0.5 * np.abs(exact_iem).sum(axis=2).max()
