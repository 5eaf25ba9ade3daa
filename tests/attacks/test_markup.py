"""Pages, tables and exports show what came from files as it stands, as text."""

from __future__ import annotations

import copy
import json
import types

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from report.report_runs import write_run
from small_runs import arguments

from dotpe_exec import run
from dotpe_exec.campaign import page as campaign_page
from dotpe_exec.campaign.evaluate import TESTED
from dotpe_exec.cli import main
from dotpe_exec.errors import InputError
from dotpe_exec.events import load_event
from dotpe_exec.export import to_bilby
from dotpe_exec.report import page
from dotpe_exec.report.summary_html import run_html
from dotpe_exec.report.table import timing_table
from dotpe_exec.report.templates import Picture
from dotpe_exec.report.view import open_views
from dotpe_exec.result import Run

SCRIPT = "<script>alert(1)<!--\"'>"
TERMINAL = "[/red][bold]\x1b[2J\x1b]0;title\x07"
FINDING = {
    "key": SCRIPT, "status": "limited", "number": 1.0, "threshold": 2.0,
    "title": SCRIPT + TERMINAL, "advice": SCRIPT + TERMINAL,
}  # fmt: skip


@pytest.fixture
def rundir(tmp_path, monkeypatch):
    """A run whose path, event, bank and findings are markup."""
    monkeypatch.setattr(page, "picture", lambda draw, caption: Picture(caption))
    folder = write_run(
        tmp_path / f"{SCRIPT}[red]",
        bank_folder={SCRIPT: f"/banks/{SCRIPT}"},
        n=60,
        diagnostics={"status": "limited", "findings": [FINDING]},
        per_bank_results={SCRIPT: {"ln_evidence": 1.0, "n_effective": 1.0}},
    )
    path = folder / "run_kwargs.json"
    kwargs = json.loads(path.read_text())
    path.write_text(json.dumps(kwargs | {"event": SCRIPT, "inds_path": SCRIPT}))
    samples = pd.read_feather(folder / "samples.feather")
    samples.assign(bank_id=SCRIPT).to_feather(folder / "samples.feather")
    report = {
        "stages": {SCRIPT + TERMINAL: 1.0}, "executor": SCRIPT, "machine": {SCRIPT: SCRIPT},
        "config": {"n_procs": 1, SCRIPT: SCRIPT},
    }  # fmt: skip
    (folder / "run_report.json").write_text(json.dumps(report))
    pd.DataFrame(
        {
            "phase": pd.Categorical([SCRIPT] * 2), "key": [SCRIPT] * 2,
            "worker": pd.Categorical([SCRIPT] * 2), "start": [1.0, 2.0], "end": [2.0, 3.0],
            "work": [1, 1], "peak_memory_bytes": [1, 1], "message_bytes": [1, 1],
            "result_bytes": [1, 1], "crashes": [0, 1],
        }
    ).to_feather(folder / "tasks.feather")  # fmt: skip
    return folder


def test_report(rundir):
    text = page.render(open_views([rundir]))
    assert "<script" not in text and "<!--" not in text
    assert "&lt;script&gt;" in text


def test_comparison_of_runs(rundir):
    text = page.render(open_views([rundir, rundir]))
    assert "<script" not in text and "<!--" not in text


def test_notebook(rundir):
    text = run_html(Run(rundir))
    assert "<script" not in text and "&lt;script&gt;" in text
    (rundir / "samples.feather").unlink()
    assert "<script" not in run_html(Run(rundir))


def test_terminal(rundir):
    result = CliRunner().invoke(main, ["report", str(rundir), "-o", str(rundir / "p.html")])
    assert result.exit_code == 0, result.output
    from dotpe_exec.cli.show import show_runs

    @main.command("attacked-show", hidden=True)
    def show():
        show_runs([str(rundir)], as_json=False)

    try:
        result = CliRunner().invoke(main, ["attacked-show"])
    finally:
        main.commands.pop("attacked-show")
    assert result.exit_code == 0, result.output
    assert "\x1b" not in result.output and "\x07" not in result.output
    shown = "".join(result.output.split())
    assert f"{SCRIPT}[red]" in shown
    assert "[/red][bold]" in shown


def test_table_of_times():
    from rich.console import Console

    report = {"stages": {TERMINAL: 1.0}, "config": {"n_procs": 1}}
    console = Console(width=200)
    with console.capture() as captured:
        console.print(timing_table(report, {"n_effective": 1.0}))
    assert "\x1b" not in captured.get()
    assert "[/red][bold]" in captured.get()


def test_campaign_page(tmp_path):
    campaign = types.SimpleNamespace(
        settings=types.SimpleNamespace(name=SCRIPT, injections=None),
        counts=lambda: {SCRIPT: 1},
        files=types.SimpleNamespace(page=lambda name: tmp_path / name),
    )
    (tmp_path / SCRIPT.replace("/", "")).touch()
    numbers = {key: 1.0 for key, *_ in campaign_page._COLUMNS}
    spans = {f"{key}_{end}": 1.0 for key in numbers for end in ("low", "high")}
    row = {
        "name": SCRIPT, "status": SCRIPT, "verdict": SCRIPT, "sentence": SCRIPT,
        "findings": SCRIPT, "share_within_limits": np.nan, **numbers, **spans,
        **{f"{part}_{name}": np.nan for name in TESTED for part in ("below", "bias")},
    }  # fmt: skip
    text = campaign_page._page(campaign, pd.DataFrame([row]))
    assert SCRIPT not in text and "<script>alert(1)" not in text
    assert "&lt;script&gt;" in text


@pytest.mark.parametrize("what", ["event", "bank"])
def test_such_names_are_refused(undamaged, tmp_path, what):
    event = copy.copy(load_event(undamaged / "event.npz"))
    changes = {"event": event}
    if what == "event":
        event.eventname = "<script>alert(1)<b>"
    else:
        changes["bank_folder"] = {"<script>": undamaged / "bank"}
    with pytest.raises(InputError, match="<script>"):
        run(**arguments(undamaged, rundir=tmp_path / "run", **changes))
    assert not (tmp_path / "run").exists()


def test_run_in_a_folder_with_such_a_name(undamaged, tmp_path, monkeypatch):
    monkeypatch.setattr(page, "picture", lambda draw, caption: Picture(caption))
    rundir = run(**arguments(undamaged, rundir=tmp_path / "<script>"))
    text = page.render(open_views([rundir]))
    assert "<script" not in text and "&lt;script&gt;" in text
    exported = json.loads(to_bilby(rundir, tmp_path / "result.json").read_text())
    assert exported["posterior"]["content"]
