"""P-P tests: uniform probabilities pass, wrong ones do not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dotpe_exec.campaign.evaluate import TESTED, probability_below, weighted_quantiles
from dotpe_exec.campaign.statistics import calibrations, combined_p_value


def table_of(n, width):
    """True values from N(0, 1), posteriors N(datum, 1) whose width is off by a factor."""
    from scipy.stats import norm

    rng = np.random.default_rng(1)
    columns = {}
    for name in TESTED:
        pull = rng.standard_normal(n)
        columns[f"below_{name}"] = norm.cdf(pull / width)
        columns[f"bias_{name}"] = -pull / width
    return pd.DataFrame(columns)


def test_right_posteriors_pass():
    some = calibrations(table_of(300, 1.0))
    assert [one.name for one in some] == list(TESTED)
    assert combined_p_value(some) > 0.01
    for one in some:
        for level, share, error in zip((0.5, 0.9), one.coverage, one.coverage_error,
                                       strict=True):  # fmt: skip
            assert abs(share - level) < 4 * error
        assert abs(one.bias) < 4 * one.bias_error


def test_narrow_posteriors_do_not():
    some = calibrations(table_of(300, 0.5))
    assert all(one.p_value < 0.01 for one in some)
    assert all(one.coverage[1] < 0.8 for one in some)


def test_few_injections_make_no_statistics():
    assert calibrations(table_of(3, 1.0)) == []


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=50), st.floats(-10, 10))
def test_probability_is_that_of_sorted_samples(values, truth):
    values = np.array(values)
    probability = probability_below(values, np.ones(len(values)), truth)
    mirrored = probability_below(-values, np.ones(len(values)), -truth)
    assert probability + mirrored == pytest.approx(1)
    assert np.mean(values < truth) <= probability <= np.mean(values <= truth)


def test_quantiles_of_weights_are_those_of_repetition():
    rng = np.random.default_rng(3)
    values, counts = rng.standard_normal(500), rng.integers(1, 5, 500)
    repeated = np.repeat(values, counts)
    found = weighted_quantiles(values, counts.astype(float), (0.05, 0.5, 0.95))
    np.testing.assert_allclose(found, np.quantile(repeated, (0.05, 0.5, 0.95)), atol=0.03)
