"""Samples under other noise, models and calibration, compared with bilby and cogwheel."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner
from cogwheel.likelihood import CBCLikelihood
from cogwheel.waveform import WaveformGenerator
from envelopes import write_envelope

from dotpe_exec import load
from dotpe_exec.cli import main
from dotpe_exec.errors import InputError, MissingFileError
from dotpe_exec.events.calibration import (
    N_NODES,
    calibration_factors,
    draw_nodes,
    read_envelopes,
)
from dotpe_exec.export import bilby_likelihood
from dotpe_exec.reweighting.likelihood import (
    OtherData,
    other_likelihoods,
    time_and_phase_shift,
)

N_SAMPLES = 12


@pytest.fixture(scope="module")
def envelopes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("envelopes")
    return {name: write_envelope(folder / f"{name}.txt", k)
            for k, name in enumerate(("H1", "L1", "V1"))}  # fmt: skip


@pytest.fixture(scope="module")
def run_and_samples(finished):
    run = load(finished)
    samples = run.samples.iloc[np.arange(N_SAMPLES) % len(run.samples)]
    samples = samples.reset_index(drop=True)
    # The run has few: the others are near these, where the likelihood is another one.
    again = np.arange(N_SAMPLES) >= len(run.samples)
    return run, samples.assign(
        phi_ref=samples["phi_ref"] + 0.1 * again,
        d_luminosity=samples["d_luminosity"] * (1 + 0.1 * again),
    )


def bilby_parameters(run, samples):
    """Return the dictionaries that bilby's likelihood takes, one for each sample."""
    from dotpe_exec.derived import standard_parameters

    return standard_parameters(samples, float(run.event.tgps)).to_dict("records")


@pytest.mark.parametrize("correction", ["data", "template"])
def test_nodes_and_factors_are_bilbys(envelopes, correction):
    from bilby.gw.detector.calibration import CubicSpline
    from bilby.gw.prior import CalibrationPriorDict

    envelope = read_envelopes(envelopes, ("H", "L", "V"), correction)["L"]
    rng = np.random.default_rng(1)
    nodes, values_kxn = draw_nodes(envelope, 20.0, 1000.0, 3, rng)
    normal = np.random.default_rng(1).standard_normal((3, 2, N_NODES))
    prior = CalibrationPriorDict.from_envelope_file(
        str(envelopes["L1"]), 20.0, 1000.0, N_NODES, "L1", correction_type=correction
    )
    f = np.linspace(20, 1000, 777)
    factors = calibration_factors(f, nodes, values_kxn)
    for k in range(3):
        values = {}
        for x, kind in enumerate(("amplitude", "phase")):
            for n in range(N_NODES):
                gaussian = prior[f"recalib_L1_{kind}_{n}"]
                values[f"recalib_L1_{kind}_{n}"] = (
                    gaussian.mu + gaussian.sigma * normal[k, x, n]
                )
        spline = CubicSpline("recalib_L1_", 20.0, 1000.0, N_NODES)
        expected = spline.get_calibration_factor(f, **values)
        np.testing.assert_allclose(factors[k], expected, rtol=1e-10)


def test_likelihoods_under_a_curve_are_bilbys(run_and_samples, envelopes):
    from bilby.gw.detector.calibration import CubicSpline

    run, samples = run_and_samples
    # A single curve: the average is the likelihood under it.
    found = other_likelihoods(run, samples, OtherData(calibration=envelopes, n_curves=1))
    likelihood = bilby_likelihood(run)
    plain, curved = [], []
    parameters = bilby_parameters(run, samples)
    for par in parameters:
        plain.append(likelihood.log_likelihood_ratio(par))
    from dotpe_exec import seeds

    nodes = {}
    for detector in likelihood.interferometers:
        letter = detector.name[0]
        envelope = read_envelopes(envelopes, ("H", "L", "V"))[letter]
        low, high = detector.minimum_frequency, detector.maximum_frequency
        rng = seeds.generator(0, "calibration", letter)
        _, values_kxn = draw_nodes(envelope, low, high, 1, rng)
        prefix = f"recalib_{detector.name}_"
        detector.calibration_model = CubicSpline(prefix, low, high, N_NODES)
        for x, kind in enumerate(("amplitude", "phase")):
            for n in range(N_NODES):
                nodes[f"{prefix}{kind}_{n}"] = values_kxn[0, x, n]
    for par in parameters:
        curved.append(likelihood.log_likelihood_ratio(par | nodes))
    expected = np.array(curved) - plain
    assert np.abs(expected).max() > 0.3  # it does something
    np.testing.assert_allclose(found.ln_ratio_s, expected, atol=0.02)


def test_the_average_is_that_over_curves_one_by_one(run_and_samples, envelopes):
    run, samples = run_and_samples
    other = OtherData(calibration=envelopes, n_curves=6)
    found = other_likelihoods(run, samples, other)
    fbin = run.likelihood.fbin
    assert found.curves["H"].shape == (6, len(fbin))
    assert found.samples["calibration_curve"].between(0, 5).all()
    from dotpe_exec.cogwheel_bridge import hplus_hcross_by_m, make_summary
    from dotpe_exec.derived.detectors import antennas

    # Curve by curve, by cogwheel's summary, in the plainest way.
    likelihood = run.likelihood
    generator, event = likelihood.waveform_generator, likelihood.event_data
    summary = make_summary(likelihood)
    response, delay = antennas(event.detector_names, samples, event.tgps)
    m_arr = summary.m_arr
    pairs = [(m, n) for m in range(len(m_arr)) for n in range(m, len(m_arr))]
    for s, row in samples.iterrows():
        h_mpb = hplus_hcross_by_m(generator, fbin, dict(row[list(generator.slow_params)]))
        h_mpb = h_mpb * np.exp(1j * m_arr * row["phi_ref"])[:, None, None]
        h_mpb = h_mpb / row["d_luminosity"]
        lnlikes = np.zeros(7)
        for d, name in enumerate(event.detector_names):
            time = row["t_geocenter"] + delay[d, s] + event.tcoarse
            shift = np.exp(-2j * np.pi * fbin * time)
            for k, curve in enumerate([np.ones(len(fbin)), *found.curves[name]]):
                h_p = h_mpb * shift * curve * response[d, :, s][None, :, None]
                dh = np.sum(summary.dh_weights_dmpb[d] * h_p.conj()).real
                hh = sum(
                    np.einsum("pqb,pb,qb->", summary.hh_weights_dmppb[d, j],
                              h_p[m], h_p[n].conj()).real
                    for j, (m, n) in enumerate(pairs)
                )  # fmt: skip
                lnlikes[k] += (dh - hh / 2) / summary.asd_drift_d[d] ** 2
        if s < len(run.samples):
            assert lnlikes[0] == pytest.approx(row["lnl"], abs=1e-3)
        expected = np.log(np.mean(np.exp(lnlikes[1:] - lnlikes[0])))
        assert found.ln_ratio_s[s] == pytest.approx(expected, abs=1e-6)


def test_no_uncertainty_changes_nothing(run_and_samples, tmp_path):
    run, samples = run_and_samples
    f = np.geomspace(5, 4096, 50)
    one, zero = np.ones(50), np.zeros(50)
    np.savetxt(tmp_path / "flat.txt", np.stack([f, one, zero, one, zero, one, zero], 1))
    found = other_likelihoods(
        run, samples, OtherData(calibration={"H1": tmp_path / "flat.txt"}, n_curves=3)
    )
    np.testing.assert_allclose(found.ln_ratio_s, 0, atol=1e-9)


@pytest.fixture(scope="module")
def psds(finished, tmp_path_factory):
    """Densities a little different from the run's, smoothly."""
    folder = tmp_path_factory.mktemp("psds")
    event = load(finished).event
    files = []
    for d, name in enumerate(event.detector_names):
        used = event.wht_filter[d] > 0
        f = event.frequencies[used]
        density = event.wht_filter[d, used] ** -2.0
        factor = 1.2 + 0.1 * np.sin(np.log(f) * 3 + d)
        files.append(folder / f"{name}.txt")
        np.savetxt(files[-1], np.stack([f, density * factor], axis=1))
    return files


def test_likelihoods_under_other_noise_are_bilbys(run_and_samples, psds):
    import bilby

    run, samples = run_and_samples
    found = other_likelihoods(run, samples, OtherData(psds=psds))
    likelihood = bilby_likelihood(run)
    for detector, path in zip(likelihood.interferometers, psds, strict=True):
        f, density = np.loadtxt(path, unpack=True)
        grid = detector.power_spectral_density.frequency_array
        table = np.interp(grid, f, density, left=np.inf, right=np.inf)
        detector.power_spectral_density = bilby.gw.detector.PowerSpectralDensity(
            frequency_array=grid, psd_array=table
        )
    expected = [likelihood.log_likelihood_ratio(par)
                for par in bilby_parameters(run, samples)]  # fmt: skip
    np.testing.assert_allclose(found.samples["lnl_new"], expected, atol=0.1)
    np.testing.assert_allclose(
        found.ln_ratio_s, found.samples["lnl_new"] - samples["lnl"], atol=1e-9
    )


def test_the_same_noise_leaves_only_relative_binning(run_and_samples):
    run, samples = run_and_samples
    likelihood = run.likelihood
    expected = [likelihood.lnlike_fft(dict(row[likelihood.params]))
                for _, row in samples.iterrows()]  # fmt: skip
    found = other_likelihoods(
        run, samples, OtherData(asd_drift=list(run.likelihood.asd_drift))
    )
    np.testing.assert_allclose(found.samples["lnl_new"], expected, atol=1e-6)


def test_likelihoods_of_another_model_are_cogwheels(run_and_samples):
    run, samples = run_and_samples
    found = other_likelihoods(run, samples, OtherData(approximant="IMRPhenomXP"))
    event = run.event
    cogwheels = CBCLikelihood(
        event, WaveformGenerator.from_event_data(event, "IMRPhenomXP")
    )
    cogwheels.asd_drift = run.likelihood.asd_drift
    expected = [cogwheels.lnlike_fft(dict(row[cogwheels.params]))
                for _, row in found.samples.iterrows()]  # fmt: skip
    np.testing.assert_allclose(found.samples["lnl_new"], expected, atol=1e-6)
    # Moved, samples fit better than where they were.
    before = [cogwheels.lnlike_fft(dict(row[cogwheels.params]))
              for _, row in samples.iterrows()]  # fmt: skip
    assert np.mean(expected) > np.mean(before) - 0.5


ALIGNED = ("IMRPhenomXAS", "IMRPhenomD", "IMRPhenomD_NRTidalv2")


@pytest.mark.parametrize("approximant", ALIGNED)
def test_aligned_samples_take_models_of_aligned_spins(run_and_samples, approximant):
    run, samples = run_and_samples
    aligned = {name: 0.0 for name in ("s1x_n", "s1y_n", "s2x_n", "s2y_n")}
    samples = samples.iloc[:2].assign(**aligned)
    found = other_likelihoods(run, samples, OtherData(approximant=approximant))
    event = run.event
    cogwheels = CBCLikelihood(event, WaveformGenerator.from_event_data(event, approximant))
    cogwheels.asd_drift = run.likelihood.asd_drift
    expected = [cogwheels.lnlike_fft(dict(row[cogwheels.params]))
                for _, row in found.samples.iterrows()]  # fmt: skip
    np.testing.assert_allclose(found.samples["lnl_new"], expected, atol=1e-6)


def test_samples_beyond_a_model_are_named(run_and_samples, monkeypatch):
    run, samples = run_and_samples

    def fail(generator, fbin, par_dic):
        if generator.approximant == "IMRPhenomXP":
            raise RuntimeError("Invalid argument")
        return np.ones((4, 2, len(fbin)), dtype=complex)

    monkeypatch.setattr("dotpe_exec.cogwheel_bridge.hplus_hcross_by_m", fail)
    with pytest.raises(InputError, match=r"XP has no waveform for .* m1 = "):
        other_likelihoods(run, samples, OtherData(approximant="IMRPhenomXP"))


def test_a_shift_of_the_model_s_time_and_phase_is_found():
    rng = np.random.default_rng(1)
    f = np.geomspace(20, 500, 300)
    weight = 1 / (1 + (f / 100) ** 2)
    for phase in (0.7, 0.7 + np.pi, 5.0):
        dt = rng.uniform(-0.01, 0.01)
        old = {
            m: np.stack([f ** (-7 / 6) * np.exp(1j * (m * f**0.5 + a)) for a in (0, 1.5)])
            for m in (2, 3)
        }
        # new at (t + dt, phi + phase) is old
        new = {m: h * np.exp(2j * np.pi * f * dt - 1j * m * phase) for m, h in old.items()}
        found_dt, found_phase = time_and_phase_shift(f, weight, old, new)
        assert found_dt == pytest.approx(dt, abs=1e-9)
        assert np.exp(1j * found_phase) == pytest.approx(np.exp(1j * phase))


def test_reweighted_result_has_curves_sizes_and_verdict(finished, envelopes):
    run = load(finished)
    new = run.reweight(calibration=envelopes, n_curves=20)
    assert new.samples["weights"].sum() == pytest.approx(1)
    assert 0 < new.n_effective <= len(run.samples)
    assert "calibration curves count" in new.verdict
    assert np.isfinite(new.ln_evidence)
    assert set(new.curves) == {"H", "L", "V"}
    again = run.reweight(calibration=envelopes, n_curves=20)
    np.testing.assert_array_equal(new.samples["weights"], again.samples["weights"])


def test_long_tables_are_drawn_from(finished, monkeypatch, envelopes):
    run = load(finished)
    monkeypatch.setattr("dotpe_exec.reweighting.weights.MOST_SAMPLES", 5)
    new = run.reweight(calibration=envelopes, n_curves=4)
    assert len(new.samples) == 5


def test_command_line_writes_samples_and_summary(finished, envelopes, tmp_path):
    import json

    import pandas as pd

    output = tmp_path / "new.feather"
    result = CliRunner().invoke(
        main,
        ["reweight", str(finished), "--calibration", f"H1={envelopes['H1']}",
         f"L1={envelopes['L1']}",
         "--n-curves", "5", "--distance", "comoving", "-o", str(output),
         "--executor", "serial"],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "effective samples" in result.output
    assert "calibration_curve" in pd.read_feather(output)
    summary = json.loads((tmp_path / "new.json").read_text())
    assert summary["n_effective"] > 0
    assert set(summary["arguments"]["calibration"]) == {"H1", "L1"}


def test_files_without_a_detector_are_refused(finished):
    for option in ("--calibration", "--psd"):
        result = CliRunner().invoke(main, ["reweight", str(finished), option, "H1.txt"])
        assert result.exit_code == 2
        assert f"{option} is 'H1.txt', expected DETECTOR=FILE" in result.output


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("no numbers at all\n", "seven columns"),
        ("10 1 0\n20 1 0\n30 1 0\n40 1 0\n", "expected at least"),
        ("\n".join(f"{f} 1 0 0.9 -0.1 1.1 0.1" for f in (10, 20, 20, 4000)), "ascending"),
        ("\n".join(f"{f} 0 0 0 -0.1 0.1 0.1" for f in (1, 20, 30, 4000)), "near 1"),
        ("\n".join(f"{f} 1 0 0.9 -0.1 1.1 0.1" for f in (100, 200, 300, 4000)), "covers"),
        ("\n".join(f"{f} 1 nan 0.9 -0.1 1.1 0.1" for f in (1, 20, 30, 4000)), "finite"),
    ],
)
def test_bad_envelopes_are_refused(finished, tmp_path, content, message):
    (tmp_path / "bad.txt").write_text(content)
    with pytest.raises(InputError, match=message):
        load(finished).reweight(calibration={"H1": tmp_path / "bad.txt"})


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"calibration": {"H1": "/no/such.txt"}}, MissingFileError, "does not exist"),
        ({"calibration": {"K1": "x.txt"}}, InputError, "has the detector 'K1'"),
        ({"calibration": "x.txt"}, InputError, "is a dictionary"),
        ({"approximant": "NoSuchModel"}, ValueError, "NoSuchModel"),
        ({"approximant": "IMRPhenomXAS"}, InputError, "no spins in the orbital plane"),
        ({"approximant": "IMRPhenomD"}, InputError, "no spins in the orbital plane"),
        ({"psds": ["one.txt"]}, InputError, "expected one for each"),
        ({"asd_drift": 1.0, "n_procs": 0}, InputError, "n_procs"),
    ],
)
def test_bad_arguments_are_refused(finished, arguments, error, message):
    with pytest.raises(error, match=message):
        load(finished).reweight(**arguments)
