"""What people see at a terminal: stages, warnings, how to go on, options by their names."""

from __future__ import annotations

import logging
import os
import re
import shlex
import signal
import subprocess
import sys
import warnings

import click
import pytest
from click.testing import CliRunner
from golden_runs import arguments_of_run, as_flags
from hypothesis import given
from hypothesis import strategies as st

from dotpe_exec.cli import main
from dotpe_exec.cli.terminal import resume_command, with_option_names
from dotpe_exec.kernels import compiling
from dotpe_exec.monitor import PROGRESS_LOGGER, Monitor
from dotpe_exec.stages.warmup import compiling_ahead

OPTIONS = {"n_ext": "--n-ext", "seed": "--seed", "resume": "--resume", "psds": "--psd",
           "overwrite": "--overwrite", "rundir": "--rundir"}  # fmt: skip


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("n_ext is 0, expected an integer", "--n-ext is 0, expected an integer"),
        ("seed is -1", "--seed is -1"),
        ("a seed is missing", "a seed is missing"),
        (
            "resume and overwrite exclude each other",
            "resume and overwrite exclude each other",
        ),
        ("expected overwrite=True", "expected --overwrite"),
        ("give n_ext=5, please", "give --n-ext 5, please"),
        ("fewer than n_ext.", "fewer than --n-ext."),
        ("/x/n_ext/f.npz is bad", "/x/n_ext/f.npz is bad"),
        ("bank.json: n_ext is 3", "bank.json: n_ext is 3"),
        ("'n_ext' is no name", "'n_ext' is no name"),
        ("my_n_ext is not n_ext_x", "my_n_ext is not n_ext_x"),
    ],
)
def test_parameters_are_called_like_options(message, shown):
    assert with_option_names(message, OPTIONS) == shown


@given(st.text())
def test_other_texts_stay_as_they_are(text):
    if not any(name in text for name in OPTIONS):
        assert with_option_names(text, OPTIONS) == text


def test_errors_of_a_command_name_its_options(tmp_path):
    result = CliRunner().invoke(
        main, ["run", "--event", "GW150914", "--bank", str(tmp_path), "--n-ext", "0"]
    )
    assert result.exit_code == 2
    assert "--n-ext is 0" in result.output


def test_warnings_are_sentences(capfd):
    @main.command("warns", hidden=True)
    def warns():
        warnings.warn("n_draws is larger than\nit should be", stacklevel=1)

    try:
        result = CliRunner().invoke(main, ["warns"])
        assert result.exit_code == 0
        shown = capfd.readouterr().err + result.output
    finally:
        del main.commands["warns"]
        logging.captureWarnings(False)
    assert "UserWarning" not in shown and ".py:" not in shown
    assert "stacklevel" not in shown


def test_a_warning_keeps_its_text():
    from dotpe_exec.cli.terminal import _plain_warning

    text = warnings.formatwarning(
        UserWarning("two\nlines: and a colon"), UserWarning, __file__, 3
    )
    record = logging.LogRecord("py.warnings", logging.WARNING, "", 0, "%s", (text,), None)
    assert _plain_warning(record)
    assert record.getMessage() == "two\nlines: and a colon"


@pytest.mark.parametrize(
    ("command", "words", "rundir", "parameters", "expected"),
    [
        ("run", "run --event e --bank b", "r/run_0", {"rundir": None},
         "dotpe-exec run --event e --bank b --rundir r/run_0 --resume"),
        ("run", "run --event e --rundir r --overwrite", "/a/r", {"rundir": "r"},
         "dotpe-exec run --event e --rundir r --resume"),
        ("infer", "infer e --event-dir d --resume", "d/run_1", {"rundir": None},
         "dotpe-exec infer e --resume --rundir d/run_1"),
        ("bank adapt", "bank adapt e r", "r", {"rundir": "r"},
         "dotpe-exec bank adapt e r --resume"),
        ("bank build", "bank build b --seed 1", None, {},
         "dotpe-exec bank build b --seed 1"),
        ("demo", "demo --folder f --seed 3", "f/runs/run_0", {"seed": 3, "n_effective": 9},
         "dotpe-exec infer GW150914 --seed 3 --n-effective 9 --rundir f/runs/run_0 "
         "--resume"),
        ("run", "run --event e", None, {"rundir": None}, None),
        ("report", "report x", "x", {}, None),
    ],
)  # fmt: skip
def test_how_to_go_on(command, words, rundir, parameters, expected):
    assert resume_command(command, words.split(), rundir, parameters) == expected


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_an_interrupted_run_says_how_to_go_on_and_does(tmp_path, golden, number):
    rundir = tmp_path / "odd name"
    arguments = arguments_of_run(golden, rundir=rundir, progress=True, executor="serial")
    words = ["run", *as_flags(arguments)]
    process = subprocess.Popen(
        [sys.executable, "-m", "dotpe_exec", *words],
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        # What a shell starts in the background ignores Ctrl-C, and so do its children.
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    )  # fmt: skip
    try:
        first = next(line for line in process.stderr if re.match(r"1/5 ", line))
        process.send_signal(number)
        errors = first + process.communicate(timeout=60)[1]
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in errors
    commands = re.findall(r"^  dotpe-exec (.*--resume)$", errors, re.MULTILINE)
    assert len(commands) == 1, errors
    (command,) = commands
    again = subprocess.run(
        [sys.executable, "-m", "dotpe_exec", *shlex.split(command)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    assert (rundir / "summary_results.json").is_file()
    assert [line[:4] for line in again.stderr.splitlines() if re.match(r"\d/5 ", line)] == [
        f"{k}/5 " for k in range(1, 6)
    ]
    assert "arXiv:2507.16022" in again.stdout


def test_stages_are_numbered_and_named_in_words_where_nobody_looks(caplog):
    logger = logging.getLogger(PROGRESS_LOGGER)
    logger.propagate, old = True, logger.handlers
    caplog.set_level("INFO", PROGRESS_LOGGER)
    try:
        with Monitor() as watcher:
            watcher.plan(["reference", "coherent"])
            for name in ("reference", "coherent", "coherent", "of another kind"):
                with watcher.stage(name):
                    pass
    finally:
        logger.handlers = old
    said = [line for line in caplog.messages if re.match(r"\d/2 ", line)]
    assert len(said) == 2
    assert said[0].startswith("1/2 reference waveform")
    assert said[1].startswith("2/2 coherent likelihoods: all detectors together")


class Listener:
    def __init__(self):
        self.said = []

    def say(self, text):
        self.said.append(text)


class Kept:
    def __init__(self, kept):
        self.is_kept = lambda: kept


@pytest.mark.parametrize(("kept", "n"), [(True, 0), (False, 1)])
def test_compiling_is_said_when_it_happens(monkeypatch, kept, n):
    monkeypatch.setattr(compiling, "_caches", [Kept(kept), Kept(kept), None])
    listener = Listener()
    with compiling_ahead(listener, 1, (2,)):
        pass
    assert len(listener.said) == n
    assert all("compiling, once" in text for text in listener.said)


def options_of(command, path=()):
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            yield from options_of(child, (*path, name))
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            yield " ".join(path), parameter


def test_every_option_of_run_infer_and_bank_is_explained():
    bare = [
        f"{name} {parameter.opts[0]}"
        for name, parameter in options_of(main)
        if not parameter.help and name.split(" ")[0] in ("run", "infer", "bank", "reweight")
    ]
    assert bare == []


@pytest.mark.parametrize("name", ["run", "infer"])
def test_help_is_in_groups_that_leave_nothing_out(name):
    shown = CliRunner().invoke(main, [name, "--help"]).output
    assert "What is analysed:" in shown or "Prior and waveforms:" in shown
    rest = shown.split("Other options:")[1].split("--help")
    assert rest[0].strip() in ("-h,", "")
    command = main.commands[name]
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.opts[0] in shown
    known = {parameter.name for parameter in command.params}
    named = [n for names in command.groups.values() for n in names]
    assert len(set(named)) == len(named) and len(known - set(named)) <= 1


def test_the_shell_completes_commands_and_paths():
    def complete(words):
        environment = os.environ | {
            "_DOTPE_EXEC_COMPLETE": "bash_complete",
            "COMP_WORDS": " ".join(words),
            "COMP_CWORD": str(len(words) - 1),
        }
        code = "from dotpe_exec.cli import main; main(prog_name='dotpe-exec')"
        return subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True,
            check=False,
        ).stdout.split()  # fmt: skip

    assert "plain,reweight" in complete(["dotpe-exec", "rew"])
    assert complete(["dotpe-exec", "run", "--rundir", "ru"]) == ["dir,ru"]
    assert complete(["dotpe-exec", "run", "--bank-folder", "ba"]) == ["file,ba"]
    assert "plain,--n-ext" in complete(["dotpe-exec", "run", "--n-e"])
