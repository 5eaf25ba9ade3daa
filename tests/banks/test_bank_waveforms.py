"""Waveforms are read as they are on disk now, and compared with their digests."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from synthetic_banks import N_WAVEFORMS, write_bank

from dotpe_exec.banks import waveforms
from dotpe_exec.banks.format import open_bank
from dotpe_exec.banks.waveforms import DIGESTS_NAME, KINDS, waveform_digests
from dotpe_exec.digests import file_digest
from dotpe_exec.errors import BankError

ALL = np.arange(N_WAVEFORMS)


@pytest.fixture
def with_digests(bank_folder):
    """A small bank that carries the digests of its waveforms."""
    digests = waveform_digests(*open_bank(bank_folder).handle.read(ALL))
    np.save(bank_folder / DIGESTS_NAME, digests)
    checksums = {DIGESTS_NAME: file_digest(bank_folder / DIGESTS_NAME)}
    (bank_folder / "checksums.json").write_text(json.dumps({"files": checksums}))
    return bank_folder


def change(path, function, keep_time=False):
    times = path.stat()
    array = np.load(path)
    function(array)
    np.save(path, array)
    if keep_time:
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_bank_built_anew_in_the_same_folder_is_read_anew(bank_folder, tmp_path):
    handle = open_bank(bank_folder).handle
    before = handle.read(ALL)[1]
    bank_folder.rename(tmp_path / "old")
    write_bank(bank_folder, seed=7)
    after = open_bank(bank_folder).handle.read(ALL)[1]
    assert not np.any(after == before)
    fresh = np.concatenate(
        [np.load(bank_folder / f"waveforms/phase_block_{k}.npy") for k in range(3)]
    )
    np.testing.assert_array_equal(after, fresh)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("inds", [ALL, [6, 3], [5]], ids=["all", "some", "one"])
def test_waveform_that_disagrees_with_its_digest_is_named(with_digests, kind, inds):
    handle = open_bank(with_digests).handle
    handle.read(np.array(inds))

    def flip(array):
        array[1] = -array[1]

    # Not even by its time of change can it be told.
    change(handle.block_path(kind, 1), flip, keep_time=True)
    if 5 in inds:
        with pytest.raises(BankError, match=r"waveform 5 of bank_0 \(row 1 of block 1, .*"
                                            r"does not agree with its digest"):  # fmt: skip
            handle.read(np.array(inds))
    else:
        handle.read(np.array(inds))


def test_digests_of_another_bank_are_refused(with_digests):
    handle = open_bank(with_digests).handle
    change(with_digests / DIGESTS_NAME, lambda array: array.sort())
    with pytest.raises(
        BankError, match=r"waveform_digests\.npy is damaged, or the bank was"
    ):
        handle.read(ALL)
    with pytest.raises(BankError, match=r"waveform_digests.npy is damaged or was changed"):
        open_bank(with_digests)


def test_digest_sees_exchanged_files_and_every_bit():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 3, 2, 2, 9))
    digests = waveform_digests(a, b)
    assert len(set(digests.tolist())) == 3
    assert not np.any(waveform_digests(b, a) == digests)
    for bit in range(64):
        for array in (a, b):
            array[1].view(np.uint64)[0, 0, 3] ^= np.uint64(1 << bit)
            changed = waveform_digests(a, b) == digests
            array[1].view(np.uint64)[0, 0, 3] ^= np.uint64(1 << bit)
            assert changed.tolist() == [True, False, True]


def zero(array):
    array[1:] = 0


@pytest.mark.parametrize("damage", ["zeroed", "exchanged"])
def test_bank_without_digests_is_looked_at_all_the_same(golden, tmp_path, damage):
    folder = shutil.copytree(golden / "bank_0", tmp_path / "bank")
    handle = open_bank(folder).handle
    amplitudes, phases = (handle.block_path(kind, 1) for kind in KINDS)
    if damage == "zeroed":
        change(phases, zero)
    else:
        amplitudes.rename(tmp_path / "aside")
        phases.rename(amplitudes)
        (tmp_path / "aside").rename(phases)
    with pytest.raises(BankError, match=r"has amplitudes, but the same phase at all"):
        handle.read(np.arange(128, 256))


TRUNCATE_WHILE_READING = """
import os, sys
import numpy as np
from dotpe_exec.banks import waveforms
from dotpe_exec.banks.format import open_bank
from dotpe_exec.errors import BankError
bank = open_bank(sys.argv[1]).handle
amplitudes, phases = bank.read(np.arange(4, 8))
path = bank.block_path("amplitudes", 1)
os.truncate(path, 200)
try:
    bank.read(np.arange(4, 8))
except BankError as error:
    assert "truncated" in str(error)
    print(amplitudes.sum())
"""


def test_file_truncated_in_use_does_not_end_the_process(bank_folder):
    done = subprocess.run(
        [sys.executable, "-c", TRUNCATE_WHILE_READING, str(bank_folder)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, (done.returncode, done.stderr)
    assert float(done.stdout) == (5 + 6 + 7 + 8) * 2 * 2 * 6


def test_few_files_stay_open(tmp_path):
    handle = open_bank(
        write_bank(tmp_path / "bank", {"bank_size": 40, "blocksize": 1})
    ).handle
    handle.read(np.arange(40))
    files = (link for link in Path("/proc/self/fd").iterdir() if link.exists())
    open_files = [str(link.readlink()) for link in files]
    assert sum("_block_" in name for name in open_files) <= 16


def test_scattered_rows_are_read_block_by_block(bank_folder, monkeypatch):
    handle = open_bank(bank_folder).handle
    whole = handle.read(ALL)
    opened = []
    original = waveforms._open_file

    def noted(bank, kind, k):
        opened.append((kind, k))
        return original(bank, kind, k)

    monkeypatch.setattr(waveforms, "_open_file", noted)
    inds = np.random.default_rng(5).integers(N_WAVEFORMS, size=50)
    for rows, all_rows in zip(handle.read(inds), whole, strict=True):
        np.testing.assert_array_equal(rows, all_rows[inds])
    assert len(opened) == len(set(opened)) == len(KINDS) * handle.n_blocks


def is_cached(path, offset: int) -> bool:
    """Whether a byte can be read without waiting for the disk."""
    with path.open("rb") as file:
        try:
            os.preadv(file.fileno(), [bytearray(1)], offset, os.RWF_NOWAIT)
        except BlockingIOError:
            return False
    return True


def test_what_will_be_needed_is_read_without_being_waited_for(tmp_path):
    if not (hasattr(os, "RWF_NOWAIT") and hasattr(os, "posix_fadvise")):
        pytest.skip("this system does not tell what is in its page cache")
    handle = open_bank(
        write_bank(tmp_path / "bank", {"bank_size": 90_000, "blocksize": 90_000})
    ).handle
    path, row_bytes = handle.block_path("phase", 0), 2 * 2 * 6 * 8
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    try:
        if is_cached(path, 50_000 * row_bytes):
            pytest.skip("this file system keeps all files in memory")
    except OSError:
        pytest.skip("this file system does not tell what is in the page cache")
    handle.read_ahead(40_000, 60_000)
    deadline = time.monotonic() + 20
    while not is_cached(path, 50_000 * row_bytes) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert is_cached(path, 50_000 * row_bytes)
    assert not is_cached(path, 20_000 * row_bytes)
