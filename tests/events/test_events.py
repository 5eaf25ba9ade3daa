"""Events: loading refuses what cannot be analysed; making them reproduces known ones."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dotpe_exec.errors import BankError, EventError, InputError, MissingFileError
from dotpe_exec.events import (
    bundled_events,
    check_bins_on_grid,
    check_event_name,
    event_from_strain,
    fbin_from_pn_phase_tol,
    injection_inner_products,
    injection_lnlike,
    load_event,
    simulate_event,
)

STRAIN_FILES = (
    "H-H1_LOSC_4_V2-1126259446-32.hdf5",
    "L-L1_LOSC_4_V2-1126259446-32.hdf5",
)

SIGNAL = {
    "m1": 34.5, "m2": 24.2, "ra": 0.5, "dec": 0.5, "iota": 1.0, "psi": 1.0, "phi_ref": 0.7,
    "s1z": 0.3, "s2z": 0.3, "f_ref": 50.0, "d_luminosity": 1500.0, "t_geocenter": 0.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def event():
    """Two detectors, 4 s, with a signal."""
    return simulate_event("short", "HL", duration=4.0, fmax=256.0, injection=SIGNAL, seed=1)


@pytest.fixture
def save(event, tmp_path):
    """Save the event with some of its content replaced (None: left out)."""

    def save_with(**replaced):
        path = tmp_path / "event.npz"
        content = event.get_init_dict() | {"injection": json.dumps(None)} | replaced
        np.savez(
            path, **{key: value for key, value in content.items() if value is not None}
        )
        return path

    return save_with


class TestLoading:
    def test_saved_event_is_loaded_unchanged(self, event, tmp_path):
        event.to_npz(filename=tmp_path / "event.npz")
        loaded = load_event(tmp_path / "event.npz")
        np.testing.assert_array_equal(loaded.strain, event.strain)
        np.testing.assert_array_equal(loaded.wht_filter, event.wht_filter)
        assert loaded.detector_names == ("H", "L")
        assert loaded.injection["par_dic"] == event.injection["par_dic"]

    def test_object_is_copied(self, event):
        loaded = load_event(event)
        assert loaded is not event
        for name in ("frequencies", "strain", "wht_filter", "blued_strain"):
            assert np.array_equal(getattr(loaded, name), getattr(event, name))
        assert not np.shares_memory(loaded.strain, event.strain)

    def test_injection_is_optional(self, save):
        assert load_event(save(injection=None)).injection is None

    def test_bundled_event_is_found_by_name(self):
        assert "GW150914" in bundled_events()
        loaded = load_event("GW150914")
        assert loaded.eventname == "GW150914"
        assert loaded.detector_names == ("H", "L")
        assert tuple(loaded.fbounds) == (20.0, 512.0)

    def test_missing_event_names_the_bundled_ones(self):
        with pytest.raises(MissingFileError, match="GW150914"):
            load_event("GW190521")

    def test_other_types_are_refused(self):
        with pytest.raises(InputError, match="int"):
            load_event(150914)

    def test_pickled_objects_are_never_read(self, save, tmp_path):
        class Bomb:
            def __reduce__(self):
                return open, (str(tmp_path / "exploded"), "w")

        path = save(strain=np.array([Bomb()], dtype=object))
        with pytest.raises(EventError, match=r"event\.npz"):
            load_event(path)
        assert not (tmp_path / "exploded").exists()

    def test_truncated_file_is_refused(self, save):
        path = save()
        path.write_bytes(path.read_bytes()[:5000])
        with pytest.raises(EventError, match="not a cogwheel event"):
            load_event(path)

    def test_single_array_is_refused(self, tmp_path):
        np.save(tmp_path / "array.npy", np.zeros(3))
        with pytest.raises(EventError, match="not a cogwheel event"):
            load_event(tmp_path / "array.npy")

    def test_missing_content_is_named(self, save):
        with pytest.raises(EventError, match="lacks wht_filter"):
            load_event(save(wht_filter=None))

    def test_nan_names_the_detector(self, event, save):
        strain = event.strain.copy()
        strain[1, 100] = np.nan
        with pytest.raises(EventError, match="strain of detector L contains NaN"):
            load_event(save(strain=strain))

    def test_wrong_shape_is_refused(self, event, save):
        with pytest.raises(EventError, match=r"wht_filter has shape \(1, 1025\)"):
            load_event(save(wht_filter=event.wht_filter[:1]))

    def test_detector_without_data_is_refused(self, event, save):
        strain = event.strain.copy()
        strain[0] = 0
        with pytest.raises(EventError, match="detector H are all zero"):
            load_event(save(strain=strain))

    @pytest.mark.parametrize("names", [("H", "X"), ("H", "H")])
    def test_unknown_or_doubled_detectors_are_refused(self, save, names):
        with pytest.raises(EventError, match="detector"):
            load_event(save(detector_names=np.array(names)))

    def test_uneven_frequencies_are_refused(self, event, save):
        with pytest.raises(EventError, match="evenly spaced"):
            load_event(save(frequencies=event.frequencies**1.01))

    def test_time_outside_of_the_data_is_refused(self, save):
        with pytest.raises(EventError, match="tcoarse is 5"):
            load_event(save(tcoarse=5.0))

    @pytest.mark.parametrize(
        "injection", [{"no": 1}, {"par_dic": {}, "d_h": [1.0]}, {"par_dic": {}, "h_h": "x"}]
    )
    def test_malformed_injection_is_refused(self, save, injection):
        with pytest.raises(EventError, match="injection"):
            load_event(save(injection=json.dumps(injection)))

    @pytest.mark.parametrize(
        "name", ["", ".", "..", "../x", "a/b", "a\\b", "a\0b", ".hidden"]
    )
    def test_names_with_path_parts_are_refused(self, save, name):
        with pytest.raises(EventError, match="name"):
            load_event(save(eventname=np.array(name.replace("\0", "\n"))))

    @given(st.text(max_size=30))
    def test_accepted_names_stay_in_their_folder(self, name):
        from pathlib import Path

        try:
            check_event_name(name)
        except EventError:
            return
        path = Path("/folder") / f"{name}.npz"
        assert path.parent == Path("/folder")
        assert path.name == f"{name}.npz"


class TestMaking:
    def test_golden_event_is_reproduced(self, golden):
        spec = json.loads((golden / "reference" / "spec.json").read_text())
        simulated = simulate_event(
            spec["name"], spec["dets"], duration=spec["duration"], fmin=20.0,
            fmax=spec["fmax"], injection=spec["inj"], seed=spec["seed"],
        )  # fmt: skip
        reference = load_event(golden / "event.npz")
        np.testing.assert_allclose(simulated.strain, reference.strain, rtol=1e-12)
        np.testing.assert_array_equal(simulated.wht_filter, reference.wht_filter)
        np.testing.assert_allclose(simulated.injection["d_h"], reference.injection["d_h"])

    def test_bundled_event_comes_from_public_strain(self, strain):
        made = event_from_strain(
            [strain / name for name in STRAIN_FILES], "GW150914", "HL", 1126259462.4,
            t_before=8, t_after=8, wht_filter_duration=8, fmin=20, fmax=512,
        )  # fmt: skip
        bundled = load_event("GW150914")
        scale = np.abs(bundled.strain).max()
        np.testing.assert_allclose(made.strain, bundled.strain, atol=1e-9 * scale)
        np.testing.assert_allclose(made.wht_filter, bundled.wht_filter, rtol=1e-6)

    def test_strain_without_the_event_is_refused(self, strain):
        files = [strain / name for name in STRAIN_FILES]
        with pytest.raises(EventError, match="GPS time 1000"):
            event_from_strain(files, "x", "HL", 1000.0, wht_filter_duration=8)

    def test_missing_strain_file_is_named(self, tmp_path):
        with pytest.raises(MissingFileError, match=r"no\.hdf5"):
            event_from_strain([tmp_path / "no.hdf5"], "x", "H", 1126259462.4)

    def test_each_detector_needs_a_file(self, tmp_path):
        with pytest.raises(InputError, match="1 strain files given for 2 detectors"):
            event_from_strain([tmp_path / "no.hdf5"], "x", "HL", 1126259462.4)

    def test_seed_fixes_the_noise(self):
        def noise(seed):
            return simulate_event("n", "H", duration=4.0, fmax=128.0, seed=seed).strain

        np.testing.assert_array_equal(noise(1), noise(1))
        assert np.abs(noise(1) - noise(2)).max() > 0

    @pytest.mark.parametrize("suffix", [".npy", ".txt"])
    def test_sensitivity_from_a_file_is_that_of_the_curve(self, tmp_path, suffix):
        from cogwheel.data import ASDS

        table, path = np.load(ASDS["asd_H_O3"]), tmp_path / f"asd{suffix}"
        if suffix == ".npy":
            np.save(path, table)
        else:
            np.savetxt(path, table.T)
        settings = {"duration": 4.0, "fmax": 128.0, "seed": 3}
        named = simulate_event("n", "H", asds=["asd_H_O3"], **settings)
        read = simulate_event("n", "H", asds=[path], **settings)
        np.testing.assert_allclose(read.wht_filter, named.wht_filter)

    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            ({"asds": ["asd_H_O9"]}, "asd_H_O9"),
            ({"asds": []}, "one for each"),
            ({"duration": 0.0}, "duration is 0.0"),
            ({"fmin": 500.0}, "fmin is 500.0"),
            ({"duration": 1.001, "fmax": 100.5}, "whole number"),
            ({"injection": {"m1": 30.0}}, "injection lacks"),
            ({"injection": SIGNAL | {"m1": "heavy"}}, "m1 must be a number"),
            (
                {"injection": SIGNAL | {"d_luminosity": 0.0}},
                "d_luminosity must be positive",
            ),
            ({"injection": SIGNAL | {"s1z": 1.2}}, "physical bounds"),
            ({"injection": SIGNAL, "approximant": "Newton"}, "Newton"),
        ],
    )
    def test_bad_settings_are_refused(self, wrong, message):
        settings = {"duration": 4.0, "fmax": 128.0} | wrong
        with pytest.raises((InputError, MissingFileError), match=message):
            simulate_event("n", "H", **settings)


class TestBins:
    def test_bins_are_those_of_the_golden_banks(self, golden):
        event = load_event(golden / "event.npz")
        config = json.loads((golden / "bank_0" / "bank_config.json").read_text())
        np.testing.assert_array_equal(fbin_from_pn_phase_tol(event, 0.2), config["fbin"])

    @pytest.mark.parametrize("approximant", ["IMRPhenomXAS", "IMRPhenomD_NRTidalv2"])
    def test_bins_are_those_of_cogwheel(self, event, approximant):
        from cogwheel.likelihood import RelativeBinningLikelihood
        from cogwheel.waveform import WaveformGenerator

        par_dic = dict(event.injection["par_dic"])
        generator = WaveformGenerator.from_event_data(event, approximant)
        likelihood = RelativeBinningLikelihood(event, generator, par_dic, pn_phase_tol=0.3)
        fbin = fbin_from_pn_phase_tol(event, 0.3, approximant)
        np.testing.assert_array_equal(fbin, likelihood.fbin)

    @pytest.mark.parametrize("tolerance", [0.0, -1.0, np.nan, 1e3])
    def test_useless_tolerance_is_refused(self, event, tolerance):
        with pytest.raises(InputError, match="pn_phase_tol"):
            fbin_from_pn_phase_tol(event, tolerance)

    def test_bins_of_the_event_pass(self, event, recwarn):
        check_bins_on_grid(fbin_from_pn_phase_tol(event, 0.2), event)
        assert not recwarn

    def test_bins_between_frequencies_are_refused(self, event):
        fbin = fbin_from_pn_phase_tol(event, 0.2)
        fbin[3] += 0.4 * event.df
        with pytest.raises(BankError, match="are not frequencies of short"):
            check_bins_on_grid(fbin, event)

    def test_doubled_bins_are_refused(self, event):
        fbin = np.repeat(fbin_from_pn_phase_tol(event, 0.2), 2)
        with pytest.raises(BankError, match="several bins"):
            check_bins_on_grid(fbin, event)

    def test_bins_beyond_the_data_are_refused(self, event):
        with pytest.raises(BankError, match=r"reach 512\.0 Hz"):
            check_bins_on_grid(np.array([20.0, 100.0, 512.0]), event)

    def test_unused_data_are_warned_of(self, event):
        with pytest.warns(UserWarning, match="the rest is not used"):
            check_bins_on_grid(np.array([40.0, 100.0, 256.0]), event)


class TestInjection:
    def test_inner_products_are_at_one_megaparsec(self, event):
        drift = np.array([1.1, 0.9])
        d_h, h_h = injection_inner_products(event, drift)
        injected = event.injection
        assert d_h == pytest.approx(1500 * np.sum(injected["d_h"] / drift**2))
        assert h_h == pytest.approx(1500**2 * np.sum(injected["h_h"] / drift**2))

    def test_lnlike_agrees_with_cogwheel(self, event):
        from cogwheel.likelihood import LookupTable

        from dotpe_exec.distance_table import load_distance_table

        drift = np.ones(2)
        lnlike = injection_lnlike(event, drift, load_distance_table())
        d_h, h_h = injection_inner_products(event, drift)
        assert lnlike["bestfit_lnlike"] == pytest.approx(d_h**2 / h_h / 2)
        assert lnlike["lnl_marginalized"] == pytest.approx(
            float(LookupTable().lnlike_marginalized(d_h, h_h)), abs=1e-3
        )

    def test_event_without_injection_has_none(self):
        assert injection_inner_products(load_event("GW150914"), np.ones(2)) is None
