"""The P-P test: its machinery by default, a few signals of it with ``-m slow``."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import kstest


@pytest.fixture(scope="module")
def pp(bench):
    return bench("pp")


@pytest.fixture(scope="module")
def many_signals(pp):
    return [pp.draw_parameters(seed) for seed in range(2000)]


def column(signals, name):
    return np.array([signal[name] for signal in signals])


@pytest.mark.parametrize(
    ("name", "cumulative"),
    [
        ("d_luminosity", lambda pp, d: (d / pp.DISTANCE_CUT) ** 3),
        ("ra", lambda pp, ra: ra / (2 * np.pi)),
        ("dec", lambda pp, dec: (np.sin(dec) + 1) / 2),
        ("psi", lambda pp, psi: psi / np.pi),
        ("iota", lambda pp, iota: (1 - np.cos(iota)) / 2),
    ],
)
def test_signals_are_drawn_from_the_prior(pp, many_signals, name, cumulative):
    assert kstest(cumulative(pp, column(many_signals, name)), "uniform").pvalue > 1e-3


def test_signals_are_drawn_uniformly_in_component_masses(pp, many_signals):
    """The density of ln q at given chirp mass m is uniform in m1, m2: m cosh(lnq/2)^0.4."""
    m1, m2 = column(many_signals, "m1"), column(many_signals, "m2")
    mchirp = (m1 * m2) ** 0.6 / (m1 + m2) ** 0.2
    low, high = pp.MCHIRP_RANGE
    uniform = (mchirp**2 - low**2) / (high**2 - low**2)
    assert kstest(uniform, "uniform").pvalue > 1e-3
    assert np.all((m2 / m1 >= pp.Q_MIN) & (m2 <= m1))


def test_bank_weights_make_its_draws_the_prior_of_the_signals(pp):
    """Means over a bank's draws, weighted, are those over signals."""
    from dotpe_exec.banks.prior import Proposal

    bank = Proposal(pp.MCHIRP_RANGE, pp.Q_MIN, alpha=-1.7)
    draws = bank.draw(20_000, np.random.default_rng(1))
    weights = np.exp(bank.log_prior_weights(draws, pp.MCHIRP_RANGE))
    mchirp = (draws[:, 0] * draws[:, 1]) ** 0.6 / (draws[:, 0] + draws[:, 1]) ** 0.2
    low, high = pp.MCHIRP_RANGE
    below = np.average(mchirp < 37, weights=weights)
    assert below == pytest.approx((37**2 - low**2) / (high**2 - low**2), abs=0.01)
    assert np.mean(weights) == pytest.approx(1, abs=0.01)


def test_distance_table_ends_where_the_signals_do(pp):
    """Where data say nothing, ln L is 0 only for a prior that is normalised to the cut."""
    from dotpe_exec.kernels.distance import lnlike_marginalized, sample_distance

    table = pp.distance_table()
    assert lnlike_marginalized(0.0, 1.0, table) == pytest.approx(0, abs=1e-3)
    d_h, h_h = 30 * pp.DISTANCE_CUT, 25 * pp.DISTANCE_CUT**2  # a signal near the cut
    distance = np.linspace(0, pp.DISTANCE_CUT, 200_001)[1:]
    likelihood = np.exp(d_h / distance - 0.5 * h_h / distance**2)
    expected = np.log(np.mean(3 * (distance / pp.DISTANCE_CUT) ** 2 * likelihood))
    assert lnlike_marginalized(d_h, h_h, table) == pytest.approx(expected, abs=0.01)
    drawn = sample_distance(d_h, h_h, np.linspace(0, 1, 1001)[:-1], table)
    assert drawn.max() <= pp.DISTANCE_CUT


def test_probability_below_counts_half_of_ties_and_weights(pp):
    values, weights = np.array([1.0, 2, 2, 3]), np.array([0.4, 0.1, 0.3, 0.2])
    assert pp.probability_below(values, weights, 2.0) == pytest.approx(0.6)
    assert pp.probability_below(values, weights, 0.0) == 0
    assert pp.probability_below(values, weights, 5.0) == pytest.approx(1)


def fake_results(pp, below):
    names = (*pp.TESTED, *pp.ALSO)
    return [{"below": dict.fromkeys(names, value)} for value in below]


def test_right_posteriors_pass_and_narrow_ones_fail(pp):
    uniform = (np.arange(100) + 0.5) / 100
    assert min(pp.p_values(fake_results(pp, uniform)).values()) > 0.9
    # Posteriors of half the width, true values normally distributed about their centres.
    from scipy.stats import norm

    narrow = norm.cdf(2 * norm.ppf(uniform))
    assert max(pp.p_values(fake_results(pp, narrow)).values()) < 0.01


def test_signals_that_were_analysed_are_not_again(pp, monkeypatch, tmp_path):
    events = tmp_path / "events"
    events.mkdir()
    for k in range(3):
        (events / f"{k:04d}.json").write_text(json.dumps({"signal": k}))
    monkeypatch.setattr(pp, "make_bank", lambda *_: pytest.fail("there is nothing to do"))
    assert pp.run_test(tmp_path, 3, 1) == [{"signal": k} for k in range(3)]


@pytest.mark.slow
def test_a_few_signals_lie_in_their_posteriors(pp, tmp_path):
    """The first 12 of the 100 signals of ``validation/pp.py``: minutes on two cores."""
    results = pp.run_test(tmp_path, 12, 2)
    assert 7 < np.median([result["snr"] for result in results]) < 14
    # Of noise alone, a seventh of the arrival times are in the range.
    assert min(result["in_time"] for result in results) > 0.05
    p_values = pp.p_values(results)
    assert all(p_values[name] > 1e-3 for name in pp.TESTED), p_values
