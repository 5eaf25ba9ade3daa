"""The waveforms for which extrinsic samples are drawn."""

from __future__ import annotations

import numpy as np
import pytest

from dotpe_exec.adaptive.carriers import (
    FOUND_SHARE,
    MIRRORED_STEP,
    N_CARRIERS,
    choose_carriers,
)
from dotpe_exec.errors import SelectionError
from dotpe_exec.kernels.importance import logsumexp


def test_both_sides_of_the_orbit_count_as_much_as_what_was_drawn():
    rng = np.random.default_rng(1)
    z_ik = np.abs(rng.normal(size=(20000, 3)))
    lnlike_i, ln_weight_i = 3 * rng.normal(size=(2, 20000))
    carriers = choose_carriers(z_ik, lnlike_i, ln_weight_i, [(1,)], rng)
    ln_share_k = carriers.lnlike_k + carriers.ln_weight_k
    own = carriers.z_kk[:, 1] > 0
    assert own.sum() == pytest.approx(N_CARRIERS, rel=0.2)
    assert (~own).sum() == pytest.approx(own.sum() / MIRRORED_STEP, abs=1)
    # Systematic draws: the sum over all that was drawn, nearly.
    assert logsumexp(ln_share_k[own]) == pytest.approx(
        logsumexp(lnlike_i + ln_weight_i), abs=0.1
    )
    assert logsumexp(ln_share_k[~own]) == pytest.approx(logsumexp(ln_share_k[own]), abs=0.7)
    known = {tuple(z_k) for z_k in z_ik}
    assert all(tuple(np.abs(z_k)) in known for z_k in carriers.z_kk)
    assert (carriers.z_kk[:, [0, 2]] > 0).all()


def test_half_of_the_images_are_by_the_first_mirror():
    rng = np.random.default_rng(1)
    z_ik = np.abs(rng.normal(size=(20000, 4)))
    mirrors = [(1,), (1, 2, 3), (2, 3)]
    carriers = choose_carriers(z_ik, np.zeros(20000), np.zeros(20000), mirrors, rng)
    known = {tuple(z_k) for z_k in z_ik}
    assert all(tuple(np.abs(z_k)) in known for z_k in carriers.z_kk)
    signs_kk = np.sign(carriers.z_kk)
    of_mirror = [
        np.flatnonzero((signs_kk == np.where(np.isin(range(4), mirror), -1, 1)).all(axis=1))
        for mirror in mirrors
    ]
    assert [len(inds) for inds in of_mirror] == [32, 16, 16]
    assert sum(map(len, of_mirror)) == np.count_nonzero((signs_kk < 0).any(axis=1))


def test_a_single_waveform_is_enough_and_none_is_refused():
    one = choose_carriers(
        np.ones((3, 2)), np.array([-np.inf, 1.0, -np.inf]), np.zeros(3), [(0,)],
        np.random.default_rng(1),
    )  # fmt: skip
    np.testing.assert_array_equal(one.z_kk, [[1, 1], [-1, 1]])
    np.testing.assert_array_equal(one.lnlike_k + one.ln_weight_k, [1, 1])
    with pytest.raises(SelectionError, match="no waveform has any likelihood"):
        choose_carriers(
            np.ones((2, 2)), np.full(2, -np.inf), np.zeros(2), [(0,)],
            np.random.default_rng(1),
        )  # fmt: skip


def test_a_waveform_that_was_found_otherwise_counts_for_a_part_of_all():
    rng = np.random.default_rng(1)
    z_ik, found_k = rng.normal(size=(2000, 3)), np.full(3, 9.0)
    lnlike_i, ln_weight_i = 3 * rng.normal(size=(2, 2000))
    drawn = choose_carriers(z_ik, lnlike_i, ln_weight_i, [(1,)], np.random.default_rng(2))
    carriers = choose_carriers(
        z_ik, lnlike_i, ln_weight_i, [(1,)], np.random.default_rng(2), found_k
    )
    np.testing.assert_array_equal(carriers.z_kk, [*drawn.z_kk, found_k])
    ln_share_k = carriers.lnlike_k + carriers.ln_weight_k
    np.testing.assert_array_equal(ln_share_k[:-1], drawn.lnlike_k + drawn.ln_weight_k)
    expected = np.log(FOUND_SHARE) + logsumexp(ln_share_k[:-1])
    assert ln_share_k[-1] == pytest.approx(expected)
