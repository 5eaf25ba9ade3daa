"""Which waveforms and which weights a run takes, from all that users may give."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_banks import N_WAVEFORMS, write_bank

from dotpe_exec.banks.format import open_banks
from dotpe_exec.banks.indices import resolve_indices, resolve_logw
from dotpe_exec.errors import InputError, MissingFileError


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """One bank of 11 waveforms."""
    return open_banks(write_bank(tmp_path_factory.mktemp("one") / "bank"))


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Banks of 11 and 6 waveforms, ``low`` and ``high``."""
    folder = tmp_path_factory.mktemp("two")
    low = write_bank(folder / "low")
    high = write_bank(folder / "high", {"bank_size": 6}, seed=1)
    return open_banks({"low": low, "high": high})


def as_lists(resolved):
    return {bank_id: list(inds) for bank_id, inds in resolved.candidates.items()}


@pytest.mark.parametrize("n_int", [None, [], ()])
def test_whole_banks_by_default(two, n_int):
    resolved = resolve_indices(two, n_int=n_int)
    assert resolved.candidates == {"low": range(11), "high": range(6)}
    assert resolved.n_int == {"low": 11, "high": 6}


@pytest.mark.parametrize(
    ("n_int", "expected"),
    [
        (5, (5, 5)),
        (np.int64(5), (5, 5)),
        (5.0, (5, 5)),
        ([5], (5, 5)),
        ([7, 2], (7, 2)),
        ((7, None), (7, 6)),
        (np.array([7, 2]), (7, 2)),
        ({"high": 3}, (11, 3)),
        ({"high": None, "low": 4}, (4, 6)),
    ],
)
def test_forms_of_n_int(two, n_int, expected):
    resolved = resolve_indices(two, n_int=n_int)
    assert resolved.candidates == {"low": range(expected[0]), "high": range(expected[1])}
    assert resolved.n_int == {"low": expected[0], "high": expected[1]}


def test_range_starts_at_i_int_start(two):
    resolved = resolve_indices(two, n_int=3, i_int_start=2)
    assert resolved.candidates == {"low": range(2, 5), "high": range(2, 5)}
    assert resolved.n_int == {"low": 3, "high": 3}
    resolved = resolve_indices(two, i_int_start=2)
    assert resolved.candidates == {"low": range(2, 11), "high": range(2, 6)}
    assert resolved.n_int == {"low": 9, "high": 4}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"n_int": 0}, "n_int is 0, expected an integer of at least 1"),
        ({"n_int": -3}, "n_int is -3"),
        ({"n_int": 2.5}, "n_int is 2.5"),
        ({"n_int": True}, "n_int is True"),
        ({"n_int": "5"}, "n_int is '5'"),
        ({"n_int": float("nan")}, "n_int is nan"),
        ({"n_int": [1, 2, 3]}, "n_int has 3 entries, expected 1 or 2"),
        ({"n_int": {"other": 3}}, "n_int has an entry for 'other', expected bank ids: low"),
        ({"n_int": 7}, "n_int is 7 for high, expected at most 6"),
        ({"i_int_start": -1}, "i_int_start is -1"),
        ({"i_int_start": 1.5}, "i_int_start is 1.5"),
        ({"i_int_start": 6}, "i_int_start is 6, but high has only 6 waveforms"),
        (
            {"i_int_start": 4, "n_int": 3},
            "i_int_start is 4 and n_int 3, but high has only 6",
        ),
        ({"load_inds": True}, "load_inds is set but inds_path is None"),
        (
            {"load_inds": True, "inds_path": "x", "preselected_indices": {"low": [1]}},
            "both preselected_indices and load_inds",
        ),
        ({"preselected_indices": [1, 2]}, "preselected_indices is a list but there are 2"),
        ({"preselected_indices": {"x": [1]}}, "preselected_indices has an entry for 'x'"),
        (
            {"preselected_indices": {"low": [1]}, "i_int_start": 2},
            "i_int_start is 2 but preselected_indices is given",
        ),
        (
            {"preselected_indices": {"low": [], "high": []}},
            "preselected_indices is empty, expected at least one waveform",
        ),
        ({"load_inds": True, "inds_path": 5}, "inds_path is a int"),
        ({"load_inds": True, "inds_path": {"low": "a.npz"}}, "no entry for high"),
        (
            {"load_inds": True, "inds_path": {"low": 3, "high": "b"}},
            "inds_path of low is 3",
        ),
    ],
)
def test_contradictions_are_refused(two, arguments, sentence):
    with pytest.raises(InputError, match=sentence):
        resolve_indices(two, **arguments)


@pytest.mark.parametrize(
    "form", [list, tuple, np.array, pd.Series, lambda a: np.array(a, dtype=np.uint8)]
)
def test_preselected_indices_keep_their_order(one, form):
    resolved = resolve_indices(one, preselected_indices=form([9, 0, 4]))
    inds = resolved.candidates["bank_0"]
    np.testing.assert_array_equal(inds, [9, 0, 4])
    assert inds.dtype == np.int64
    # They stand for the whole bank that they were selected from.
    assert resolved.n_int == {"bank_0": N_WAVEFORMS}


def test_preselected_indices_from_a_file(one, tmp_path):
    np.save(tmp_path / "inds.npy", np.array([3, 1], dtype=np.int32))
    for path in (tmp_path / "inds.npy", str(tmp_path / "inds.npy")):
        resolved = resolve_indices(one, preselected_indices=path)
        assert as_lists(resolved) == {"bank_0": [3, 1]}


def test_preselected_indices_by_bank(two):
    resolved = resolve_indices(two, preselected_indices={"high": [5, 2], "low": None})
    assert as_lists(resolved) == {"low": list(range(11)), "high": [5, 2]}
    resolved = resolve_indices(two, preselected_indices={"high": [5, 2], "low": []})
    assert as_lists(resolved) == {"low": [], "high": [5, 2]}
    assert resolved.n_int == {"low": 11, "high": 6}


def test_n_int_with_indices_is_what_they_were_selected_from(one):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        resolved = resolve_indices(one, preselected_indices=[7, 8], n_int=9)
    assert resolved.n_int == {"bank_0": 9}
    assert as_lists(resolved) == {"bank_0": [7, 8]}


def test_n_int_below_the_number_of_indices_warns(one):
    with pytest.warns(UserWarning, match="n_int is 2 for bank_0, fewer than the 3"):
        resolved = resolve_indices(one, preselected_indices=[7, 8, 9], n_int=2)
    assert resolved.n_int == {"bank_0": 2}


@pytest.mark.parametrize(
    ("inds", "sentence"),
    [
        ([0, 11], r"index 11 at position 1 is outside bank_0, expected 0 to 10"),
        ([0, -1], r"index -1 at position 1"),
        ([3, 1, 3, 4, 3], r"index 3 appears 3 times"),
        ([0.0, 1.0], r"dtype float64, expected integers"),
        ([True, False], r"dtype bool, expected integers"),
        ([[0, 1]], r"shape \(1, 2\), expected one dimension"),
        (4, r"shape \(\), expected one dimension"),
        ([], "preselected_indices is empty"),
        (["a"], r"dtype <U1, expected integers"),
        ([[1], [2, 3]], "not an array"),
        (np.array([2**64 - 1], dtype=np.uint64), "outside bank_0"),
    ],
)
def test_bad_indices_are_named(one, inds, sentence):
    with pytest.raises(InputError, match=sentence):
        resolve_indices(one, preselected_indices=inds)


def test_bad_index_files_are_named(one, tmp_path):
    path = tmp_path / "inds.npy"
    with pytest.raises(MissingFileError, match=r"inds\.npy does not exist"):
        resolve_indices(one, preselected_indices=path)
    np.save(path, np.arange(500))
    with pytest.raises(
        InputError, match=r"inds\.npy: found 500 entries, expected at most 11"
    ):
        resolve_indices(one, preselected_indices=path)
    np.save(path, np.array([2, 2]))
    with pytest.raises(InputError, match=r"file .*inds\.npy: index 2 appears 2 times"):
        resolve_indices(one, preselected_indices=path)
    np.save(path, np.array([{}]), allow_pickle=True)
    with pytest.raises(InputError, match=r"inds\.npy: found dtype object"):
        resolve_indices(one, preselected_indices=path)
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(InputError, match=r"inds\.npy: found not a NumPy array file"):
        resolve_indices(one, preselected_indices=path)
    with pytest.raises(InputError, match="cannot be read"):
        resolve_indices(one, preselected_indices=tmp_path)


def _write_selection(path, inds):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, inds=np.array(inds), lnlikes_di=np.zeros((3, len(inds))))
    return path


def test_selection_of_an_earlier_run_is_loaded(one, tmp_path):
    path = _write_selection(tmp_path / "intrinsic_samples.npz", [8, 2, 5])
    resolved = resolve_indices(one, load_inds=True, inds_path=str(path))
    assert as_lists(resolved) == {"bank_0": [8, 2, 5]}
    assert resolved.n_int == {"bank_0": 11}


def test_selections_of_a_run_directory_are_loaded(two, tmp_path):
    _write_selection(tmp_path / "banks/low/intrinsic_samples.npz", [8, 2])
    _write_selection(tmp_path / "banks/high/intrinsic_samples.npz", [])
    resolved = resolve_indices(two, load_inds=True, inds_path=tmp_path)
    assert as_lists(resolved) == {"low": [8, 2], "high": []}
    by_bank = {k: tmp_path / f"banks/{k}/intrinsic_samples.npz" for k in ("high", "low")}
    assert as_lists(resolve_indices(two, load_inds=True, inds_path=by_bank)) == {
        "low": [8, 2],
        "high": [],
    }


def test_inds_path_without_load_inds_changes_nothing(one):
    resolved = resolve_indices(one, inds_path="not/there.npz")
    assert resolved.candidates == {"bank_0": range(11)}


def test_bad_selection_files_are_named(one, tmp_path):
    path = tmp_path / "intrinsic_samples.npz"

    def load():
        return resolve_indices(one, load_inds=True, inds_path=path)

    with pytest.raises(MissingFileError, match=r"intrinsic_samples\.npz does not exist"):
        load()
    np.savez(path, other=np.arange(3))
    with pytest.raises(InputError, match="found no array 'inds'"):
        load()
    _write_selection(path, [3, 11])
    with pytest.raises(InputError, match=r"inds_path file .* index 11 at position 1"):
        load()
    np.savez(path, inds=np.array([{}]))
    with pytest.raises(InputError, match="dtype object"):
        load()
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(InputError, match=r"found not a \.npz file"):
        load()


def test_own_weights_unless_others_are_given(two):
    weights = resolve_logw(None, two)
    for bank_id, bank in two.items():
        np.testing.assert_array_equal(weights[bank_id], bank.table()["log_prior_weights"])
    given_weights = np.linspace(-1, 0, 6)
    weights = resolve_logw({"high": given_weights}, two)
    np.testing.assert_array_equal(weights["high"], given_weights)
    np.testing.assert_array_equal(weights["low"], two["low"].log_prior_weights())


@pytest.mark.parametrize("form", [list, np.array, pd.Series, np.float32])
def test_forms_of_weights(one, form):
    values = np.arange(N_WAVEFORMS) / 4
    weights = resolve_logw(form(values), one)["bank_0"]
    np.testing.assert_array_equal(weights, values)
    assert weights.dtype == np.float64


@pytest.mark.parametrize(
    ("weights", "sentence"),
    [
        (np.zeros(10), r"shape \(10,\), expected \(11,\)"),
        (np.zeros((11, 1)), r"shape \(11, 1\)"),
        ([0.0] * 10 + [np.nan], "is nan for waveform 10"),
        ([-np.inf] + [0.0] * 10, "is -inf for waveform 0"),
        (["x"] * 11, "dtype <U1, expected numbers"),
        (1.0, r"shape \(\)"),
        ({"other": np.zeros(11)}, "has an entry for 'other'"),
    ],
)
def test_bad_weights_are_named(one, weights, sentence):
    with pytest.raises(InputError, match=f"bank_logw_override.*{sentence}"):
        resolve_logw(weights, one)


def test_weights_of_several_banks_need_a_dictionary(two):
    with pytest.raises(InputError, match="bank_logw_override is a list but there are 2"):
        resolve_logw([0.0] * 11, two)


@given(
    inds=st.lists(st.integers(-3, 14), max_size=12),
    dtype=st.sampled_from([np.int8, np.int32, np.int64]),
)
def test_indices_come_back_or_are_refused(one, inds, dtype):
    good = inds and set(inds) <= set(range(11)) and len(set(inds)) == len(inds)
    array = np.array(inds, dtype=dtype)
    if good:
        resolved = resolve_indices(one, preselected_indices=array)
        assert as_lists(resolved) == {"bank_0": inds}
    else:
        with pytest.raises(InputError, match="preselected_indices"):
            resolve_indices(one, preselected_indices=array)
