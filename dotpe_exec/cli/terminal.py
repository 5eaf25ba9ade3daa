"""What a person at a terminal, or a reader of a log, sees: plain words.

Progress is written without names of loggers, warnings without the line of code that they
come from, and options are called what they are called on the command line.
"""

from __future__ import annotations

import logging
import re
import shlex
from collections.abc import Iterable, Sequence

import click

from ..monitor import PROGRESS_LOGGER


def set_up_logging(level: int) -> None:
    """Send progress, warnings and log records to the standard error stream.

    Lines of progress only as long as the current command runs.
    """
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    for handler in logging.getLogger().handlers:
        handler.addFilter(_plain_warning)
    logging.getLogger("dotpe_exec").setLevel(level)
    logging.captureWarnings(True)
    progress = logging.getLogger(PROGRESS_LOGGER)
    progress.setLevel(logging.INFO)
    progress.propagate = False
    progress.handlers = [_ProgressHandler()]

    def undo() -> None:
        progress.handlers = []
        progress.propagate = True

    click.get_current_context().call_on_close(undo)


class _ProgressHandler(logging.Handler):
    """Writes lines to what is the standard error stream at that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(record.getMessage(), err=True)


def _plain_warning(record: logging.LogRecord) -> bool:
    """Leave of a warning its sentence: not the file, the line and the code."""
    if record.name == "py.warnings" and record.args:
        text = str(record.getMessage()).rstrip("\n")
        found = re.match(r".+?:\d+: \w+: (.*?)(?:\n  [^\n]*)?$", text, re.DOTALL)
        sentence = found[1] if found else text
        context = click.get_current_context(silent=True)
        if context is not None:
            sentence = with_option_names(sentence, option_names(context))
        record.msg, record.args = "%s", (sentence,)
        record.name, record.levelname = "warning", "dotpe-exec"
    return True


def option_names(context: click.Context) -> dict[str, str]:
    """Return the options of a command and those above it, by parameter."""
    names: dict[str, str] = {}
    at: click.Context | None = context
    while at is not None:
        for parameter in at.command.params:
            long = [name for name in parameter.opts if name.startswith("--")]
            if isinstance(parameter, click.Option) and long and parameter.name:
                names.setdefault(parameter.name, long[0])
        at = at.parent
    return names


def with_option_names(text: str, names: dict[str, str]) -> str:
    """Return a message in which parameters are called like options.

    Names of several words wherever they stand as words, single ones (``seed``) where a
    message begins with them. What follows a colon is a file's entry, not an option.

    Parameters
    ----------
    text : str
    names : dict of str
        Options by parameter.
    """
    for name, option in names.items():
        word = re.escape(name)
        text = re.sub(rf"(?<![\w/.'\"-]){word}=True\b", option, text)
        text = re.sub(rf"(?<![\w/.'\"-]){word}=", f"{option} ", text)
        if "_" in name:
            text = re.sub(rf"(?<![\w/.'\"-])(?<!: ){word}(?![\w/.'\"(=-])", option, text)
            text = re.sub(rf"(?<![\w/.'\"-])(?<!: ){word}(?=\.\s|\.$)", option, text)
        text = re.sub(rf"\A{word}(?= is | has |: )", option, text)
    return text


def resume_command(
    command: str, words: Sequence[str], rundir: object, parameters: dict[str, object]
) -> str | None:
    """Return the command that goes on with what was interrupted, None if there is none.

    Parameters
    ----------
    command : str
        What was called, without its arguments: ``run``, ``bank build``.
    words : sequence of str
        All words of the command line after the program.
    rundir : path or None
        Of the run that was under way.
    parameters : dict
        Of the command.
    """
    if command in ("bank build", "campaign run"):
        return _shell([word for word in words if word != "--no-resume"])
    if rundir is None:
        return None
    if command == "demo":
        given = [word for word in words if word != "demo"]
        without = _without(given, "--folder")
        return _shell(["infer", "GW150914", *_with_demo_defaults(without, parameters),
                       "--rundir", str(rundir), "--resume"])  # fmt: skip
    if command not in ("run", "infer", "bank adapt"):
        return None
    words = _without([word for word in words if word != "--overwrite"], "--event-dir")
    if "rundir" in parameters and parameters["rundir"] is None:
        words += ["--rundir", str(rundir)]
    if "--resume" not in words:
        words.append("--resume")
    return _shell(words)


def _with_demo_defaults(words: list[str], parameters: dict[str, object]) -> list[str]:
    """Return the options of a demo as those of ``infer``, which has other defaults."""
    for name in ("seed", "n_effective"):
        option = "--" + name.replace("_", "-")
        if not any(word.replace("_", "-").split("=")[0] == option for word in words):
            words = [*words, option, f"{parameters[name]}"]
    return words


def _without(words: Sequence[str], option: str) -> list[str]:
    """Return words without an option and its value."""
    kept: list[str] = []
    skip = False
    for word in words:
        name = word.replace("_", "-").split("=")[0]
        if skip:
            skip = False
        elif name == option:
            skip = "=" not in word
        else:
            kept.append(word)
    return kept


def _shell(words: Iterable[str]) -> str:
    return shlex.join(["dotpe-exec", *words])
