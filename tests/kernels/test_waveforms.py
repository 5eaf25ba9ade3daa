"""The linear-free shift: a straight line fitted to the phase of h / h0, in closed form."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.polynomial import Polynomial

from dotpe_exec.kernels.summary import LineFit
from dotpe_exec.kernels.waveforms import linear_free_shift, linear_free_waveforms, readonly


def make_case(seed, n_i=3, n_m=2, n_b=40, m2_index=1):
    """Amplitudes near those of real waveforms, phases that wind many times."""
    rng = np.random.default_rng(seed)
    fbin_b = np.sort(rng.uniform(20, 500, n_b))
    h0_b = 1e-19 * rng.uniform(0.5, 2, n_b) * (fbin_b / 20) ** (-7 / 6)
    h0_b = h0_b * np.exp(1j * (3e4 * fbin_b ** (-5 / 3) + 0.02 * fbin_b))
    line_fit = LineFit(fbin_b, h0_b, rng.uniform(0, 3, n_b), m2_index)
    shape = (n_i, n_m, 2, n_b)
    amplitudes_impb = 1e-19 * rng.uniform(0.3, 3, shape) * (fbin_b / 20) ** (-7 / 6)
    # Close to the reference up to a time shift, so that the unwrapping is well defined.
    phases_impb = (
        np.unwrap(np.angle(h0_b))
        + 2 * np.pi * fbin_b * rng.uniform(-1e-3, 1e-3, (n_i, 1, 1, 1))
        + rng.uniform(-0.5, 0.5, shape)
        + rng.uniform(-9, 9, (n_i, 1, 1, 1))
    )
    return amplitudes_impb, phases_impb, line_fit


def reference_shift(amplitude_b, phase_b, line_fit):
    """The definition, with NumPy's least squares."""
    ratio_b = amplitude_b * np.exp(1j * phase_b) / line_fit.h2plus0_b
    fit = Polynomial.fit(
        line_fit.fbin_b,
        np.unwrap(np.angle(ratio_b)),
        deg=1,
        w=line_fit.weights_b * np.sqrt(np.abs(ratio_b)),
    )
    return -fit.deriv()(0) / (2 * np.pi)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), n_b=st.integers(2, 70))
def test_shift_is_the_weighted_least_squares_slope(seed, n_b):
    amplitudes, phases, line_fit = make_case(seed, n_b=n_b)
    expected = [
        reference_shift(a[1, 0], p[1, 0], line_fit)
        for a, p in zip(amplitudes, phases, strict=True)
    ]
    np.testing.assert_allclose(
        linear_free_shift(amplitudes, phases, line_fit), expected, rtol=1e-9, atol=1e-13
    )


def test_phase_need_not_be_unwrapped():
    amplitudes, phases, line_fit = make_case(3)
    wrapped = np.angle(np.exp(1j * phases))
    np.testing.assert_allclose(
        linear_free_shift(amplitudes, wrapped, line_fit),
        linear_free_shift(amplitudes, phases, line_fit),
        rtol=0,
        atol=1e-14,
    )


def test_shifted_waveform_needs_no_second_shift():
    amplitudes, phases, line_fit = make_case(4)
    h_impb, dt_i = linear_free_waveforms(amplitudes, phases, line_fit)
    assert np.abs(dt_i).min() > 1e-6
    again = linear_free_shift(np.abs(h_impb), np.angle(h_impb), line_fit)
    np.testing.assert_allclose(again, 0, atol=1e-15)


@pytest.mark.parametrize("offset", [0.0, 1e5, 3e6])
def test_waveforms_are_amplitude_times_phasor(offset):
    amplitudes, phases, line_fit = make_case(5)
    phases += offset  # 3e6 lies beyond the fast argument reduction
    h_impb, dt_i = linear_free_waveforms(amplitudes, phases, line_fit)
    shift_ib = 2 * np.pi * line_fit.fbin_b * dt_i[:, None]
    expected = amplitudes * np.exp(1j * (phases + shift_ib[:, None, None]))
    np.testing.assert_allclose(h_impb, expected, rtol=max(1e-14, 4e-16 * offset), atol=0)


def test_line_fit_without_weight_shifts_nothing():
    amplitudes, phases, line_fit = make_case(6)
    amplitudes[0, line_fit.m2_index, 0] = 0
    amplitudes[1, line_fit.m2_index, 0, 1:] = 0
    dt_i = linear_free_shift(amplitudes, phases, line_fit)
    assert dt_i[0] == dt_i[1] == 0
    assert dt_i[2] != 0


def test_bins_where_the_reference_vanishes_do_not_count():
    amplitudes, phases, line_fit = make_case(7, n_b=30)
    h0_b = line_fit.h2plus0_b.copy()
    h0_b[20:] = 0
    short = LineFit(
        line_fit.fbin_b[:20], h0_b[:20], line_fit.weights_b[:20], line_fit.m2_index
    )
    np.testing.assert_allclose(
        linear_free_shift(
            amplitudes,
            phases,
            LineFit(line_fit.fbin_b, h0_b, line_fit.weights_b, line_fit.m2_index),
        ),
        linear_free_shift(amplitudes[..., :20], phases[..., :20], short),
        rtol=1e-12,
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("which", ["amplitude", "phase"])
def test_non_finite_waveform_stays_visible(bad, which):
    amplitudes, phases, line_fit = make_case(8)
    (amplitudes if which == "amplitude" else phases)[1, line_fit.m2_index, 0, 5] = bad
    h_impb, _ = linear_free_waveforms(amplitudes, phases, line_fit)
    assert np.isfinite(h_impb[[0, 2]]).all()
    assert not np.isfinite(h_impb[1]).all()


def test_reads_memory_maps_and_leaves_inputs_alone(tmp_path):
    amplitudes, phases, line_fit = make_case(9)
    np.save(tmp_path / "a.npy", amplitudes)
    np.save(tmp_path / "p.npy", phases)
    h_impb, dt_i = linear_free_waveforms(
        np.load(tmp_path / "a.npy", mmap_mode="r")[1:],
        np.load(tmp_path / "p.npy", mmap_mode="r")[1:],
        line_fit,
    )
    expected, expected_dt = linear_free_waveforms(amplitudes, phases, line_fit)
    assert amplitudes.flags.writeable
    np.testing.assert_array_equal(h_impb, expected[1:])
    np.testing.assert_array_equal(dt_i, expected_dt[1:])


def test_memory_maps_are_read_where_they_lie(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((4, 2, 2, 3)))
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")[1:3]
    assert np.shares_memory(readonly(mapped), mapped)
