"""Ctrl-C comes later where it must not come now, and is never lost."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading

import pytest

from dotpe_exec.interrupts import (
    Terminated,
    interrupts_later,
    raise_if_terminated,
    terminations_raise,
)


@pytest.fixture(autouse=True)
def handler():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_is_kept_until_the_end():
    done = []
    with pytest.raises(KeyboardInterrupt), interrupts_later():
        interrupt()
        interrupt()
        done.append("all of it")
    assert done == ["all of it"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(KeyboardInterrupt):
        interrupt()


def test_without_ctrl_c_nothing_happens():
    with interrupts_later():
        pass
    with pytest.raises(ValueError, match="as it was"), interrupts_later():
        raise ValueError("as it was")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_who_ignores_ctrl_c_goes_on_doing_so():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with interrupts_later():
        interrupt()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_other_threads_need_nothing():
    found = []

    def work():
        with interrupts_later():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [signal.default_int_handler]


def test_termination_that_became_another_error_still_ends():
    """As where a compiled module is being imported."""
    with pytest.raises(Terminated) as caught, terminations_raise():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except SystemExit:
            raise AttributeError("half of a module") from None
    assert caught.value.code == 143
    raise_if_terminated()  # that is over


def test_termination_that_was_swallowed_ends_where_it_is_asked_for():
    with pytest.raises(Terminated), terminations_raise(), terminations_raise():
        with contextlib.suppress(SystemExit):
            os.kill(os.getpid(), signal.SIGTERM)
        raise_if_terminated()
        pytest.fail("went on")
    with pytest.raises(ValueError, match="as it was"), terminations_raise():
        raise ValueError("as it was")


def test_ctrl_c_that_became_another_error_is_one_for_who_owns_the_process():
    with pytest.raises(KeyboardInterrupt) as caught, terminations_raise(interrupts=True):
        try:
            interrupt()
        except KeyboardInterrupt:
            error = AttributeError("a module that was being imported")
            error.rundir = "runs/a"
            raise error from None
    assert caught.value.rundir == "runs/a"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_others_keep_their_handler_of_ctrl_c():
    with terminations_raise():
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


READER = """
import os, pathlib, signal, sys
import pandas as pd
from dotpe_exec.interrupts import terminations_raise

class Slow:
    # A file whose reading is interrupted.
    def read(self, n=-1):
        os.kill(os.getpid(), signal.SIGTERM)
        return ""

    def __iter__(self):
        return self

    def __next__(self):
        raise StopIteration

sys.path.insert(0, sys.argv[1])
reached = []
with terminations_raise():
    if sys.argv[2] == "reader":
        try:
            pd.read_csv(Slow())
        except pd.errors.EmptyDataError:
            reached.append("the end of the file")
    else:
        import interrupted
        reached.append("the end of the import")
    print(*reached, flush=True)
    while True:
        signal.pause()
"""

MODULE = """
import os, signal
os.kill(os.getpid(), signal.SIGTERM)
for _ in range(1000):
    pass
"""


@pytest.mark.parametrize("where", ["reader", "import"])
def test_signal_waits_for_code_that_stands_no_exception(where, tmp_path):
    (tmp_path / "interrupted.py").write_text(MODULE)
    done = subprocess.run(
        [sys.executable, "-c", READER, tmp_path, where],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 143, done.stderr
    assert done.stdout.startswith("the end of the")


def test_signal_while_a_module_runs_a_whole_program_is_raised_at_once(tmp_path):
    program = """
from dotpe_exec.interrupts import Terminated, terminations_raise
import os, signal
try:
    with terminations_raise():
        os.kill(os.getpid(), signal.SIGTERM)
        print("went on")
except Terminated:
    print("ended")
"""
    (tmp_path / "program.py").write_text(program)
    done = subprocess.run(
        [sys.executable, "-c", "import program"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "ended\n"
