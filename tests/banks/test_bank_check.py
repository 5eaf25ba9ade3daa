"""``check_bank`` finds what opening a bank cannot see."""

from __future__ import annotations

import functools
import hashlib
import json
import shutil

import numpy as np
import pandas as pd
import pytest
from synthetic_banks import write_bank

from dotpe_exec.banks import check
from dotpe_exec.banks.format import open_bank
from dotpe_exec.errors import BankError

PHASE_1 = "waveforms/phase_block_1.npy"
# Waveforms of small banks are random numbers: there is nothing to compare them with.
check_bank = functools.partial(check.check_bank, n_new=0)

TABLE = "intrinsic_sample_bank.feather"


def add_checksums(folder):
    files = {
        str(path.relative_to(folder)): hashlib.blake2b(
            path.read_bytes(), digest_size=16
        ).hexdigest()
        for path in folder.rglob("*.*")
    }
    (folder / "checksums.json").write_text(json.dumps({"files": files}))
    return folder


def rewrite(path, change):
    array = np.load(path)
    change(array)
    np.save(path, array)


def flip(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def test_good_bank_has_no_problems(bank_folder):
    report = check_bank(bank_folder)
    assert report.ok
    assert report.remarks == ()
    assert (report.n_waveforms, report.n_blocks) == (11, 3)
    assert report.n_bytes == sum(f.stat().st_size for f in bank_folder.glob("*/*.npy"))
    weights = np.exp(open_bank(bank_folder).log_prior_weights())
    assert report.mean_weight == pytest.approx(weights.mean())
    assert report.weight_efficiency == pytest.approx(
        weights.sum() ** 2 / (11 * np.sum(weights**2))
    )
    assert "11 waveforms in 3 blocks" in str(report)
    assert "no checksums to compare" in str(report)


def test_golden_banks_are_good(golden):
    assert check.check_bank(golden / "bank_0").ok


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nonfinite_waveforms_are_named(bank_folder, value):
    rewrite(bank_folder / PHASE_1, lambda a: a.__setitem__((2, 0, 1, 3), value))
    open_bank(bank_folder)  # does not see it
    (problem,) = check_bank(bank_folder).problems
    assert "phase_block_1.npy: waveform 6 (row 2) is NaN, infinite or the same" in problem


def test_waveform_without_amplitude_is_named(bank_folder):
    path = bank_folder / "waveforms/amplitudes_block_2.npy"
    rewrite(path, lambda a: a.__setitem__(1, 0.0))
    (problem,) = check_bank(bank_folder).problems
    assert (
        "amplitudes_block_2.npy: waveform 9 (row 1) is NaN, infinite, negative or"
        in problem
    )


def test_many_bad_waveforms_make_a_short_report(bank_folder):
    rewrite(bank_folder / PHASE_1, lambda a: a.fill(np.nan))
    problems = check_bank(bank_folder).problems
    assert len(problems) == 4
    assert "4 waveforms are NaN" in problems[-1]


def test_pieces_join_without_gap(bank_folder, monkeypatch):
    monkeypatch.setattr("dotpe_exec.npy_files._PIECE", 500)
    rewrite(bank_folder / PHASE_1, lambda a: a.__setitem__((3, 0, 0, 0), np.nan))
    add_checksums(bank_folder)
    (problem,) = check_bank(bank_folder).problems
    assert "waveform 7 (row 3)" in problem


def test_all_problems_are_listed(bank_folder):
    (bank_folder / "waveforms/amplitudes_block_0.npy").unlink()
    rewrite(bank_folder / PHASE_1, lambda a: a.__setitem__(0, np.nan))
    path = bank_folder / "waveforms/phase_block_2.npy"
    path.write_bytes(path.read_bytes()[:-4])
    problems = check_bank(bank_folder).problems
    assert len(problems) == 3
    assert "amplitudes_block_0.npy does not exist" in problems[0]
    assert "waveform 4" in problems[1]
    assert "truncated" in problems[2]


def test_checksums_agree(bank_folder):
    report = check_bank(add_checksums(bank_folder))
    assert report.ok
    assert report.has_checksums
    assert "checksums agree" in str(report)


@pytest.mark.parametrize("position", [-1, -200, 90])
def test_flipped_bit_in_a_block_is_named(bank_folder, position):
    add_checksums(bank_folder)
    flip(bank_folder / PHASE_1, position)
    problems = check_bank(bank_folder).problems
    assert len(problems) == 1
    assert "phase_block_1.npy" in problems[0]


@pytest.mark.parametrize("name", [TABLE, "bank_config.json"])
def test_flipped_bit_in_table_or_configuration_stops_a_run(bank_folder, name):
    add_checksums(bank_folder)
    if name == TABLE:
        table = pd.read_feather(bank_folder / name)
        table.loc[3, "log_prior_weights"] += 1e-9
        table.to_feather(bank_folder / name)
    else:
        text = (bank_folder / name).read_text()
        (bank_folder / name).write_text(text.replace("31.0", "31.5"))
    with pytest.raises(BankError, match=f"{name} is damaged or was changed"):
        open_bank(bank_folder)
    assert len(check_bank(bank_folder).problems) == 1


def test_block_without_checksum_is_named(bank_folder):
    add_checksums(bank_folder)
    content = json.loads((bank_folder / "checksums.json").read_text())
    del content["files"][PHASE_1]
    (bank_folder / "checksums.json").write_text(json.dumps(content))
    (problem,) = check_bank(bank_folder).problems
    assert "phase_block_1.npy has no checksum" in problem


@pytest.mark.parametrize("content", ["{", "[]", '{"files": 3}', '{"files": {"a": 1}}'])
def test_damaged_checksums_are_a_problem(bank_folder, content):
    (bank_folder / "checksums.json").write_text(content)
    assert "checksums.json" in check_bank(bank_folder).problems[0]
    with pytest.raises(BankError, match=r"checksums\.json"):
        open_bank(bank_folder)


@pytest.mark.parametrize(
    ("config", "remark"),
    [
        ({"mchirp_max": 24.0}, "chirp masses are outside 20.0 to 24.0"),
        ({"blocksize": 16}, None),
    ],
)
def test_unusual_banks_are_remarked_upon(tmp_path, config, remark):
    folder = write_bank(tmp_path / "bank", config)
    remarks = check_bank(folder).remarks
    assert (not remarks) if remark is None else remark in remarks[0]


def test_row_counts_that_disagree_are_remarked_upon(bank_folder):
    table = pd.read_feather(bank_folder / TABLE).iloc[:8]
    table.assign(m2=60.0, s1z=2.0).to_feather(bank_folder / TABLE)
    report = check_bank(bank_folder)
    assert report.ok
    text = "; ".join(report.remarks)
    for part in ("bank_size is 11 but the table has 8 rows", "m2 is larger than m1 in 8",
                 "the spin s1 is above 1 in 8 rows", "more blocks than"):  # fmt: skip
        assert part in text


def test_missing_folder_and_files_are_reported(tmp_path, bank_folder):
    assert "does not exist" in check_bank(tmp_path / "nope").problems[0]
    (bank_folder / "bank_config.json").unlink()
    (bank_folder / TABLE).unlink()
    assert len(check_bank(bank_folder).problems) == 2


def test_waveforms_that_are_not_those_of_the_table_are_named(golden, tmp_path):
    folder = shutil.copytree(golden / "bank_0", tmp_path / "bank")
    assert check.check_bank(folder, n_new=3, seed=0).remarks == ()
    for kind in ("amplitudes", "phase"):
        blocks = [folder / f"waveforms/{kind}_block_{k}.npy" for k in (0, 1)]
        first, second = (np.load(path) for path in blocks)
        np.save(blocks[0], second)
        np.save(blocks[1], first)
    problems = check.check_bank(folder, n_new=200, seed=0).problems
    assert problems
    assert "is not that of its row in intrinsic_sample_bank.feather" in problems[0]


@pytest.mark.parametrize("how", ["exchanged", "zeroed", "negative"])
def test_other_damage_is_named_without_checksums(bank_folder, how):
    amplitudes, phases = (bank_folder / f"waveforms/{kind}_block_1.npy"
                          for kind in ("amplitudes", "phase"))  # fmt: skip
    if how == "exchanged":
        first, second = np.load(amplitudes), np.load(phases)
        np.save(amplitudes, second)
        np.save(phases, first)
    elif how == "zeroed":
        np.save(phases, 0 * np.load(phases))
    else:
        np.save(amplitudes, -np.load(amplitudes))
    problems = check_bank(bank_folder).problems
    assert any("block_1.npy" in problem for problem in problems)
