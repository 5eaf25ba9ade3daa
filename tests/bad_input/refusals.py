"""A good set of inputs, and what is expected of one that is not.

Every case damages the good inputs in one way. Undamaged they do reach the first stage,
which is replaced in these tests, so that each case fails if what it damages were not looked
at.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dotpe_exec import run_multicore
from dotpe_exec.errors import DotpeExecError, ExecutorError, MissingFileError

N_EXT = 8
PAR_DIC = {
    "m1": 34.5, "m2": 24.2, "ra": 0.5, "dec": 0.5, "iota": 1.0, "psi": 1.0, "phi_ref": 0.7,
    "s1z": 0.3, "s2z": 0.3, "f_ref": 50.0, "d_luminosity": 1500.0, "t_geocenter": 0.0,
}  # fmt: skip


class WorkStarted(BaseException):
    """Raised in place of the first stage; nothing catches it by accident."""


def good_arguments(folder: Path) -> dict[str, Any]:
    return {
        "event": folder / "event.npz",
        "bank_folder": folder / "bank_0",
        "n_ext": N_EXT,
        "n_phi": 4,
        "n_t": 8,
        "seed": 1,
        "par_dic_0": folder / "par_dic_0.json",
        "extrinsic_samples": folder / "extrinsic_samples.feather",
        "rundir": folder / "run",
        "executor": "serial",
        "progress": False,
    }


def snapshot(folder: Path) -> dict[str, Any]:
    """Everything below a folder: names, content, and when each was last changed."""
    return {
        str(path.relative_to(folder)): (
            path.lstat().st_mtime_ns,
            path.read_bytes() if path.is_file() else None,
        )
        for path in sorted(folder.rglob("*"))
    }


def refused(folder, arguments, error_class, sentence):
    """Run; expect one sentence and no trace."""
    before = snapshot(folder)
    with pytest.raises(DotpeExecError) as caught:
        run_multicore(**good_arguments(folder) | arguments)
    message = str(caught.value)
    assert isinstance(caught.value, error_class), repr(caught.value)
    builtin = {MissingFileError: FileNotFoundError, ExecutorError: RuntimeError}
    assert isinstance(caught.value, builtin.get(error_class, ValueError))
    assert sentence in message
    assert "\n" not in message.strip() and 10 < len(message) < 600
    assert snapshot(folder) == before
