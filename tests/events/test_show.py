"""The picture of an event shows the signal where it is."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner

from dotpe_exec.cli import main
from dotpe_exec.errors import InputError
from dotpe_exec.events import event_figure, load_event, show_event


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


def test_other_endings_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"must end in \.png"):
        show_event("GW150914", tmp_path / "event.txt")
