"""What a user's type checker makes of the public names."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

RIGHT = """
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

import dotpe_exec
from dotpe_exec import (
    MulticoreConfig,
    autotune_multicore_config,
    load_cached_config,
    run,
    run_and_profile,
    run_and_profile_multicore,
    run_multicore,
)
from dotpe_exec.banks.build import build_bank, build_banks
from dotpe_exec.banks.check import check_bank
from dotpe_exec.config import get_shared_config_cache_path, save_config
from dotpe_exec.errors import DotpeExecError
from dotpe_exec.events import event_from_strain, save_event, simulate_event
from dotpe_exec.loading import load_run


def analyse(event: Path, banks: list[Path], config: MulticoreConfig | None) -> Path:
    banks_by_id: dict[str, Path] = build_banks(
        "wide", n_banks=2, bank_size=16, mchirp_range=(10, 40), event=event
    )
    run(event, banks_by_id, 512, n_phi=64, n_t=128, rundir="a", n_int={"bank_0": 5})
    run("GW150914", "one,two", 512, 64, 128, event_dir="b", n_int=[3, 4], resume=True)
    with ThreadPoolExecutor(2) as pool:
        run_multicore(
            str(event),
            banks,
            n_ext=512,
            n_phi=64,
            n_t=128,
            rundir=Path("c"),
            executor=pool,
            multicore_config=config,
            preselected_indices=np.arange(5),
            bank_logw_override={"bank_0": [0.0, 1.0]},
            par_dic_0={"m1": 30.0},
        )
    rundir, text = run_and_profile_multicore(event, banks[0], 512, 64, 128, rundir="d")
    print(text.upper())
    rundir, text = run_and_profile(event, banks[0], 512, 64, 128, rundir="e")
    return rundir


def tune(workload: Callable[[int, int, int], tuple[float, float]]) -> int | None:
    config: MulticoreConfig = autotune_multicore_config(workload, [1, 2], progress=False)
    cached = load_cached_config()
    save_config(MulticoreConfig(n_procs=4, max_memory_gb=8.0))
    get_shared_config_cache_path().unlink()
    return config.n_procs if cached is None else cached.n_procs


def make(files: list[str]) -> float:
    bank: Path = build_bank("b", bank_size=8, mchirp_range=(20, 40), event="GW150914")
    check_bank(bank)
    save_event(simulate_event("x", "HL", injection={"m1": 30.0}), "x.npz")
    event_from_strain(files, "y", "HL", 1126259462.4)
    try:
        evidence: float = load_run("c").summary["ln_evidence"]
    except DotpeExecError as error:
        raise SystemExit(str(error)) from error
    return evidence


version: str = dotpe_exec.__version__
"""

# Each line alone is an error, of this kind.
WRONG = {
    'run("event.npz", "bank", 512, 64)': "call-arg",
    'run("event.npz", "bank", "512", 64, 128)': "arg-type",
    'run("event.npz", "bank", 512, 64, 128, n_extrinsic=5)': "call-arg",
    'run("event.npz", 5, 512, 64, 128)': "arg-type",
    'run_multicore("event.npz", "bank", 512, 64, 128, executor=4)': "arg-type",
    'run_multicore("event.npz", "bank", 512, 64, 128, n_procs="all")': "arg-type",
    'run_multicore("event.npz", "bank", 512, 64, 128, rundir="r").samples': "attr-defined",
    'run_and_profile("event.npz", "bank", 512, 64, 128, profil=True)': "call-arg",
    'a: str = run_and_profile_multicore("event.npz", "bank", 512, 64, 128)': "assignment",
    "MulticoreConfig(n_proc=4)": "call-arg",
    'MulticoreConfig(i_batch="512")': "arg-type",
    "autotune_multicore_config(candidate_n_procs=4)": "arg-type",
    "load_cached_config().n_procs": "union-attr",
    'build_bank("b", mchirp_range=(20, 40))': "call-arg",
    'simulate_event("x", "HL", duratoin=4.0)': "call-arg",
    "from dotpe_exec import run_multicor": "attr-defined",
}

IMPORTS = """
from dotpe_exec import *
from dotpe_exec.banks.build import build_bank
from dotpe_exec.events import simulate_event
"""


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory):
    """What ``mypy --strict`` says of both scripts, checked in one go."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "right.py").write_text(RIGHT)
    (folder / "wrong.py").write_text(IMPORTS + "\n".join(WRONG) + "\n")
    return subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", "right.py",
         "wrong.py"],
        cwd=folder, capture_output=True, text=True,
    )  # fmt: skip


def errors(verdicts, script):
    return re.findall(rf"^{script}:(\d+): error: .*\[(.*)\]$", verdicts.stdout, re.M)


def test_correct_use_has_no_type_errors(verdicts):
    assert not verdicts.stderr
    assert verdicts.returncode == 1  # of the wrong script
    assert errors(verdicts, "right.py") == [], verdicts.stdout


def test_every_wrong_call_is_a_type_error(verdicts):
    first = len(IMPORTS.splitlines()) + 1
    expected = [(str(first + n), kind) for n, kind in enumerate(WRONG.values())]
    assert errors(verdicts, "wrong.py") == expected, verdicts.stdout


def test_names_for_checkers_are_those_at_run_time():
    import dotpe_exec

    assert set(dotpe_exec.__all__) == {"__version__", *dotpe_exec._PUBLIC}
    for name in dotpe_exec.__all__:
        assert getattr(dotpe_exec, name) is not None
    with pytest.raises(AttributeError):
        dotpe_exec.run_multicor  # noqa: B018
