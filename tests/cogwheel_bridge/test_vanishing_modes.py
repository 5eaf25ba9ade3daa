"""References of which a mode vanishes somewhere: masses and spins cancel there."""

from __future__ import annotations

import numpy as np
import pytest

from dotpe_exec.cogwheel_bridge import make_likelihood
from dotpe_exec.cogwheel_bridge.mode_summary import _generator_for_summaries, _mode_summary
from dotpe_exec.events import fbin_from_pn_phase_tol, simulate_event

REFERENCE = {
    "m1": 41.2663, "m2": 35.932, "s1x_n": -0.0923, "s1y_n": -0.4007, "s1z": 0.8293,
    "s2x_n": 0.2928, "s2y_n": -0.1725, "s2z": 0.7195, "l1": 0.0, "l2": 0.0,
    "iota": 2.7618, "psi": 0.9007, "phi_ref": 3.3403, "ra": 3.8052, "dec": -1.4857,
    "t_geocenter": 0.0023, "d_luminosity": 2400.0, "f_ref": 50.0,
}  # fmt: skip
WITHOUT_HOLE = REFERENCE | {"m1": 44.0, "m2": 33.5}
ALIGNED = dict.fromkeys(("s1x_n", "s1y_n", "s2x_n", "s2y_n"), 0.0)
OTHERS = [
    {},
    {"s1z": 0.5, "s2z": 0.3},
    {"m1": 42.0, "m2": 35.3, "iota": 2.2},
    {"m1": 46.0, "m2": 32.5, "s1z": 0.6},
    {"s1x_n": 0.3, "s2y_n": 0.4, "psi": 0.4},
]


@pytest.fixture(
    scope="module", params=[(8.0, 512.0), (32.0, 1024.0)], ids=["short", "dense"]
)
def event(request):
    """On the dense grid waveforms are interpolated."""
    duration, fmax = request.param
    settings = {"duration": duration, "fmax": fmax, "injection": REFERENCE, "seed": 5}
    return simulate_event("hole", "HL", **settings)


def likelihood_around(event, par_dic_0):
    fbin = fbin_from_pn_phase_tol(event, 0.05)
    return make_likelihood(event, "IMRPhenomXPHM", par_dic_0, fbin)


def by_polarisation(likelihood):
    generator = _generator_for_summaries(likelihood, None)
    made = _mode_summary(likelihood, likelihood.event_data, generator, likelihood.asd_drift)
    return lambda par_dic: made.lnlike_and_metadata(par_dic)[0]


def errors(event, par_dic_0, function):
    """Return binned less exact ln likelihoods, with one noise level."""
    likelihood = likelihood_around(event, par_dic_0)
    lnlike = function(likelihood)
    parameters = [REFERENCE | changes for changes in OTHERS]
    return np.array([lnlike(p) - likelihood.lnlike_fft(p) for p in parameters])


def test_there_is_a_hole_at_a_bin(event):
    likelihood = likelihood_around(event, REFERENCE)
    generator = likelihood.waveform_generator
    inside = likelihood.fbin < 150
    for par_dic, hole in ((REFERENCE, True), (WITHOUT_HOLE, False)):
        h_mpb = generator.get_hplus_hcross(likelihood.fbin, par_dic | ALIGNED, by_m=True)
        amplitude_b = np.abs(h_mpb[list(generator.m_arr).index(1), 0])
        least = np.min(amplitude_b[inside]) / np.max(amplitude_b)
        assert least < 1e-10 if hole else least > 1e-3


@pytest.mark.parametrize(
    ("function", "changes"),
    [(by_polarisation, {}), (lambda likelihood: likelihood.lnlike, ALIGNED)],
    ids=["by polarisation", "by detector"],
)
def test_binning_does_not_suffer_from_it(event, function, changes):
    with_hole = errors(event, REFERENCE | changes, function)
    without = errors(event, WITHOUT_HOLE | changes, function)
    np.testing.assert_allclose(with_hole, without, atol=0.03)


@pytest.mark.slow
def test_no_reference_makes_it_fail():
    """Whatever cancels: nearly equal masses, any spins, any inclination."""
    rng = np.random.default_rng(1)
    for _ in range(60):
        total, q = rng.uniform(30, 90), rng.uniform(0.75, 0.99)
        spins = dict(zip(("s1z", "s2z"), rng.uniform(-0.9, 0.9, 2).tolist(), strict=True))
        par_dic_0 = REFERENCE | spins | {
            "m1": total / (1 + q), "m2": q * total / (1 + q), "s1x_n": 0.1, "s1y_n": 0.0,
            "s2x_n": 0.0, "s2y_n": 0.0, "iota": float(rng.uniform(0.2, 2.9)),
        }  # fmt: skip
        settings = {"duration": 8.0, "fmax": 512.0, "injection": par_dic_0, "seed": 1}
        likelihood = likelihood_around(simulate_event("any", "HL", **settings), par_dic_0)
        snr2 = float(np.sum(likelihood.event_data.injection["h_h"]))
        others = [par_dic_0, par_dic_0 | {name: 0.7 * spins[name] for name in spins}]
        for function in (by_polarisation, lambda made: made.lnlike):
            lnlike = function(likelihood)
            for par_dic in others:
                error = lnlike(par_dic) - likelihood.lnlike_fft(par_dic)
                assert abs(error) < 2e-3 * snr2, (par_dic_0, par_dic)
