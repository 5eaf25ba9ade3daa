"""The tables of samples: columns, order, chunks, seeds."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from posterior_cases import (
    N_EXT,
    N_INT,
    N_PHI,
    empty_set,
    load_golden,
    make_bank_posterior,
    make_posterior,
)

from dotpe_exec.distance_table import load_distance_table
from dotpe_exec.errors import InputError
from dotpe_exec.stages import samples
from dotpe_exec.stages.results import aggregate
from dotpe_exec.stages.sample_rows import all_samples, draw_subset
from dotpe_exec.stages.samples import (
    bank_sample_chunks,
    sample_chunks,
    standardize,
    standardized_chunks,
    to_frame,
)
from dotpe_exec.stages.standardize import Standardizer
from dotpe_exec.stages.tables import write_chunks

RANDOM_COLUMNS = {"d_luminosity", "lnl", "d_hat"}


@pytest.fixture(scope="module")
def table():
    return load_distance_table()


@pytest.fixture(scope="module")
def case(golden, table):
    return load_golden(golden, table)


@pytest.fixture(scope="module")
def golden_samples(case, table):
    standardizer = Standardizer(
        case.prior,
        tgps=0.0,
        f_ref=50.0,
        n_phi=16,
        extrinsic_samples=case.extrinsic,
        table=table,
    )
    selection = all_samples(aggregate(case.banks, size_limit=10**7))
    return standardize(selection, case.tables, standardizer, seed=5)


def make_bank_table(n=N_INT):
    rng = np.random.default_rng(1)
    angles = {
        f"s{body}{axis}": rng.uniform(-0.5, 0.5, n)
        for body in "12"
        for axis in ("x_n", "y_n", "z")
    }
    m1 = rng.uniform(20, 40, n)
    return pd.DataFrame({"m1": m1, "m2": m1 * 0.8, "iota": rng.uniform(0, 3, n), **angles})


def make_extrinsic():
    rng = np.random.default_rng(2)
    columns = {
        "lat": rng.uniform(-1.5, 1.5, N_EXT),
        "lon": rng.uniform(0, 6, N_EXT),
        "psi": rng.uniform(0, 3, N_EXT),
        "t_geocenter": rng.normal(scale=0.01, size=N_EXT),
        "weights": np.ones(N_EXT),
    }
    return pd.DataFrame(columns)


def make_standardizer(table, prior_class="CartesianIASPrior"):
    from cogwheel import gw_prior

    prior = getattr(gw_prior, prior_class)(
        mchirp_range=(10, 60), detector_pair="HL", ref_det_name="H", tgps=0.0,
        f_avg=100.0, f_ref=50.0,
    )  # fmt: skip
    return Standardizer(
        prior,
        tgps=0.0,
        f_ref=50.0,
        n_phi=N_PHI,
        extrinsic_samples=make_extrinsic(),
        table=table,
    )


@pytest.fixture(scope="module")
def standardizer(table):
    return make_standardizer(table)


@pytest.fixture(scope="module")
def tables():
    return {"bank_0": make_bank_table(), "bank_1": make_bank_table()}


def test_golden_columns(case, golden_samples):
    assert list(golden_samples) == list(case.samples)
    assert (golden_samples["bank_id"] == case.samples["bank_id"]).all()
    for name in golden_samples.columns.difference([*RANDOM_COLUMNS, "bank_id"]):
        expected = case.samples[name]
        # The reference's weights are normalised over rows below its cut, too.
        rtol = 2e-6 if name == "weights" else 1e-9
        np.testing.assert_allclose(
            golden_samples[name], expected, rtol=rtol, atol=1e-9, err_msg=name
        )
        assert golden_samples[name].dtype == expected.dtype, name


def test_golden_distance_dependent_columns_fit_together(case, golden_samples):
    ours, reference = golden_samples, case.samples
    ratio = ours["d_luminosity"] / reference["d_luminosity"]
    np.testing.assert_allclose(ours["d_hat"], reference["d_hat"] * ratio, rtol=1e-9)
    distance = ours["d_luminosity"]
    lnl = ours["d_h_1Mpc"] / distance - ours["h_h_1Mpc"] / distance**2 / 2
    np.testing.assert_allclose(ours["lnl"], lnl, rtol=1e-12)
    assert (ours["lnl"] <= ours["bestfit_lnlike"] + 1e-9).all()


def test_golden_distances_have_the_reference_distribution(case, golden_samples):
    from scipy.stats import ks_2samp

    ours, reference = (
        frame["d_luminosity"] / frame["bestfit_d_luminosity"]
        for frame in (golden_samples, case.samples)
    )
    assert ks_2samp(ours, reference).pvalue > 1e-3


def test_golden_prob_samples_have_the_reference_columns(case):
    selection = all_samples(aggregate(case.banks, size_limit=10**7))
    frame = to_frame(sample_chunks(selection))
    assert list(frame) == list(case.prob_samples)
    assert (frame.dtypes == case.prob_samples.dtypes).all()
    for name in ("i", "e", "o", "bank_id"):
        assert (frame[name] == case.prob_samples[name]).all()


def test_own_table_of_a_bank_has_weights_that_sum_to_one(table):
    bank = make_posterior(table).banks[1]
    frame = to_frame(bank_sample_chunks(bank))
    assert list(frame) == ["i", "e", "o", "lnl_marginalized", "ln_posterior",
                           "bestfit_lnlike", "d_h_1Mpc", "h_h_1Mpc", "weights"]  # fmt: skip
    assert frame["weights"].sum() == pytest.approx(1)
    ratio = frame["weights"] / np.exp(frame["ln_posterior"])
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-9)


def test_rows_come_by_bank_and_ascending_likelihood(table, standardizer, tables):
    posterior = make_posterior(table)
    for selection in (all_samples(posterior), draw_subset(posterior, seed=1)):
        frame = standardize(selection, tables, standardizer, seed=1)
        assert frame["bank_id"].is_monotonic_increasing
        for _, rows in frame.groupby("bank_id"):
            assert rows["bestfit_lnlike"].is_monotonic_increasing


def test_drawn_samples_have_unit_weights(table, standardizer, tables):
    selection = draw_subset(make_posterior(table), seed=1)
    frame = standardize(selection, tables, standardizer, seed=1)
    assert len(frame) == len(selection) and (frame["weights"] == 1).all()


def test_chunks_do_not_change_the_samples(table, standardizer, tables):
    selection = all_samples(make_posterior(table))
    whole = standardize(selection, tables, standardizer, seed=7)
    parts = to_frame(
        standardized_chunks(selection, tables, standardizer, seed=7, n_rows=37)
    )
    pd.testing.assert_frame_equal(whole, parts, check_exact=True)


def test_distances_depend_on_the_seed(table, standardizer, tables):
    selection = all_samples(make_posterior(table))
    first, again, other = (
        standardize(selection, tables, standardizer, seed=seed)["d_luminosity"]
        for seed in (1, 1, 2)
    )
    assert (first == again).all() and (first != other).all()


def test_repeated_draws_get_distances_of_their_own(table, standardizer, tables):
    with pytest.warns(UserWarning, match="effective"):
        selection = draw_subset(make_posterior(table), seed=1, n_draws=2000)
    frame = standardize(selection, tables, standardizer, seed=1)
    assert frame.duplicated(["bank_id", "i", "e", "o"]).any()
    assert not frame.duplicated("d_luminosity").any()


def test_time_shifts_are_found_by_waveform(table, standardizer, tables):
    posterior = make_posterior(table)
    frame = standardize(all_samples(posterior), tables, standardizer, seed=1)
    for bank in posterior.banks:
        members = bank.coherent_set
        shifts = dict(zip(members.inds, members.dt_linfree, strict=True))
        rows = frame[frame["bank_id"] == bank.bank_id]
        np.testing.assert_allclose(
            rows["t_geocenter_linfree"] - rows["t_geocenter"],
            rows["i"].map(shifts),
            atol=1e-15,
        )
        m1 = tables[bank.bank_id]["m1"]
        np.testing.assert_array_equal(rows["m1"], m1[rows["i"]])


def test_other_priors_coordinates_are_their_own(table, tables):
    standardizer = make_standardizer(table, "LVCPrior")
    selection = draw_subset(make_posterior(table), seed=1)
    frame = standardize(selection, tables, standardizer, seed=1)
    prior = standardizer.prior
    expected = frame[[*prior.standard_params, *prior.conditioned_on]].copy()
    prior.inverse_transform_samples(expected)
    for name in prior.sampled_params:
        np.testing.assert_array_equal(frame[name], expected[name], err_msg=name)
    assert "cums1r_s1z" in frame and "x1" not in frame


@pytest.mark.parametrize("prior_class", ["CartesianIASPrior", "LVCPrior"])
def test_no_samples_make_a_table_without_rows(table, tables, prior_class):
    standardizer = make_standardizer(table, prior_class)
    with pytest.warns(UserWarning, match="no sample has any weight"):
        posterior = aggregate([make_bank_posterior(table, empty_set())], size_limit=10)
    frame = standardize(all_samples(posterior), tables, standardizer, seed=1)
    assert len(frame) == 0
    filled = standardize(
        draw_subset(make_posterior(table), seed=1), tables, standardizer, seed=1
    )
    assert list(frame) == list(filled)


def test_file_reads_back_as_the_frame(table, standardizer, tables, tmp_path):
    selection = all_samples(make_posterior(table))
    path = tmp_path / "samples.feather"
    n_rows = write_chunks(
        path, standardized_chunks(selection, tables, standardizer, seed=7, n_rows=100)
    )
    frame = pd.read_feather(path)
    assert n_rows == len(frame) == len(selection)
    expected = standardize(selection, tables, standardizer, seed=7)
    pd.testing.assert_frame_equal(frame, expected, check_exact=True)


def test_table_without_rows_keeps_its_columns(tmp_path):
    path = tmp_path / "empty.feather"
    write_chunks(path, [{"i": np.empty(0, int), "bank_id": "bank_0"}])
    frame = pd.read_feather(path)
    assert list(frame) == ["i", "bank_id"] and len(frame) == 0


def test_chunks_that_differ_are_refused(tmp_path):
    path = tmp_path / "table.feather"
    with pytest.raises(ValueError, match="differ"):
        write_chunks(path, [{"i": np.zeros(2)}, {"j": np.zeros(2)}])
    with pytest.raises(ValueError, match="at least one"):
        write_chunks(path, [])


def test_missing_extrinsic_column_is_named(table, standardizer):
    with pytest.raises(InputError, match="no column psi"):
        Standardizer(
            standardizer.prior,
            tgps=0.0,
            f_ref=50.0,
            n_phi=N_PHI,
            extrinsic_samples=make_extrinsic().drop(columns="psi"),
            table=table,
        )


def test_long_tables_are_compact_and_exact_enough(table, monkeypatch, tmp_path):
    posterior = make_posterior(table)
    whole = to_frame(sample_chunks(all_samples(posterior)))
    monkeypatch.setattr(samples, "FEWEST_WRITTEN", 100)
    path = tmp_path / "prob_samples.feather"
    write_chunks(path, sample_chunks(all_samples(posterior), n_rows=150))
    short = pd.read_feather(path)
    assert list(short) == list(whole)
    assert short.memory_usage(index=False).sum() < 0.5 * whole.memory_usage().sum()
    assert (short["e"].dtype, short["o"].dtype) == (np.int16, np.int16)
    assert (short["bank_id"].astype(str) == whole["bank_id"]).all()
    for name in ("i", "e", "o"):
        assert (short[name] == whole[name]).all()
    for name in ("d_h_1Mpc", "h_h_1Mpc", "bestfit_lnlike"):
        np.testing.assert_allclose(short[name], whole[name], rtol=1e-7)
    for name in ("lnl_marginalized", "ln_posterior", "ln_weight_unnormalized"):
        np.testing.assert_allclose(short[name], whole[name], rtol=1e-7, atol=2**-11)
    np.testing.assert_allclose(short["weights"], whole["weights"], rtol=2**-12)
    assert short["weights"].astype(float).sum() == pytest.approx(1, abs=1e-4)
    write_chunks(path, bank_sample_chunks(posterior.banks[0]))
    own = pd.read_feather(path)
    assert own["weights"].astype(float).sum() == pytest.approx(1, abs=1e-4)
    assert own["i"].dtype == np.int32
