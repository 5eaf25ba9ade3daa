"""Exports of runs and events with odd names: files that stay what they are."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pandas as pd
import pytest
from requirements import needs

from dotpe_exec import load
from dotpe_exec.campaign.page import no_formulas
from dotpe_exec.export import to_bilby, to_pesummary
from dotpe_exec.report.skymap import SkyMap, make_skymap, to_skymap

NAMES = [
    "<script>alert(1)<",
    "=cmd|' -C calc'!A0",
    "two\nlines",
    "\x1b[2J\x07",
    "-rf",
    "...",
    "\u202egnp\N{GRINNING FACE}",
    "%s{}",
    "x" * 200,
    os.fsdecode(b"\xff\xfe"),
]


@pytest.fixture(params=NAMES, ids=range(len(NAMES)))
def odd_run(request, finished, tmp_path):
    try:
        return shutil.copytree(finished, tmp_path / request.param)
    except OSError:
        pytest.skip("this file system has no such names")


def test_labels_of_a_pesummary_file_are_safe(odd_run, tmp_path):
    import h5py

    with h5py.File(to_pesummary([odd_run, odd_run], tmp_path / "two.h5")) as file:
        labels = set(file) - {"version"}
        assert len(labels) == 2
        for label in labels:
            assert not set(label) & set("<>\"'&=/\\ \n\x1b%{}|")
            assert label.isascii() and label[0] not in ".-" and len(label) <= 110
            assert len(file[label]["posterior_samples"])


@pytest.mark.parametrize("odd_run", NAMES[:1] + NAMES[-1:], indirect=True, ids=[0, 1])
def test_bilby_files_are_read_again(odd_run, tmp_path):
    path = to_bilby(odd_run, tmp_path / "x.json")
    content = json.loads(path.read_bytes())
    assert len(content["posterior"]["content"]["mass_1"])


@needs("ligo.skymap")
def test_sky_maps_name_their_event_in_ascii(finished, tmp_path, monkeypatch, rough_skymaps):
    from astropy.io import fits

    from dotpe_exec.report import skymap

    monkeypatch.setattr(skymap, "_MIN_POINTS", 0)
    run = load(finished)
    run.event.eventname = "\N{GRINNING FACE}<b>'\""
    # Enough directions for a map; where they are does not matter here.
    rng = np.random.default_rng(0)
    few = run.samples.iloc[np.zeros(300, int)].reset_index(drop=True)
    run.samples = few.assign(
        ra=rng.normal(1, 0.3, 300), dec=rng.normal(0, 0.3, 300),
        d_luminosity=rng.normal(500, 50, 300), weights=1.0, e=np.arange(300),
    )  # fmt: skip
    made = make_skymap(run)
    assert isinstance(made, SkyMap)
    path = to_skymap(run, tmp_path / "sky.fits")
    with fits.open(path) as file:
        assert file[1].header["OBJECT"] == "\\U0001f600<b>'\""


def test_no_cell_of_a_table_is_a_formula(tmp_path):
    table = pd.DataFrame(
        {
            "name": ["=1+1", "+x", "-x", "@x", "plain", None],
            "snr": [1.0, -2, 3, 4, 5, np.nan],
        }
    )
    no_formulas(table).to_csv(tmp_path / "t.csv", index=False)
    again = pd.read_csv(tmp_path / "t.csv")
    assert list(again["name"][:5]) == ["'=1+1", "'+x", "'-x", "'@x", "plain"]
    assert again["name"].isna()[5]
    np.testing.assert_array_equal(again["snr"], table["snr"])
