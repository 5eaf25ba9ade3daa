"""The fast way of IMRPhenomXPHM, against LALSimulation one mode at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dotpe_exec.banks.prior import Proposal
from dotpe_exec.waveforms import ModeGenerator, generate_waveform_set, generation_way
from dotpe_exec.waveforms import xphm as module
from dotpe_exec.waveforms.parameters import PARAMETERS

MODES = ((2, 2), (2, 1), (3, 3), (3, 2), (4, 4))
FBIN = np.geomspace(20.0, 1000.0, 60)
FAST = ModeGenerator("IMRPhenomXPHM", MODES, 50.0, FBIN, "fast")
DIRECT = ModeGenerator("IMRPhenomXPHM", MODES, 50.0, FBIN, "direct")


NEARLY_EXTREMAL = {"m1": 126.0, "m2": 95.0, "s1x_n": 0.06, "s1z": 0.984}
NEARLY_EXTREMAL |= {"s2y_n": 0.02, "s2z": 0.999}


def complex_waveforms(made):
    return made.amplitudes_impb * np.exp(1j * made.phases_impb)


def largest_errors(fast, direct):
    """Return the error of each waveform over its largest amplitude."""
    h_impb = complex_waveforms(direct)
    axes = (1, 2, 3)
    return np.abs(complex_waveforms(fast) - h_impb).max(axes) / np.abs(h_impb).max(axes)


def row(**changes):
    values = dict.fromkeys(PARAMETERS, 0.0)
    values |= {"m1": 40.0, "m2": 25.0, "s1x_n": 0.3, "s2y_n": 0.4, "s1z": 0.2, "iota": 0.6}
    return np.array([[(values | changes)[name] for name in PARAMETERS]])


@pytest.mark.parametrize("mchirp_range", [(1.2, 3.0), (5.0, 15.0), (20.0, 60.0)])
def test_values_are_those_of_lalsimulation_over_the_prior(mchirp_range):
    rows = Proposal(mchirp_range, 0.05, -1.7).draw(100, np.random.default_rng(6))
    fast, direct = (generate_waveform_set(way, rows) for way in (FAST, DIRECT))
    np.testing.assert_array_equal(fast.ok_i, direct.ok_i)
    assert direct.ok_i.all()
    assert largest_errors(fast, direct).max() < 1e-10
    assert np.mean(fast.ways_i == "fast") > 0.95
    # The same numbers of turns, wherever there is a phase to speak of.
    scale = direct.amplitudes_impb.max(axis=(1, 2, 3), keepdims=True)
    seen = direct.amplitudes_impb > 1e-4 * scale
    assert np.abs(fast.phases_impb - direct.phases_impb)[seen].max() < 1e-5


spin = st.tuples(
    st.sampled_from([0.0, 1e-8, 1e-3, 0.5, 0.99]) | st.floats(0, 0.99),
    st.sampled_from([0.0, math.pi / 2, math.pi]) | st.floats(0, math.pi),
    st.floats(0, 2 * math.pi),
)


@settings(max_examples=40, deadline=None)
@given(
    total=st.floats(4, 200),
    q=st.sampled_from([0.05, 1.0, 1 - 1e-12, 0.999]) | st.floats(0.05, 1),
    spin1=spin,
    spin2=spin,
    iota=st.sampled_from([0.0, math.pi / 2, math.pi]) | st.floats(0, math.pi),
)
def test_no_parameters_are_beyond_the_fast_way_and_its_fallback(
    total, q, spin1, spin2, iota
):
    values = {"m1": total / (1 + q), "m2": total * q / (1 + q), "iota": iota}
    for name, (size, theta, phi) in (("s1", spin1), ("s2", spin2)):
        values[f"{name}x_n"] = size * math.sin(theta) * math.cos(phi)
        values[f"{name}y_n"] = size * math.sin(theta) * math.sin(phi)
        values[f"{name}z"] = size * math.cos(theta)
    rows = row(**values)
    fast, direct = (generate_waveform_set(way, rows) for way in (FAST, DIRECT))
    assert fast.ok_i[0] == direct.ok_i[0]
    if direct.ok_i[0]:
        # Corners that a prior does not come near amplify the rounding of both.
        assert largest_errors(fast, direct)[0] < 1e-9


@pytest.mark.parametrize(
    ("changes", "way"),
    [
        ({}, "fast"),
        ({"m1": 60.0, "m2": 6.0, "s1x_n": 0.8, "s2z": 0.3}, "fast"),
        ({"iota": math.pi / 2}, "fast"),
        ({"s1x_n": 0.0, "s2y_n": 0.0}, "direct"),  # aligned
        ({"s1x_n": 0.0, "s2y_n": 0.0, "s1z": 0.0}, "direct"),  # no spins
        ({"s1x_n": 0.015, "s2y_n": 0.015, "s1z": 0.01}, "fast"),
        ({"m1": 44.0, "m2": 20.9, "s1x_n": 1.8e-4, "s1z": -0.98, "s2y_n": 1e-6}, "direct"),
        ({"m1": 30.0, "m2": 30.0}, "direct"),
        ({"m1": 30.0, "m2": 29.9}, "fast"),
        # Nearly extremal, so that the model ends at a higher frequency.
        (NEARLY_EXTREMAL, "fast"),
        ({"s1x_n": 0.6, "s1y_n": 0.0, "s1z": 0.8}, "direct"),  # rounded, above 1
        ({"m1": 25.0, "m2": 40.0}, "direct"),
    ],
)
def test_way_taken(changes, way):
    rows = row(**changes)
    fast, direct = (generate_waveform_set(made, rows) for made in (FAST, DIRECT))
    assert fast.ways_i[0] == way
    assert largest_errors(fast, direct)[0] < 1e-10


@pytest.mark.parametrize("modes", [((3, 3), (2, 2)), ((2, 2),), ((3, 2), (2, 1), (2, 2))])
def test_modes_are_in_the_order_asked_for(modes):
    rows = Proposal((15.0, 30.0), 0.2, -1.7).draw(5, np.random.default_rng(1))
    ways = [
        generate_waveform_set(ModeGenerator("IMRPhenomXPHM", modes, 50.0, FBIN, way), rows)
        for way in ("fast", "direct")
    ]
    assert largest_errors(*ways).max() < 1e-10
    assert "fast" in ways[0].ways_i


def test_first_waveform_of_a_process_is_right():
    # LALSimulation sets constants in some functions and uses them in others.
    import subprocess
    import sys

    code = (
        "import numpy as np\n"
        "from dotpe_exec.waveforms import ModeGenerator\n"
        f"modes = {MODES!r}\n"
        "fbin = np.geomspace(20.0, 1000.0, 60)\n"
        f"row = {row()[0].tolist()!r}\n"
        "made = ModeGenerator('IMRPhenomXPHM', modes, 50.0, fbin, 'fast')(row)\n"
        "import sys\n"
        "assert made[2] == 'fast' and 'cogwheel' not in sys.modules\n"
        "print(made[1].sum())\n"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert float(out.stdout) == pytest.approx(FAST(row()[0])[1].sum(), rel=1e-9)


def test_failure_of_the_fast_way_falls_to_the_direct_one(monkeypatch):
    expected = DIRECT(row()[0])
    for failure in (np.nan, RuntimeError("no such function")):

        def fails(self, par, failure=failure):
            if isinstance(failure, Exception):
                raise failure
            return np.full((2, 4, 2, len(FBIN)), failure)

        monkeypatch.setattr(module.FastGenerator, "__call__", fails)
        amplitude, phase, way = FAST(row()[0])
        assert way == "direct"
        np.testing.assert_array_equal(amplitude, expected[0])
        np.testing.assert_array_equal(phase, expected[1])


def test_only_default_options_and_own_modes_are_fast():
    assert generation_way("IMRPhenomXPHM", MODES) == "fast"
    nnlo = (("SimInspiralWaveformParamsInsertPhenomXPrecVersion", 102),)
    assert generation_way("IMRPhenomXPHM", MODES, nnlo) == "direct"
    assert generation_way("IMRPhenomXPHM", ((2, 2), (4, 3))) == "direct"
    assert generation_way("IMRPhenomD", ((2, 2),)) == "direct"
