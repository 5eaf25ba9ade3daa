"""The reference stage: what it finds, what it honours, what it saves."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from dotpe_exec.errors import InputError
from dotpe_exec.events import fbin_from_pn_phase_tol, load_event, simulate_event
from dotpe_exec.stages.mchirp_guess import guess_mchirp
from dotpe_exec.stages.reference import find_reference, posterior_kwargs, save_posterior

ALIGNED = {
    "m1": 36.0, "m2": 24.0, "ra": 1.0, "dec": 0.3, "iota": 0.8, "psi": 0.2, "phi_ref": 0.7,
    "s1z": 0.3, "s2z": 0.1, "f_ref": 50.0, "d_luminosity": 700.0, "t_geocenter": 0.013,
}  # fmt: skip


def config_for(event, approximant="IMRPhenomXPHM", modes=None):
    """What the stage wants to know of a bank, with bins for this event."""
    modes = modes or [(2, 2), (2, 1), (3, 3), (3, 2), (4, 4)]
    return SimpleNamespace(
        approximant=approximant,
        f_ref=50.0,
        fbin=fbin_from_pn_phase_tol(event, 0.2),
        m_arr=np.array(list(dict.fromkeys(m for _, m in modes))),
        harmonic_modes=modes,
    )


def make_banks(mchirp_min, mchirp_max, n=1024):
    """A bank without waveforms: its table of parameters."""
    rng = np.random.default_rng(5)
    mchirp, q = rng.uniform(mchirp_min, mchirp_max, n), rng.uniform(0.2, 1, n)
    m1 = mchirp * (1 + q) ** 0.2 / q**0.6
    spins = dict(zip(("s1z", "s2z"), rng.uniform(-0.5, 0.5, (2, n)), strict=True))
    table = pd.DataFrame({"m1": m1, "m2": q * m1, **spins})
    config = SimpleNamespace(approximant="IMRPhenomXPHM", f_ref=50.0)
    return {"bank_0": SimpleNamespace(table=lambda: table, config=config)}


@pytest.fixture(scope="module")
def golden_event(golden):
    return load_event(golden / "event.npz")


@pytest.fixture(scope="module")
def golden_par_dic_0(golden):
    return json.loads((golden / "reference" / "par_dic_0.json").read_text())


@pytest.fixture(scope="module")
def golden_reference(golden_event, golden_par_dic_0):
    """The stage with the golden case's own reference waveform."""
    return find_reference(
        golden_event, config_for(golden_event), n_t=64, par_dic_0=golden_par_dic_0
    )


@pytest.fixture(scope="module")
def two_detectors():
    """Two detectors with an aligned-spin signal."""
    return simulate_event("two", "HL", duration=8.0, fmax=512.0, injection=ALIGNED, seed=2)


class TestGivenReference:
    def test_posterior_is_the_one_cogwheel_would_save(
        self, golden, golden_reference, tmp_path
    ):
        save_posterior(golden_reference.posterior, tmp_path)
        saved = json.loads((tmp_path / "Posterior.json").read_text())
        expected = json.loads((golden / "reference" / "Posterior.json").read_text())

        def compare(left, right):
            if isinstance(left, dict):
                assert left.keys() == right.keys()
                for key in left:
                    compare(left[key], right[key])
            elif isinstance(left, list | float):
                assert left == right or np.allclose(left, right, rtol=1e-6)
            else:
                assert left == right

        compare(saved, expected)

    def test_saved_posterior_is_read_by_cogwheel(self, golden_reference, tmp_path):
        from cogwheel.utils import read_json

        save_posterior(golden_reference.posterior, tmp_path)
        assert {path.name for path in tmp_path.iterdir()} == {
            "Posterior.json", "golden_hlv.npz",
        }  # fmt: skip
        likelihood = golden_reference.posterior.likelihood
        par_dic = golden_reference.par_dic_0 | {"psi": 0.3}
        read = read_json(tmp_path / "Posterior.json").likelihood
        assert read.lnlike(par_dic) == pytest.approx(likelihood.lnlike(par_dic), abs=1e-7)

    def test_saved_files_do_not_depend_on_the_order_of_dictionaries(
        self, golden_reference, tmp_path
    ):
        """cogwheel's order of keys comes from sets: another in every process."""
        save_posterior(golden_reference.posterior, tmp_path)
        saved = json.loads((tmp_path / "Posterior.json").read_text())

        def assert_sorted(content):
            if isinstance(content, dict):
                assert list(content) == sorted(content)
                for value in content.values():
                    assert_sorted(value)

        assert_sorted(saved)
        with np.load(tmp_path / "golden_hlv.npz") as archive:
            assert archive.files == sorted(archive.files)
            assert_sorted(json.loads(str(archive["injection"])))

    def test_saving_again_replaces(self, golden_reference, tmp_path):
        (tmp_path / "Posterior.json").write_text("old")
        save_posterior(golden_reference.posterior, tmp_path)
        assert json.loads((tmp_path / "Posterior.json").read_text())

    @pytest.mark.parametrize(
        ("degenerate", "changed"),
        [
            ({"m1": 30.0, "m2": 30.0, "s2z": 0.3}, {"m1", "m2"}),
            ({"iota": 0.0}, {"iota"}),
            ({"m1": 30.0, "m2": 30.0, "s1z": 0.0, "s2z": 0.0, "iota": np.pi},
             {"m1", "m2", "iota"}),
            ({"m1": 30.0, "m2": 30.0}, set()),  # its spins differ
        ],
    )  # fmt: skip
    def test_one_whose_modes_vanish_is_replaced_by_a_neighbour(
        self, two_detectors, degenerate, changed, recwarn
    ):
        given = ALIGNED | degenerate
        config = config_for(two_detectors)
        found = find_reference(two_detectors, config, n_t=8, par_dic_0=given)
        assert {name for name in given if found.par_dic_0[name] != given[name]} == changed
        told = [str(one.message) for one in recwarn if "used instead" in str(one.message)]
        assert all(name in told[0] for name in changed) if changed else not told
        for weights in (found.summary, found.incoherent.summary):
            assert np.isfinite(weights.dh_weights_dmpb).all()
            assert np.isfinite(weights.hh_weights_dmppb).all()
        likelihood = found.posterior.likelihood
        asked = {name: given.get(name, 0.0) for name in likelihood.params}
        # LALSimulation's waveforms of masses that are equal to 1e-8 have another phase.
        asked["m1"] *= 1 + 1e-6 * ("m1" in changed)
        exact = likelihood.lnlike_fft(asked)
        assert likelihood.lnlike_fft(found.par_dic_0) == pytest.approx(exact, rel=1e-3)
        assert likelihood.lnlike(asked) == pytest.approx(exact, rel=1e-3)

    def test_of_a_model_without_these_modes_it_stays(self, two_detectors):
        given = ALIGNED | {"m1": 30.0, "m2": 30.0, "s2z": 0.3, "iota": 0.0}
        config = config_for(two_detectors, "IMRPhenomXAS", [(2, 2)])
        found = find_reference(two_detectors, config, n_t=8, par_dic_0=given)
        assert {name: found.par_dic_0[name] for name in given} == given

    def test_summaries_have_the_grids_asked_for(self, golden_reference):
        assert golden_reference.incoherent.times_dt.shape == (3, 64)
        assert golden_reference.summary.dh_weights_dmpb.shape == (3, 4, 2, 96)

    def test_other_reference_frequency_is_refused(self, golden_event, golden_par_dic_0):
        with pytest.raises(InputError, match="f_ref is 20"):
            find_reference(
                golden_event,
                config_for(golden_event),
                n_t=8,
                par_dic_0=golden_par_dic_0 | {"f_ref": 20.0},
            )

    def test_missing_parameters_are_named(self, golden_event):
        with pytest.raises(InputError, match="par_dic_0 lacks d_luminosity"):
            find_reference(
                golden_event, config_for(golden_event), n_t=8, par_dic_0={"m1": 30.0}
            )


class TestTimeOfGivenReference:
    @pytest.mark.parametrize(
        "offset", [-0.15, pytest.param(-0.035, marks=pytest.mark.slow), 0.035]
    )
    def test_far_from_the_signal_is_moved_there(
        self, golden_event, golden_par_dic_0, golden_reference, offset
    ):
        t_geocenter = golden_par_dic_0["t_geocenter"] + offset
        sentence = r"^what was found: .*ms from its t_geocenter; .* times around it cover"
        with pytest.warns(UserWarning, match=sentence):
            found = find_reference(
                golden_event,
                config_for(golden_event),
                n_t=64,
                par_dic_0=golden_par_dic_0 | {"t_geocenter": t_geocenter},
                par_dic_name="what was found",
            )
        assert found.moved_by == pytest.approx(-offset, abs=2e-3)
        np.testing.assert_allclose(
            found.incoherent.times_dt, golden_reference.incoherent.times_dt, atol=2e-3
        )

    @pytest.mark.parametrize("factor", [0.95, pytest.param(1.05, marks=pytest.mark.slow)])
    def test_near_the_signal_stays(self, golden_event, golden_par_dic_0, factor):
        masses = {name: factor * golden_par_dic_0[name] for name in ("m1", "m2")}
        par_dic_0 = golden_par_dic_0 | masses
        found = find_reference(
            golden_event, config_for(golden_event), n_t=64, par_dic_0=par_dic_0
        )
        assert found.moved_by == 0
        assert found.par_dic_0 == par_dic_0


class TestSearch:
    def test_is_as_good_as_the_published_one(self, golden_event, golden_reference):
        found = find_reference(
            golden_event, config_for(golden_event), n_t=8, mchirp_guess=25.0
        )
        likelihood = golden_reference.posterior.likelihood
        published = likelihood.lnlike_fft(golden_reference.par_dic_0)
        assert likelihood.lnlike_fft(found.par_dic_0) > published - 0.5

    @pytest.mark.slow
    def test_is_reproducible(self, two_detectors):
        event = two_detectors.reinstantiate(injection=None)
        found = [
            find_reference(event, config_for(event), n_t=8, mchirp_guess=25.0).par_dic_0
            for _ in range(2)
        ]
        assert found[0] == found[1]

    @pytest.mark.slow
    @pytest.mark.parametrize("number", range(4))
    def test_is_as_good_as_cogwheels_own(self, number):
        from cogwheel.posterior import Posterior

        rng = np.random.default_rng([7, number])
        signal = ALIGNED | {
            "m1": rng.uniform(20, 50), "m2": rng.uniform(12, 20), "iota": rng.uniform(0, 3),
            "ra": rng.uniform(0, 6), "dec": rng.uniform(-1, 1), "psi": rng.uniform(0, 3),
        }  # fmt: skip
        if number % 2:
            signal |= {"s1x_n": 0.5, "s2y_n": -0.3}
        event = simulate_event(
            "varied", "HLV" if number < 2 else "HL", duration=16.0, fmax=512.0,
            injection=signal, seed=number,
        )  # fmt: skip
        m1, m2 = signal["m1"], signal["m2"]
        guess = (m1 * m2) ** 0.6 / (m1 + m2) ** 0.2
        event.injection = None
        config = config_for(event)
        found = find_reference(event, config, n_t=8, mchirp_guess=guess)
        published = Posterior.from_event(
            event,
            guess,
            config.approximant,
            "CartesianIASPrior",
            likelihood_kwargs={"fbin": config.fbin, "pn_phase_tol": None},
            ref_wf_finder_kwargs={"time_range": (-0.1, 0.1), "f_ref": config.f_ref},
        )
        exact = found.posterior.likelihood.lnlike_fft
        assert exact(found.par_dic_0) > exact(published.likelihood.par_dic_0) - 0.5

    @pytest.mark.slow
    def test_finds_gw150914_from_afar(self):
        event = load_event("GW150914")
        found = find_reference(event, config_for(event), n_t=8, mchirp_guess=24.0)
        par_dic = found.par_dic_0
        mchirp = (par_dic["m1"] * par_dic["m2"]) ** 0.6 / (
            par_dic["m1"] + par_dic["m2"]
        ) ** 0.2
        assert 28 < mchirp < 34
        assert found.posterior.likelihood.lnlike_fft(par_dic) > 220

    def test_unrefined_takes_an_aligned_injection_as_it_is(self, two_detectors):
        found = find_reference(
            two_detectors, config_for(two_detectors), n_t=8, refine_reference=False
        )
        for name in ("m1", "m2", "s1z", "s2z", "ra", "dec", "t_geocenter"):
            assert found.par_dic_0[name] == pytest.approx(ALIGNED[name])

    def test_one_detector_is_enough(self):
        settings = {"duration": 4.0, "fmax": 256.0, "injection": ALIGNED, "seed": 2}
        event = simulate_event("one", "L", **settings)
        injected, event.injection = event.injection["par_dic"], None
        found = find_reference(event, config_for(event), n_t=8, mchirp_guess=25.0)
        exact = found.posterior.likelihood.lnlike_fft
        assert exact(found.par_dic_0) > exact(injected) - 2

    def test_one_mode_is_enough(self, two_detectors):
        config = config_for(two_detectors, "IMRPhenomXAS", [(2, 2)])
        event = two_detectors.reinstantiate(injection=None)
        found = find_reference(event, config, n_t=8, mchirp_guess=25.0)
        np.testing.assert_array_equal(found.summary.m_arr, [2])
        assert found.posterior.likelihood.lnlike_fft(found.par_dic_0) > 100

    def test_modes_of_the_bank_are_those_of_the_likelihood(self, two_detectors):
        config = config_for(two_detectors, modes=[(3, 3), (2, 2)])
        found = find_reference(two_detectors, config, n_t=8, refine_reference=False)
        np.testing.assert_array_equal(found.summary.m_arr, [3, 2])
        generator = found.posterior.likelihood.waveform_generator
        assert generator.harmonic_modes == [(3, 3), (2, 2)]

    def test_without_any_guess_is_refused(self):
        event = load_event("GW150914")
        with pytest.raises(InputError, match="mchirp_guess is not given"):
            find_reference(event, config_for(event), n_t=8)


class TestOverrides:
    def test_dictionaries_are_merged_key_by_key(self):
        config = SimpleNamespace(
            approximant="IMRPhenomXPHM", f_ref=30.0, fbin=np.arange(3.0)
        )
        kwargs = posterior_kwargs(
            config,
            {
                "prior_class": "LVCPrior",
                "likelihood_kwargs": {"spline_degree": 2},
                "ref_wf_finder_kwargs": {"time_range": (-0.2, 0.2)},
            },
        )
        assert kwargs["prior_class"] == "LVCPrior"
        assert kwargs["likelihood_kwargs"]["spline_degree"] == 2
        np.testing.assert_array_equal(kwargs["likelihood_kwargs"]["fbin"], np.arange(3.0))
        assert kwargs["ref_wf_finder_kwargs"] == {"time_range": (-0.2, 0.2), "f_ref": 30.0}

    @pytest.mark.parametrize(
        "overrides",
        [{"mchirp": 20.0}, {"likelihood_kwargs": [1]}, {"prior_class": "Nobody"}],
    )
    def test_meaningless_overrides_are_refused(self, two_detectors, overrides):
        with pytest.raises(InputError):
            find_reference(
                two_detectors,
                config_for(two_detectors),
                n_t=8,
                coherent_posterior_kwargs=overrides,
            )

    def test_reach_likelihood_search_and_prior(self, two_detectors):
        found = find_reference(
            two_detectors,
            config_for(two_detectors),
            n_t=8,
            refine_reference=False,
            coherent_posterior_kwargs={
                "likelihood_kwargs": {"spline_degree": 2},
                "ref_wf_finder_kwargs": {"mchirp_range": (20.0, 30.0)},
                "prior_kwargs": {"q_min": 0.3},
            },
        )
        assert found.posterior.likelihood.spline_degree == 2
        prior = found.posterior.prior.get_init_dict()
        assert tuple(prior["mchirp_range"]) == (20.0, 30.0)
        assert prior["q_min"] == pytest.approx(0.3)

    def test_own_likelihood_class_is_used(self, two_detectors):
        from cogwheel.likelihood import RelativeBinningLikelihood

        class OwnLikelihood(RelativeBinningLikelihood):
            pass

        found = find_reference(
            two_detectors,
            config_for(two_detectors),
            n_t=8,
            refine_reference=False,
            coherent_posterior_kwargs={"likelihood_class": OwnLikelihood},
        )
        assert type(found.posterior.likelihood) is OwnLikelihood
        assert np.isfinite(found.summary.dh_weights_dmpb).all()


class TestChirpMassGuess:
    def test_is_close_for_gw150914(self):
        guess = guess_mchirp(load_event("GW150914"), make_banks(15, 45))
        assert 27 < guess < 35

    def test_stays_within_the_bank_for_noise(self):
        noise = simulate_event("noise", "HLV", duration=8.0, fmax=512.0, seed=8)
        assert 20 < guess_mchirp(noise, make_banks(20, 25), n_templates=32) < 25

    def test_does_not_depend_on_the_length_of_the_data(self):
        settings = {
            "fmax": 256.0,
            "injection": ALIGNED | {"d_luminosity": 300.0},
            "seed": 1,
        }
        for duration in (8.0, 64.0):
            event = simulate_event("length", "HL", duration=duration, **settings)
            assert 22 < guess_mchirp(event, make_banks(15, 40)) < 29

    @pytest.mark.slow
    def test_starts_the_search_when_there_is_no_other(self):
        event = load_event("GW150914")
        found = find_reference(event, config_for(event), n_t=8, banks=make_banks(15, 45))
        assert found.posterior.likelihood.lnlike_fft(found.par_dic_0) > 220
