"""Single pairs, whatever the number of modes and whatever the floor."""

from __future__ import annotations

import numpy as np
import pytest

from dotpe_exec.kernels.coherent_pairs import (
    expand_pairs,
    pair_maxima,
    pair_modes,
    pair_values,
)


@pytest.mark.parametrize("n_m", [1, 3, 4, 5, 9])
def test_modes_are_sums_over_the_basis(n_m):
    rng = np.random.default_rng(n_m)
    a_cimq, b_ceq = rng.standard_normal((2, 3, n_m, 16)), rng.standard_normal((2, 5, 16))
    i_p, e_p = np.array([0, 2, 2], np.int32), np.array([4, 0, 3], np.int32)
    a_imq, b_eq = a_cimq[0] + 1j * a_cimq[1], b_ceq[0] + 1j * b_ceq[1]
    expected_pm = np.einsum("pmq,pq->pm", a_imq[i_p], b_eq[e_p])
    found_pmc = pair_modes(a_cimq, b_ceq, i_p, e_p)
    np.testing.assert_allclose(found_pmc @ [1, 1j], expected_pm, rtol=1e-12)


def many_pairs(n_m, n_orders, n_phi=11):
    """Pairs with (h|h) and (d|h) of either sign at their phases."""
    rng = np.random.default_rng(7)
    dh_pmc = rng.standard_normal((40, n_m, 2))
    hh_pr = rng.standard_normal((40, 2 * n_orders - 1))
    phases_cno = rng.standard_normal((2, n_m + n_orders, n_phi))
    dh_po = np.einsum("pmc,cmo->po", dh_pmc, phases_cno[:, :n_m])
    real_pn, imag_pn = hh_pr[:, 1::2], hh_pr[:, 2::2]
    cos_no, sin_no = phases_cno[:, n_m + 1 :]
    hh_po = hh_pr[:, :1] + real_pn @ cos_no - imag_pn @ sin_no
    positive_po = (dh_po > 0) & (hh_po > 0)
    lnlike_po = np.where(positive_po, 0.5 * dh_po**2 / np.where(positive_po, hh_po, 1), 0)
    assert 0.1 < positive_po.mean() < 0.5
    return (dh_pmc, hh_pr, phases_cno), (dh_po, hh_po, lnlike_po)


@pytest.mark.parametrize(("n_m", "n_orders"), [(1, 1), (4, 4), (5, 3)])
@pytest.mark.parametrize("floor", [-1.0, 0.0, 0.3, 1e9])
def test_samples_are_those_above_the_floor(n_m, n_orders, floor):
    pairs, expected = many_pairs(n_m, n_orders)
    pair_s, o_s, *found = expand_pairs(*pairs, floor)
    at = np.nonzero(expected[2] > floor)
    np.testing.assert_array_equal([pair_s, o_s], at)
    for values, expected_po in zip(found, expected, strict=True):
        np.testing.assert_allclose(values, expected_po[at], rtol=1e-9, atol=1e-12)


def test_maxima_and_values_are_those_of_the_samples_to_the_bit():
    pairs, expected = many_pairs(4, 4)
    pair_s, o_s, *found = expand_pairs(*pairs, -1.0)
    assert len(pair_s) == expected[2].size
    for values, same in zip(
        pair_values(pairs[0][pair_s], pairs[1][pair_s], pairs[2], o_s), found, strict=True
    ):
        np.testing.assert_array_equal(values, same)
    np.testing.assert_array_equal(
        pair_maxima(*pairs), found[2].reshape(len(pairs[0]), -1).max(axis=1)
    )
