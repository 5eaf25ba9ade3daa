"""Draws and weights against cogwheel's prior and the golden banks."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from dotpe_exec.banks.prior import Proposal, powerlaw_lndensity, powerlaw_quantile
from dotpe_exec.banks.table import PARAMETERS
from dotpe_exec.errors import InputError

F_REF = 50.0


def frame(parameters_ik):
    return pd.DataFrame(parameters_ik, columns=list(PARAMETERS))


def mchirp_and_lnq(table):
    q = table["m2"] / table["m1"]
    return table["m1"] * q**0.6 / (1 + q) ** 0.2, np.log(q)


@given(
    alpha=st.one_of(st.floats(-6, 6), st.sampled_from([-1.0, -1 + 1e-13, -1 - 1e-9])),
    low=st.floats(0.5, 50),
    ratio=st.floats(1.01, 20),
    u=st.floats(0, 1),
)
def test_powerlaw_quantile_inverts_the_integral_of_its_density(alpha, low, ratio, u):
    bounds = (low, low * ratio)
    x = powerlaw_quantile(u, bounds, alpha)
    assert bounds[0] <= x <= bounds[1]
    nodes, weights = np.polynomial.legendre.leggauss(60)
    grid = low + (x - low) * (nodes + 1) / 2
    density = np.exp(powerlaw_lndensity(np.log(grid), bounds, alpha))
    assert np.sum(weights * density) * (x - low) / 2 == pytest.approx(u, abs=1e-9)


@pytest.mark.parametrize("k", [0, 1])
def test_golden_weights_are_reproduced(golden, k):
    table = pd.read_feather(golden / f"bank_{k}/intrinsic_sample_bank.feather")
    bounds = [(20.0, 25.0), (25.0, 31.0)][k]
    proposal = Proposal(bounds, q_min=0.2, alpha=-1.7)
    weights = proposal.log_prior_weights(table[list(PARAMETERS)].to_numpy(), bounds)
    np.testing.assert_allclose(weights, table["log_prior_weights"], atol=1e-13)


def test_weights_are_cogwheels_prior_over_the_proposal():
    from cogwheel.gw_prior.mass import UniformDetectorFrameMassesPrior

    proposal = Proposal((8.0, 13.0), q_min=0.1, alpha=-2.3)
    parameters_ik = proposal.draw(20, np.random.default_rng(1))
    wide = (5.0, 30.0)
    weights = proposal.log_prior_weights(parameters_ik, wide)
    prior = UniformDetectorFrameMassesPrior(mchirp_range=wide, q_min=0.1)
    norm = integrate.quad(lambda m: m**-2.3, 8.0, 13.0)[0]
    lnq_norm = integrate.quad(lambda x: np.cosh(x / 2) ** 0.4, np.log(0.1), 0)[0]
    for row, weight in zip(frame(parameters_ik).itertuples(), weights, strict=True):
        mchirp, lnq = mchirp_and_lnq({"m1": row.m1, "m2": row.m2})
        ln_proposal = np.log(mchirp**-2.3 / norm * np.cosh(lnq / 2) ** 0.4 / lnq_norm)
        assert weight == pytest.approx(prior.lnprior(mchirp, lnq) - ln_proposal, abs=1e-7)


def test_weights_average_to_the_share_of_the_prior():
    wide, edges = (15.0, 40.0), (15.0, 21.0, 30.0, 40.0)
    shares = []
    for low, high in itertools.pairwise(edges):
        proposal = Proposal((low, high), q_min=0.2, alpha=-1.7)
        parameters_ik = proposal.draw(20000, np.random.default_rng(2))
        shares.append(np.mean(np.exp(proposal.log_prior_weights(parameters_ik, wide))))
        exact = (high**2 - low**2) / (wide[1] ** 2 - wide[0] ** 2)
        assert shares[-1] == pytest.approx(exact, rel=0.01)
    assert sum(shares) == pytest.approx(1, rel=0.005)


@pytest.fixture(scope="module")
def draws():
    """Draws from the prior itself (alpha = 1), in cogwheel's sampling coordinates."""
    from cogwheel.gw_prior import IntrinsicIASPrior

    proposal = Proposal((20.0, 30.0), q_min=0.15, alpha=1.0)
    table = frame(proposal.draw(3000, np.random.default_rng(3)))
    prior = IntrinsicIASPrior(mchirp_range=(20.0, 30.0), q_min=0.15, f_ref=F_REF)
    samples = table.assign(f_ref=F_REF, l1=0.0, l2=0.0)
    prior.inverse_transform_samples(samples)
    return samples


UNIFORM = {
    "costheta_jn": (-1, 1),
    "phi_jl_hat": (0, 2 * np.pi),
    "phi12": (0, 2 * np.pi),
    "cums1r_s1z": (0, 1),
    "cums2r_s2z": (0, 1),
    "chieff": (-1, 1),
    "cumchidiff": (0, 1),
}


@pytest.mark.parametrize("name", UNIFORM)
def test_draws_are_uniform_where_cogwheels_prior_is(draws, name):
    low, high = UNIFORM[name]
    assert stats.kstest(draws[name], "uniform", (low, high - low)).pvalue > 0.003


def test_draws_of_masses_follow_cogwheels_prior(draws):
    from cogwheel.gw_prior.mass import UniformDetectorFrameMassesPrior

    prior = UniformDetectorFrameMassesPrior(mchirp_range=(20.0, 30.0), q_min=0.15)
    lnq = np.linspace(np.log(0.15), 0, 1001)
    density = np.exp([prior.lnprior(25.0, x) for x in lnq])
    cumulative = integrate.cumulative_trapezoid(density, lnq, initial=0)
    u = np.interp(draws["lnq"], lnq, cumulative / cumulative[-1])
    assert stats.kstest(u, "uniform").pvalue > 0.003
    square = draws["mchirp"] ** 2
    assert stats.kstest(square, "uniform", (400, 500)).pvalue > 0.003


def test_draws_are_independent_in_cogwheels_coordinates(draws):
    correlation = stats.spearmanr(draws[[*UNIFORM, "mchirp", "lnq"]]).statistic
    off_diagonal = correlation - np.eye(len(correlation))
    # Largest of 36 with standard deviation 0.018.
    assert np.abs(off_diagonal).max() < 4 / np.sqrt(3000)


def test_aligned_spins_have_no_inplane_part():
    proposal = Proposal((20.0, 30.0), q_min=0.15, alpha=-1.7, aligned_spins=True)
    table = frame(proposal.draw(100, np.random.default_rng(0)))
    assert not table[["s1x_n", "s1y_n", "s2x_n", "s2y_n"]].to_numpy().any()
    assert table["s1z"].std() > 0.3


@given(u=st.lists(st.floats(0, 1, exclude_max=True), min_size=9, max_size=9))
def test_every_point_of_the_cube_is_physical(u):
    proposal = Proposal((20.0, 30.0), q_min=0.01, alpha=-1.7)
    p = frame(proposal.transform(np.array([u]))).iloc[0]
    assert np.all(np.isfinite(p))
    assert 0 < p.m2 <= p.m1
    assert 0 <= p.iota <= np.pi
    for s in ("s1", "s2"):
        assert p[f"{s}x_n"] ** 2 + p[f"{s}y_n"] ** 2 + p[f"{s}z"] ** 2 <= 1 + 1e-12
    mchirp, lnq = mchirp_and_lnq(p)
    assert 20 * (1 - 1e-12) <= mchirp <= 30 * (1 + 1e-12)
    assert np.log(0.01) * (1 + 1e-12) <= lnq <= 0


def test_draws_do_not_depend_on_how_many_are_made_at_once(monkeypatch):
    proposal = Proposal((20.0, 30.0), q_min=0.2, alpha=-1.7)
    whole = proposal.draw(50, np.random.default_rng(0))
    monkeypatch.setattr("dotpe_exec.banks.prior._ROWS_AT_ONCE", 7)
    np.testing.assert_array_equal(proposal.draw(50, np.random.default_rng(0)), whole)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"mchirp_range": (30.0, 20.0)}, "mchirp_range is 30.0 to 20.0"),
        ({"mchirp_range": (0.0, 20.0)}, "mchirp_range is 0.0"),
        ({"mchirp_range": (1.0, np.nan)}, "mchirp_range is 1.0 to nan"),
        ({"q_min": 0.0}, "q_min is 0.0, expected a number between 0.001 and 1"),
        ({"q_min": 1.0}, "q_min is 1.0"),
        ({"alpha": np.inf}, "alpha is inf"),
    ],
)
def test_impossible_proposals_are_refused(arguments, sentence):
    good = {"mchirp_range": (20.0, 30.0), "q_min": 0.2, "alpha": -1.7}
    with pytest.raises(InputError, match=sentence):
        Proposal(**(good | arguments))
