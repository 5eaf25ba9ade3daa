"""Waveforms at very many frequencies, against LALSimulation at each of them."""

from __future__ import annotations

import numpy as np
import pytest

from dotpe_exec.kernels.interpolation import interpolate_modes, midway
from dotpe_exec.waveforms import dense
from dotpe_exec.waveforms.dense import PRECISE, TOLERANCE, dense_modes
from dotpe_exec.waveforms.direct import Source, generate_modes

MODES = ((2, 2), (2, 1), (3, 3), (3, 2), (4, 4))
BINARY = {
    "m1": 36.0, "m2": 29.0, "s1x_n": 0.4, "s1y_n": -0.2, "s1z": 0.3, "s2x_n": -0.3,
    "s2y_n": 0.1, "s2z": -0.5, "l1": 0.0, "l2": 0.0, "iota": 1.3, "f_ref": 50.0,
}  # fmt: skip
ALIGNED = dict.fromkeys(("s1x_n", "s1y_n", "s2x_n", "s2y_n"), 0.0)

# A binary whose angles jump at 25 Hz.
JUMPING = {
    "m1": 25.931, "m2": 20.705, "s1x_n": -0.01898, "s1y_n": 0.12597, "s1z": 0.98043,
    "s2x_n": -0.19833, "s2y_n": -0.63196, "s2z": -0.5427, "iota": 1.82316,
}  # fmt: skip


def source(approximant="IMRPhenomXPHM", modes=MODES, **changes):
    return Source(approximant, modes, (), BINARY | changes)


def made(frequencies_f, of, tolerance=TOLERANCE):
    h_mpf = np.full((len(of.m_arr), 2, len(frequencies_f)), np.nan, dtype=complex)
    for part, part_mpf in dense_modes(frequencies_f, of, tolerance):
        h_mpf[..., part] = part_mpf
    return h_mpf


@pytest.mark.parametrize(
    "of",
    [
        source(),
        source(m1=90.0, m2=8.0, s1x_n=0.9, s1y_n=0.0, s1z=-0.2, iota=1.57),
        source(m1=250.0, m2=120.0),  # ends far below the highest frequency
        source(m1=1.6, m2=1.3, s1x_n=0.03, s1z=0.02, s2x_n=0.0, s2z=0.01),
        source("IMRPhenomXP", ((2, 2),)),
        source("IMRPhenomXHM", s1z=0.9, m2=6.0, **ALIGNED),
        source("IMRPhenomD_NRTidalv2", ((2, 2),), m1=1.7, m2=1.4, l1=400.0, l2=600.0,
               **ALIGNED),
    ],
    ids=lambda of: f"{of.approximant}-{of.parameters['m1']:g}-{of.parameters['m2']:g}",
)  # fmt: skip
def test_interpolation_is_precise(of):
    frequencies_f = np.arange(20 * 64, 1024 * 64) / 64
    h_mpf, expected = made(frequencies_f, of), generate_modes(frequencies_f, of)
    assert np.abs(h_mpf - expected).max() < 2e-6 * np.abs(expected).max()
    norm = np.linalg.norm(expected)
    assert np.linalg.norm(h_mpf - expected) < 2e-7 * norm
    # What it does to (d|h), in units of the signal-to-noise ratio squared.
    assert abs(np.vdot(expected, h_mpf) / norm**2 - 1) < 1e-8
    assert np.any(h_mpf != expected)  # interpolated, indeed


def test_few_frequencies_are_generated():
    frequencies_f = np.arange(20 * 8, 1024 * 8) / 8
    np.testing.assert_array_equal(
        made(frequencies_f, source()), generate_modes(frequencies_f, source())
    )


def test_what_cannot_be_interpolated_is_generated(monkeypatch):
    monkeypatch.setitem(dense._N_NODES, 1e-16, 2049)
    frequencies_f = np.arange(20 * 32, 1024 * 32) / 32
    np.testing.assert_array_equal(
        made(frequencies_f, source(), 1e-16), generate_modes(frequencies_f, source())
    )


def test_a_waveform_with_which_others_are_compared_is_made_more_precisely():
    frequencies_f = np.arange(20 * 64, 1024 * 64) / 64
    for of in (source(), source(**ALIGNED), source(**JUMPING)):
        h_mpf, expected = (
            made(frequencies_f, of, PRECISE),
            generate_modes(frequencies_f, of),
        )
        assert np.abs(h_mpf - expected).max() < 5 * PRECISE * np.abs(expected).max()
        assert np.any(h_mpf != expected)  # interpolated, indeed


def test_around_jumps_of_a_model_frequencies_are_generated():
    frequencies_f = np.arange(20 * 64, 1024 * 64) / 64
    of = source(**JUMPING)
    expected = generate_modes(frequencies_f, of)
    found = dense._smooth_modes(frequencies_f, of, TOLERANCE)
    assert 0 < len(found.rough_r) < 1000
    assert found.carrier_mn.shape[1] == 2049
    h_mpf = made(frequencies_f, of)
    np.testing.assert_array_equal(h_mpf[..., found.rough_r], expected[..., found.rough_r])
    assert np.abs(h_mpf - expected).max() < 2e-6 * np.abs(expected).max()


def test_more_nodes_are_taken_where_it_helps(monkeypatch):
    frequencies_f = np.arange(20 * 32, 1024 * 32) / 32
    expected = generate_modes(frequencies_f, source())
    monkeypatch.setitem(dense._N_NODES, TOLERANCE, 33)
    found = made(frequencies_f, source())
    assert np.abs(found - expected).max() < dense.TOLERANCE * np.abs(expected).max()
    assert np.any(found != expected)


def test_polynomials_of_degree_five_are_exact():
    x_n, x_f = np.arange(31.0), np.linspace(0.0, 30.0, 500)

    def smooth(x, m):
        return (0.1 * x - 1) ** 5 - 2j * (0.05 * m * x) ** 4

    def carrier(x, m):
        return 1e3 * m + 4.0 * x**2

    smooth_mpn = np.array([[smooth(x_n, m), 2 * smooth(x_n, m)] for m in (1, 2)])
    carrier_mn = np.array([carrier(x_n, m) for m in (1, 2)])
    h_mpf = np.empty((2, 2, len(x_f)), dtype=complex)
    interpolate_modes(smooth_mpn, carrier_mn, x_f, h_mpf)
    for m in (1, 2):
        expected = smooth(x_f, m) * np.exp(-1j * carrier(x_f, m))
        np.testing.assert_allclose(h_mpf[m - 1, 0], expected, atol=1e-9)
        np.testing.assert_allclose(h_mpf[m - 1, 1], 2 * expected, atol=1e-9)
    found, given = midway(smooth_mpn)
    np.testing.assert_allclose(found, given, atol=1e-11)
    assert given.shape == (2, 2, 11)
