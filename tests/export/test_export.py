"""Exports mean the same data, noise and waveforms to the programs that read them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from requirements import needs

from dotpe_exec import load
from dotpe_exec.cli import main
from dotpe_exec.errors import InputError, MissingFileError, RunDirectoryError
from dotpe_exec.export import (
    analysed_data,
    equal_weight_samples,
    prior_draws,
    to_bilby,
    to_pesummary,
    to_skymap,
)

# What a GWTC release has and a run without calibration can have.
GWTC_COLUMNS = [
    "mass_1",
    "mass_2",
    "mass_1_source",
    "mass_2_source",
    "chirp_mass",
    "chirp_mass_source",
    "total_mass",
    "total_mass_source",
    "mass_ratio",
    "symmetric_mass_ratio",
    "inverted_mass_ratio",
    "a_1",
    "a_2",
    "tilt_1",
    "tilt_2",
    "cos_tilt_1",
    "cos_tilt_2",
    "phi_12",
    "phi_jl",
    "spin_1x",
    "spin_1y",
    "spin_1z",
    "spin_2x",
    "spin_2y",
    "spin_2z",
    "chi_eff",
    "chi_p",
    "iota",
    "cos_iota",
    "theta_jn",
    "cos_theta_jn",
    "viewing_angle",
    "psi",
    "phase",
    "ra",
    "dec",
    "luminosity_distance",
    "comoving_distance",
    "redshift",
    "geocent_time",
    "H1_time",
    "L1_time",
    "V1_time",
    "H1_optimal_snr",
    "L1_optimal_snr",
    "V1_optimal_snr",
    "H1_matched_filter_snr",
    "H1_matched_filter_abs_snr",
    "H1_matched_filter_snr_angle",
    "network_optimal_snr",
    "network_matched_filter_snr",
    "final_mass",
    "final_mass_source",
    "final_spin",
    "radiated_energy",
    "peak_luminosity",
    "log_likelihood",
]


@settings(deadline=None)
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


def test_samples_without_any_weight_are_refused():
    with pytest.raises(RunDirectoryError, match="no sample of this run has a weight"):
        equal_weight_samples(pd.DataFrame({"x": [1.0], "weights": [0.0]}))


@pytest.fixture(scope="session")
def bilby_file(finished, tmp_path_factory):
    return to_bilby(finished, tmp_path_factory.mktemp("bilby") / "golden_result.json")


@pytest.fixture
def bilby_result(bilby_file):
    import bilby

    return bilby.gw.result.CBCResult.from_json(str(bilby_file))


def test_bilby_computes_the_likelihoods_that_the_samples_say(finished, bilby_result):
    likelihood = load(finished).bilby_likelihood()
    rows = np.linspace(0, len(bilby_result.posterior) - 1, 10).astype(int)
    found, expected = [], []
    for sample in bilby_result.posterior.iloc[rows].to_dict("records"):
        found.append(likelihood.log_likelihood_ratio(sample))
        expected.append(sample["log_likelihood"])
    # The reference case's bins are coarse, and its summary says by how much.
    binning = load(finished).summary["relative_binning_error"]["largest"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=0.1 + binning)
    exact = exact_lnlikes(finished, bilby_result, rows)
    np.testing.assert_allclose(found, exact, rtol=0, atol=0.01)
    noise = bilby_result.log_noise_evidence
    assert likelihood.noise_log_likelihood() == pytest.approx(noise, rel=1e-9)


def exact_lnlikes(finished, result, rows):
    """Return the run's likelihoods on the full frequency grid."""
    run = load(finished)
    samples = equal_weight_samples(run.samples).iloc[rows]
    names = run.likelihood.params
    return [run.likelihood.lnlike_fft(row) for row in samples[names].to_dict("records")]


def test_spectra_hold_the_drift(finished):
    data = analysed_data(load(finished))
    event = load(finished).event
    used = event.wht_filter > 0
    drift = np.sqrt(data.psd_df * event.wht_filter**2)
    for row, mask, expected in zip(drift, used, data.asd_drift_d, strict=True):
        np.testing.assert_allclose(row[mask], expected)
    assert np.isinf(data.psd_df[~used]).all()
    assert np.abs(data.asd_drift_d - 1).max() > 0.01


def test_a_bilby_result_has_its_prior_and_settings(finished, bilby_result, tmp_path):
    event = load(finished).event
    prior = bilby_result.priors
    assert set(bilby_result.search_parameter_keys) == set(prior)
    inside = prior.sample(100)
    for name, values in inside.items():
        assert np.isfinite(values).all(), name
    assert (prior["chirp_mass"].minimum, prior["chirp_mass"].maximum) == (20, 31)
    assert bilby_result.waveform_approximant == "IMRPhenomXPHM"
    assert bilby_result.reference_frequency == 50
    assert bilby_result.duration == pytest.approx(1 / event.df)
    assert bilby_result.sampling_frequency == 2 * event.frequencies[-1]
    assert bilby_result.start_time == event.tgps - event.tcoarse
    assert bilby_result.interferometers == ["H1", "L1", "V1"]
    assert bilby_result.log_bayes_factor == load(finished).ln_evidence


def test_a_bilby_result_can_be_saved_again(bilby_result, tmp_path):
    import bilby

    for extension in ("json", "hdf5"):
        path = tmp_path / f"again.{extension}"
        bilby_result.save_to_file(filename=str(path), extension=extension)
        again = bilby.gw.result.CBCResult.from_json if extension == "json" else (
            bilby.gw.result.CBCResult.from_hdf5
        )  # fmt: skip
        assert again(str(path)).priors["mass_ratio"] == bilby_result.priors["mass_ratio"]
        assert not list(tmp_path.glob("*.pkl"))


def test_exports_have_the_columns_of_a_release(bilby_file):
    content = json.loads(bilby_file.read_text())["posterior"]["content"]
    assert [name for name in GWTC_COLUMNS if name not in content] == []
    assert all(np.isfinite(column).all() for column in content.values())


def test_prior_draws_have_the_priors_distribution(finished):
    draws = prior_draws(load(finished), 20000)
    mchirp = draws["mchirp"].to_numpy()
    assert mchirp.min() >= 20 and mchirp.max() <= 31
    # Proportional to the chirp mass
    assert np.mean(mchirp) == pytest.approx(
        2 / 3 * (31**3 - 20**3) / (31**2 - 20**2), rel=0.005
    )
    assert np.mean(np.abs(draws["chieff"])) == pytest.approx(0.5, abs=0.01)


def test_a_pesummary_file_holds_what_its_reader_asks_for(finished, tmp_path):
    import h5py

    shutil.copytree(finished, tmp_path / "other")
    path = to_pesummary([finished, tmp_path / "other"], tmp_path / "golden.h5")
    run = load(finished)
    data = analysed_data(run)
    with h5py.File(path) as file:
        assert set(file) == {"golden", "other", "version"}
        group = file["golden"]
        samples = group["posterior_samples"][:]
        np.testing.assert_allclose(
            samples["mass_1"], equal_weight_samples(run.samples)["m1"]
        )
        density = group["psds/L1"][:]
        used = np.isfinite(data.psd_df[1])
        np.testing.assert_allclose(density[:, 1], data.psd_df[1][used])
        about = group["meta_data/meta_data"]
        assert about["f_low"][0] == density[0, 0]
        assert about["f_start"][0] == density[0, 0]
        assert about["f_final"][0] == density[-1, 0]
        assert about["delta_f"][0] == run.event.df
        assert b"No calibration" in group["description"][0]
        assert json.loads(group["config_file/dotpe-exec/n_ext"][0]) == 96
        assert len(group["priors/samples/mass_1"]) > 1000
        assert b"cogwheel-pe" in file["version/packages"]["package"]


@pytest.mark.slow
def test_pesummary_renders_its_pages(copy, tmp_path):
    pytest.importorskip("pesummary", reason="needs pip install '.[interop]'")
    from pesummary.io import read

    # The run has 8 samples, too few for PESummary's densities: more around them.
    rng = np.random.default_rng(1)
    samples = pd.concat([load(copy).samples] * 40, ignore_index=True)
    for name in ("m1", "m2", "ra", "dec", "d_luminosity"):
        samples[name] *= 1 + 0.02 * rng.uniform(-1, 1, len(samples))
    samples["iota"] = rng.uniform(0.1, 3.0, len(samples))
    samples.to_feather(copy / "samples.feather")
    path = to_pesummary(copy, tmp_path / "golden.h5")
    content = read(str(path))
    assert content.labels == ["copy"]
    assert content.detectors == [["H1", "L1", "V1"]]
    assert content.extra_kwargs[0]["meta_data"]["f_low"] == analysed_data(load(copy)).f_low
    subprocess.run(
        [sys.executable, "-m", "pesummary.cli.summarypages", "--webdir", tmp_path / "pages",
         "--samples", path, "--gw", "--no_ligo_skymap", "--disable_interactive"],
        check=True, timeout=1800,
    )  # fmt: skip
    assert (tmp_path / "pages" / "home.html").is_file()
    assert list((tmp_path / "pages" / "plots").glob("*chirp_mass*.png"))


@needs("ligo.skymap")
def test_too_few_directions_are_no_sky_map(finished, tmp_path):
    with pytest.raises(RunDirectoryError, match="needs at least 50 effective directions"):
        to_skymap(finished, tmp_path / "golden.fits")
    assert not list(tmp_path.iterdir())


@needs("ligo.skymap")
def test_a_sky_map_is_read_back(copy, tmp_path, rough_skymaps):
    from ligo.skymap.io import read_sky_map
    from ligo.skymap.moc import uniq2pixarea

    rng = np.random.default_rng(1)
    samples = pd.concat([load(copy).samples] * 30, ignore_index=True)
    samples["e"] = np.arange(len(samples))
    for name, spread in (("ra", 0.1), ("dec", 0.1), ("d_luminosity", 100)):
        samples[name] = samples[name].mean() + rng.normal(0, spread, len(samples))
    samples.to_feather(copy / "samples.feather")
    run = load(copy)
    path = to_skymap(run, tmp_path / "golden.fits")
    table = read_sky_map(str(path), moc=True, distances=True)
    density = np.asarray(table["PROBDENSITY"])
    assert np.sum(density * uniq2pixarea(table["UNIQ"])) == pytest.approx(1, abs=1e-3)
    assert table.meta["instruments"] == {"H1", "L1", "V1"}
    assert table.meta["gps_time"] == run.event.tgps
    mean = np.average(run.samples["d_luminosity"], weights=run.samples["weights"])
    assert table.meta["distmean"] == pytest.approx(mean, rel=0.15)
    assert 0 < run.skymap.areas[0.5] < run.skymap.areas[0.9] < 41253
    with pytest.raises(InputError, match=r"must end in \.fits"):
        to_skymap(run, tmp_path / "golden.png")


def test_arviz_gets_one_chain(finished):
    data = load(finished).to_arviz()
    samples = equal_weight_samples(load(finished).samples)
    assert data.posterior.sizes == {"chain": 1, "draw": len(samples)}
    np.testing.assert_allclose(data.posterior["mass_1"][0], samples["m1"])


@pytest.fixture
def copy(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "copy")


def test_export_needs_the_event(copy, tmp_path):
    load(copy).event_file.unlink()
    for export in (to_bilby, to_pesummary):
        with pytest.raises(MissingFileError, match="event data"):
            export(copy, tmp_path / "a.file")
    assert not (tmp_path / "a.file").exists()


def test_export_needs_the_posterior(copy, tmp_path):
    (copy / "Posterior.json").unlink()
    with pytest.raises(MissingFileError, match=r"Posterior\.json is not there"):
        to_bilby(copy, tmp_path / "a.json")


def test_export_needs_the_evidence(copy, tmp_path):
    (copy / "summary_results.json").write_text("{}")
    for export in (to_bilby, to_pesummary):
        with pytest.raises(RunDirectoryError, match=r"results\.json lacks ln_evidence"):
            export(copy, tmp_path / "a.file")
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


def test_banks_that_are_gone_leave_the_stored_prior(copy, tmp_path):
    path = copy / "run_kwargs.json"
    kwargs = json.loads(path.read_text()) | {"bank_folder": str(tmp_path / "gone")}
    path.write_text(json.dumps(kwargs))
    stored = load(copy).prior_arguments["mchirp_range"]
    draws = prior_draws(load(copy), 1000)
    assert stored[0] <= draws["mchirp"].min() < draws["mchirp"].max() <= stored[1]


def test_a_run_that_adapted_says_its_prior(copy):
    path = copy / "summary_results.json"
    adaptive = {"mchirp_range": [10, 50], "q_min": 0.5}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"adaptive": adaptive}))
    draws = prior_draws(load(copy), 5000)
    assert 10 <= draws["mchirp"].min() < 12 and 49 < draws["mchirp"].max() <= 50
    assert (draws["m2"] / draws["m1"]).min() >= 0.5


def test_the_command_line_exports(finished, tmp_path):
    output = str(tmp_path / "out.h5")
    command = ["export", str(finished), "--format", "pesummary", "-o", output]
    done = CliRunner().invoke(main, command)
    assert (done.exit_code, done.output.strip()) == (0, output)
    command = ["export", str(finished), str(finished), "--format", "bilby"]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 2
    assert "one run" in done.output
