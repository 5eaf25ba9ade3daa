"""Waveforms by mode, whichever way they are made."""

from __future__ import annotations

import numpy as np
import pytest

from dotpe_exec.banks.config import approximant_modes
from dotpe_exec.banks.prior import Proposal
from dotpe_exec.waveforms import (
    ModeGenerator,
    NoWaveformError,
    generate_waveform_set,
    generation_way,
    generator,
)
from dotpe_exec.waveforms.parameters import PARAMETERS

FBIN = np.geomspace(20.0, 900.0, 24)


def draw(n, seed=0, **kwargs):
    return Proposal((5.0, 60.0), 0.05, -1.7, **kwargs).draw(n, np.random.default_rng(seed))


@pytest.mark.parametrize(
    "approximant",
    [
        "IMRPhenomXPHM",
        "IMRPhenomXP",
        "IMRPhenomXAS",
        "IMRPhenomD",
        "IMRPhenomD_NRTidalv2",
    ],
)
def test_direct_way_has_the_bits_of_cogwheel(approximant):
    modes = tuple(approximant_modes(approximant, "test"))
    precessing = approximant in ("IMRPhenomXPHM", "IMRPhenomXP")
    rows = draw(6, aligned_spins=not precessing)
    direct = generate_waveform_set(
        ModeGenerator(approximant, modes, 50.0, FBIN, "direct"), rows
    )
    cogwheel = generate_waveform_set(
        ModeGenerator(approximant, modes, 50.0, FBIN, "cogwheel"), rows
    )
    assert direct.ok_i.all()
    assert set(direct.ways_i) == {"direct"}
    assert set(cogwheel.ways_i) == {"cogwheel"}
    np.testing.assert_array_equal(direct.amplitudes_impb, cogwheel.amplitudes_impb)
    np.testing.assert_array_equal(direct.phases_impb, cogwheel.phases_impb)


def test_approximant_of_cogwheel_alone_is_made_by_it():
    approximant_modes("IMRPhenomXODE", "test")  # registers it
    assert generation_way("IMRPhenomXODE", ((2, 2),)) == "cogwheel"
    assert generation_way("IMRPhenomXAS", ((2, 2),)) == "direct"


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_waveforms_without_values_are_none(monkeypatch, value):
    make = generator.generate_modes

    def sometimes(frequencies_f, source):
        h_mpf = make(frequencies_f, source)
        return np.full_like(h_mpf, value) if source.parameters["s1z"] > 0 else h_mpf

    monkeypatch.setattr(generator, "generate_modes", sometimes)
    rows = draw(12)
    made = generate_waveform_set(
        ModeGenerator("IMRPhenomXPHM", ((2, 2), (3, 3)), 50.0, FBIN, "direct"), rows
    )
    failed_i = rows[:, PARAMETERS.index("s1z")] > 0
    np.testing.assert_array_equal(made.ok_i, ~failed_i)
    assert list(made.problems) == np.flatnonzero(failed_i).tolist()
    assert not made.amplitudes_impb[failed_i].any()
    assert np.all(made.amplitudes_impb[~failed_i].max(axis=(1, 2, 3)) > 0)


def test_what_an_approximant_raises_is_named():
    one = ModeGenerator("IMRPhenomXAS", ((2, 2),), 50.0, FBIN, "direct")
    with pytest.raises(NoWaveformError, match="RuntimeError"):
        one(draw(1)[0])  # in-plane spins, which it refuses


def test_spins_above_one_are_refused_without_a_word_of_lalsimulation(capfd):
    row = draw(1)[0]
    row[[PARAMETERS.index(name) for name in ("s2z", "s2x_n", "s2y_n")]] = 0.9, 0.5, 0.0
    for way in ("direct", "fast"):
        one = ModeGenerator("IMRPhenomXPHM", ((2, 2), (3, 3)), 50.0, FBIN, way)
        with pytest.raises(
            NoWaveformError, match=r"spin 2 is 1\.02956, expected at most 1"
        ):
            one(row)
    assert capfd.readouterr() == ("", "")


def test_phases_are_unwrapped_along_frequency():
    phase = np.linspace(0, 40, 30) * np.ones((1, 2, 1))
    amplitude, unwrapped = generator.amplitude_and_phase(3 * np.exp(1j * phase))
    np.testing.assert_allclose(unwrapped, phase, atol=1e-12)
    np.testing.assert_allclose(amplitude, 3)
