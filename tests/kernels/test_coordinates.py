"""Sampling coordinates against cogwheel's prior, row by row."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dotpe_exec.kernels import coordinates
from dotpe_exec.stages.standardize import intrinsic_coordinates, sampling_frame

F_REF = 50.0
PAR_DIC_0 = {"phi_ref": 1.0, "iota": 2.0, "ra": 2.0, "dec": 0.5, "psi": 0.3,
             "t_geocenter": 0.01}  # fmt: skip
SPINS = ("s1x_n", "s1y_n", "s1z", "s2x_n", "s2y_n", "s2z")


def make_prior(detector_pair="HL", ref_det_name="H", tgps=1126259462.4, **kwargs):
    from cogwheel.gw_prior import CartesianIASPrior

    arguments = {"f_avg": 90.0, "par_dic_0": PAR_DIC_0, "f_ref": F_REF} | kwargs
    return CartesianIASPrior(
        mchirp_range=(1, 100),
        detector_pair=detector_pair,
        ref_det_name=ref_det_name,
        tgps=tgps,
        **arguments,
    )


@pytest.fixture(scope="module")
def prior():
    return make_prior()


def draw_binaries(rng, size):
    m1 = rng.uniform(2, 100, size)
    binaries = {"m1": m1, "m2": m1 * rng.uniform(0.05, 1, size)}
    for body in "12":
        sz, azimuth = rng.uniform(-1, 1, size), rng.uniform(0, 2 * np.pi, size)
        inplane = np.sqrt((1 - sz**2) * rng.random(size))
        binaries[f"s{body}z"] = sz
        binaries[f"s{body}x_n"] = inplane * np.cos(azimuth)
        binaries[f"s{body}y_n"] = inplane * np.sin(azimuth)
    binaries["iota"] = np.arccos(rng.uniform(-1, 1, size))
    return pd.DataFrame(binaries)


def draw_samples(rng, size):
    samples = draw_binaries(rng, size)
    samples["ra"] = rng.uniform(0, 2 * np.pi, size)
    samples["dec"] = np.arcsin(rng.uniform(-1, 1, size))
    samples["psi"] = rng.uniform(0, np.pi, size)
    samples["phi_ref"] = rng.uniform(0, 2 * np.pi, size)
    samples["t_geocenter"] = rng.normal(scale=0.02, size=size)
    samples["d_luminosity"] = rng.uniform(10, 10000, size)
    return samples.assign(l1=0.0, l2=0.0, f_ref=F_REF)


def all_coordinates(samples, prior):
    frame = sampling_frame(prior)
    columns = {name: samples[name].to_numpy() for name in samples}
    out = intrinsic_coordinates(columns, columns["f_ref"])
    lat, lon = columns["dec"], columns["ra"] - frame.gmst
    out["costhetanet"], phinet = coordinates.network_angles(lat, lon, frame)
    out["phinet_hat"] = coordinates.fold_azimuth(phinet, columns["iota"])
    out["t_refdet"] = columns["t_geocenter"] + coordinates.detector_delay(lat, lon, frame)
    factor = coordinates.geometric_factor(
        *coordinates.antenna_response(lat, lon, columns["psi"], frame), columns["iota"]
    )
    out["phi_ref_hat"] = coordinates.phase_coordinate(
        columns["phi_ref"], factor, out["t_refdet"], frame
    )
    out["d_hat"] = coordinates.distance_coordinate(
        columns["d_luminosity"], out["mchirp"], factor
    )
    return out


def assert_as_cogwheel(samples, prior, ours):
    theirs = samples[[*prior.standard_params, *prior.conditioned_on]].copy()
    prior.inverse_transform_samples(theirs)
    for name in prior.sampled_params:
        if name not in prior.standard_params:
            np.testing.assert_allclose(
                ours[name], theirs[name], rtol=1e-8, atol=1e-8, err_msg=name
            )


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"detector_pair": "LV", "ref_det_name": "V", "tgps": 0.0},
        {"detector_pair": "H", "ref_det_name": "H"},
        {"detector_pair": "V", "ref_det_name": "V"},
        {"par_dic_0": None},
        {"f_ref": 20.0, "f_avg": 130.0},
    ],
)
def test_all_coordinates_are_cogwheels(arguments):
    prior = make_prior(**arguments)
    samples = draw_samples(np.random.default_rng(1), 300)
    samples["f_ref"] = prior.get_init_dict()["f_ref"]
    ours = all_coordinates(samples, prior)
    named = {name for name in prior.sampled_params if name not in prior.standard_params}
    assert ours.keys() == named
    assert_as_cogwheel(samples, prior, ours)


@pytest.mark.parametrize("iota", [0.0, np.pi / 2, np.pi, 1.0])
@pytest.mark.parametrize(
    "spins",
    [
        (0, 0, 0, 0, 0, 0),
        (0, 0, 0.3, 0, 0, -0.2),
        (0.1, 0, 0.3, 0, 0, 0),
        (0, 0, 0.3, 0, 0.2, 0.1),
        (0, -0.4, 0.3, 0, 0, 0.1),
        (0.3, 0.1, 0.2, -0.2, 0.5, 0.1),
        (0.6, 0.0, 0.8, 0.0, 0.0, 0.0),
    ],
)
def test_special_orientations_are_cogwheels(prior, spins, iota):
    samples = draw_samples(np.random.default_rng(2), 4).assign(iota=iota)
    samples = samples.assign(**{k: float(v) for k, v in zip(SPINS, spins, strict=True)})
    assert_as_cogwheel(samples, prior, all_coordinates(samples, prior))


def test_equal_masses_and_extreme_spins_are_defined(prior):
    samples = draw_samples(np.random.default_rng(3), 2)
    samples["m2"] = samples["m1"]
    samples[["s1x_n", "s1y_n", "s2x_n", "s2y_n"]] = 0.0
    samples["s1z"], samples["s2z"] = [1.0, -1.0], [1.0, -1.0]
    ours = all_coordinates(samples, prior)
    for name, column in ours.items():
        assert np.isfinite(column).all(), name
    np.testing.assert_array_equal(ours["chieff"], [1, -1])


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_coordinates_lead_back_to_the_parameters(prior, seed):
    samples = draw_samples(np.random.default_rng(seed), 1)
    ours = {
        name: float(column[0]) for name, column in all_coordinates(samples, prior).items()
    }
    row = samples.iloc[0]
    back = prior.transform(**ours, psi=row["psi"])
    for name in ("m1", "m2", "s1z", "s2z", "t_geocenter"):
        assert back[name] == pytest.approx(row[name], rel=1e-9, abs=1e-9), name
    for name in ("iota", "s1x_n", "s1y_n", "s2x_n", "s2y_n", "dec"):
        # Cogwheel's map of the disk loses half of the digits near its axes.
        assert back[name] == pytest.approx(row[name], abs=1e-4), name
    # How loud it is depends on the inclination.
    assert back["d_luminosity"] == pytest.approx(row["d_luminosity"], rel=1e-3)


def test_network_axes_are_orthonormal_and_right_handed():
    from cogwheel import gw_utils

    locations = np.array([gw_utils.DETECTORS[name].location for name in "HV"])
    for axes in (
        coordinates.network_axes(locations),
        coordinates.single_detector_axes(*map(np.array, gw_utils.DETECTOR_ARMS["L"])),
    ):
        np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-11)
        assert np.linalg.det(axes) == pytest.approx(1)


def test_right_ascension_is_in_the_first_turn():
    lon = np.array([0.0, 3.0, 6.2])
    ra = coordinates.right_ascension(lon, 40000.0)
    assert np.all((ra >= 0) & (ra < 2 * np.pi))
    np.testing.assert_allclose(np.exp(1j * ra), np.exp(1j * (lon + 40000.0)), atol=1e-10)
