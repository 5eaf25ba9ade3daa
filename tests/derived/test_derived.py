"""Derived quantities: against LALSimulation, astropy and the likelihood itself."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dotpe_exec.derived import (
    binary_parameters,
    comoving_volume_weights,
    detector_parameters,
    redshift,
    standard_parameters,
)
from dotpe_exec.loading import load_run

TGPS = 1126259462.4


def precessing_samples(n: int, seed: int = 5) -> pd.DataFrame:
    """Return samples with all that derived quantities need."""
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
        "lnl": rng.uniform(30, 50, n),
        "weights": np.ones(n),
    }
    return pd.DataFrame(columns)


def test_spin_angles_lead_back_to_the_components():
    from lal import MSUN_SI
    from lalsimulation import SimInspiralTransformPrecessingNewInitialConditions as back

    table = binary_parameters(precessing_samples(20), TGPS)
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
    table = binary_parameters(samples, TGPS)
    inplane = np.hypot(samples["s1x_n"], samples["s1y_n"])
    np.testing.assert_allclose(np.hypot(table["spin_1x"], table["spin_1y"]), inplane)
    moved = np.abs(table["spin_1x"] - samples["s1x_n"])
    assert moved.max() > 0.1


def test_source_masses_are_smaller_by_the_redshift():
    from astropy.cosmology import Planck18

    table = binary_parameters(precessing_samples(3), TGPS)
    z = table["redshift"].to_numpy()
    np.testing.assert_allclose(
        Planck18.luminosity_distance(z).value, table["luminosity_distance"], rtol=1e-4
    )
    np.testing.assert_allclose(
        Planck18.comoving_distance(z).value, table["comoving_distance"], rtol=1e-4
    )
    np.testing.assert_allclose(table["mass_1_source"] * (1 + z), table["mass_1"])


def test_comoving_weights_are_those_of_the_differential_volume():
    from astropy.cosmology import Planck18

    distance = np.array([100.0, 500.0, 2000.0, 8000.0])
    step = 1e-3
    z, further = redshift(distance), redshift(distance * (1 + step))
    volume = Planck18.differential_comoving_volume(z).value / (1 + z)
    density = volume * (further - z) / (distance * step)
    ratio = density / distance**2
    expected = comoving_volume_weights(distance)
    np.testing.assert_allclose(ratio / ratio[0], expected / expected[0], rtol=0.01)


def test_tables_without_inplane_spins_have_none():
    samples = precessing_samples(4).drop(columns=["s1x_n", "s1y_n", "s2x_n", "s2y_n"])
    table = binary_parameters(samples, TGPS)
    np.testing.assert_allclose(table["chi_p"], 0)
    np.testing.assert_allclose(table["a_1"], np.abs(samples["s1z"]))
    np.testing.assert_allclose(table["theta_jn"], samples["iota"])


def test_remnants_are_close_to_another_fit():
    from lalsimulation import SimIMRPhenomXFinalMass2017, SimIMRPhenomXFinalSpin2017

    samples = precessing_samples(10).assign(s1x_n=0.0, s1y_n=0.0, s2x_n=0.0, s2y_n=0.0)
    samples = pd.concat([samples, samples.assign(d_luminosity=500.0)], ignore_index=True)
    table = standard_parameters(samples, TGPS)
    for row in table.to_dict("records"):
        binary = row["symmetric_mass_ratio"], row["spin_1z"], row["spin_2z"]
        mass = SimIMRPhenomXFinalMass2017(*binary) * row["total_mass"]
        assert row["final_mass"] == pytest.approx(mass, rel=2e-3)
        assert row["final_spin"] == pytest.approx(
            SimIMRPhenomXFinalSpin2017(*binary), abs=0.01
        )
        assert row["radiated_energy"] == pytest.approx(
            row["total_mass_source"] - row["final_mass_source"]
        )
        assert 1 < row["peak_luminosity"] < 6


def test_no_samples_have_no_parameters():
    table = standard_parameters(precessing_samples(3).iloc[:0], TGPS)
    assert len(table) == 0 and "final_spin" in table


def test_the_index_of_the_samples_is_kept():
    samples = precessing_samples(6).iloc[[4, 1, 3]]
    assert list(standard_parameters(samples, TGPS).index) == [4, 1, 3]


def test_signal_to_noise_ratios_make_up_the_likelihood(finished):
    run = load_run(finished)
    table = detector_parameters(run, run.samples)
    optimal = table["network_optimal_snr"]
    lnl = table["network_matched_filter_snr"] * optimal - optimal**2 / 2
    np.testing.assert_allclose(lnl, run.samples["lnl"], atol=1e-6)
    by_detector = sum(table[f"{name}_optimal_snr"] ** 2 for name in ("H1", "L1", "V1"))
    np.testing.assert_allclose(by_detector, optimal**2)
    for name in ("H1", "L1", "V1"):
        real = table[f"{name}_matched_filter_abs_snr"] * np.cos(
            table[f"{name}_matched_filter_snr_angle"]
        )
        np.testing.assert_allclose(real, table[f"{name}_matched_filter_snr"])


def test_arrival_times_are_those_of_the_detectors(finished):
    from cogwheel.gw_utils import time_delay_from_geocenter

    run = load_run(finished)
    samples = run.samples.head(5)
    table = detector_parameters(run, samples)
    for (_, sample), (_, row) in zip(samples.iterrows(), table.iterrows(), strict=True):
        delays = time_delay_from_geocenter(
            ("H", "L", "V"), sample["ra"], sample["dec"], run.event.tgps
        )
        expected = run.event.tgps + sample["t_geocenter"] + delays
        np.testing.assert_allclose(
            row[["H1_time", "L1_time", "V1_time"]].astype(float),
            expected,
            rtol=0,
            atol=1e-6,
        )
