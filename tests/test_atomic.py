"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from run_directories import tree

from dotpe_exec import atomic
from dotpe_exec.errors import RunDirectoryError


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old")
    with pytest.raises(KeyError), atomic.atomic_write(path) as temporary:
        temporary.write_text("new")
        raise KeyError
    assert path.read_text() == "old"
    assert tree(tmp_path) == ["a.json"]


def test_temporary_file_is_private_and_the_final_one_follows_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        with atomic.atomic_write(tmp_path / "x.npy") as temporary:
            assert temporary.stat().st_mode & 0o777 == 0o600
            assert temporary.suffix == ".npy" and temporary.parent == tmp_path
    finally:
        os.umask(old)
    assert (tmp_path / "x.npy").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Quota exceeded"),
        OSError("1000000 requested and 331776 written"),
    ],
)
def test_full_disk_names_the_file_and_what_to_do(tmp_path, error):
    path = tmp_path / "samples.feather"
    full = pytest.raises(RunDirectoryError, match=r"samples\.feather .* full; make space")
    with full, atomic.atomic_write(path):
        raise error
    assert tree(tmp_path) == []


def test_json_is_standard_whatever_the_numbers(tmp_path):
    value = {
        "a": -np.inf,
        "b": np.float64("nan"),
        "c": np.arange(3),
        "d": (np.int64(1), np.bool_(True), None),
        "e": Path("x") / "y",
        "f": np.array([np.inf, 1.5]),
    }
    atomic.write_json(tmp_path / "x.json", value)
    text = (tmp_path / "x.json").read_text()
    assert json.loads(text, parse_constant=lambda name: pytest.fail(name)) == {
        "a": None,
        "b": None,
        "c": [0, 1, 2],
        "d": [1, True, None],
        "e": "x/y",
        "f": [None, 1.5],
    }


def test_arrays_and_frames_are_read_back(tmp_path):
    frame = pd.DataFrame({"x": [1.0, 2.0]}, index=[5, 7])
    atomic.write_feather(tmp_path / "f.feather", frame)
    atomic.write_npz(tmp_path / "a.npz", inds=np.arange(3))
    atomic.write_npy(tmp_path / "a.npy", np.eye(2))
    assert pd.read_feather(tmp_path / "f.feather")["x"].tolist() == [1.0, 2.0]
    assert np.load(tmp_path / "a.npz")["inds"].tolist() == [0, 1, 2]
    assert np.array_equal(np.load(tmp_path / "a.npy"), np.eye(2))
    assert tree(tmp_path) == ["a.npy", "a.npz", "f.feather"]


def test_what_a_killed_export_left_is_removed_by_the_next_but_not_what_is_written(tmp_path):
    left, written, foreign = (
        tmp_path / f"{atomic.TEMPORARY_PREFIX}{number}-{name}"
        for number, name in (
            ("01234567", "[x].html"),
            ("76543210", "[x].html"),
            ("01234567", "x.html"),
        )
    )
    for path in (left, written, foreign):
        path.touch()
    for path in (left, foreign):
        os.utime(path, (1, 1))
    atomic.output_file(tmp_path / "[x].html")
    assert sorted(tmp_path.iterdir()) == sorted([written, foreign])
