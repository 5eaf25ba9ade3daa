"""Opening banks and reading waveforms."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic_banks import N_B, N_WAVEFORMS, write_bank

from dotpe_exec.banks.format import check_agreement, open_bank, open_banks
from dotpe_exec.banks.waveforms import WaveformBatch, nonfinite_message
from dotpe_exec.errors import BankError, InputError, MissingFileError
from dotpe_exec.executors.store import ArrayStore

AMPLITUDES_1 = "waveforms/amplitudes_block_1.npy"
TABLE = "intrinsic_sample_bank.feather"


def test_golden_banks_open_as_they_are(golden):
    banks = open_banks([golden / "bank_0", golden / "bank_1"])
    check_agreement(banks)
    bank = banks["bank_1"]
    assert bank.n_waveforms == 384
    assert bank.config.m_arr.tolist() == [2, 1, 3, 4]
    assert bank.config.mchirp_range == (25.0, 31.0)
    amplitudes, phases = bank.handle.read(np.array([130, 3]))
    stored = np.load(golden / "bank_1/waveforms/phase_block_1.npy")
    np.testing.assert_array_equal(phases[0], stored[2])
    assert amplitudes.shape == (2, 4, 2, 96)
    table = pd.read_feather(golden / "bank_1" / TABLE)
    pd.testing.assert_frame_equal(bank.table(), table[list(bank.table().columns)])
    np.testing.assert_array_equal(bank.log_prior_weights(), table["log_prior_weights"])


def test_any_order_of_indices_reads_the_right_waveforms(bank_folder):
    handle = open_bank(bank_folder).handle
    inds = np.array([10, 0, 5, 4, 7, 3, 5])
    amplitudes, phases = handle.read(inds)
    np.testing.assert_array_equal(amplitudes[:, 0, 0, 0], inds + 1)
    whole = np.concatenate(
        [np.load(bank_folder / f"waveforms/phase_block_{k}.npy") for k in range(3)]
    )
    np.testing.assert_array_equal(phases, whole[inds])
    assert phases.shape == (7, 2, 2, N_B)


@pytest.mark.parametrize("inds", [[-1], [N_WAVEFORMS], [9, 10, 11]])
def test_reading_outside_the_bank_is_refused(bank_folder, inds):
    with pytest.raises(InputError, match=r"outside bank_0, which has 11"):
        open_bank(bank_folder).handle.read(np.array(inds))


def test_batches_read_ranges_and_index_arrays(bank_folder, tmp_path):
    handle = open_bank(bank_folder).handle
    np.testing.assert_array_equal(
        WaveformBatch(handle, 2, 6).read()[0][:, 0, 0, 0], [3, 4, 5, 6]
    )
    store = ArrayStore(tmp_path)
    inds = store.put(np.array([9, 1, 8, 2]))
    batch = WaveformBatch(handle, 1, 3, inds)
    np.testing.assert_array_equal(batch.indices(), [1, 8])
    np.testing.assert_array_equal(batch.read()[0][:, 0, 0, 0], [2, 9])
    store.close()


def test_handles_are_small(bank_folder):
    assert len(pickle.dumps(WaveformBatch(open_bank(bank_folder).handle, 0, 5))) < 1000


def test_reading_waveforms_imports_nothing_heavy(bank_folder):
    handle = open_bank(bank_folder).handle
    code = f"""
import sys, numpy as np
from dotpe_exec.banks.waveforms import BankHandle
{handle!r}.read(np.arange(3))
heavy = {{"pandas", "pyarrow", "scipy", "lal", "cogwheel", "matplotlib"}} & set(sys.modules)
sys.exit(" ".join(heavy) or 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def _truncate(path: Path, n_bytes: int = 8) -> None:
    path.write_bytes(path.read_bytes()[:-n_bytes])


def _rewrite(path: Path, change) -> None:
    np.save(path, change(np.load(path)))


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda f: (f / AMPLITUDES_1).unlink(), r"amplitudes_block_1\.npy does not exist"),
        (
            lambda f: _truncate(f / AMPLITUDES_1),
            r"block_1\.npy: found truncated: \d+ bytes",
        ),
        (
            lambda f: _rewrite(f / AMPLITUDES_1, np.float32),
            r"block_1\.npy: found dtype <f4, expected <f8",
        ),
        (
            lambda f: _rewrite(f / AMPLITUDES_1, lambda a: a.astype(">f8")),
            r"dtype >f8, expected <f8",
        ),
        (
            lambda f: _rewrite(f / AMPLITUDES_1, lambda a: a[:, :, :, 1:]),
            r"shape \(4, 2, 2, 5\), expected \(4, 2, 2, 6\)",
        ),
        (
            lambda f: _rewrite(f / AMPLITUDES_1, np.asfortranarray),
            r"Fortran order, expected C order",
        ),
        (
            lambda f: _rewrite(
                f / "waveforms/phase_block_2.npy", lambda a: a[[0, 1, 2, 2]]
            ),
            r"phase_block_2\.npy: found shape \(4, 2, 2, 6\), expected \(3, 2, 2, 6\)",
        ),
        (lambda f: (f / AMPLITUDES_1).write_bytes(b""), r"not a NumPy array file"),
        (
            lambda f: np.save(f / AMPLITUDES_1, np.array([{}]), allow_pickle=True),
            r"block_1\.npy: found dtype object",
        ),
        (lambda f: (f / TABLE).unlink(), r"feather does not exist"),
        (lambda f: _truncate(f / TABLE), r"feather: found not a feather file"),
        (lambda f: (f / "bank_config.json").unlink(), r"bank_config\.json does not exist"),
        (lambda f: shutil.rmtree(f), r"bank does not exist"),
    ],
)
def test_damaged_files_are_named_with_what_was_found(bank_folder, damage, sentence):
    damage(bank_folder)
    with pytest.raises((BankError, MissingFileError), match=sentence):
        open_bank(bank_folder)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda t: t.drop(columns="s1z"), "has no column s1z"),
        (lambda t: t.assign(iota=["x"] * len(t)), "column iota is .*, expected numbers"),
        (
            lambda t: t.assign(
                log_prior_weights=t["log_prior_weights"].where(t.index != 7)
            ),
            "log_prior_weights is nan in row 7",
        ),
        (
            lambda t: t.assign(log_prior_weights=1e300),
            r"log_prior_weights is 1e\+300 in row 0, expected at most",
        ),
        (lambda t: t.assign(m1=np.inf), "m1 is inf in row 0, expected a finite number"),
        (lambda t: t.assign(m2=0.0), "m2 is 0.0 in row 0, expected a positive mass"),
        (lambda t: t.iloc[:0], "has no rows"),
        # Rows without waveforms, waveforms without rows.
        (lambda t: pd.concat([t, t]), "amplitudes_block_2.npy: found shape"),
        (lambda t: t.iloc[:10], r"expected \(2, 2, 2, 6\)"),
    ],
)
def test_bad_tables_are_refused(bank_folder, change, sentence):
    table = change(pd.read_feather(bank_folder / TABLE))
    table.reset_index(drop=True).to_feather(bank_folder / TABLE)
    with pytest.raises(BankError, match=sentence):
        open_bank(bank_folder)


def test_block_damaged_after_opening_is_named_by_the_reader(bank_folder):
    handle = open_bank(bank_folder).handle
    _truncate(bank_folder / AMPLITUDES_1)
    with pytest.raises(BankError, match=r"amplitudes_block_1\.npy: found truncated"):
        handle.read(np.arange(4, 6))
    (bank_folder / AMPLITUDES_1).unlink()
    with pytest.raises(MissingFileError, match=r"amplitudes_block_1\.npy"):
        handle.read(np.array([6, 4]))


def test_nonfinite_waveform_is_named_with_block_and_index(bank_folder):
    handle = open_bank(bank_folder).handle
    message = nonfinite_message(
        handle, np.arange(4, 8), np.array([False, True, False, True])
    )
    assert "waveform 5 of bank_0 (row 1 of block 1" in message
    assert "1 more" in message
    assert "waveform 9 " in nonfinite_message(handle, np.array([9, 2]), np.array([0]))


@pytest.mark.parametrize("form", ["str", "path", "list", "tuple", "commas", "dict"])
def test_all_forms_of_bank_folder_open(tmp_path, form):
    a, b = write_bank(tmp_path / "a"), write_bank(tmp_path / "b", seed=1)
    given, ids = {
        "str": (str(a), ["bank_0"]),
        "path": (a, ["bank_0"]),
        "list": ([a, str(b)], ["bank_0", "bank_1"]),
        "tuple": ((b, a), ["bank_0", "bank_1"]),
        "commas": (f"{a}, {b}", ["bank_0", "bank_1"]),
        "dict": ({"low": a, "high-2": b}, ["low", "high-2"]),
    }[form]
    banks = open_banks(given)
    assert list(banks) == ids
    assert [bank.bank_id for bank in banks.values()] == ids
    assert banks[ids[0]].folder == (b if form == "tuple" else a)


def test_path_with_a_comma_is_one_bank(tmp_path):
    folder = write_bank(tmp_path / "a,b")
    assert open_banks(str(folder))["bank_0"].folder == folder


def test_relative_paths_become_absolute_for_workers(bank_folder, monkeypatch):
    monkeypatch.chdir(bank_folder.parent)
    assert open_bank("bank").handle.folder == str(bank_folder)


@pytest.mark.parametrize(
    "bad", ["", [], {}, ",", [""], {"bank_0": 3}, 7, None, {"x": None}]
)
def test_bank_folder_of_wrong_form_is_refused(bad):
    with pytest.raises(InputError, match="bank_folder"):
        open_banks(bad)


@pytest.mark.parametrize("bank_id", ["", "..", ".", "a/b", "../x", "a\\b", "-x", 3, "a\n"])
def test_bank_ids_cannot_leave_their_folder(bank_folder, bank_id):
    with pytest.raises(InputError, match="bank id"):
        open_banks({bank_id: bank_folder})


def test_same_folder_twice_warns(bank_folder):
    with pytest.warns(UserWarning, match="bank_0 and bank_1 are the same folder"):
        open_banks([bank_folder, bank_folder])


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("f_ref", {"f_ref": 20.0}),
        ("approximant", {"approximant": "IMRPhenomXODE"}),
        ("fbin", {"fbin": [20.0, 25.0, 31.0, 40.0, 61.0, 100.0]}),
        ("fbin", {"fbin": [20.0, 25.0, 31.0, 40.0, 61.0]}),
        ("m_arr", {"m_arr": [3, 2], "harmonic_modes": [[3, 3], [2, 2]]}),
        ("harmonic_modes", {"harmonic_modes": [[2, 2], [3, 3], [3, 2]]}),
    ],
)
def test_disagreeing_banks_are_named_with_the_field(tmp_path, name, change):
    banks = open_banks(
        {"one": write_bank(tmp_path / "a"), "two": write_bank(tmp_path / "b", change)}
    )
    with pytest.raises(BankError, match=f"one and two disagree on {name}:"):
        check_agreement(banks)


def test_banks_may_differ_in_ranges_sizes_and_blocks(tmp_path):
    other = {"bank_size": 5, "blocksize": 8, "mchirp_min": 1.0, "q_min": 0.7, "seed": 3}
    banks = open_banks([write_bank(tmp_path / "a"), write_bank(tmp_path / "b", other)])
    check_agreement(banks)
    one, two = (bank.config for bank in banks.values())
    assert {bank.n_waveforms for bank in banks.values()} == {N_WAVEFORMS, 5}
    for name in ("blocksize", "mchirp_range"):
        assert getattr(one, name) != getattr(two, name)


def test_identity_is_that_of_the_content(tmp_path):
    identity = open_bank(write_bank(tmp_path / "a")).identity()
    assert open_bank(write_bank(tmp_path / "b"), "other").identity() == identity
    assert open_bank(write_bank(tmp_path / "c", seed=1)).identity() != identity
    shuffled = write_bank(tmp_path / "d")
    table = pd.read_feather(shuffled / TABLE)
    table["log_prior_weights"] += 1e-12
    table.to_feather(shuffled / TABLE)
    assert open_bank(shuffled).identity() != identity
    regenerated = write_bank(tmp_path / "e")
    _rewrite(regenerated / AMPLITUDES_1, lambda a: a * (1 + 1e-15))
    assert open_bank(regenerated).identity() != identity
    config = json.loads((tmp_path / "b/bank_config.json").read_text())
    (tmp_path / "b/bank_config.json").write_text(json.dumps(config | {"f_ref": 51.0}))
    assert open_bank(tmp_path / "b").identity() != identity
