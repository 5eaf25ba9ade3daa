"""Arguments that make no sense: one line that names them, before a folder exists."""

from __future__ import annotations

import inspect
import warnings
from pathlib import Path

import numpy as np
import pytest
from small_runs import PAR_DIC

from dotpe_exec import infer
from dotpe_exec.banks import build
from dotpe_exec.campaign.settings import Analysis, Injections
from dotpe_exec.errors import DotpeExecError
from dotpe_exec.events import save_event, simulate_event
from dotpe_exec.inference import infer_entry

VALUES = [
    float("nan"), float("inf"), -float("inf"), -1, 0, 10**400, 10**15, 1e308, 1e-308,
    True, 1 + 2j, "text", "", "日本/ä", "\ud800", "a\0b", b"bytes", "/dev/null",
    [], [1.0], [2.0, 1.0], [30, 30], [-5, 10], [float("nan"), 3], [1, float("inf")],
    [1e-300, 1e300], {}, {"a": 1}, {1, 2}, range(3), object(), abs,
    np.array([1, 2]), np.full((2, 2), np.nan), np.datetime64("2020"),
]  # fmt: skip


class WorkStarted(Exception):
    """The arguments were taken."""


@pytest.fixture(scope="module")
def event(tmp_path_factory):
    path = tmp_path_factory.mktemp("absurd") / "event.npz"
    made = simulate_event(
        "absurd", "HL", duration=4.0, fmax=256.0, injection=PAR_DIC, seed=1
    )
    save_event(made, path)
    return path


@pytest.fixture
def attacked(event, tmp_path, monkeypatch):
    """Return for each of what begins work: a function, good arguments, its folder."""

    def begin(*_, **__):
        raise WorkStarted

    monkeypatch.setattr(infer_entry, "infer_stages", begin)
    monkeypatch.setattr(build, "generate_blocks", begin)
    monkeypatch.chdir(tmp_path)
    folder = Path("made")
    bank = {
        "folder": folder, "bank_size": 64, "mchirp_range": (28, 32), "q_min": 0.6,
        "blocksize": 32, "event": event, "pn_phase_tol": 0.2, "seed": 1,
        "executor": "serial", "progress": False,
    }  # fmt: skip
    return {
        "infer": (
            infer,
            {
                "event": event, "rundir": folder, "mchirp_range": (24, 36), "q_min": 0.4,
                "n_effective": 40, "max_waveforms": 1500, "par_dic_0": PAR_DIC,
                "executor": "serial", "progress": False,
            },
            folder,
        ),
        "bank": (build.build_bank, bank, folder),
        "banks": (build.build_banks, {**bank, "n_banks": 2}, folder),
    }  # fmt: skip


@pytest.mark.parametrize("name", ["infer", "bank", "banks"])
def test_absurd_argument_is_named_in_one_line_and_leaves_nothing(name, attacked, tmp_path):
    function, good, _ = attacked[name]
    with pytest.raises(WorkStarted):
        function(**good)
    failures = {}
    for parameter in inspect.signature(function).parameters:
        if parameter in ("arguments", "runner"):
            continue
        for number, value in enumerate(VALUES):
            before = set(tmp_path.rglob("*"))
            what = f"{parameter}, {number}"
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    function(**good | {parameter: value})
                failures[what] = "no work was to be done"
            except WorkStarted:
                continue  # what can be taken for something that makes sense
            except DotpeExecError as error:
                said = str(error)
                if not 10 < len(said) < 500 or "\n" in said:
                    failures[what] = f"in strange words: {said}"
                if set(tmp_path.rglob("*")) - before:
                    failures[what] = f"too late: {said}"
            except Exception as error:
                failures[what] = repr(error)
    assert failures == {}


@pytest.mark.parametrize("parameter", inspect.signature(Injections).parameters)
def test_absurd_settings_of_a_campaign_are_named_in_one_line(parameter):
    failures = {}
    for number, value in enumerate(VALUES):
        try:
            Injections(**{parameter: value})
        except DotpeExecError as error:
            if not 10 < len(str(error)) < 500 or "\n" in str(error):
                failures[number] = str(error)
        except Exception as error:
            failures[number] = repr(error)
    assert failures == {}


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
def test_absurd_analysis_of_a_campaign_is_named_in_one_line(value):
    for arguments in ((value, {}), ("run", {"bank_folder": "b", "seeds": value})):
        with pytest.raises(DotpeExecError) as refused:
            Analysis(*arguments)
        assert "\n" not in str(refused.value)


def test_more_processes_than_a_machine_can_have_are_refused(event, tmp_path):
    with pytest.raises(DotpeExecError, match="expected at most 8192 processes"):
        infer(event, rundir=tmp_path / "run", n_procs=10**6, executor="loky")
    assert not (tmp_path / "run").exists()
