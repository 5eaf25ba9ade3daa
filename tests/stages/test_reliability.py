"""Numbers that the verdict looks at, from posteriors whose answer is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from posterior_cases import N_INT, make_bank_posterior, make_set

from dotpe_exec.distance_table import load_distance_table
from dotpe_exec.stages.reliability import bestfit_lnlike, distance_edge_share, edge_shares
from dotpe_exec.stages.results import aggregate
from dotpe_exec.verdict import judge


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


def edges_of(ratios_i, shares_i, posterior):
    """Edges of one bank with these mass ratios and shares of the weight."""
    m1 = np.full(len(ratios_i), 30.0)
    one = replace(posterior, banks=posterior.banks[:1], shares_i=(shares_i,))
    return edge_shares(one, {"bank_0": {"m1": m1, "m2": m1 * ratios_i}})


def found_edges(edges):
    return {finding.key for finding in judge({"edges": edges}).findings}


@pytest.mark.parametrize(
    ("q_min", "centre", "width", "cut"),
    [
        (0.5, 0.0, 1e3, True),  # flat to the bank's end
        (0.5, 0.8, 0.3, True),  # one standard deviation from it
        (0.5, 0.95, 0.1, False),
        (0.2, 0.8, 0.15, False),
        (0.05, 0.0, 1e3, False),  # no approximant goes further
    ],
)
def test_a_bank_that_cuts_the_mass_ratio_is_found(posterior, q_min, centre, width, cut):
    rng = np.random.default_rng(5)
    ratios_i = np.append(rng.uniform(q_min, 1, 4000), q_min)
    shares_i = np.exp(-0.5 * ((ratios_i - centre) / width) ** 2)
    edges = edges_of(ratios_i, shares_i / shares_i.sum(), posterior)
    assert ("edge_lower_q_edge" in found_edges(edges)) is cut


def test_a_broad_tail_is_found_by_its_density_where_many_waveforms_tell(posterior):
    """Two standard deviations from the end of a range of five: 0.7% in the last 2%."""
    rng = np.random.default_rng(6)
    for n, known in ((20000, True), (100, False)):
        ratios_i = rng.uniform(0.2, 1, n)
        shares_i = np.exp(-0.5 * ((ratios_i - 0.5) / 0.16) ** 2)
        edge = edges_of(ratios_i, shares_i / shares_i.sum(), posterior)["lower_q_edge"]
        assert edge["share"] < 0.01
        assert edge["density"] == pytest.approx(np.exp(-(1.75**2) / 2), abs=0.1)
        assert bool(found_edges({"lower_q_edge": edge})) is known


def test_a_single_waveform_is_at_no_edge(posterior):
    for edge in edges_of(np.ones(1), np.ones(1), posterior).values():
        assert edge["share"] == edge["density"] == 0


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
