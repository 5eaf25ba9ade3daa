"""From accepted sets to a weighted posterior, and draws from it."""

from __future__ import annotations

import dataclasses
import tracemalloc

import numpy as np
import pytest
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st
from posterior_cases import (
    N_EXT,
    N_INT,
    N_PHI,
    empty_set,
    load_golden,
    make_bank_posterior,
    make_posterior,
    make_probes,
    make_set,
)

from dotpe_exec.distance_table import load_distance_table
from dotpe_exec.errors import NonFiniteError
from dotpe_exec.kernels.distance import lnlike_marginalized
from dotpe_exec.stages import sample_rows
from dotpe_exec.stages.discarded_probes import PROBES_PER_WAVEFORM
from dotpe_exec.stages.results import ROW_TYPE, aggregate
from dotpe_exec.stages.sample_rows import (
    all_samples,
    draw_subset,
    typical_samples,
    weights,
    written_samples,
)


@pytest.fixture(scope="module")
def table():
    return load_distance_table()


def test_golden_posterior(golden, table):
    case = load_golden(golden, table)
    ours = np.concatenate([bank.ln_posterior for bank in case.banks])
    np.testing.assert_allclose(ours, case.prob_samples["ln_posterior"], rtol=0, atol=1e-9)
    posterior = aggregate(case.banks, size_limit=10**7)
    our_weights = np.concatenate([weights(posterior, k) for k in range(2)])
    assert our_weights.sum() == pytest.approx(1, abs=1e-12)
    # The reference normalises over rows below its cut, too.
    np.testing.assert_allclose(our_weights, case.prob_samples["weights"], rtol=1e-6)


def test_accepted_samples_opposite_to_the_data_have_no_more_than_the_noise(table):
    """A wide set accepts them; what continues the distance table beyond its end grows."""
    members = make_set(np.random.default_rng(1), 50)
    opposite = dataclasses.replace(
        members, d_h=-2 * members.d_h, bestfit_lnlike=np.zeros(len(members.i))
    )
    bank = make_bank_posterior(table, opposite)
    assert np.all(bank.lnl_marginalized < 0)


def test_golden_evidence_of_each_bank(golden, table):
    case = load_golden(golden, table)
    for bank in case.banks:
        expected = case.summary["per_bank_results"][bank.bank_id]
        assert bank.n_total == expected["N_k"]
        assert bank.ln_evidence == pytest.approx(expected["ln_evidence"], abs=1e-6)
        assert bank.n_effective == pytest.approx(expected["n_effective"], rel=1e-5)


def test_ln_posterior_adds_the_weights_of_waveform_and_extrinsic_sample(table):
    members = make_set(np.random.default_rng(1), 30)
    bank = make_bank_posterior(table, members)
    k = 17
    expected = (
        lnlike_marginalized(members.d_h[k], members.h_h[k], table)
        + np.sin(members.i[k])
        + np.cos(members.e[k])
    )
    assert bank.ln_posterior[k] == pytest.approx(expected, abs=1e-12)
    ln_z = scipy.special.logsumexp(bank.ln_posterior) - np.log(N_PHI * N_EXT * N_INT)
    assert bank.ln_evidence == pytest.approx(ln_z, abs=1e-12)


def test_threads_change_no_bit_and_name_the_first_bad_sample(table, monkeypatch):
    monkeypatch.setattr("dotpe_exec.stages.threaded_columns.ROWS_AT_A_TIME", 32)
    members = make_set(np.random.default_rng(7), 500)
    alone, shared = (make_bank_posterior(table, members, n_threads=n) for n in (1, 3))
    assert len(set(shared.ln_posterior)) > 400, "every row was filled"
    for name in ("lnl_marginalized", "ln_posterior"):
        assert getattr(shared, name).tobytes() == getattr(alone, name).tobytes()

    d_h = members.d_h.copy()
    d_h[[130, 400]] = np.nan
    bad = dataclasses.replace(members, d_h=d_h)
    with pytest.raises(NonFiniteError, match=f"waveform {members.i[130]} .*sample "):
        make_bank_posterior(table, bad, n_threads=3)


def test_effective_numbers_count_distinct_indices(table):
    members = make_set(np.random.default_rng(2), 60)
    even = dataclasses.replace(
        members, d_h=0 * members.d_h + 9e3, h_h=0 * members.h_h + 9e6
    )
    bank = make_bank_posterior(
        table,
        even,
        log_prior_weights_i=np.zeros(N_INT),
        log_prior_weights_e=np.zeros(N_EXT),
    )
    assert bank.n_effective == pytest.approx(60)
    counts = np.bincount(even.i)
    assert bank.n_effective_i == pytest.approx(60**2 / (counts**2).sum())
    counts = np.bincount(even.e)
    assert bank.n_effective_e == pytest.approx(60**2 / (counts**2).sum())


def test_discarded_evidence_is_the_mean_over_probes_outside(table):
    members = make_set(np.random.default_rng(3), 30, n_survivors=4)
    probes = make_probes(members.inds, np.random.default_rng(4))
    inside = np.ones(len(probes.i), bool)
    inside[[2, 5, 11]] = False
    outside = dataclasses.replace(probes, inside=inside)
    bank = make_bank_posterior(table, dataclasses.replace(members, probes=outside))
    terms = [
        lnlike_marginalized(probes.d_h[k], probes.h_h[k], table)
        + np.sin(probes.i[k])
        + np.cos(probes.e[k])
        for k in (2, 5, 11)
    ]
    mean = np.exp(terms).sum() / PROBES_PER_WAVEFORM / N_INT
    assert bank.ln_evidence_discarded == pytest.approx(np.log(mean), abs=1e-12)


def test_probes_all_inside_discard_nothing(table):
    assert (
        make_bank_posterior(
            table, make_set(np.random.default_rng(5), 30)
        ).ln_evidence_discarded
        == -np.inf
    )


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_non_finite_posterior_names_bank_and_waveform(table, value):
    members = make_set(np.random.default_rng(6), 30)
    log_prior_weights_i = np.zeros(N_INT)
    log_prior_weights_i[members.i[7]] = value
    with pytest.raises(NonFiniteError, match=f"bank_0.*waveform {members.i[7]} "):
        make_bank_posterior(table, members, log_prior_weights_i=log_prior_weights_i)


def test_zero_norm_is_no_information(table):
    members = make_set(np.random.default_rng(7), 5)
    members.h_h[2], members.d_h[2] = -1e-20, 0.0
    bank = make_bank_posterior(table, members)
    assert bank.lnl_marginalized[2] == 0


def test_bank_without_survivors_takes_part_with_no_evidence(table):
    filled = make_bank_posterior(table, make_set(np.random.default_rng(8), 100))
    empty = make_bank_posterior(table, empty_set(), "bank_1")
    assert empty.ln_evidence == -np.inf
    assert (empty.n_effective, empty.n_effective_i, empty.n_effective_e) == (0, 0, 0)
    posterior = aggregate([empty, filled], size_limit=100)
    assert [len(kept) for kept in posterior.kept] == [0, 100]
    assert weights(posterior, 1).sum() == pytest.approx(1)
    assert draw_subset(posterior, seed=1, n_draws=4).rows[0].size == 0


def test_posterior_without_weight_is_defined_and_warned_of(table):
    bank = make_bank_posterior(
        table,
        make_set(np.random.default_rng(9), 20),
        log_prior_weights_i=np.full(N_INT, -np.inf),
    )
    with pytest.warns(UserWarning, match="no sample has any weight"):
        posterior = aggregate([bank], size_limit=100)
    assert bank.ln_evidence == -np.inf and posterior.n_effective == 0
    np.testing.assert_array_equal(weights(posterior, 0), np.zeros(20))
    with pytest.warns(UserWarning, match="no samples are drawn"):
        assert len(draw_subset(posterior, seed=1)) == 0
    assert len(all_samples(posterior)) == 20


def test_long_sets_need_but_one_more_column_of_floats(table):
    few = make_set(np.random.default_rng(12), 1000)
    columns = ("i", "e", "o", "d_h", "h_h", "bestfit_lnlike")
    repeated = {name: np.tile(getattr(few, name), 3000) for name in columns}
    bank = make_bank_posterior(table, dataclasses.replace(few, **repeated))
    n = len(bank.ln_posterior)
    tracemalloc.start()
    try:
        aggregate([bank], size_limit=n)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    parts = 2**24  # of squares, of longer indices
    assert peak < 8 * n + n * np.dtype(ROW_TYPE).itemsize + parts


def test_banks_weigh_by_their_number_of_samples(table):
    posterior = make_posterior(table)
    for k, bank in enumerate(posterior.banks):
        share = np.exp(bank.ln_evidence - posterior.ln_norm)
        assert weights(posterior, k).sum() == pytest.approx(share, rel=1e-12)
    assert posterior.ln_norm == pytest.approx(
        np.logaddexp(*[bank.ln_evidence for bank in posterior.banks]), abs=1e-12
    )


@settings(max_examples=30, deadline=None)
@given(size_limit=st.integers(1, 800))
def test_size_limit_keeps_the_heaviest(table, size_limit):
    posterior = make_posterior(table, size_limit=size_limit)
    unlimited = make_posterior(table)
    every = np.concatenate([weights(unlimited, k) for k in range(2)])
    kept = np.concatenate([weights(unlimited, k, posterior.kept[k]) for k in range(2)])
    np.testing.assert_array_equal(np.sort(kept), np.sort(every)[-size_limit:])
    ours = np.concatenate([weights(posterior, k) for k in range(2)])
    np.testing.assert_allclose(ours, kept / kept.sum(), rtol=1e-9)
    assert all(np.all(np.diff(rows) > 0) for rows in posterior.kept)


def test_ties_at_the_size_limit_keep_the_first(table):
    members = make_set(np.random.default_rng(10), 40)
    even = dataclasses.replace(
        members, d_h=0 * members.d_h + 9e3, h_h=0 * members.h_h + 9e6
    )
    bank = make_bank_posterior(
        table,
        even,
        log_prior_weights_i=np.zeros(N_INT),
        log_prior_weights_e=np.zeros(N_EXT),
    )
    posterior = aggregate([bank], size_limit=25)
    np.testing.assert_array_equal(posterior.kept[0], np.arange(25))


def test_draws_follow_the_weights(table):
    posterior = make_posterior(table, sizes=(40, 30))
    n_draws = 10**4
    with pytest.warns(UserWarning, match="effective samples"):
        selection = draw_subset(posterior, seed=3, n_draws=n_draws)
    assert len(selection) == n_draws
    for k, rows in enumerate(selection.rows):
        expected = weights(posterior, k) * n_draws
        counts = np.bincount(rows, minlength=len(expected))
        assert np.all(np.abs(counts - expected) < 5 * np.sqrt(expected + 1))
        assert np.all(np.diff(rows) >= 0)


def test_draws_respect_the_rows_that_were_kept(table):
    posterior = make_posterior(table, size_limit=50)
    selection = draw_subset(posterior, seed=3, n_draws=20)
    for kept, rows in zip(posterior.kept, selection.rows, strict=True):
        assert np.isin(rows, kept).all()


def test_draws_depend_on_the_seed_alone(table):
    posterior = make_posterior(table)
    first, again, other = (
        draw_subset(posterior, seed=seed, n_draws=20) for seed in (1, 1, 2)
    )
    for a, b in zip(first.rows, again.rows, strict=True):
        np.testing.assert_array_equal(a, b)
    assert any(
        not np.array_equal(a, b) for a, b in zip(first.rows, other.rows, strict=True)
    )


def test_default_number_of_draws_is_half_the_effective_number(table):
    posterior = make_posterior(table)
    assert len(draw_subset(posterior, seed=1)) == posterior.n_effective // 2


def test_at_least_one_and_at_most_ten_thousand_are_drawn(table):
    members = make_set(np.random.default_rng(11), 1)
    posterior = aggregate([make_bank_posterior(table, members)], size_limit=10)
    assert len(draw_subset(posterior, seed=1)) == 1
    with pytest.warns(UserWarning, match="effective samples"):
        assert len(draw_subset(posterior, seed=1, n_draws=10**6)) == 10**4


def test_short_tables_are_written_whole(table):
    posterior = make_posterior(table)
    for written, every in zip(written_samples(posterior).rows, posterior.kept, strict=True):
        np.testing.assert_array_equal(written, every)


@pytest.mark.parametrize(("fewest", "left_out"), [(10, 1e-2), (10, 1e-6), (600, 0.5)])
def test_long_tables_leave_out_rows_without_weight(table, monkeypatch, fewest, left_out):
    monkeypatch.setattr(sample_rows, "FEWEST_WRITTEN", fewest)
    monkeypatch.setattr(sample_rows, "LEFT_OUT", left_out)
    posterior = make_posterior(table)
    every = np.concatenate([weights(posterior, k) for k in range(2)])
    rows = written_samples(posterior).rows
    written = np.concatenate([weights(posterior, k, some) for k, some in enumerate(rows)])
    assert fewest <= len(written) <= len(every)
    assert 1 - written.sum() < left_out
    # The heaviest, and not many more than it takes.
    np.testing.assert_array_equal(np.sort(written), np.sort(every)[-len(written) :])
    needed = np.searchsorted(np.cumsum(np.sort(every)[::-1]), 1 - left_out) + 1
    assert len(written) <= max(1.1 * needed, fewest)


def test_rows_of_no_weight_are_left_out_of_long_tables(table, monkeypatch):
    monkeypatch.setattr(sample_rows, "FEWEST_WRITTEN", 5)
    log_prior_weights_i = np.where(np.arange(N_INT) % 2, 0.0, -np.inf)
    members = make_set(np.random.default_rng(3), 300)
    bank = make_bank_posterior(table, members, log_prior_weights_i=log_prior_weights_i)
    (rows,) = written_samples(aggregate([bank], size_limit=10**7)).rows
    assert len(rows) and np.all(members.i[rows] % 2 == 1)


def test_typical_samples_give_the_posteriors_mean(table):
    posterior = make_posterior(table)
    value = [bank.lnl_marginalized for bank in posterior.banks]
    expected = sum(weights(posterior, k) @ value[k] for k in range(2))
    scatter = np.sqrt(
        sum(weights(posterior, k) @ (value[k] - expected) ** 2 for k in range(2))
    )
    means = []
    for seed in range(200):
        rows = typical_samples(posterior, seed=seed, n=20)
        assert rows.drawn and len(rows) == 20
        drawn = [v[some] for v, some in zip(value, rows.rows, strict=True)]
        means.append(np.concatenate(drawn).mean())
    assert np.std(means) < scatter / np.sqrt(20)  # better than independent draws
    assert np.mean(means) == pytest.approx(expected, abs=4 * np.std(means) / np.sqrt(200))


def test_probes_opposite_to_the_data_carry_no_evidence(table):
    # d_h / sqrt(h_h) = -30: the likelihood is below one at every distance.
    members = make_set(np.random.default_rng(5), 40)
    probes = make_probes(members.inds, np.random.default_rng(6), inside=False)
    opposite = dataclasses.replace(probes, d_h=-30 * np.sqrt(probes.h_h))
    bank = make_bank_posterior(table, dataclasses.replace(members, probes=opposite))
    assert bank.ln_evidence_discarded < 2.0  # weights are at most e^2
