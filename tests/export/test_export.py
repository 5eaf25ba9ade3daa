"""Exports mean the same waveform to the programs that read them."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from dotpe_exec.errors import MissingFileError, RunDirectoryError
from dotpe_exec.export import (
    equal_weight_samples,
    standard_parameters,
    to_bilby,
    to_pesummary,
)

TGPS = 1126259462.4
ASD = 4e-24
FREQUENCIES = np.arange(0, 256.25, 0.25)
SUMMARY = {"ln_evidence": 40.25, "ln_evidence_error": 0.125}


def precessing_samples(n: int, seed: int = 5) -> pd.DataFrame:
    """Return samples with all that an export reads."""
    rng = np.random.default_rng(seed)
    m1 = rng.uniform(30, 40, n)
    columns = {"m1": m1, "m2": m1 * rng.uniform(0.4, 1, n), "f_ref": np.full(n, 50.0)}
    for name in ("s1x_n", "s1y_n", "s1z", "s2x_n", "s2y_n", "s2z"):
        columns[name] = rng.uniform(-0.5, 0.5, n)
    columns |= {
        "iota": np.arccos(rng.uniform(-1, 1, n)),
        "phi_ref": rng.uniform(-np.pi, 3 * np.pi, n),
        "psi": rng.uniform(0, np.pi, n),
        "ra": rng.uniform(0, 2 * np.pi, n),
        "dec": np.arcsin(rng.uniform(-1, 1, n)),
        "t_geocenter": rng.uniform(-0.05, 0.05, n),
        "d_luminosity": rng.uniform(300, 3000, n),
        "l1": np.zeros(n),
        "l2": np.zeros(n),
        "lnl": rng.uniform(30, 50, n),
        "weights": np.ones(n),
    }
    return pd.DataFrame(columns)


@pytest.fixture
def rundir(tmp_path):
    """A finished run with its event."""
    folder = tmp_path / "toy"
    folder.mkdir()
    whitening = np.where(FREQUENCIES < 20, 0.0, 1 / ASD)
    np.savez(
        folder / "toy.npz",
        eventname="toy",
        frequencies=FREQUENCIES,
        strain=np.zeros((2, len(FREQUENCIES)), complex),
        wht_filter=np.array([whitening, whitening / 2]),
        detector_names=np.array(["H", "L"]),
        tgps=TGPS,
        tcoarse=2.0,
    )
    precessing_samples(40).to_feather(folder / "samples.feather")
    (folder / "summary_results.json").write_text(json.dumps(SUMMARY))
    (folder / "run_kwargs.json").write_text(json.dumps({"n_ext": 8}))
    generator = {"init_kwargs": {"approximant": "IMRPhenomXPHM"}}
    posterior = {"likelihood": {"init_kwargs": {"waveform_generator": generator}}}
    (folder / "Posterior.json").write_text(json.dumps(posterior))
    return folder


def test_spin_angles_lead_back_to_the_components():
    from lal import MSUN_SI
    from lalsimulation import SimInspiralTransformPrecessingNewInitialConditions as back

    samples = precessing_samples(20)
    table = standard_parameters(samples, TGPS)
    for row in table.to_dict("records"):
        iota, *components = back(
            *(row[name] for name in ("theta_jn", "phi_jl", "tilt_1", "tilt_2", "phi_12")),
            *(row["a_1"], row["a_2"], row["mass_1"] * MSUN_SI, row["mass_2"] * MSUN_SI),
            *(row["reference_frequency"], row["phase"]),
        )
        names = [f"spin_{k}{axis}" for k in (1, 2) for axis in "xyz"]
        assert iota == pytest.approx(row["iota"], abs=1e-9)
        np.testing.assert_allclose(components, [row[name] for name in names], atol=1e-9)


def test_spins_are_turned_with_the_orbital_phase_and_keep_their_size():
    samples = precessing_samples(20)
    table = standard_parameters(samples, TGPS)
    inplane = np.hypot(samples["s1x_n"], samples["s1y_n"])
    np.testing.assert_allclose(np.hypot(table["spin_1x"], table["spin_1y"]), inplane)
    moved = np.abs(table["spin_1x"] - samples["s1x_n"])
    assert moved.max() > 0.1


def test_source_masses_are_smaller_by_the_redshift():
    from astropy.cosmology import Planck18

    table = standard_parameters(precessing_samples(3), TGPS)
    z = table["redshift"].to_numpy()
    np.testing.assert_allclose(
        Planck18.luminosity_distance(z).value, table["luminosity_distance"], rtol=1e-4
    )
    np.testing.assert_allclose(table["mass_1_source"] * (1 + z), table["mass_1"])


def test_tables_without_inplane_spins_have_none():
    samples = precessing_samples(4).drop(columns=["s1x_n", "s1y_n", "s2x_n", "s2y_n"])
    table = standard_parameters(samples, TGPS)
    np.testing.assert_allclose(table["chi_p"], 0)
    np.testing.assert_allclose(table["a_1"], np.abs(samples["s1z"]))
    np.testing.assert_allclose(table["theta_jn"], samples["iota"])


@given(st.lists(st.floats(0, 1), min_size=2, max_size=50).filter(lambda w: sum(w) > 0.1))
def test_resampling_is_as_often_as_the_weights_say(weights):
    weights = np.array(weights)
    samples = pd.DataFrame({"x": np.arange(len(weights)), "weights": weights})
    drawn = equal_weight_samples(samples)
    if np.ptp(weights) > 1e-9:
        expected = len(drawn) * weights / weights.sum()
        counts = np.bincount(drawn["x"], minlength=len(weights))
        assert np.all(np.abs(counts - expected) <= 1 + 1e-9)
        assert len(drawn) == max(1, round(weights.sum() ** 2 / np.sum(weights**2)))
    else:
        assert list(drawn["x"]) == list(samples["x"])


def test_a_bilby_result_holds_samples_and_evidence(rundir, tmp_path):
    content = json.loads(to_bilby(rundir, tmp_path / "toy_result.json").read_text())
    assert content["log_bayes_factor"] == 40.25
    assert content["log_evidence_err"] == 0.125
    assert content["label"] == "toy"
    assert content["meta_data"]["likelihood"]["waveform_approximant"] == "IMRPhenomXPHM"
    columns = content["posterior"]["content"]
    assert set(content["search_parameter_keys"]) <= set(columns)
    expected = TGPS + precessing_samples(40)["t_geocenter"]
    np.testing.assert_allclose(columns["geocent_time"], expected, rtol=0, atol=1e-6)


def test_a_pesummary_file_holds_all_runs(rundir, tmp_path):
    import h5py

    path = to_pesummary(rundir, tmp_path / "toy.h5")
    with h5py.File(path) as file:
        samples = file["toy/posterior_samples"][:]
        np.testing.assert_allclose(samples["mass_1"], precessing_samples(40)["m1"])
        density = file["toy/psds/L1"][:]
        np.testing.assert_allclose(density[:, 1], 4 * ASD**2)
        assert density[0, 0] == 20


def test_export_needs_the_event(rundir, tmp_path):
    (rundir / "toy.npz").unlink()
    with pytest.raises(MissingFileError, match="event data"):
        to_bilby(rundir, tmp_path / "a.json")
    assert not (tmp_path / "a.json").exists()


def test_export_needs_the_evidence(rundir, tmp_path):
    (rundir / "summary_results.json").write_text("{}")
    for export in (to_bilby, to_pesummary):
        with pytest.raises(RunDirectoryError, match=r"results\.json lacks ln_evidence"):
            export(rundir, tmp_path / "a.file")
    assert [path.name for path in tmp_path.iterdir()] == ["toy"]


def test_the_command_line_exports(rundir, tmp_path):
    from dotpe_exec.cli import main

    output = str(tmp_path / "out.h5")
    command = ["export", str(rundir), "--format", "pesummary", "-o", output]
    done = CliRunner().invoke(main, command)
    assert (done.exit_code, done.output.strip()) == (0, output)
    command = ["export", str(rundir), str(rundir), "--format", "bilby"]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 2
    assert "one run" in done.output


def test_bilby_reads_the_result_and_means_the_same_signal(rundir, tmp_path):
    bilby = pytest.importorskip("bilby", reason="bilby is not installed")
    from cogwheel.data import EventData
    from cogwheel.waveform import WaveformGenerator

    result = bilby.result.read_in_result(str(to_bilby(rundir, tmp_path / "r.json")))
    assert result.log_bayes_factor == 40.25
    event = EventData.from_npz(filename=rundir / "toy.npz")
    ours = WaveformGenerator.from_event_data(event, "IMRPhenomXPHM")
    theirs = bilby.gw.WaveformGenerator(
        duration=4,
        sampling_frequency=512,
        frequency_domain_source_model=bilby.gw.source.lal_binary_black_hole,
        parameter_conversion=bilby.gw.conversion.convert_to_lal_binary_black_hole_parameters,
        waveform_arguments={
            "waveform_approximant": "IMRPhenomXPHM",
            "reference_frequency": 50.0,
            "minimum_frequency": 20.0,
        },
    )
    interferometers = bilby.gw.detector.InterferometerList(["H1", "L1"])
    for detector in interferometers:
        detector.minimum_frequency, detector.maximum_frequency = 20.0, 256.0
        detector.strain_data.set_from_zero_noise(
            sampling_frequency=512, duration=4, start_time=TGPS - 2
        )
    used = (FREQUENCIES >= 25) & (FREQUENCIES <= 250)
    samples = pd.read_feather(rundir / "samples.feather")
    for row in range(3):
        parameters = result.posterior.iloc[row].to_dict()
        polarisations = theirs.frequency_domain_strain(parameters)
        sample = samples.iloc[row]
        strain_df = ours.get_strain_at_detectors(
            FREQUENCIES[used], {name: float(sample[name]) for name in ours.params}
        )
        for detector, expected in zip(interferometers, strain_df, strict=True):
            got = detector.get_detector_response(polarisations, parameters)[used]
            # Both count the phase of the data from times that are theirs.
            got = got * np.exp(2j * np.pi * FREQUENCIES[used] * 2.0)
            expected = expected * np.exp(2j * np.pi * FREQUENCIES[used] * event.tcoarse)
            norm = np.sqrt(np.vdot(got, got).real * np.vdot(expected, expected).real)
            assert np.vdot(expected, got).real / norm > 0.999
            assert np.linalg.norm(got) == pytest.approx(np.linalg.norm(expected), rel=0.01)


def test_pesummary_reads_its_file(rundir, tmp_path):
    io = pytest.importorskip("pesummary.io", reason="PESummary is not installed")
    read = io.read(str(to_pesummary(rundir, tmp_path / "toy.h5")))
    assert read.labels == ["toy"]
    assert read.approximant == ["IMRPhenomXPHM"]
    assert set(read.psd["toy"]) == {"H1", "L1"}
    chirp_mass = read.samples_dict["toy"]["chirp_mass"]
    samples = precessing_samples(40)
    m1, m2 = samples["m1"], samples["m2"]
    np.testing.assert_allclose(chirp_mass, (m1 * m2) ** 0.6 / (m1 + m2) ** 0.2)
    assert read.extra_kwargs[0]["sampler"]["log_evidence"] == 40.25
