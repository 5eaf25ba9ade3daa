"""Numbers that the verdict looks at, from posteriors whose answer is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from posterior_cases import N_INT, make_bank_posterior, make_set

from dotpe_exec.distance_table import load_distance_table
from dotpe_exec.stages.reliability import bestfit_lnlike, distance_edge_share, edge_shares
from dotpe_exec.stages.results import aggregate


@pytest.fixture(scope="module")
def table():
    return load_distance_table()


@pytest.fixture(scope="module")
def posterior(table):
    banks = [
        make_bank_posterior(table, make_set(np.random.default_rng(k), 300), f"bank_{k}")
        for k in range(2)
    ]
    return aggregate(banks, size_limit=10**7)


def bank_table(m1):
    return {"m1": np.asarray(m1, float), "m2": np.asarray(m1, float) / 2}


def test_shares_of_waveforms_sum_to_one_and_tell_the_effective_number(posterior):
    shares = np.concatenate(posterior.shares_i)
    assert shares.sum() == pytest.approx(1)
    assert posterior.n_effective_i == pytest.approx(1 / (shares**2).sum())
    assert posterior.shares_e.sum() == pytest.approx(1)


def test_weight_at_the_edges_of_all_banks_together(posterior):
    """Two adjacent banks: where they meet there is no edge."""
    m1 = np.linspace(10, 20, N_INT)
    tables = {"bank_0": bank_table(m1), "bank_1": bank_table(m1 + 10)}
    tables["bank_0"]["m2"] = m1 * np.linspace(0.3, 0.9, N_INT)
    tables["bank_1"]["m2"] = (m1 + 10) * 0.9
    shares = [np.pad(s, (0, N_INT - len(s))) for s in posterior.shares_i]
    edges = edge_shares(posterior, tables)
    # Of 50 waveforms a spacing is 1/49 of their range: two of the q's, fewer of the masses.
    assert edges["lower_q_edge"]["value"] == pytest.approx(0.3)
    assert edges["lower_q_edge"]["share"] == pytest.approx(shares[0][0], rel=1e-12)
    assert edges["upper_mchirp_edge"]["share"] == pytest.approx(shares[1][-2:].sum())
    assert 0 <= edges["lower_mchirp_edge"]["share"] <= shares[0][:3].sum()


def test_edges_are_those_of_the_waveforms_that_were_considered(posterior):
    m1 = np.linspace(10, 20, N_INT)
    tables = {"bank_0": bank_table(m1), "bank_1": bank_table(m1)}
    considered = {"bank_0": range(20, N_INT), "bank_1": np.arange(30, N_INT)}
    edge = edge_shares(posterior, tables, considered)["lower_mchirp_edge"]
    assert edge["value"] > edge_shares(posterior, tables)["lower_mchirp_edge"]["value"]
    share = np.pad(posterior.shares_i[0], (0, N_INT))[20]
    assert edge["share"] == pytest.approx(share)


def test_what_the_prior_has_at_the_edges_tells_flat_posteriors(posterior):
    """Of a weight in proportion to the prior's, and of one that is all at one end."""
    m1 = np.linspace(10, 20, N_INT)
    m2 = m1 * np.random.default_rng(1).permutation(np.linspace(0.3, 0.9, N_INT))
    tables = {f"bank_{k}": {"m1": m1, "m2": m2} for k in range(2)}
    prior_i = np.random.default_rng(2).uniform(0.5, 1.5, N_INT)
    ln_prior = {f"bank_{k}": np.log(prior_i) for k in range(2)}
    half = prior_i / prior_i.sum() / 2
    flat = replace(posterior, shares_i=(half, half))
    for edge in edge_shares(flat, tables, log_prior_weights=ln_prior).values():
        assert edge["share"] == pytest.approx(edge["prior_share"], rel=1e-12)
        assert edge["prior_like"] is True
    order = np.argsort(m1 * (m2 / m1) ** 0.6 / (1 + m2 / m1) ** 0.2)
    one_end = np.zeros(N_INT)
    one_end[order[-5:]] = 0.1
    edges = edge_shares(replace(posterior, shares_i=(one_end, one_end)), tables)
    assert (
        edges["upper_mchirp_edge"]["share"] > 2 * edges["upper_mchirp_edge"]["prior_share"]
    )
    assert edges["upper_mchirp_edge"]["prior_like"] is False
    assert edges["lower_mchirp_edge"]["prior_like"] is False
    # Less than the prior's: of a mass ratio that is no sign that it goes on.
    few = half.copy()
    few[np.argmin(m2 / m1)] /= 5
    edge = edge_shares(replace(posterior, shares_i=(few, few)), tables)["lower_q_edge"]
    assert 0 < edge["share"] < edge["prior_share"]
    assert edge["prior_like"] is True
    many = half.copy()
    many[np.argmin(m2 / m1)] = 0.2
    edge = edge_shares(replace(posterior, shares_i=(many, many)), tables)["lower_q_edge"]
    assert edge["prior_like"] is False


def test_weight_at_the_end_of_the_distance_prior(posterior):
    distances = np.concatenate(
        [
            bank.coherent_set.h_h / bank.coherent_set.d_h for bank in posterior.banks
        ]
    )  # fmt: skip
    shares = [
        distance_edge_share(posterior, d_max)["upper_distance_edge"]["share"]
        for d_max in (2 * distances.max(), np.median(distances), 0.5 * distances.min())
    ]
    assert shares[0] == 0
    assert 0.01 < shares[1] < 0.99
    assert shares[2] == pytest.approx(1)


def test_best_fit_over_distance_from_two_likelihoods():
    class Likelihood:
        def lnlike(self, par_dic):
            d = par_dic["d_luminosity"]
            return 25e3 / d - 12.5e6 / d**2

    for d in (300.0, 1000.0, 5000.0):
        found = bestfit_lnlike(Likelihood(), {"d_luminosity": d})
        assert found == pytest.approx(0.5 * 25e3**2 / 25e6, rel=1e-9)
