"""Damaged files of indices or of reference parameters are named before work starts."""

from __future__ import annotations

import numpy as np
from damaged_files import (
    Damage,
    Pickled,
    each,
    named,
    remove,
    replace_by_folder,
    truncate,
    write,
)

from dotpe_exec.errors import InputError, MissingFileError

INDICES = "intrinsic_samples.npz"
LOAD = {"load_inds": True, "inds_path": INDICES}
NPY = {"preselected_indices": "inds.npy"}
INDEX_FILES = [
    Damage("missing", remove(INDICES), MissingFileError, INDICES, LOAD),
    Damage("empty", write(INDICES, b""), InputError, INDICES, LOAD),
    Damage("truncated", truncate(INDICES, -30), InputError, INDICES, LOAD),
    Damage("no inds", lambda f: np.savez(f / INDICES, i=[1]), InputError, "'inds'", LOAD),
    *(
        Damage(
            name,
            lambda f, inds=inds: np.savez(f / INDICES, inds=inds),
            InputError,
            INDICES,
            LOAD,
        )
        for name, inds in {
            "out of range": [0, 11],
            "negative": [-1],
            "twice": [1, 1],
            "fractions": [0.5],
            "matrix": [[1]],
        }.items()
    ),
    Damage(
        "none",
        lambda f: np.savez(f / INDICES, inds=[]),
        InputError,
        "inds_path is empty",
        LOAD,
    ),
    Damage(
        "objects",
        lambda f: np.savez(f / INDICES, inds=np.array([Pickled()], dtype=object)),
        InputError,
        INDICES,
        LOAD,
    ),
    Damage(
        "unknown bank",
        lambda f: None,
        InputError,
        "'bank_5'",
        {"load_inds": True, "inds_path": {"bank_5": INDICES}},
    ),
    Damage(
        "npy truncated",
        lambda f: (np.save(f / "inds.npy", np.arange(4)), truncate("inds.npy", -4)(f)),
        InputError,
        "inds.npy",
        NPY,
    ),
    Damage(
        "npy objects",
        lambda f: np.save(f / "inds.npy", np.array([Pickled()], dtype=object)),
        InputError,
        "inds.npy",
        NPY,
    ),
    Damage(
        "npy out of range",
        lambda f: np.save(f / "inds.npy", [99]),
        InputError,
        "inds.npy",
        NPY,
    ),
]


PAR_FILE = "par_dic_0.json"
PAR_DICS = [
    Damage("not JSON", write(PAR_FILE, b"{m1: 3}"), InputError, PAR_FILE),
    Damage("a list", write(PAR_FILE, b"[1]"), InputError, PAR_FILE),
    Damage("not text", write(PAR_FILE, b"\xff"), InputError, PAR_FILE),
    Damage("deep", write(PAR_FILE, b"[" * 100_000), InputError, PAR_FILE),
    Damage("NaN", write(PAR_FILE, b'{"m1": NaN}'), InputError, "m1 is nan"),
    Damage(
        "a number too large",
        write(PAR_FILE, b'{"m1": 1' + b"0" * 400 + b"}"),
        InputError,
        "m1",
    ),
    Damage("a folder", replace_by_folder(PAR_FILE), MissingFileError, PAR_FILE),
]


@each(INDEX_FILES)
def test_damaged_indices_are_named(folder, monkeypatch, damage):
    monkeypatch.chdir(folder)
    named(folder, damage)


@each(PAR_DICS)
def test_damaged_reference_parameters_are_named(folder, monkeypatch, damage):
    monkeypatch.chdir(folder)
    named(folder, damage)
