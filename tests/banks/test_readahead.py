"""The system is asked for what will be needed, and reads it without being waited for."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest

from dotpe_exec.banks.readahead import read_ahead


def is_cached(path, offset: int) -> bool:
    """Whether a byte can be read without waiting for the disk."""
    with path.open("rb") as file:
        try:
            os.preadv(file.fileno(), [bytearray(1)], offset, os.RWF_NOWAIT)
        except BlockingIOError:
            return False
    return True


@pytest.fixture
def array_on_disk(tmp_path):
    """A file that is not in the page cache, and its memory map."""
    if not (hasattr(os, "RWF_NOWAIT") and hasattr(os, "posix_fadvise")):
        pytest.skip("this system does not tell what is in its page cache")
    path = tmp_path / "block.npy"
    np.save(path, np.arange(4_000_000.0).reshape(1000, 4000))
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    try:
        if is_cached(path, 20_000_000):
            pytest.skip("this file system keeps all files in memory")
    except OSError:
        pytest.skip("this file system does not tell what is in the page cache")
    return path, np.load(path, mmap_mode="r")


def test_what_will_be_needed_is_read_without_being_touched(array_on_disk):
    path, array = array_on_disk
    read_ahead(array[500:800])
    deadline = time.monotonic() + 20
    while not is_cached(path, 600 * 32_000) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert is_cached(path, 600 * 32_000)
    assert not is_cached(path, 100 * 32_000)
    assert array[600, 7] == 600 * 4000 + 7


def test_arrays_in_memory_are_left_alone():
    read_ahead(np.arange(10.0))
    read_ahead(np.arange(10.0)[3:5])
