"""Errors of quantiles, and digits that mean something."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dotpe_exec.report.intervals import (
    INTERVAL,
    interval_text,
    quantile_errors,
    sample_groups,
    weighted_quantiles,
    with_error,
)


def crossed_samples(rng, n_i, n_e, spread_e=0.5):
    """Samples of every pair: a value of the waveform plus one of the extrinsic sample."""
    value_i, value_e = rng.normal(size=n_i), spread_e * rng.normal(size=n_e)
    weight_i, weight_e = rng.exponential(size=n_i), rng.exponential(size=n_e)
    i, e = np.indices((n_i, n_e)).reshape(2, -1)
    return value_i[i] + value_e[e], weight_i[i] * weight_e[e], i, e


@pytest.mark.parametrize(("n_i", "n_e"), [(60, 200), (300, 40)])
def test_errors_are_the_scatter_over_fresh_waveforms_and_extrinsic_samples(n_i, n_e):
    rng = np.random.default_rng(1)
    quantiles, errors = [], []
    for _ in range(150):
        values, weights, i, e = crossed_samples(rng, n_i, n_e)
        quantiles.append(weighted_quantiles(values, weights, INTERVAL))
        errors.append(quantile_errors(values, weights, [i, e], INTERVAL))
    ratio = np.mean(errors, axis=0) / np.std(quantiles, axis=0)
    np.testing.assert_allclose(ratio, 1, atol=0.25)


def test_error_of_independent_samples_is_the_binomial_one():
    rng = np.random.default_rng(2)
    values, n = rng.random(4000), np.arange(4000)
    errors = quantile_errors(values, np.ones(4000), [n], INTERVAL)
    expected = np.sqrt(np.array(INTERVAL) * (1 - np.array(INTERVAL)) / 4000)
    np.testing.assert_allclose(errors, expected, rtol=0.25)


def test_quantiles_inside_one_waveform_have_an_error_nevertheless():
    i = np.repeat([0, 1, 2, 3], 100)
    values = np.repeat([1.0, 2.0, 3.0, 4.0], 100)
    errors = quantile_errors(values, np.ones(400), [i], INTERVAL)
    assert np.all(errors > 0.05)


@pytest.mark.parametrize(
    ("value", "error", "n_digits", "expected"),
    [
        (31.11234, 0.0004, 2, "31.11"),
        (31.11234, 0.04, 2, "31.11 ± 0.04"),
        (31.11234, 0.4, 2, "31.1 ± 0.4"),
        (31.11234, 0.14, 2, "31.11 ± 0.14"),
        (31.11234, 4.4, 2, "31 ± 4"),
        (614.2, 23.0, 0, "610 ± 20"),
        (614.2, 13.0, 0, "614 ± 13"),
        (614.2, 130.0, 0, "610 ± 130"),
        (-0.001, 0.03, 2, "0.00 ± 0.03"),
        (0.5, None, 2, "0.50"),
        (0.5, 0.0, 2, "0.50"),
        (12345.6, 3.0, 2, "12346 ± 3"),
        (2.0, 0.0999, 3, "2.00 ± 0.10"),
    ],
)
def test_no_digit_that_the_error_makes_meaningless(value, error, n_digits, expected):
    assert with_error(value, error, n_digits) == expected


def test_table_without_indices_has_no_errors():
    samples = pd.DataFrame({"x": np.linspace(0, 1, 101), "weights": 1.0})
    assert interval_text(samples, "x") == "0.50 [0.05, 0.95]"
    indexed = samples.assign(i=np.arange(101), e=np.arange(101), bank_id="a")
    assert interval_text(indexed, "x") == "0.50 ± 0.05 [0.05 ± 0.02, 0.95 ± 0.02]"


def test_waveforms_of_different_banks_are_different():
    samples = pd.DataFrame({"i": [3, 3, 4], "e": [0, 0, 0], "bank_id": ["a", "b", "a"]})
    assert len(np.unique(sample_groups(samples)[0])) == 3
