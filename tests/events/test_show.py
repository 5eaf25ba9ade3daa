"""The picture of an event shows the signal where it is."""

from __future__ import annotations

import re

import lal
import numpy as np
import pytest
from click.testing import CliRunner
from cogwheel import gw_utils

from dotpe_exec.cli import main
from dotpe_exec.errors import InputError
from dotpe_exec.events import (
    event_figure,
    load_event,
    save_event,
    show_event,
    simulate_event,
)
from dotpe_exec.events.matched_filter import find_trigger


def test_signal_is_in_strain_and_spectrogram():
    figure = event_figure(load_event("GW150914"))
    strain, _, power, _, density, _ = figure.axes  # first of two detectors
    times, whitened = strain.lines[0].get_data()
    assert abs(times[np.argmax(np.abs(whitened))]) < 0.1
    values = power.collections[0].get_array()
    assert values.max() > 10  # of Gaussian noise: 1
    assert np.median(np.asarray(values)) < 2
    frequencies, asd = density.lines[0].get_data()
    assert 1e-24 < np.median(asd) < 1e-21 and frequencies[0] >= 19


def test_command_writes_a_picture(tmp_path):
    path = tmp_path / "event.png"
    done = CliRunner().invoke(main, ["event", "show", "GW150914", "-o", str(path)])
    assert done.exit_code == 0, done.output
    assert path.read_bytes().startswith(b"\x89PNG")
    assert re.search(r"chirp mass (29|30|31|32)\.\d solar masses", done.output)
    assert re.search(r"^L: SNR 1[0-9]\.\d at GPS 1126259462\.4\d+$", done.output, re.M)
    assert re.search(r"^network: SNR 2\d\.\d$", done.output, re.M)


def test_trigger_is_the_injection(tmp_path):
    signal = {
        "m1": 20.0, "m2": 14.0, "ra": 1.0, "dec": 0.3, "iota": 0.1, "psi": 0.2,
        "phi_ref": 0.7, "s1x_n": 0.0, "s1y_n": 0.0, "s1z": 0.0, "s2x_n": 0.0, "s2y_n": 0.0,
        "s2z": 0.0, "l1": 0.0, "l2": 0.0, "f_ref": 50.0, "d_luminosity": 500.0,
        "t_geocenter": 0.013,
    }  # fmt: skip
    event = simulate_event("loud", "HL", duration=8.0, fmax=512.0, injection=signal)
    trigger = find_trigger(event)
    assert trigger.mchirp == pytest.approx((20 * 14) ** 0.6 / 34**0.2, rel=0.03)
    expected_d = np.sqrt(np.real(event.injection["h_h"]))
    snrs = [trigger.snr[name] for name in "HL"]
    np.testing.assert_allclose(snrs, expected_d, rtol=0.12)
    assert trigger.network_snr == pytest.approx(np.hypot(*snrs))
    for name, time in trigger.time.items():
        delay = gw_utils.get_geocenter_delays(
            name, 0.3, 1.0 - lal.GreenwichMeanSiderealTime(event.tgps)
        )
        assert time - event.tgps == pytest.approx(0.013 + float(delay[0]), abs=0.003)


def test_noise_alone_is_called_quiet(tmp_path):
    path = tmp_path / "noise.npz"
    save_event(simulate_event("noise", "H", duration=4.0, fmax=512.0), path)
    output = str(tmp_path / "noise.png")
    done = CliRunner().invoke(main, ["event", "show", str(path), "-o", output])
    assert done.exit_code == 0, done.output
    assert "below the 8 that searches ask for" in done.output


def test_other_endings_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"must end in \.png"):
        show_event("GW150914", tmp_path / "event.txt")
