"""Signals to a run: SIGTERM and SIGHUP end it like Ctrl-C; a stop is only a pause."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from golden_runs import arguments_of_run, assert_same_files
from waiting import wait_for_the_end_of, wait_until

RUN = """
import json, sys
from dotpe_exec import run_multicore
arguments, rundir, executor = sys.argv[1:]
run_multicore(
    **json.loads(arguments), rundir=rundir, executor=executor, n_procs=2, resume=True
)
"""


@pytest.fixture(scope="module")
def arguments(golden):
    return arguments_of_run(golden, blocksize=16, single_detector_blocksize=8, n_t=256)


@pytest.fixture(scope="module")
def expected(arguments, tmp_path_factory):
    """A run that nobody disturbed."""
    from dotpe_exec import run

    return run(**arguments, rundir=tmp_path_factory.mktemp("undisturbed") / "run")


def start(arguments, folder, executor):
    """A run in ``folder / "run"`` with temporary files in ``folder / "tmp"``."""
    script = folder / "run.py"
    script.write_text(RUN)
    (folder / "tmp").mkdir(exist_ok=True)
    environment = {k: v for k, v in os.environ.items() if k != "DOTPE_EXEC_SCRATCH"}
    return subprocess.Popen(
        [
            *(sys.executable, str(script), json.dumps(arguments, default=str)),
            *(str(folder / "run"), executor),
        ],
        env={**environment, "TMPDIR": str(folder / "tmp")},
        stderr=(folder / "said").open("w"),
        start_new_session=True,
    )


def wait_for_results(process, rundir: Path):
    """Wait until the checkpoint has results of some tasks."""

    def some():
        assert process.poll() is None, "the run was over too soon"
        return any((rundir / "checkpoint").glob("*.ckpt"))

    wait_until(some, 120)


@pytest.mark.parametrize(
    ("executor", "number", "to_all"),
    [
        ("loky", signal.SIGHUP, True),
        *(
            pytest.param(executor, number, to_all, marks=pytest.mark.slow)
            for executor in ("loky", "process", "serial", "dask")
            for number in (signal.SIGTERM, signal.SIGHUP)
            for to_all in (False, True)
        ),
    ],
)
def test_termination_leaves_nothing_but_what_resumes(
    executor, number, to_all, arguments, expected, tmp_path
):
    process = start(arguments, tmp_path, executor)
    wait_for_results(process, tmp_path / "run")
    below = [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
    (os.killpg if to_all else os.kill)(process.pid, number)
    assert process.wait(20) == 128 + number
    wait_for_the_end_of(below, 10)
    assert "Traceback" not in (tmp_path / "said").read_text()
    assert [path.name for path in (tmp_path / "tmp").rglob("*.npy")] == []
    assert not any((tmp_path / "tmp").glob("dotpe-exec-*"))
    assert not list((tmp_path / "run").rglob(".dotpe-exec-*"))
    assert start(arguments, tmp_path, executor).wait(200) == 0
    assert_same_files(tmp_path / "run", expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    "who",
    [
        "worker",
        "everybody",
        "driver",
    ],
)
def test_stopped_processes_go_on_as_if_nothing_had_happened(
    who, arguments, expected, tmp_path
):
    process = start(arguments, tmp_path, "loky")
    wait_for_results(process, tmp_path / "run")
    driver = psutil.Process(process.pid)
    workers = driver.children(recursive=True)
    stopped = {"worker": workers[-1:], "driver": [driver], "everybody": [driver, *workers]}
    for one in stopped[who]:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.suspend()
    time.sleep(3.0)  # longer than the driver waits before it looks for the dead
    assert process.poll() is None
    for one in stopped[who]:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.resume()
    assert process.wait(200) == 0
    assert_same_files(tmp_path / "run", expected)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_handlers_and_ignored_signals_of_the_caller_stay(number):
    from dotpe_exec.interrupts import terminations_raise

    for handler in (signal.SIG_IGN, lambda *_: None):
        before = signal.signal(number, handler)
        try:
            with terminations_raise():
                assert signal.getsignal(number) is handler
                os.kill(os.getpid(), number)
        finally:
            signal.signal(number, before)


def test_second_termination_does_not_disturb_what_the_first_set_going():
    from dotpe_exec.interrupts import Terminated, terminations_raise

    done = []
    with pytest.raises(Terminated) as ended, terminations_raise():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            os.kill(os.getpid(), signal.SIGHUP)
            done.append("all of it")
    assert done == ["all of it"]
    assert ended.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
