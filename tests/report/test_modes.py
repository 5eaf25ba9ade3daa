"""Modes: two where there are two, one where samples are few or the dip is shallow."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from dotpe_exec.report.intervals import interval_text
from dotpe_exec.report.modes import separations, split


def inclinations(n, rng, share=0.6, depth=0.25):
    face_on = rng.random(n) < share
    return np.where(face_on, 0.0, np.pi) + np.where(face_on, 1, -1) * np.abs(
        rng.normal(0.5, depth, n)
    )


@pytest.mark.parametrize("n", [30, 300, 20000])
def test_face_on_and_face_off_are_two_modes(n):
    values = inclinations(n, np.random.default_rng(1))
    (at,) = separations(values, np.ones(n), n)
    assert 1.2 < at < 2.0
    assert set(split(values, [at])) == {0, 1}


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("n", [5, 30, 300, 10000])
def test_one_mode_stays_one(n, seed):
    rng = np.random.default_rng(seed)
    for values in (rng.normal(size=n), rng.random(n), rng.exponential(size=n)):
        assert separations(values, np.ones(n), n) == []


def test_what_holds_too_little_is_no_mode():
    values = inclinations(20000, np.random.default_rng(2), share=0.98)
    assert separations(values, np.ones(20000), 20000) == []


def test_three_modes_are_found():
    values = np.random.default_rng(3).normal([[0], [5], [10]], 0.5, (3, 1000)).ravel()
    assert len(separations(values, np.ones(3000), 3000)) == 2


def test_equal_values_are_one_mode():
    assert separations(np.ones(10), np.ones(10), 10) == []


def test_each_mode_has_its_interval_and_share():
    rng = np.random.default_rng(4)
    samples = pd.DataFrame({"iota": inclinations(20000, rng), "weights": 1.0})
    text = interval_text(samples, "iota")
    numbers = [float(x) for x in re.findall(r"[\d.]+", text)]
    assert numbers == pytest.approx(
        [0.5, 0.1, 0.91, 2.64, 2.23, 3.04, 60, 40], abs=0.06, rel=0.05
    )
    assert re.fullmatch(r"[\d.]+ \[.*?\] or [\d.]+ \[.*?\] \(60% / 40%\)", text)


def test_weights_decide_and_not_the_number_of_samples():
    rng = np.random.default_rng(5)
    values = np.concatenate([rng.normal(0.5, 0.1, 2500), rng.normal(2.6, 0.1, 2500)])
    weights = np.repeat([3.0, 1.0], 2500)
    frame = pd.DataFrame({"iota": values, "weights": weights, "i": np.arange(5000)})
    assert "(75% / 25%)" in interval_text(frame.assign(e=np.arange(5000)), "iota")


def test_few_waveforms_make_no_modes_of_a_comb():
    rng = np.random.default_rng(6)
    peaks = rng.normal(30, 1, 12)
    values = np.repeat(peaks, 200) + rng.normal(0, 0.01, 2400)
    frame = pd.DataFrame(
        {"mchirp": values, "weights": 1.0, "i": np.repeat(np.arange(12), 200)}
    )
    assert " or " not in interval_text(frame, "mchirp")
