"""Runs of the reference case, and what makes two runs the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Records of where and when differ; all else is the same to the last bit.
RECORDS = {"run_kwargs.json", "run_inputs.json", "run_report.json", "tasks.feather"}

# Of the prior in Posterior.json: a third of such a run goes into finding it.
RANGE = {"ref_wf_finder_kwargs": {"mchirp_range": [15.0, 40.0]}}


def arguments_of_run(golden: Path, **changes: Any) -> dict[str, Any]:
    """Arguments of a run of seconds: reference waveform and extrinsic samples are given."""
    reference = golden / "reference"
    return {
        "event": golden / "event.npz",
        "bank_folder": [golden / "bank_0", golden / "bank_1"],
        "n_ext": 96,
        "n_phi": 16,
        "n_t": 64,
        "blocksize": 128,
        "single_detector_blocksize": 128,
        "seed": 42,
        "par_dic_0": reference / "par_dic_0.json",
        "extrinsic_samples": reference / "extrinsic_samples.feather",
        "coherent_posterior_kwargs": RANGE,
        "progress": False,
    } | changes


def as_flags(arguments: Mapping[str, Any]) -> list[str]:
    """The same as words of the command line."""
    words = []
    for name, value in arguments.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        elif isinstance(value, dict):
            words += [f"--{flag}", json.dumps(value)]
        else:
            text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
            words += [f"--{flag}", text]
    return words


def run_files(rundir: Path) -> dict[str, bytes]:
    """The files of a run but its records, by name."""
    return {
        str(path.relative_to(rundir)): path.read_bytes()
        for path in sorted(rundir.rglob("*"))
        if path.is_file() and path.name not in RECORDS
    }


def assert_same_files(rundir: Path, other: Path) -> None:
    """Expect two finished runs whose files have the same bits."""
    found, expected = run_files(rundir), run_files(other)
    assert {"samples.feather", "summary_results.json"} <= set(expected)
    assert list(found) == list(expected)
    assert [name for name in expected if found[name] != expected[name]] == []
