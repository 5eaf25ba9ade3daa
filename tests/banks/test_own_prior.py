"""Priors of one's own: what is accepted, drawn, weighed and recorded."""

from __future__ import annotations

import json
import pickle
import sys

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats

from dotpe_exec.banks.build import build_bank, build_banks
from dotpe_exec.banks.format import open_bank
from dotpe_exec.banks.own_prior import TravellingPrior, own_prior
from dotpe_exec.banks.prior import Proposal
from dotpe_exec.errors import BankError, InputError
from dotpe_exec.kernels.masses import chirp_mass
from dotpe_exec.waveforms.parameters import PARAMETERS

RANGE = (20.0, 25.0)
LIMITS = {"mchirp_range": RANGE, "q_min": 0.2, "f_ref": 50.0}
BANK = {
    "bank_size": 150,
    "mchirp_range": RANGE,
    "fbin": np.array([20.0, 30.0, 45.0, 70.0, 120.0, 250.0]),
    "seed": 3,
    "executor": "serial",
    "progress": False,
}


class HeavyPrimaries:
    """m1 uniform, q falling, no spins but that of the heavier, along L."""

    low, high = 22.0, 40.0

    def draw(self, n, rng):
        m1 = rng.uniform(self.low, self.high, n)
        q = 1 - 0.5 * rng.random(n) ** 2
        return {"m1": m1, "m2": q * m1, "s1z": rng.uniform(0, 0.5, n),
                "iota": np.arccos(rng.uniform(-1, 1, n))}  # fmt: skip

    def ln_prob(self, table):
        m1, q = table["m1"], table["m2"] / table["m1"]
        inside = (m1 >= self.low) & (m1 <= self.high) & (q > 0.5) & (q < 1)
        with np.errstate(divide="ignore", invalid="ignore"):
            density = 1 / (self.high - self.low) / np.sqrt(2 * (1 - q)) / m1
            return np.where(inside, np.log(density), -np.inf)


class TwiceAsHeavyAtMost(HeavyPrimaries):
    """The same with another density and range of m1."""

    high = 30.0


class EachWithEqualMasses:
    def __init__(self, **columns):
        self.columns = columns

    def draw(self, n, rng):
        ones = np.ones(n)
        table = {"m1": 30 * ones, "m2": 30 * ones, "iota": ones}
        return table | {key: value * ones for key, value in self.columns.items()}

    def ln_prob(self, table):
        return np.zeros(len(table))


SCRIPT_PRIOR = (HeavyPrimaries(), TwiceAsHeavyAtMost())


@pytest.mark.parametrize("aligned", [False, True])
def test_density_of_the_default_prior_is_cogwheels(aligned):
    from cogwheel import gw_prior

    kind = gw_prior.IntrinsicAlignedSpinIASPrior if aligned else gw_prior.IASPrior
    cogwheels = own_prior(kind, aligned_spins=aligned, **LIMITS)
    default = Proposal(RANGE, 0.2, alpha=1.0, aligned_spins=aligned)
    rng = np.random.default_rng(1)
    for drawn_ik in (default.draw(100, rng), cogwheels.draw(100, rng)):
        expected = cogwheels.ln_prob(drawn_ik)
        np.testing.assert_allclose(default.ln_prob(drawn_ik), expected, atol=1e-8)
    outside_ik = Proposal((15.0, 30.0), 0.05, 1.0, aligned).draw(200, rng)
    expected = cogwheels.ln_prob(outside_ik)
    assert 0 < np.isfinite(expected).sum() < 200
    np.testing.assert_allclose(default.ln_prob(outside_ik), expected, atol=1e-8)


def test_density_of_the_default_prior_is_normalised():
    wide = Proposal((10.0, 30.0), 0.2, -1.7, aligned_spins=True)
    rng = np.random.default_rng(2)
    n = 200_000
    # Uniform in a box around it: the mean of the density times the volume is one.
    m1, m2 = rng.uniform(10, 80, n), rng.uniform(5, 40, n)
    s1z, s2z, cosiota = rng.uniform(-1, 1, (3, n))
    columns = {"m1": m1, "m2": m2, "s1z": s1z, "s2z": s2z, "iota": np.arccos(cosiota)}
    table = pd.DataFrame(columns).reindex(columns=list(PARAMETERS), fill_value=0.0)
    density = np.exp(wide.ln_prob(table.to_numpy())) * 70 * 35 * 2 * 2 * 2
    error = density.std() / np.sqrt(n)
    assert error < 0.02
    assert abs(density.mean() - 1) < 4 * error


@pytest.mark.parametrize("name", ["LVCPrior", "IntrinsicLVCPrior"])
def test_classes_of_cogwheel_draw_their_intrinsic_part(name):
    from cogwheel import gw_prior

    prior = own_prior(getattr(gw_prior, name), **LIMITS)
    table = pd.DataFrame(
        prior.draw(2000, np.random.default_rng(4)), columns=list(PARAMETERS)
    )
    for body in (1, 2):
        magnitude = np.sqrt(
            table[f"s{body}x_n"] ** 2 + table[f"s{body}y_n"] ** 2 + table[f"s{body}z"] ** 2
        )
        assert stats.kstest(magnitude, "uniform").pvalue > 0.003
    assert stats.kstest(np.cos(table["iota"]), "uniform", (-1, 2)).pvalue > 0.003
    # Its density is that of magnitudes and directions that are uniform.
    masses = Proposal(RANGE, 0.2, 1.0).ln_prob(
        table.assign(**dict.fromkeys(PARAMETERS[2:8], 0.0)).to_numpy()
    )
    nonspinning = pd.DataFrame(table[["m1", "m2"]])
    q = nonspinning["m2"] / nonspinning["m1"]
    spins_at_zero = np.log(q / (1 + q) / (2 * 2 * q) / np.pi**2)
    squares = [
        sum(table[f"s{body}{axis}"] ** 2 for axis in ("x_n", "y_n", "z")) for body in (1, 2)
    ]
    expected = masses - spins_at_zero - np.log(16 * np.pi**2 * squares[0] * squares[1])
    values = prior.ln_prob(table.to_numpy())
    np.testing.assert_allclose(values, expected, atol=1e-3)


def test_an_instance_brings_its_own_arguments():
    from cogwheel.gw_prior import IntrinsicIASPrior

    instance = IntrinsicIASPrior(mchirp_range=(30, 31), q_min=0.9, f_ref=20)
    with_own = own_prior(instance, **LIMITS)
    drawn_ik = with_own.draw(50, np.random.default_rng(1))
    assert chirp_mass(drawn_ik[:, 0], drawn_ik[:, 1]).min() >= 30
    assert (drawn_ik[:, 1] / drawn_ik[:, 0]).min() >= 0.9


def test_weights_of_a_pair_average_to_one_and_give_the_physical_prior():
    prior = own_prior((HeavyPrimaries(), TwiceAsHeavyAtMost()), **LIMITS)
    drawn_ik, share = prior.draw_with_share(4000, np.random.default_rng(1))
    assert drawn_ik[:, 0].max() <= 30  # no waveforms that the physical prior excludes
    assert share == pytest.approx(8 / 18, abs=0.03)
    weights = np.exp(prior.log_prior_weights(drawn_ik)) * share
    assert np.mean(weights) == pytest.approx(1, abs=0.05)


def test_a_physical_prior_may_be_a_function():
    prior = own_prior((HeavyPrimaries(), lambda table: np.log(table["m1"])), **LIMITS)
    drawn_ik = prior.draw(10, np.random.default_rng(1))
    expected = np.log(drawn_ik[:, 0]) - HeavyPrimaries().ln_prob(
        pd.DataFrame(drawn_ik, columns=list(PARAMETERS))
    )
    np.testing.assert_allclose(prior.log_prior_weights(drawn_ik), expected)


def test_a_prior_travels_and_draws_the_same():
    prior = own_prior(HeavyPrimaries(), **LIMITS)
    arrived = pickle.loads(pickle.dumps(TravellingPrior.of(prior)))
    here, there = (p.draw(5, np.random.default_rng(7)) for p in (prior, arrived))
    np.testing.assert_array_equal(here, there)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own") / "bank"
    return build_bank(folder, **BANK, prior=SCRIPT_PRIOR)


class TestBank:
    def test_configuration_names_the_prior(self, pair):
        recorded = json.loads((pair / "bank_config.json").read_text())
        assert recorded["prior"]["drawing"].endswith(".HeavyPrimaries")
        assert recorded["prior"]["physical"].endswith(".TwiceAsHeavyAtMost")
        assert "alpha" not in recorded

    def test_draws_are_those_of_the_prior_within_the_range(self, pair):
        table = open_bank(pair).table()
        mchirp = chirp_mass(table["m1"], table["m2"])
        assert mchirp.between(*RANGE).all()
        assert table["m1"].between(22, 30).all()
        assert (table["s2z"] == 0).all()

    def test_weights_average_to_the_range_s_share_of_the_physical_prior(self, pair):
        def inside(m1):
            q = np.linspace(0.5, 1, 4001)[:-1]
            q = 0.5 * (q[1:] + q[:-1])
            mchirp = chirp_mass(m1, q * m1)
            density = (mchirp > RANGE[0]) & (mchirp < RANGE[1])
            return np.mean(density / np.sqrt(2 * (1 - q))) * 0.5 / 8

        exact = integrate.quad(inside, 22, 30, limit=200, epsabs=1e-4)[0]
        weights = np.exp(open_bank(pair).log_prior_weights())
        assert np.mean(weights) == pytest.approx(exact, abs=0.06)

    def test_built_again_it_is_left_and_another_prior_is_refused(self, pair):
        before = (pair / "bank_config.json").stat().st_mtime_ns
        build_bank(pair, **BANK, prior=SCRIPT_PRIOR)
        assert (pair / "bank_config.json").stat().st_mtime_ns == before
        with pytest.raises(BankError, match="its prior is"):
            build_bank(pair, **BANK, prior=HeavyPrimaries())
        with pytest.raises(BankError, match="its prior is"):
            build_bank(pair, **BANK)

    def test_a_class_of_cogwheel_needs_no_weights(self, tmp_path):
        from cogwheel.gw_prior import IntrinsicLVCPrior

        bank = open_bank(build_bank(tmp_path / "lvc", **BANK, prior=IntrinsicLVCPrior))
        assert not bank.log_prior_weights().any()
        assert "IntrinsicLVCPrior" in bank.config.info["prior"]["physical"]

    def test_several_banks_share_it(self, tmp_path):
        from cogwheel.gw_prior import IntrinsicIASPrior

        folders = build_banks(
            tmp_path / "banks", n_banks=2, **BANK | {"bank_size": 400},
            prior=IntrinsicIASPrior,
        )  # fmt: skip
        banks = [open_bank(folder) for folder in folders.values()]
        tables = [bank.table() for bank in banks]
        mchirp = [chirp_mass(table["m1"], table["m2"]) for table in tables]
        assert mchirp[0].max() <= mchirp[1].min()
        shares = [np.exp(bank.log_prior_weights()).mean() for bank in banks]
        assert sum(shares) == pytest.approx(1, abs=0.06)

    def test_range_may_be_left_to_the_prior(self, tmp_path):
        bank = open_bank(
            build_bank(
                tmp_path / "bank",
                **BANK | {"mchirp_range": None},
                prior=EachWithEqualMasses(),
            )
        )
        assert bank.config.mchirp_range == pytest.approx((26.1166, 26.1166), abs=1e-3)

    def test_command_line_takes_a_name(self, tmp_path, monkeypatch):
        from click.testing import CliRunner

        from dotpe_exec.cli import main

        (tmp_path / "my_prior_module.py").write_text(
            "class Fixed:\n"
            "    def draw(self, n, rng):\n"
            "        return {'m1': [30.0] * n, 'm2': [25.0] * n,\n"
            "                'iota': rng.uniform(0, 3, n)}\n"
            "PRIOR = Fixed()\n"
        )
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "path", list(sys.path))
        arguments = ["bank", "build", "bank", "--bank-size", "20", "--event", "GW150914",
                     "--pn-phase-tol", "2", "--prior", "my_prior_module:PRIOR",
                     "--executor", "serial"]  # fmt: skip
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, result.output
        table = open_bank(tmp_path / "bank").table()
        assert (table["m1"] == 30).all()


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        (3, "expected an object with the methods"),
        (HeavyPrimaries, "is the class HeavyPrimaries"),
        ((HeavyPrimaries(),), "has 1 parts"),
        ((EachWithEqualMasses(), 3), "no method ln_prob"),
        ("no_such_module:NAME", "that can be imported"),
        ("numpy:no_such_name", "that can be imported"),
    ],
)
def test_what_is_no_prior_is_refused(prior, message):
    with pytest.raises(InputError, match=message):
        own_prior(prior, **LIMITS)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"m2": 31.0}, "m1 >= m2"),
        ({"m2": np.nan}, "finite numbers"),
        ({"s1z": 0.9, "s1x_n": 0.9}, "spins of at most 1"),
        ({"iota": 4.0}, "iota from 0 to pi"),
        ({"s2x_n": 0.1}, "no in-plane spins"),
        ({"m1": "heavy"}, "no table of numbers|multiply"),
    ],
)
def test_draws_that_cannot_be_used_are_refused(columns, message):
    if "m1" in columns:
        prior = EachWithEqualMasses()
        prior.draw = lambda n, rng: {"m1": ["heavy"] * n, "m2": [1.0] * n, "iota": [0] * n}
    else:
        prior = EachWithEqualMasses(**columns)
    with pytest.raises(InputError, match=message):
        own_prior(prior, aligned_spins=True, **LIMITS).draw(4, np.random.default_rng(1))


def test_densities_that_cannot_be_used_are_refused():
    for bad in (lambda t: t["m1"] * np.nan, lambda t: 1.0, lambda t: t["no_such"]):
        with pytest.raises(InputError, match="ln_prob of"):
            own_prior((HeavyPrimaries(), bad), **LIMITS).draw(4, np.random.default_rng(1))


def test_precession_is_refused_for_aligned_spins():
    from cogwheel.gw_prior import IntrinsicIASPrior

    with pytest.raises(InputError, match="in-plane spins"):
        own_prior(IntrinsicIASPrior, aligned_spins=True, **LIMITS)


def test_cogwheel_priors_with_missing_arguments_are_refused():
    from cogwheel.gw_prior import PNIntrinsicVolumetricSpinPrior

    with pytest.raises(InputError, match="eigvecs"):
        own_prior(PNIntrinsicVolumetricSpinPrior, **LIMITS)
