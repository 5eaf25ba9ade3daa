"""The sky dictionary: geometry as cogwheel's, and nothing of the sky lost."""

from __future__ import annotations

import numpy as np
import pytest

from dotpe_exec.kernels.sky import (
    antenna_responses,
    consistent_samples,
    fibonacci_sphere,
    geocenter_delays,
    make_sky_dictionary,
)

DT = 1 / 4096


def _geometry(names):
    import lal
    from cogwheel import gw_utils

    detectors = [gw_utils.DETECTORS[name] for name in names]
    locations_dx = np.array([detector.location for detector in detectors]) / lal.C_SI
    return locations_dx, np.array([detector.response for detector in detectors], float)


@pytest.fixture(scope="module", params=["H", "HL", "HLV"])
def sky(request):
    return make_sky_dictionary(*_geometry(request.param), DT, 2**14)


def test_geometry_is_that_of_cogwheel():
    from cogwheel import gw_utils

    locations_dx, responses_dxx = _geometry("HLV")
    lat, lon = fibonacci_sphere(500, 0.3)
    np.testing.assert_allclose(
        geocenter_delays(locations_dx, lat, lon),
        gw_utils.get_geocenter_delays("HLV", lat, lon),
        atol=1e-12,
    )
    np.testing.assert_allclose(
        antenna_responses(responses_dxx, lat, lon),
        gw_utils.get_fplus_fcross_0("HLV", lat, lon),
        atol=1e-7,
    )


def test_lattice_is_isotropic():
    lat, lon = fibonacci_sphere(10_000)
    direction = [np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)]
    np.testing.assert_allclose(np.mean(direction, axis=1), 0, atol=1e-3)
    np.testing.assert_allclose(np.cov(direction, bias=True), np.eye(3) / 3, atol=1e-3)


def test_every_sample_is_found_under_its_own_delays(sky):
    bins_sd = np.rint((sky.delays_sd - sky.delays_sd[:, :1]) / DT).astype(int) + 7
    sky_s, fraction_s = consistent_samples(bins_sd, np.full(len(bins_sd), 0.5), sky)
    assert np.all(sky_s >= 0)
    found = np.rint((sky.delays_sd[sky_s] - sky.delays_sd[sky_s, :1]) / DT).astype(int) + 7
    np.testing.assert_array_equal(found, bins_sd)
    # The cells share out the whole sphere.
    _, first = np.unique(bins_sd, axis=0, return_index=True)
    np.testing.assert_allclose(fraction_s[first].sum(), 1)


def test_all_samples_of_a_cell_can_be_chosen(sky):
    n_d = sky.delays_sd.shape[1]
    cell = int(np.argmax(np.diff(sky.starts_c)))
    start, stop = sky.starts_c[cell : cell + 2]
    bins_d = np.rint((sky.delays_sd[start] - sky.delays_sd[start, 0]) / DT).astype(int)
    u_q = np.concatenate([(np.arange(stop - start) + 0.5) / (stop - start), [0.0, 1.0]])
    sky_q, _ = consistent_samples(np.broadcast_to(bins_d, (len(u_q), n_d)).copy(), u_q, sky)
    np.testing.assert_array_equal(sky_q, [*range(start, stop), start, stop - 1])


def test_delays_longer_than_light_travel_time_are_not_physical():
    sky = make_sky_dictionary(*_geometry("HL"), DT, 2**12)
    too_long = int(0.0101 / DT) + 1
    bins_qd = np.array([[0, too_long], [0, -too_long], [5, 5]])
    sky_q, fraction_q = consistent_samples(bins_qd, np.zeros(3), sky)
    np.testing.assert_array_equal(sky_q < 0, [True, True, False])
    np.testing.assert_array_equal(fraction_q[:2], 0)
