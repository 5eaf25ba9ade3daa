"""A campaign that two drivers work on at once, and the process that they work in."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import pytest
from bystander import Bystander

from dotpe_exec.campaign import Campaign, make

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def untouched(analysed, tmp_path):
    """The campaign before its events were analysed, with their data."""
    campaign = Campaign(shutil.copytree(analysed.files.path, tmp_path / "both"))
    for name in campaign.names:
        campaign.forget(name)
    return campaign


def assert_same_results(campaign, other):
    assert campaign.counts() == {"finished": len(other.names)}
    for name in other.names:
        for file in ("samples.feather", "summary_results.json"):
            ours, theirs = (c.files.rundir(name) / file for c in (campaign, other))
            assert ours.read_bytes() == theirs.read_bytes()
        ours, theirs = (c.outcome(name)["values"] for c in (campaign, other))
        assert {**ours, "ended": ""} == {**theirs, "ended": ""}


def test_threads_share_the_events_and_leave_the_process_alone(
    untouched, analysed, monkeypatch
):
    failed, shown, n_warned = [], [], 0
    monkeypatch.setattr(warnings, "showwarning", lambda message, *_: shown.append(message))

    def drive():
        try:
            Campaign(untouched.files.path).run(executor="serial", progress=False)
        except Exception as error:
            failed.append(error)

    drivers = [threading.Thread(target=drive) for _ in range(2)]
    with Bystander(watch_blas=False) as bystander:
        for driver in drivers:
            driver.start()
        while any(driver.is_alive() for driver in drivers):
            warnings.warn(f"somebody else's {n_warned}", RuntimeWarning, stacklevel=1)
            n_warned += 1
            time.sleep(0.01)
    assert failed == []
    # Filters that pandas exchanges while it reads a table, it puts back.
    assert {what for what, *_ in bystander.changes} <= {"warning filters"}
    said = [str(message) for message in shown if "somebody else's" in str(message)]
    assert len(said) == n_warned > 3
    assert_same_results(untouched, analysed)


@pytest.mark.slow
def test_processes_share_the_data_and_the_events(settings, analysed, tmp_path):
    campaign = make(tmp_path / "both", settings, executor="serial", progress=False)
    for name in campaign.names:  # so that both begin with the data
        campaign.files.event(name).unlink()
    command = [
        *(sys.executable, "-m", "dotpe_exec", "campaign", "run", campaign.files.path),
        *("--executor", "serial", "--no-progress"),
    ]
    drivers = [
        subprocess.Popen(
            command,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    said = [driver.communicate(timeout=300)[1] for driver in drivers]
    assert [driver.returncode for driver in drivers] == [0, 0], said
    assert_same_results(campaign, analysed)
