"""Damaged banks raise this package's errors and no others, at once."""

from __future__ import annotations

import json

import numpy as np
import pytest
from damages import JSON_VALUES, damages
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from synthetic_banks import CONFIG, write_bank

from dotpe_exec.banks.format import open_bank
from dotpe_exec.errors import DotpeExecError
from dotpe_exec.npy_files import load_npy_vector, load_npz_vector

SETTINGS = settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

FILES = [
    "bank_config.json",
    "intrinsic_sample_bank.feather",
    "waveforms/amplitudes_block_1.npy",
    "waveforms/phase_block_2.npy",
]


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    return write_bank(tmp_path_factory.mktemp("fuzz") / "bank")


def open_or_refuse(bank):
    try:
        opened = open_bank(bank)
        opened.handle.read(np.arange(opened.n_waveforms))
        opened.identity()
    except DotpeExecError as error:
        assert str(error)
        return False
    return True


def with_content(path, content, check):
    original = path.read_bytes()
    try:
        path.write_bytes(content)
        return check()
    finally:
        path.write_bytes(original)


@pytest.mark.parametrize("name", FILES)
@SETTINGS
@given(damage=damages())
def test_damaged_bytes(bank, name, damage):
    path = bank / name
    damaged = damage(path.read_bytes())
    opened = with_content(path, damaged, lambda: open_or_refuse(bank))
    if name.endswith(".npy") and len(damaged) != path.stat().st_size:
        assert not opened


@SETTINGS
@given(key=st.sampled_from(sorted(CONFIG)), value=JSON_VALUES)
def test_any_value_in_the_configuration(bank, key, value):
    content = json.dumps(CONFIG | {key: value}).encode()
    with_content(bank / "bank_config.json", content, lambda: open_or_refuse(bank))


@SETTINGS
@given(content=JSON_VALUES)
def test_any_json_as_configuration(bank, content):
    path = bank / "bank_config.json"
    content = json.dumps(content).encode()
    assert not with_content(path, content, lambda: open_or_refuse(bank))


@SETTINGS
@given(
    shape=st.lists(st.integers(-(2**70), 2**70), max_size=5),
    dtype=st.sampled_from(["<f8", "|O", "<f4", "<U4000000000", "<M8[s]", "[('a', '<f8')]"]),
)
def test_headers_that_promise_too_much_reserve_nothing(bank, shape, dtype):
    dtype = dtype if dtype.startswith("[") else repr(dtype)
    header = f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {tuple(shape)}, }}"
    header = header.ljust(245) + "\n"
    magic = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little")
    path = bank / "waveforms/amplitudes_block_1.npy"
    content = magic + header.encode() + bytes(64)
    if len(header) == 246:
        assert not with_content(path, content, lambda: open_or_refuse(bank))
        vector = bank.parent / "vector.npy"
        vector.write_bytes(content)
        try:
            assert len(load_npy_vector(vector, longest=20)) <= 20
        except ValueError as error:
            assert str(error)


@SETTINGS
@given(damage=damages(), npz=st.booleans())
def test_damaged_index_files(tmp_path, damage, npz):
    path = tmp_path / ("inds.npz" if npz else "inds.npy")
    if npz:
        np.savez_compressed(path, inds=np.arange(40), other=np.zeros(3))
    else:
        np.save(path, np.arange(40))
    path.write_bytes(damage(path.read_bytes()))
    try:
        loaded = load_npz_vector(path, "inds", 99) if npz else load_npy_vector(path, 99)
    except (ValueError, OSError) as error:
        assert str(error)
    else:
        assert loaded.ndim == 1
        assert len(loaded) <= 99
