"""``bank_config.json``: what is read, in which spellings, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from synthetic_banks import CONFIG

from dotpe_exec.banks.config import read_config
from dotpe_exec.errors import BankError, MissingFileError


@pytest.fixture
def config_file(tmp_path):
    path = tmp_path / "bank_config.json"

    def write(**changes):
        content = {k: v for k, v in (CONFIG | changes).items() if v is not ...}
        path.write_text(json.dumps(content))
        return path

    return write


def test_config_is_read(config_file):
    config = read_config(config_file())
    assert config.approximant == "IMRPhenomXPHM"
    assert config.f_ref == 50.0
    np.testing.assert_array_equal(config.fbin, CONFIG["fbin"])
    assert config.m_arr.tolist() == [2, 3]
    assert config.harmonic_modes == ((2, 2), (3, 3))
    assert config.blocksize == 4
    assert config.mchirp_range == (20.0, 31.0)
    assert config.info["seed"] == 5


def test_older_bank_has_the_approximants_modes(config_file):
    config = read_config(config_file(harmonic_modes=..., m_arr=[2, 1, 3, 4]))
    assert config.harmonic_modes == ((2, 2), (2, 1), (3, 3), (3, 2), (4, 4))
    # Only those whose m is there: (3, 2) belongs to m = 2.
    config = read_config(config_file(harmonic_modes=..., m_arr=[2, 3]))
    assert config.harmonic_modes == ((2, 2), (3, 3), (3, 2))


def test_older_bank_keeps_its_order_of_m(config_file):
    config = read_config(config_file(harmonic_modes=..., m_arr=[3, 2]))
    assert config.harmonic_modes == ((3, 3), (2, 2), (3, 2))


def test_older_spelling_of_the_mchirp_range(config_file):
    path = config_file(mchirp_min=..., mchirp_max=..., min_mchirp=3, max_mchirp=5)
    assert read_config(path).mchirp_range == (3.0, 5.0)


def test_informative_entries_may_be_absent(config_file):
    absent = dict.fromkeys(("bank_size", "mchirp_min", "mchirp_max", "q_min", "seed"), ...)
    config = read_config(config_file(**absent))
    assert config.mchirp_range is None
    assert config.info == {}


@pytest.mark.parametrize("approximant", ["IMRPhenomXODE", "IMRPhenomXAS"])
def test_other_approximants(config_file, approximant):
    path = config_file(approximant=approximant, m_arr=[2], harmonic_modes=...)
    modes = {"IMRPhenomXODE": ((2, 2), (3, 2)), "IMRPhenomXAS": ((2, 2),)}
    assert read_config(path).harmonic_modes == modes[approximant]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"f_ref": ...}, "f_ref is missing"),
        ({"fbin": ...}, "fbin is missing"),
        ({"approximant": ...}, "approximant is missing"),
        ({"m_arr": ...}, "m_arr is missing"),
        ({"blocksize": ...}, "blocksize is missing"),
        ({"f_ref": 0}, "f_ref is 0, expected a positive number"),
        ({"f_ref": "50"}, "f_ref is '50'"),
        ({"f_ref": float("nan")}, "f_ref is nan"),
        ({"f_ref": 10**400}, "f_ref is 1000"),
        (
            {"fbin": [20.0, 30.0, 25.0, 40.0]},
            "fbin goes from 30.0 to 25.0 Hz at",
        ),
        ({"fbin": [20.0, 30.0, 30.0, 40.0]}, "fbin goes from 30.0 to 30.0"),
        ({"fbin": [20.0, 30.0]}, "fbin is .* at least 4"),
        ({"fbin": [20.0, None, 30.0, 40.0]}, "fbin is "),
        ({"fbin": [[20.0, 30.0, 40.0, 50.0]]}, "fbin is "),
        ({"fbin": 20.0}, "fbin is 20.0"),
        ({"blocksize": 0}, "blocksize is 0, expected a positive integer"),
        ({"blocksize": 4.5}, "blocksize is 4.5"),
        ({"blocksize": True}, "blocksize is True"),
        ({"approximant": "IMRPhenomNope"}, "approximant is 'IMRPhenomNope', expected one"),
        ({"approximant": 3}, "approximant is 3"),
        ({"m_arr": [1, 3]}, "m_arr is .*, 2 among them"),
        ({"m_arr": [2, 2]}, "m_arr is "),
        ({"m_arr": []}, "m_arr is "),
        ({"m_arr": [3, 2]}, r"m_arr is \[3, 2\], expected \[2, 3\] for the harmonic_modes"),
        ({"m_arr": [2, 7], "harmonic_modes": ...}, r"m_arr is \[2, 7\], expected some of"),
        ({"harmonic_modes": [[2, 2], [2, 2]]}, "harmonic_modes is .* distinct pairs"),
        ({"harmonic_modes": [[2, 3]]}, "harmonic_modes is "),
        ({"harmonic_modes": {"a": 1}}, "harmonic_modes is "),
    ],
)
def test_bad_entries_are_named(config_file, changes, sentence):
    path = config_file(**changes)
    with pytest.raises(BankError, match=sentence) as caught:
        read_config(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < len(str(path)) + 250


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1, 2]", b"null", b"\xff\xfe", b"[" * 100000, b"1" * 5000]
)
def test_what_is_not_a_json_object_is_refused(tmp_path, content):
    path = tmp_path / "bank_config.json"
    path.write_bytes(content)
    with pytest.raises(BankError, match=r"bank_config\.json"):
        read_config(path)


def test_missing_file_and_folder_in_its_place(tmp_path):
    with pytest.raises(MissingFileError, match=r"bank_config\.json does not exist"):
        read_config(tmp_path / "bank_config.json")
    with pytest.raises(BankError, match="cannot be read"):
        read_config(tmp_path)
