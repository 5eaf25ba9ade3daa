"""The refined reference: a maximum, and the same from everywhere."""

from __future__ import annotations

import numpy as np
import pytest

from dotpe_exec.cogwheel_bridge import generation, make_posterior, weights
from dotpe_exec.cogwheel_bridge.ascent import newton_maximum
from dotpe_exec.cogwheel_bridge.climb import Climber
from dotpe_exec.cogwheel_bridge.coordinates import Coordinates
from dotpe_exec.cogwheel_bridge.local_search import PhaseMaximizedLikelihood
from dotpe_exec.events import fbin_from_pn_phase_tol, simulate_event
from dotpe_exec.waveforms import dense

SIGNAL = {
    "m1": 36.0, "m2": 24.0, "ra": 1.0, "dec": 0.3, "iota": 0.8, "psi": 0.2, "phi_ref": 0.7,
    "s1z": 0.3, "s2z": 0.1, "s1x_n": 0.2, "f_ref": 50.0, "d_luminosity": 700.0,
    "t_geocenter": 0.013,
}  # fmt: skip
MCHIRP = 25.4


PAR_DIC = {
    "m1": 40.0, "m2": 25.0, "s1z": 0.2, "s2z": 0.2, "iota": 2.5, "ra": 5.0, "dec": -1.0,
    "psi": 2.0, "t_geocenter": 0.02,
}  # fmt: skip


@pytest.fixture(scope="module")
def event():
    """A signal in three detectors; the search does not know it."""
    settings = {"duration": 4.0, "fmax": 512.0, "injection": SIGNAL, "seed": 4}
    event = simulate_event("refined", "HLV", **settings)
    event.injection = None
    return event


def likelihood_for(event, **how):
    fbin = fbin_from_pn_phase_tol(event, 0.1)
    return make_posterior(
        event,
        approximant="IMRPhenomXPHM",
        likelihood_kwargs={"fbin": fbin, "pn_phase_tol": None},
        ref_wf_finder_kwargs={"time_range": (-0.1, 0.1), "f_ref": 50.0},
        **how,
    ).likelihood


def assert_same_reference(one, other):
    """Differences are rounding that an approximant's own noise has carried further.

    What they may be is a hundredth of the parameters' own errors.
    """
    np.testing.assert_allclose(one.asd_drift, other.asd_drift, atol=1e-5)
    masses = dict.fromkeys(("m1", "m2"), 0.02)
    others = dict.fromkeys(("s1z", "iota", "ra", "dec", "psi"), 5e-3)
    for name, error in (masses | others).items():
        assert one.par_dic_0[name] == pytest.approx(other.par_dic_0[name], abs=error)
    assert one.lnlike(one.par_dic_0) == pytest.approx(
        other.lnlike(other.par_dic_0), abs=1e-3
    )


@pytest.fixture(scope="module")
def refined(event):
    return likelihood_for(event, mchirp_guess=MCHIRP)


class TestReference:
    @pytest.mark.parametrize("factor", [0.9, pytest.param(1.1, marks=pytest.mark.slow)])
    def test_does_not_depend_on_the_guess(self, event, refined, factor):
        other = likelihood_for(event, mchirp_guess=factor * MCHIRP)
        assert_same_reference(other, refined)

    def test_of_a_given_waveform_is_the_one_of_the_search(self, event, refined):
        given = refined.par_dic_0 | {"m1": 38.0, "m2": 25.0, "iota": 2.0, "s1z": 0.0}
        other = likelihood_for(event, par_dic_0=given, refine_reference=True)
        assert_same_reference(other, refined)

    def test_given_is_used_as_it_is_unless_asked_otherwise(self, event, refined):
        given = refined.par_dic_0 | {"m1": 38.0}
        assert likelihood_for(event, par_dic_0=given).par_dic_0 == given

    def test_is_the_maximum_of_the_exact_likelihood(self, event, refined):
        coordinates = Coordinates(event.tgps, "L")
        par_dic_0 = refined.par_dic_0
        place_k = coordinates.of(par_dic_0)

        def lnlike(moved_k):
            """Exact, maximised over phase (to first order) and distance."""
            par_dic = par_dic_0 | coordinates.par_dic(moved_k)
            best = -np.inf
            for phi_ref in par_dic_0["phi_ref"] + np.linspace(-0.3, 0.3, 25):
                h_f = refined._get_h_f(par_dic | {"phi_ref": phi_ref})
                d_h = refined._compute_d_h(h_f).real.sum()
                best = max(best, d_h**2 / refined._compute_h_h(h_f).sum() / 2)
            return best

        top = lnlike(place_k)
        assert top == pytest.approx(refined.lnlike_fft(par_dic_0), abs=0.01)
        for k, step in enumerate(coordinates.steps_k):
            for sign in (-1, 1):
                moved_k = place_k.copy()
                moved_k[k] += sign * 0.3 * step
                assert lnlike(moved_k) < top + 0.01

    def test_is_the_same_where_the_way_there_is_interpolated(
        self, event, refined, monkeypatch
    ):
        for module in (generation, weights):
            monkeypatch.setattr(module, "LEAST_DENSE", 1000)
        monkeypatch.setattr(dense, "_N_NODES", {dense.TOLERANCE: 513, dense.PRECISE: 2049})
        other = likelihood_for(event, mchirp_guess=MCHIRP)
        assert_same_reference(other, refined)

    def test_lies_where_the_priors_mass_ratios_do(self, event, refined):
        assert refined.par_dic_0["m2"] / refined.par_dic_0["m1"] < 0.85
        within = likelihood_for(event, mchirp_guess=MCHIRP, q_min=0.9)
        par_dic = within.par_dic_0
        assert 0.9 <= par_dic["m2"] / par_dic["m1"] < 0.99
        drop = refined.lnlike(refined.par_dic_0) - within.lnlike(par_dic)
        assert -0.1 < drop < 20

    def test_no_climb_from_elsewhere_ends_higher(self, event, refined):
        """Other directions, orientations, mass ratios and spins; no source that is near."""
        around = PhaseMaximizedLikelihood(
            event,
            refined.waveform_generator,
            refined.par_dic_0,
            given_asd_drift=refined.asd_drift,
            pn_phase_tol=0.1,
        )
        coordinates = Coordinates(event.tgps, "L")
        options = {
            "two_sided": False,
            "least_distance": 0.1 * refined.par_dic_0["d_luminosity"],
        }
        climber = Climber(around, coordinates, refined.par_dic_0, **options)
        top = climber.lnlike(refined.par_dic_0)
        top_k, rng = coordinates.of(refined.par_dic_0), np.random.default_rng(5)
        ends = []
        for _ in range(16):
            start_k = top_k + rng.normal(size=8) * [0.01, 0.3, 0.3, 1, 2, 1, 1, 1e-3]
            start = refined.par_dic_0 | coordinates.par_dic(start_k)
            ends.append(climber.climb(start, 3e-3)[1])
        assert np.ptp(ends) > 1  # they did end elsewhere
        assert max(ends) < top + 0.1

    @pytest.mark.slow
    def test_is_better_than_the_unrefined_one(self, event, refined):
        unrefined = likelihood_for(event, mchirp_guess=MCHIRP, refine_reference=False)
        assert refined.lnlike_fft(refined.par_dic_0) > refined.lnlike_fft(
            unrefined.par_dic_0
        )


class TestCoordinates:
    def test_there_and_back(self):
        coordinates = Coordinates(1126259462.4, "H")
        again = coordinates.par_dic(coordinates.of(PAR_DIC))
        assert again == pytest.approx(PAR_DIC)

    def test_fold_where_parameters_end(self):
        coordinates = Coordinates(1126259462.4, "H")
        place_k = coordinates.of(PAR_DIC)
        exchanged_k = place_k * np.where(np.arange(len(place_k)) == 1, -1, 1)
        assert coordinates.par_dic(exchanged_k) == pytest.approx(PAR_DIC)
        rng = np.random.default_rng(1)
        for far_k in rng.normal(size=(50, len(place_k))) * [3, 0.3, *[5.0] * 5, 0.01]:
            par_dic = coordinates.par_dic(far_k)
            assert par_dic["m1"] >= par_dic["m2"] > 0
            assert abs(par_dic["s1z"]) < 1
            assert 0.05 < par_dic["iota"] < np.pi - 0.05
            assert abs(par_dic["dec"]) <= np.pi / 2


class TestNewtonMaximum:
    def test_finds_the_top_of_a_ridge(self):
        def ridge(x):
            return -((x[0] - 1) ** 2) - 1e2 * (x[1] - x[0] ** 2) ** 2

        top = newton_maximum(ridge, np.array([0.5, 0.2]), np.array([1e-3, 1e-3]))
        np.testing.assert_allclose(top, [1, 1], atol=1e-3)

    def test_leaves_a_saddle(self):
        def two_hills(x):
            return -((x[0] ** 2 - 1) ** 2) - x[1] ** 2

        top = newton_maximum(two_hills, np.array([0.0, 0.3]), np.array([1e-3, 1e-3]))
        np.testing.assert_allclose(np.abs(top), [1, 0], atol=1e-3)

    def test_stays_where_the_function_ends(self):
        def half(x):
            return -np.inf if x[0] < 0 else -x[0]

        start = np.array([1e-4])
        np.testing.assert_array_equal(newton_maximum(half, start, np.array([1e-3])), start)
