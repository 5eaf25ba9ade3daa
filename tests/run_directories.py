"""What the tests of run directories share."""

from __future__ import annotations

from pathlib import Path

from dotpe_exec import atomic
from dotpe_exec.rundir.directory import RunDirectory
from dotpe_exec.rundir.identity import RunIdentity


def make_identity(**changes):
    values = {
        "event_name": "GW1",
        "event": "e" * 32,
        "banks": {"bank_0": "b" * 32},
        "parameters": {"n_ext": 512, "seed": 42, "mchirp_guess": 20.0},
    }
    return RunIdentity(**{**values, **changes})


def finish(directory: RunDirectory):
    atomic.write_json(directory.summary, {"ln_evidence": 1.0})


def tree(folder: Path):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))
