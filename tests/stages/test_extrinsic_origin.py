"""Extrinsic samples say which reference waveform they belong to."""

from __future__ import annotations

import pandas as pd
import pytest

from dotpe_exec.errors import InputError
from dotpe_exec.stages.extrinsic_origin import check_origin, write_extrinsic_table
from dotpe_exec.stages.extrinsic_samples import read_extrinsic_table

PAR_DIC = {"m1": 36.0, "m2": 24.0, "s1z": 0.3, "s2z": 0.1, "iota": 0.8, "f_ref": 50.0}


@pytest.fixture
def table():
    names = ("lat", "lon", "psi", "t_geocenter", "_phi_ref", "log_prior_weights")
    return pd.DataFrame({name: [0.1, 0.2, 0.3] for name in names} | {"weights": 1.0})


@pytest.fixture
def path(tmp_path, table):
    path = tmp_path / "extrinsic_samples.feather"
    write_extrinsic_table(path, table, PAR_DIC)
    return path


def test_table_is_read_as_it_was(path, table):
    read, n_rows = read_extrinsic_table(path, 3)
    assert n_rows == 3
    pd.testing.assert_frame_equal(read[table.columns], table)
    pd.testing.assert_frame_equal(pd.read_feather(path), table)


def test_the_same_reference_is_recognised(path):
    assert check_origin(path, PAR_DIC | {"t_geocenter": 0.03, "ra": 1.0, "m1": 36.001})


@pytest.mark.parametrize("change", [{"s1z": 0.0}, {"m1": 37.8}, {"iota": 2.3}])
def test_another_reference_is_named(path, change):
    (name,) = change
    with pytest.raises(InputError, match=f"another reference waveform, whose {name} is"):
        check_origin(path, PAR_DIC | change)


def test_files_that_do_not_say_are_taken(tmp_path, table):
    path = tmp_path / "extrinsic_samples.feather"
    table.to_feather(path)
    assert not check_origin(path, PAR_DIC)
    write_extrinsic_table(path, table, None)
    assert not check_origin(path, PAR_DIC)
