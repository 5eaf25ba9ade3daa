"""Normal deviates to intrinsic parameters: the prior, and cogwheel's own transformation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from dotpe_exec.adaptive.coordinates import PriorCoordinates
from dotpe_exec.adaptive.draws import mirrored
from dotpe_exec.banks.prior import Proposal
from dotpe_exec.errors import InputError
from dotpe_exec.kernels import coordinates as kernels
from dotpe_exec.waveforms.parameters import PARAMETERS

COORDINATES = PriorCoordinates((15.0, 40.0), 0.1, 50.0)


def columns(parameters_ik):
    return dict(zip(PARAMETERS, parameters_ik.T, strict=True))


def test_parameters_are_distributed_as_the_prior():
    rng = np.random.default_rng(1)
    ours = columns(COORDINATES.parameters(COORDINATES.draw(4000, rng)))
    drawn = columns(Proposal((15.0, 40.0), 0.1, 1.0).draw(4000, rng))
    for some in (ours, drawn):
        some["q"] = some["m2"] / some["m1"]
        some["mchirp"] = kernels.mass_coordinates(some["m1"], some["m2"])["mchirp"]
        some["azimuth"] = np.arctan2(some["s1y_n"], some["s1x_n"])
        some["projected"] = some["s1y_n"] * np.sin(some["iota"])
    pvalues = {name: stats.ks_2samp(ours[name], drawn[name]).pvalue for name in ours}
    assert min(pvalues.values()) > 1e-3, pvalues


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_angles_come_back(seed):
    """The transformation is the inverse of that of the posterior's samples."""
    z_ik = COORDINATES.draw(50, np.random.default_rng(seed))
    par = columns(COORDINATES.parameters(z_ik))
    spins = tuple(par[n] for n in ("s1x_n", "s1y_n", "s1z", "s2x_n", "s2y_n", "s2z"))
    angles = kernels.inplane_spin_coordinates(
        par["m1"], par["m2"], spins, par["iota"], COORDINATES.f_ref
    )
    np.testing.assert_allclose(
        angles["costheta_jn"], 2 * stats.norm.cdf(z_ik[:, 4]) - 1, atol=1e-9
    )
    radius = np.sqrt(-np.expm1(-0.5 * (z_ik[:, 5] ** 2 + z_ik[:, 6] ** 2)))
    azimuth = np.arctan2(z_ik[:, 6], z_ik[:, 5])
    x1, y1 = kernels._polar_to_square(radius, azimuth)
    np.testing.assert_allclose(angles["x1"], x1, atol=1e-6)
    np.testing.assert_allclose(angles["y1"], y1, atol=1e-6)
    aligned = kernels.aligned_spin_coordinates(par["m1"], par["m2"], par["s1z"], par["s2z"])
    np.testing.assert_allclose(
        aligned["chieff"], 2 * stats.norm.cdf(z_ik[:, 2]) - 1, atol=1e-9
    )


@given(st.integers(0, 2**32 - 1), st.booleans())
@settings(max_examples=20, deadline=None)
def test_coordinates_come_back(seed, aligned):
    coordinates = PriorCoordinates((15.0, 40.0), 0.1, 50.0, aligned_spins=aligned)
    z_ik = coordinates.draw(50, np.random.default_rng(seed))
    back_ik = coordinates.of_parameters(coordinates.parameters(z_ik))
    np.testing.assert_allclose(back_ik, z_ik, atol=1e-4)


def test_parameters_outside_of_the_prior_have_no_coordinates():
    wider = PriorCoordinates((10.0, 60.0), 0.05, 50.0)
    parameters_ik = wider.parameters(wider.draw(500, np.random.default_rng(5)))
    par = columns(parameters_ik)
    mchirp = kernels.mass_coordinates(par["m1"], par["m2"])["mchirp"]
    inside = (mchirp > 15) & (mchirp < 40) & (par["m2"] > 0.1 * par["m1"])
    z_ik = COORDINATES.of_parameters(parameters_ik)
    np.testing.assert_array_equal(np.isfinite(z_ik).all(axis=1), inside)


def test_agrees_with_cogwheel():
    from cogwheel.gw_prior import IntrinsicIASPrior

    prior = IntrinsicIASPrior(mchirp_range=(15.0, 40.0), q_min=0.1, f_ref=50.0)
    z_ik = COORDINATES.draw(5, np.random.default_rng(2))
    for z_k, parameters_k in zip(z_ik, COORDINATES.parameters(z_ik), strict=True):
        par = dict(zip(PARAMETERS, map(float, parameters_k), strict=True))
        sampled = prior.inverse_transform(**par, f_ref=50.0, l1=0.0, l2=0.0)
        back = prior.transform(**sampled)
        np.testing.assert_allclose([back[n] for n in PARAMETERS], parameters_k, atol=1e-6)
        assert sampled["chieff"] == pytest.approx(2 * stats.norm.cdf(z_k[2]) - 1)
        assert sampled["cums2r_s2z"] == pytest.approx(
            -np.expm1(-0.5 * (z_k[7] ** 2 + z_k[8] ** 2))
        )


def test_without_precession_spins_are_aligned():
    aligned = PriorCoordinates((15.0, 40.0), 0.1, 50.0, aligned_spins=True)
    z_ik = aligned.draw(20, np.random.default_rng(3))
    assert z_ik.shape == (20, 5)
    par = columns(aligned.parameters(z_ik))
    assert not any(par[n].any() for n in ("s1x_n", "s1y_n", "s2x_n", "s2y_n"))
    assert np.all((par["iota"] > 0) & (par["iota"] < np.pi))


def test_density_is_the_normal_distribution():
    z_ik = COORDINATES.draw(10, np.random.default_rng(4))
    np.testing.assert_allclose(
        COORDINATES.ln_prior(z_ik), stats.norm.logpdf(z_ik).sum(axis=1)
    )


@pytest.mark.parametrize("mchirp_range, q_min", [((40, 15), 0.1), ((15, 40), 1.5)])
def test_impossible_priors_are_refused(mchirp_range, q_min):
    with pytest.raises(InputError):
        PriorCoordinates(mchirp_range, q_min, 50.0)


@pytest.mark.parametrize("mirror", COORDINATES.mirrors)
def test_images_differ_in_how_the_orbit_is_seen_alone(mirror):
    """Masses, aligned spins, lengths of in-plane spins and the angle between are kept."""
    z_ik = COORDINATES.draw(200, np.random.default_rng(3))
    before, after = (
        columns(COORDINATES.parameters(some)) for some in (z_ik, mirrored(z_ik, mirror))
    )
    for name in ("m1", "m2", "s1z", "s2z"):
        np.testing.assert_array_equal(before[name], after[name])

    def inplane(par):
        s1 = par["s1x_n"] + 1j * par["s1y_n"]
        s2 = par["s2x_n"] + 1j * par["s2y_n"]
        return np.abs(s1), s1 * s2.conj()

    for one, other in zip(inplane(before), inplane(after), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-9)
    assert (np.abs(before["iota"] - after["iota"]) > 1e-3).mean() > 0.9


def test_aligned_spins_have_the_inclination_to_mirror_alone():
    aligned = PriorCoordinates((15.0, 40.0), 0.1, 50.0, aligned_spins=True)
    assert aligned.mirrors == [(4,)]
    z_ik = aligned.draw(20, np.random.default_rng(3))
    before, after = (
        columns(aligned.parameters(some)) for some in (z_ik, mirrored(z_ik, (4,)))
    )
    np.testing.assert_allclose(after.pop("iota"), np.pi - before.pop("iota"))
    for name, values in before.items():
        np.testing.assert_array_equal(after[name], values)
