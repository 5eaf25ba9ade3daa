"""Adaptive draws under a prior of one's own."""

import numpy as np
import pytest
from cogwheel.gw_prior import IntrinsicIASPrior

from dotpe_exec.adaptive.explorer import Explorer
from dotpe_exec.adaptive.own_coordinates import OwnCoordinates
from dotpe_exec.banks.own_prior import own_prior
from dotpe_exec.banks.prior import Proposal
from dotpe_exec.errors import InputError
from dotpe_exec.kernels.weights import ln_mean_and_error
from dotpe_exec.seeds import generator
from dotpe_exec.waveforms.parameters import PARAMETERS

RANGE, Q_MIN = (20.0, 30.0), 0.2


class Steep:
    """The default prior, but that chirp masses fall; drawn and weighed by its formula."""

    def __init__(self, mchirp_range=RANGE, alpha=-4.0):
        self.proposal = Proposal(mchirp_range, Q_MIN, alpha)

    def draw(self, n, rng):
        return dict(zip(PARAMETERS, self.proposal.draw(n, rng).T, strict=True))

    def ln_prob(self, table):
        return self.proposal.ln_prob(table[list(PARAMETERS)].to_numpy())


def coordinates_for(prior):
    own = own_prior(prior, mchirp_range=RANGE, q_min=Q_MIN, f_ref=50.0, within=RANGE)
    return OwnCoordinates(RANGE, Q_MIN, 50.0, own=own)


def test_the_default_prior_as_ones_own_is_the_default():
    coordinates = coordinates_for(IntrinsicIASPrior)
    z_ik = coordinates.draw(50, np.random.default_rng(1))
    expected = super(OwnCoordinates, coordinates).ln_prior(z_ik)
    np.testing.assert_allclose(coordinates.ln_prior(z_ik), expected, atol=2e-4)


@pytest.mark.parametrize("alpha", [-4.0, 6.0])
def test_the_evidence_is_that_under_the_prior(alpha):
    """A likelihood of the chirp mass alone, whose integral is known."""
    prior = Steep(alpha=alpha)
    coordinates = coordinates_for(prior)

    class Likelihood:
        def __call__(self, z_ik):
            par = coordinates.parameters(z_ik)
            m1, m2 = par[:, 0], par[:, 1]
            mchirp = (m1 * m2) ** 0.6 / (m1 + m2) ** 0.2
            return -0.5 * ((mchirp - 24) / 0.5) ** 2

        rough = __call__

        def adapt(self, *args):
            pass

    explorer = Explorer(
        coordinates, Likelihood(), lambda *path: generator(2, *path), max_points=40000,
        pilot=coordinates.pilot(1000, np.random.default_rng(1)),
    )  # fmt: skip
    explorer.learn()
    ln_evidence, error = ln_mean_and_error(explorer.produce(1000).ln_weights())
    grid = np.linspace(*RANGE, 4001)
    density = grid**alpha / np.trapezoid(grid**alpha, grid)
    exact = np.trapezoid(density * np.exp(-0.5 * ((grid - 24) / 0.5) ** 2), grid)
    assert ln_evidence == pytest.approx(np.log(exact), abs=4 * error)


def test_what_the_prior_excludes_has_no_density():
    coordinates = coordinates_for(Steep((22.0, 25.0)))
    z_ik = coordinates.draw(2000, np.random.default_rng(1))
    par = coordinates.parameters(z_ik)
    mchirp = (par[:, 0] * par[:, 1]) ** 0.6 / (par[:, 0] + par[:, 1]) ** 0.2
    inside = (mchirp > 22) & (mchirp < 25)
    np.testing.assert_array_equal(coordinates.ln_prior(z_ik) > -np.inf, inside)
    pilot_ik, ln_weight_i = coordinates.pilot(500, np.random.default_rng(2))
    assert len(pilot_ik) == 500
    np.testing.assert_array_equal(ln_weight_i, 0)


def test_ranges_that_do_not_fit_are_told():
    coordinates = OwnCoordinates(
        (26.0, 30.0), Q_MIN, 50.0,
        own=own_prior(Steep((20, 25)), mchirp_range=RANGE, q_min=Q_MIN, f_ref=50.0),
    )  # fmt: skip
    with pytest.raises(InputError, match="choose ranges that fit"):
        coordinates.pilot(200, np.random.default_rng(1))
