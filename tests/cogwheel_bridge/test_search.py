"""Where the search for a reference waveform begins, and how it climbs from there."""

from __future__ import annotations

import numpy as np
import pytest
from cogwheel import gw_utils, waveform

from dotpe_exec.cogwheel_bridge.climb import Climber, distinct_ends, turned
from dotpe_exec.cogwheel_bridge.coordinates import Coordinates
from dotpe_exec.cogwheel_bridge.local_search import PhaseMaximizedLikelihood
from dotpe_exec.cogwheel_bridge.sky_search import _distinct, orientation
from dotpe_exec.events import simulate_event

SIGNAL = {
    "m1": 36.0, "m2": 24.0, "s1x_n": 0.0, "s1y_n": 0.0, "s1z": 0.2, "s2x_n": 0.0,
    "s2y_n": 0.0, "s2z": 0.2, "l1": 0.0, "l2": 0.0, "iota": 0.7, "psi": 0.6,
    "phi_ref": 1.0, "ra": 1.2, "dec": -0.4, "t_geocenter": 0.0, "d_luminosity": 400.0,
    "f_ref": 50.0,
}  # fmt: skip

ANYWHERE = {"least_distance": 0.0}


@pytest.fixture(scope="module")
def event():
    settings = {"duration": 4.0, "fmax": 512.0, "injection": SIGNAL, "seed": 6}
    return simulate_event("search", "HLV", **settings)


@pytest.fixture(scope="module")
def likelihood(event):
    generator = waveform.WaveformGenerator.from_event_data(event, "IMRPhenomXPHM")
    return PhaseMaximizedLikelihood(
        event, generator, SIGNAL, pn_phase_tol=0.1
    ).with_noise_level_kept()


@pytest.mark.parametrize("iota", [0.3, 1.2, 1.6, 2.9])
@pytest.mark.parametrize("psi", [0.1, 0.8])
def test_orientation_is_that_of_the_polarisations(event, iota, psi):
    generator = waveform.WaveformGenerator.from_event_data(
        event, "IMRPhenomXAS", harmonic_modes=[(2, 2)]
    )
    par_dic = SIGNAL | {"iota": iota, "psi": psi}
    f = np.linspace(50.0, 70.0, 3)
    edge_on = generator.get_hplus_hcross(f, SIGNAL | {"iota": np.pi / 2})[0, 1]
    plus, cross = generator.get_hplus_hcross(f, par_dic)[:, 1] / edge_on
    cosine, sine = np.cos(2 * psi), np.sin(2 * psi)
    amplitude_np = np.array([[cosine * plus - sine * cross, sine * plus + cosine * cross]])
    found_iota, found_psi = orientation(amplitude_np)
    assert found_iota == pytest.approx(iota)
    # Of the (2, 2) mode alone, polarisations at right angles are but another phase.
    assert found_psi % (np.pi / 2) == pytest.approx(psi % (np.pi / 2))
    f_plus_cross = gw_utils.fplus_fcross(("H",), 1.0, 0.3, 0.0, event.tgps)[:, 0]
    turned_response = gw_utils.fplus_fcross(("H",), 1.0, 0.3, psi, event.tgps)[:, 0]
    assert amplitude_np[0] @ f_plus_cross == pytest.approx(
        turned_response @ np.array([plus, cross])
    )


def test_places_are_apart_and_the_best_first():
    rng = np.random.default_rng(1)
    direction_nx = rng.normal(size=(500, 3))
    direction_nx /= np.linalg.norm(direction_nx, axis=1)[:, np.newaxis]
    lnlike_n = 100 - rng.exponential(5.0, 500)
    chosen = _distinct(lnlike_n, direction_nx)
    assert lnlike_n[chosen[0]] == lnlike_n.max()
    assert np.all(np.diff(lnlike_n[chosen]) <= 0)
    assert lnlike_n[chosen[-1]] > lnlike_n.max() - 10
    cosines = direction_nx[chosen] @ direction_nx[chosen].T
    assert np.max(cosines - 2 * np.eye(len(chosen))) < np.cos(0.3)


class TestClimber:
    def test_slopes_are_those_of_the_likelihood(self, event, likelihood):
        coordinates = Coordinates(event.tgps, "L")
        climber = Climber(
            likelihood, coordinates, SIGNAL, two_sided=True, least_distance=0.0
        )
        place_k = coordinates.of(SIGNAL | {"m1": 37.0, "iota": 0.9, "ra": 1.22})
        _, best = climber._lnlike(place_k)
        _, gradient_k = climber._slopes(place_k, best)
        steps = np.diag(0.05 * coordinates.steps_k)
        by_values = [
            (climber._lnlike(place_k + s)[0] - climber._lnlike(place_k - s)[0]) / 0.1
            for s in steps
        ]
        # Phase and distance are where they fit best: nothing is gained by them.
        assert gradient_k[:-2] == pytest.approx(by_values, rel=0.02, abs=0.02)
        assert gradient_k[-2:] == pytest.approx([0, 0], abs=1e-4)

    @pytest.mark.parametrize("two_sided", [True, False])
    def test_ends_at_the_maximum(self, event, likelihood, two_sided):
        coordinates = Coordinates(event.tgps, "L")
        climber = Climber(
            likelihood, coordinates, SIGNAL, two_sided=two_sided, least_distance=0.0
        )
        top, lnlike = climber.climb(SIGNAL, 1e-3)
        assert lnlike > climber.lnlike(SIGNAL)
        away = top | {"m1": 37.5, "iota": 0.9, "psi": 0.8, "ra": 1.25, "s1z": 0.3}
        again, lnlike_again = climber.climb(away, 1e-3)
        assert lnlike_again == pytest.approx(lnlike, abs=0.02)
        assert again["m1"] == pytest.approx(top["m1"], abs=0.5)
        assert again["ra"] == pytest.approx(top["ra"], abs=0.02)

    def test_stays_where_sources_may_be(self, event, likelihood):
        coordinates = Coordinates(event.tgps, "L")
        away = SIGNAL | {"m1": 37.5, "iota": 0.9}
        options = {"two_sided": False, "least_distance": 300.0}
        climber = Climber(likelihood, coordinates, SIGNAL, **options)
        end, lnlike = climber.climb(away, 1e-3)
        assert lnlike > climber.lnlike(away) and end["d_luminosity"] >= 300
        options["least_distance"] = 1e4
        climber = Climber(likelihood, coordinates, SIGNAL, **options)
        assert climber.climb(away, 1e-3)[1] == -np.inf

    def test_last_bits_of_the_start_do_not_matter(self, event, likelihood):
        coordinates = Coordinates(event.tgps, "L")
        climber = Climber(
            likelihood, coordinates, SIGNAL, two_sided=False, least_distance=0.0
        )
        start = SIGNAL | {"m1": 37.5, "iota": 0.9}
        rough = {name: value * (1 + 1e-13) for name, value in start.items()}
        one, lnlike_one = climber.climb(start, 1e-3)
        other, lnlike_other = climber.climb(rough | {"f_ref": 50.0}, 1e-3)
        assert lnlike_one == lnlike_other
        assert one["m1"] == other["m1"] and one["psi"] == other["psi"]


def test_ends_of_one_maximum_count_once(event):
    coordinates = Coordinates(event.tgps, "L")
    near, far = SIGNAL | {"psi": 0.65}, SIGNAL | {"psi": 2.0}
    ends = [(SIGNAL, 50.0), (far, 49.0), (near, 50.05), (SIGNAL | {"ra": 3.0}, 40.0)]
    assert distinct_ends(ends, coordinates) == [near, far]


def test_turned_polarisation_changes_odd_modes_alone(event, likelihood):
    coordinates = Coordinates(event.tgps, "L")
    climber = Climber(likelihood, coordinates, SIGNAL, two_sided=False, **ANYWHERE)
    assert turned(turned(SIGNAL))["psi"] == pytest.approx(SIGNAL["psi"])
    assert climber.lnlike(SIGNAL) - climber.lnlike(turned(SIGNAL)) > 0.1
