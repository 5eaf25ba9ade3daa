"""The fast single-detector likelihood against the dense one, on all kinds of input."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from incoherent_cases import make_case

from dotpe_exec.kernels.incoherent import (
    incoherent_lnlike,
    incoherent_lnlike_counted,
    prepare_incoherent,
)
from dotpe_exec.kernels.incoherent_dense import incoherent_lnlike_dense


@pytest.fixture(scope="module")
def golden_incoherent(golden):
    """Waveforms of both golden banks, their summary and the published likelihoods."""
    from cogwheel.data import EventData

    from dotpe_exec.banks.format import open_bank
    from dotpe_exec.cogwheel_bridge import make_incoherent_summary, make_likelihood

    banks = [open_bank(golden / f"bank_{k}") for k in range(2)]
    config = banks[0].config
    likelihood = make_likelihood(
        EventData.from_npz(filename=str(golden / "event.npz")),
        config.approximant,
        json.loads((golden / "reference" / "par_dic_0.json").read_text()),
        config.fbin,
        harmonic_modes=config.harmonic_modes,
    )
    summary = make_incoherent_summary(likelihood, 64, harmonic_modes=config.harmonic_modes)
    waveforms = [bank.handle.read(np.arange(bank.n_waveforms)) for bank in banks]
    amplitudes, phases = (np.concatenate(arrays) for arrays in zip(*waveforms, strict=True))
    with np.load(golden / "reference" / "arrays.npz") as arrays:
        lnlike_di = np.hstack([arrays[f"bank_{k}_lnlike_di"] for k in range(2)])
    return amplitudes, phases, summary, lnlike_di


def assert_equals_dense(amplitudes, phases, summary, n_phi, rtol=1e-10):
    fast_di = incoherent_lnlike(amplitudes, phases, prepare_incoherent(summary, n_phi))
    dense_di = incoherent_lnlike_dense(amplitudes, phases, summary, n_phi)
    assert np.isfinite(dense_di).all()
    np.testing.assert_allclose(fast_di, dense_di, rtol=rtol, atol=1e-10)
    return dense_di


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n_d=st.integers(1, 4),
    m_arr=st.sampled_from(
        [(2,), (2, 1, 3, 4), (4, 2), (1, 2, 3), (3, 4, 1, 2), (2, 0, -2)]
    ),
    n_b=st.integers(3, 80),
    n_t=st.integers(1, 33),
    n_phi=st.integers(1, 17),
    n_i=st.integers(0, 10),
    snr=st.sampled_from([0.5, 8.0, 100.0]),
)
def test_equals_dense_for_any_sizes(seed, n_d, m_arr, n_b, n_t, n_phi, n_i, snr):
    case = make_case(seed, n_d=n_d, m_arr=m_arr, n_b=n_b, n_t=n_t, n_i=n_i, snr=snr)
    assert assert_equals_dense(*case, n_phi).shape == (n_d, n_i)


def test_screening_leaves_few_times_to_evaluate():
    amplitudes, phases, summary = make_case(1, n_i=40, n_t=64, n_b=200)
    prepared = prepare_incoherent(summary, 32)
    assert prepared.basis_br.shape[1] < 100
    n_evaluated = incoherent_lnlike_counted(amplitudes, phases, prepared)[1]
    assert n_evaluated < 3 * 40 * 3


def test_golden_likelihoods(golden_incoherent):
    amplitudes, phases, summary, expected_di = golden_incoherent
    some = slice(None, None, 8)  # it is slow, and the same for all
    dense_di = incoherent_lnlike_dense(amplitudes[some], phases[some], summary, 16)
    np.testing.assert_allclose(dense_di, expected_di[:, some], rtol=0, atol=1e-6)
    fast_di = incoherent_lnlike(amplitudes, phases, prepare_incoherent(summary, 16))
    np.testing.assert_allclose(fast_di, expected_di, rtol=0, atol=1e-6)


def test_waveform_does_not_depend_on_its_batch():
    amplitudes, phases, summary = make_case(2, n_i=23)
    prepared = prepare_incoherent(summary, 12)
    whole_di = incoherent_lnlike(amplitudes, phases, prepared)
    order = np.random.default_rng(0).permutation(23)
    shuffled_di = incoherent_lnlike(amplitudes[order], phases[order], prepared)
    np.testing.assert_array_equal(shuffled_di, whole_di[:, order])
    for i in (0, 9, 22):
        alone_di = incoherent_lnlike(amplitudes[i : i + 1], phases[i : i + 1], prepared)
        np.testing.assert_array_equal(alone_di[:, 0], whole_di[:, i])


def test_reads_memory_maps(tmp_path):
    amplitudes, phases, summary = make_case(3)
    prepared = prepare_incoherent(summary, 8)
    for name, array in (("a", amplitudes), ("p", phases)):
        np.save(tmp_path / f"{name}.npy", array)
    mapped = [np.load(tmp_path / f"{name}.npy", mmap_mode="r")[1:] for name in "ap"]
    np.testing.assert_array_equal(
        incoherent_lnlike(*mapped, prepared),
        incoherent_lnlike(amplitudes, phases, prepared)[:, 1:],
    )


@pytest.mark.parametrize("which", ["amplitude", "phase"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_non_finite_waveform_gives_nan_and_spares_the_others(which, bad):
    amplitudes, phases, summary = make_case(4, n_i=12)
    (amplitudes if which == "amplitude" else phases)[5, 3, 1, 7] = bad
    lnlike_di = incoherent_lnlike(amplitudes, phases, prepare_incoherent(summary, 8))
    assert np.isnan(lnlike_di[:, 5]).all()
    good = np.arange(12) != 5
    np.testing.assert_allclose(
        lnlike_di[:, good],
        incoherent_lnlike_dense(amplitudes[good], phases[good], summary, 8),
        rtol=1e-10,
    )


def test_vanishing_waveform_has_likelihood_zero():
    amplitudes, phases, summary = make_case(5)
    assert_equals_dense(np.zeros_like(amplitudes), phases, summary, 8)


def test_uneven_times():
    amplitudes, phases, summary = make_case(6, n_t=20)
    rng = np.random.default_rng(0)
    times_dt = summary.times_dt + rng.uniform(-1e-3, 1e-3, summary.times_dt.shape)
    assert_equals_dense(
        amplitudes, phases, dataclasses.replace(summary, times_dt=times_dt), 8
    )


def test_long_time_grid_of_full_rank():
    amplitudes, phases, summary = make_case(7, n_t=400, n_b=30)
    prepared = prepare_incoherent(summary, 8)
    assert prepared.basis_br.shape[1] == 30
    assert_equals_dense(amplitudes, phases, summary, 8)


@pytest.mark.parametrize("scale", [1e-100, 1e-20, 1e60])
def test_units_do_not_matter(scale):
    """Amplitudes and weights in other units: far outside single precision."""
    amplitudes, phases, summary = make_case(8)
    expected_di = incoherent_lnlike_dense(amplitudes, phases, summary, 8)
    inner = dataclasses.replace(
        summary.summary,
        dh_weights_dmpb=summary.summary.dh_weights_dmpb / scale,
        hh_weights_dmppb=summary.summary.hh_weights_dmppb / scale**2,
    )
    scaled = dataclasses.replace(summary, summary=inner)
    fast_di = incoherent_lnlike(amplitudes * scale, phases, prepare_incoherent(scaled, 8))
    np.testing.assert_allclose(fast_di, expected_di, rtol=1e-9)


def test_waveforms_unlike_the_reference_are_still_right():
    """The basis is made for typical amplitudes; nothing is lost if they are not typical."""
    amplitudes, phases, summary = make_case(9, n_b=120, n_t=40)
    b = np.arange(120)
    amplitudes[0] *= np.exp(-0.2 * b)  # all power at the lowest frequencies
    amplitudes[1] *= np.exp(0.2 * b)  # all power at the highest
    amplitudes[2, :, :, ::2] *= 1e-12
    phases[3] += np.random.default_rng(0).uniform(-3, 3, phases[3].shape)
    assert_equals_dense(amplitudes, phases, summary, 16)


def test_indefinite_norms_are_maximised_as_the_formula_says():
    """A summary whose (h|h) is not positive: u^T M^-1 u has no bound, only a maximum."""
    amplitudes, phases, summary = make_case(10)
    hh_weights = summary.summary.hh_weights_dmppb.copy()
    hh_weights[:, :, 1, 1] *= -1
    inner = dataclasses.replace(summary.summary, hh_weights_dmppb=hh_weights)
    assert_equals_dense(amplitudes, phases, dataclasses.replace(summary, summary=inner), 8)


def test_weights_that_do_not_fit_are_refused():
    amplitudes, phases, summary = make_case(11)
    with pytest.raises(ValueError, match="shapes"):
        incoherent_lnlike(amplitudes[..., 1:], phases, prepare_incoherent(summary, 8))
    inner = summary.summary
    for name, bad in (
        ("hh_weights_dmppb", inner.hh_weights_dmppb[:, :, :1]),
        ("dh_weights_dmpb", np.full_like(inner.dh_weights_dmpb, np.nan)),
    ):
        changed = dataclasses.replace(
            summary, summary=dataclasses.replace(inner, **{name: bad})
        )
        with pytest.raises(ValueError, match=name):
            prepare_incoherent(changed, 8)


def test_data_without_signal_or_noise():
    amplitudes, phases, summary = make_case(12)
    summary.summary.dh_weights_dmpb[:] = 0
    assert not assert_equals_dense(amplitudes, phases, summary, 8).any()
