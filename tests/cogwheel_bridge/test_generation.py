"""Faster ways to what cogwheel's waveform generator makes on a dense grid."""

from __future__ import annotations

import numpy as np
import pytest
from cogwheel import waveform

from dotpe_exec.cogwheel_bridge.generation import (
    LEAST_DENSE,
    delay_on_grid,
    hplus_hcross_by_m,
    interpolated_by_m,
    keep_interpolated,
    strain_on_grid,
)
from dotpe_exec.waveforms.dense import PRECISE, TOLERANCE

PAR_DIC = {
    "m1": 36.0, "m2": 29.0, "s1x_n": 0.4, "s1y_n": -0.2, "s1z": 0.3, "s2x_n": -0.3,
    "s2y_n": 0.1, "s2z": -0.5, "l1": 0.0, "l2": 0.0, "iota": 1.3, "phi_ref": 0.4,
    "psi": 0.3, "ra": 1.0, "dec": 0.2, "t_geocenter": 0.01, "d_luminosity": 500.0,
    "f_ref": 50.0,
}  # fmt: skip
FREQUENCIES = np.arange(20 * 32, 1024 * 32) / 32


@pytest.fixture
def generator():
    return waveform.WaveformGenerator(
        ("H", "L", "V"), 1e9, 16.0, "IMRPhenomXPHM", n_cached_waveforms=2
    )


def test_the_grid_is_dense():
    assert len(FREQUENCIES) > LEAST_DENSE


@pytest.mark.parametrize("by_m", [False, True])
def test_strain_is_that_of_cogwheel(generator, by_m):
    expected = generator.get_strain_at_detectors(FREQUENCIES, PAR_DIC, by_m)
    found = np.empty_like(expected)
    strain_on_grid(generator, FREQUENCIES, PAR_DIC, by_m, found)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9 * np.abs(expected).max())


@pytest.mark.parametrize(("tolerance", "error"), [(TOLERANCE, 2e-6), (PRECISE, 5e-9)])
def test_cogwheel_takes_what_is_kept(generator, tolerance, error):
    expected = hplus_hcross_by_m(generator, FREQUENCIES, PAR_DIC)
    keep_interpolated(generator, FREQUENCIES, PAR_DIC, tolerance)
    shape = {name: PAR_DIC[name] for name in generator._waveform_params}
    at_1_mpc = shape | {"d_luminosity": 1.0, "phi_ref": 0.0}
    found = generator.get_hplus_hcross(FREQUENCIES, at_1_mpc, by_m=True)
    assert generator.n_slow_evaluations == 0
    np.testing.assert_allclose(found, expected, rtol=0, atol=error * np.abs(expected).max())
    if tolerance == TOLERANCE:
        same = interpolated_by_m(generator, FREQUENCIES, PAR_DIC)
        np.testing.assert_array_equal(found, same)


def test_few_frequencies_are_not_interpolated(generator):
    few = FREQUENCIES[::8]
    np.testing.assert_array_equal(
        interpolated_by_m(generator, few, PAR_DIC),
        hplus_hcross_by_m(generator, few, PAR_DIC),
    )


@pytest.mark.parametrize("time", [0.0, 0.0123, 60.01, -0.2])
def test_delays_are_exponentials(time):
    expected = np.exp(-2j * np.pi * FREQUENCIES * time)
    np.testing.assert_allclose(delay_on_grid(FREQUENCIES, time), expected, atol=1e-9)
