"""The quick search: chirp masses of light and heavy signals, and the ranges around them."""

import numpy as np
import pytest

from dotpe_exec.adaptive.mchirp_range import RANGE_FACTOR, range_around, widened
from dotpe_exec.events import load_event, simulate_event
from dotpe_exec.events.matched_filter import (
    LIGHTEST,
    LONGEST,
    LOWEST,
    _Stretch,
    _templates,
    lightest_in,
    search_template,
)
from dotpe_exec.kernels.masses import chirp_mass

INJECTION = {
    "s1x_n": 0.0, "s1y_n": 0.0, "s1z": 0.02, "s2x_n": 0.0, "s2y_n": 0.0, "s2z": 0.0,
    "iota": 2.6, "psi": 1.0, "phi_ref": 2.0, "ra": 1.2, "dec": -0.4, "t_geocenter": 0.0,
    "f_ref": 50.0, "d_luminosity": 100.0, "l1": 0.0, "l2": 0.0,
}  # fmt: skip


def simulated(m1, m2, snr):
    """Return an event of 32 s with a signal of a signal-to-noise ratio."""
    par_dic = INJECTION | {"m1": m1, "m2": m2}
    options = {"detectors": "HL", "duration": 32.0, "seed": 12}
    near = simulate_event("near", injection=par_dic, **options)
    par_dic["d_luminosity"] *= np.sqrt(sum(near.injection["h_h"])) / snr
    return simulate_event("light", injection=par_dic, **options)


@pytest.mark.slow
@pytest.mark.parametrize(("m1", "m2"), [(1.7, 1.3), (5.9, 1.6)])
def test_light_binaries_are_found_in_data_that_are_long_enough(m1, m2):
    event = simulated(m1, m2, snr=15)
    assert lightest_in(event) == LIGHTEST
    best = search_template(event, "IMRPhenomXPHM", 50.0)
    mchirp = float(chirp_mass(m1, m2))
    low, high = range_around(best.mchirp)
    assert low < mchirp < high
    assert best.mchirp == pytest.approx(mchirp, rel=0.05)
    assert best.lnlike > 40


def test_short_data_are_not_searched_for_light_binaries():
    assert lightest_in(load_event("GW150914")) == LOWEST


@pytest.mark.parametrize("mchirp", [1.2, 3.0])
def test_interpolated_templates_are_the_approximants(mchirp):
    event = simulated(1.7, 1.3, snr=15)
    stretch = _Stretch(event, mchirp, (-0.1, 0.1), longest=LONGEST)
    template = _templates(np.array([mchirp]))
    (interpolated_f,) = stretch._waveforms(template, "IMRPhenomXPHM", 50.0)
    stretch._interpolate = False
    (exact_f,) = stretch._waveforms(template, "IMRPhenomXPHM", 50.0)
    np.testing.assert_allclose(
        interpolated_f, exact_f, rtol=0, atol=1e-6 * np.abs(exact_f).max()
    )


@pytest.mark.parametrize("mchirp", [1.2, 2.5, 5.0, 8.0, 30.0, 100.0])
def test_ranges_are_narrower_where_signals_are_longer(mchirp):
    low, high = range_around(mchirp)
    assert low < mchirp < high
    assert high / low < 1.25 * RANGE_FACTOR**2
    if mchirp < 3:
        assert high / low < 1.4
    below, above = widened((low, high), True, False)
    assert below < low and above == high
