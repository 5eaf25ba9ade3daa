"""Damaged banks are named before work starts, and nothing changes."""

from __future__ import annotations

import numpy as np
from banks.synthetic_banks import N_WAVEFORMS
from damaged_files import (
    Damage,
    each,
    named,
    remove,
    replace_by_folder,
    rewrite_array,
    rewrite_config,
    rewrite_table,
    truncate,
    write,
)

from dotpe_exec.errors import BankError, MissingFileError

BLOCK = "bank_0/waveforms/amplitudes_block_1.npy"
TABLE = "bank_0/intrinsic_sample_bank.feather"
CONFIG = "bank_0/bank_config.json"
TWO = {"bank_folder": ["bank_0", "bank_1"]}

BANKS = [
    Damage("no folder", remove("bank_0"), MissingFileError, "bank_0"),
    Damage("no configuration", remove(CONFIG), MissingFileError, "bank_config.json"),
    Damage("no table", remove(TABLE), MissingFileError, "intrinsic_sample_bank"),
    Damage("no waveforms", remove("bank_0/waveforms"), MissingFileError, "block_0"),
    Damage("missing block", remove(BLOCK), MissingFileError, "amplitudes_block_1"),
    Damage(
        "missing phase",
        remove("bank_0/waveforms/phase_block_2.npy"),
        MissingFileError,
        "phase_block_2",
    ),
    Damage("truncated block", truncate(BLOCK, -8), BankError, "amplitudes_block_1"),
    Damage("header alone", truncate(BLOCK, 128), BankError, "amplitudes_block_1"),
    Damage("empty block", write(BLOCK, b""), BankError, "amplitudes_block_1"),
    Damage("text for block", write(BLOCK, b"waves" * 100), BankError, "amplitudes_block_1"),
    Damage(
        "single precision",
        rewrite_array(BLOCK, lambda a: a.astype("f4")),
        BankError,
        "dtype <f4",
    ),
    Damage(
        "complex block", rewrite_array(BLOCK, lambda a: a + 0j), BankError, "dtype <c16"
    ),
    Damage("fewer rows", rewrite_array(BLOCK, lambda a: a[:-1]), BankError, "shape (3, 2"),
    Damage("fewer bins", rewrite_array(BLOCK, lambda a: a[..., 1:]), BankError, "2, 5)"),
    Damage("Fortran order", rewrite_array(BLOCK, np.asfortranarray), BankError, "Fortran"),
    Damage("folder for block", replace_by_folder(BLOCK), BankError, "amplitudes_block_1"),
    Damage("configuration not JSON", write(CONFIG, b"{"), BankError, "bank_config.json"),
    Damage("configuration a list", write(CONFIG, b"[]"), BankError, "bank_config.json"),
    Damage("configuration not text", write(CONFIG, b"\xff\xfe"), BankError, "bank_config"),
    Damage("deep configuration", write(CONFIG, b"[" * 100_000), BankError, "bank_config"),
    *(
        Damage(f"without {key}", rewrite_config(**{key: None}), BankError, key)
        for key in ("f_ref", "fbin", "approximant", "m_arr", "blocksize")
    ),
    Damage("negative f_ref", rewrite_config(f_ref=-50), BankError, "f_ref is -50"),
    Damage(
        "unknown approximant", rewrite_config(approximant="X"), BankError, "approximant"
    ),
    Damage(
        "falling bins", rewrite_config(fbin=[20, 25, 31, 40, 100, 60]), BankError, "fbin"
    ),
    Damage(
        "bins off the grid",
        rewrite_config(fbin=[20, 25, 31, 40.1, 60, 100]),
        BankError,
        "40.1 Hz",
    ),
    Damage(
        "bins beyond the data",
        rewrite_config(fbin=[20, 25, 31, 40, 60, 300]),
        BankError,
        "300.0 Hz",
    ),
    Damage("blocks of 0", rewrite_config(blocksize=0), BankError, "blocksize is 0"),
    Damage("other blocksize", rewrite_config(blocksize=5), BankError, "block_0"),
    Damage("modes that do not fit", rewrite_config(m_arr=[2, 7]), BankError, "m_arr"),
    Damage("table truncated", truncate(TABLE, -200), BankError, "intrinsic_sample_bank"),
    Damage("table empty", write(TABLE, b""), BankError, "intrinsic_sample_bank"),
    Damage(
        "table without weights",
        rewrite_table(TABLE, lambda t: t.drop(columns="log_prior_weights")),
        BankError,
        "log_prior_weights",
    ),
    Damage(
        "table without mass",
        rewrite_table(TABLE, lambda t: t.drop(columns="m1")),
        BankError,
        "m1",
    ),
    Damage(
        "NaN in weights",
        rewrite_table(TABLE, lambda t: t.assign(log_prior_weights=[np.nan] * N_WAVEFORMS)),
        BankError,
        "log_prior_weights",
    ),
    Damage(
        "negative mass",
        rewrite_table(TABLE, lambda t: t.assign(m1=-t["m1"])),
        BankError,
        "m1",
    ),
    Damage(
        "text in table",
        rewrite_table(TABLE, lambda t: t.assign(m1="heavy")),
        BankError,
        "m1",
    ),
    Damage("no rows", rewrite_table(TABLE, lambda t: t[:0]), BankError, "no rows"),
    Damage(
        "banks of other f_ref",
        rewrite_config("bank_1", f_ref=40.0),
        BankError,
        "f_ref",
        TWO,
    ),
    Damage(
        "banks of other bins",
        rewrite_config("bank_1", fbin=[20, 25, 31, 40, 61, 100]),
        BankError,
        "fbin",
        TWO,
    ),
    Damage(
        "banks of other approximants",
        rewrite_config("bank_1", approximant="IMRPhenomXHM"),
        BankError,
        "approximant",
        TWO,
    ),
]


@each(BANKS)
def test_damaged_bank_is_named(folder, monkeypatch, damage):
    monkeypatch.chdir(folder)
    named(folder, damage)
