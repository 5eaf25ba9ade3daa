"""Loading extrinsic samples of earlier runs, and what is computed from them."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from dotpe_exec.errors import InputError, MissingFileError
from dotpe_exec.stages.extrinsic import antenna_and_shifts, load_extrinsic_samples


@pytest.fixture(scope="module")
def event(golden):
    """What of the golden event the loader needs."""
    with np.load(golden / "event.npz", allow_pickle=False) as content:
        tcoarse = float(content["tcoarse"]) if "tcoarse" in content else None
    config = json.loads((golden / "bank_0" / "bank_config.json").read_text())
    if tcoarse is None:
        from cogwheel.data import EventData

        tcoarse = EventData.from_npz(filename=golden / "event.npz").tcoarse
    return SimpleNamespace(
        fbin=np.array(config["fbin"]), detector_names="HLV", tcoarse=float(tcoarse)
    )


@pytest.fixture
def folder(golden, tmp_path):
    """A copy of the golden extrinsic samples and of the arrays beside them."""
    for name in ("extrinsic_samples.feather", "response_dpe.npy", "timeshift_dbe.npy"):
        shutil.copy(golden / "reference" / name, tmp_path)
    return tmp_path


def _load(folder, n_ext, event):
    return load_extrinsic_samples(
        folder / "extrinsic_samples.feather", n_ext, **vars(event)
    )


def _rewrite(folder, change):
    path = folder / "extrinsic_samples.feather"
    change(pd.read_feather(path)).to_feather(path)


def test_computed_arrays_are_those_of_the_published_code(golden, event):
    table = pd.read_feather(golden / "reference" / "extrinsic_samples.feather")
    response_dpe, timeshift_dbe = antenna_and_shifts(
        table, event.detector_names, event.fbin, event.tcoarse
    )
    # The published responses are in single precision.
    expected = np.load(golden / "reference" / "response_dpe.npy")
    np.testing.assert_allclose(response_dpe, expected, atol=1e-6)
    expected = np.load(golden / "reference" / "timeshift_dbe.npy")
    np.testing.assert_allclose(timeshift_dbe, expected, atol=1e-9)


def test_arrays_beside_the_file_are_used(folder, event):
    path = folder / "response_dpe.npy"
    marked = np.load(path) + 1e-9
    np.save(path, marked)
    loaded = _load(folder, 40, event)
    np.testing.assert_array_equal(loaded.response_dpe, marked[..., :40])
    assert loaded.timeshift_dbe.shape == (3, len(event.fbin), 40)


def test_first_rows_are_taken(folder, event):
    whole = pd.read_feather(folder / "extrinsic_samples.feather")
    loaded = _load(folder, 17, event)
    pd.testing.assert_frame_equal(loaded.table, whole.iloc[:17])


def test_absent_arrays_are_computed(folder, event):
    beside = _load(folder, 96, event)
    (folder / "response_dpe.npy").unlink()
    (folder / "timeshift_dbe.npy").unlink()
    computed = _load(folder, 96, event)
    np.testing.assert_allclose(computed.response_dpe, beside.response_dpe, atol=1e-6)
    np.testing.assert_allclose(computed.timeshift_dbe, beside.timeshift_dbe, atol=1e-9)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: np.save(path, np.load(path)[..., :50]),
        lambda path: np.save(path, np.load(path) * 1.1),
        lambda path: path.write_bytes(b"not an array"),
    ],
    ids=["other rows", "other values", "garbage"],
)
def test_arrays_that_do_not_fit_are_computed_with_a_warning(folder, event, damage):
    expected = _load(folder, 30, event).response_dpe
    damage(folder / "response_dpe.npy")
    with pytest.warns(UserWarning, match=r"response_dpe\.npy .*computed anew"):
        loaded = _load(folder, 30, event)
    np.testing.assert_allclose(loaded.response_dpe, expected, atol=1e-6)


def test_missing_log_weights_are_ln_of_the_weights(folder, event):
    _rewrite(folder, lambda table: table.drop(columns="log_prior_weights"))
    table = _load(folder, 96, event).table
    np.testing.assert_allclose(table["log_prior_weights"], np.log(table["weights"]))


def test_without_any_weights_all_are_one(folder, event):
    _rewrite(folder, lambda table: table.drop(columns=["log_prior_weights", "weights"]))
    table = _load(folder, 96, event).table
    assert np.all(table["log_prior_weights"] == 0)
    assert np.all(table["weights"] == 1)


def test_fewer_rows_are_drawn_less_often(folder, event):
    """A pool estimated from a quarter of its samples: each stands for four times more."""
    _rewrite(folder, lambda table: table.assign(expected_counts=0.8))
    table = _load(folder, 24, event).table
    np.testing.assert_allclose(table["expected_counts"], 0.2)


@pytest.mark.parametrize("value", [-0.5, np.nan])
def test_expected_counts_that_cannot_be_are_refused(folder, event, value):
    _rewrite(folder, lambda table: table.assign(expected_counts=value))
    with pytest.raises(InputError):
        _load(folder, 24, event)


def test_too_few_rows_are_refused(folder, event):
    with pytest.raises(InputError, match="has 96 rows, n_ext is 97"):
        _load(folder, 97, event)


def test_missing_column_is_named(folder, event):
    _rewrite(folder, lambda table: table.drop(columns=["psi", "lon"]))
    with pytest.raises(InputError, match="lacks the columns lon, psi"):
        _load(folder, 96, event)


@pytest.mark.parametrize("column", ["lat", "t_geocenter", "weights", "log_prior_weights"])
def test_values_that_are_not_finite_are_refused(folder, event, column):
    def spoil(table):
        table.loc[3, column] = np.nan
        return table

    _rewrite(folder, spoil)
    with pytest.raises(InputError, match="finite"):
        _load(folder, 96, event)


def test_missing_file_and_garbage_are_refused(tmp_path, event):
    with pytest.raises(MissingFileError, match="does not exist"):
        _load(tmp_path, 5, event)
    (tmp_path / "extrinsic_samples.feather").write_bytes(b"garbage")
    with pytest.raises(InputError, match="not a feather file"):
        _load(tmp_path, 5, event)
