"""The command line: every flag is spelled like its Python parameter.

Dashes and underscores are the same (``--n-ext``, ``--n_ext``). Bad input ends with one
sentence and exit code 2; ``--debug`` shows the traceback.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import logging
import os
import sys
from typing import Any

import click

from .._version import __version__
from ..errors import DotpeExecError, ExecutorError, TaskError, WorkerCrashError
from ..interrupts import Terminated, terminations_raise
from ..lean_cogwheel import lean_cogwheel
from .banks import bank
from .campaign import campaign
from .cite import cite
from .events import event
from .results import export, plot, report, reweight
from .runs import demo, infer, run
from .terminal import (
    option_names,
    resume_command,
    set_up_logging,
    with_option_names,
)
from .tuning import autotune, info

_CONTEXT = {
    "help_option_names": ["-h", "--help"],
    "token_normalize_func": lambda token: token.replace("_", "-"),
    "max_content_width": 92,
}


class _Group(click.Group):
    """A group whose commands turn our own errors into one sentence and an exit code."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        _open_closed_streams()
        words = args[0] if args and args[0] is not None else kwargs.get("args")
        self._words = list(sys.argv[1:] if words is None else words)
        return super().main(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with terminations_raise(interrupts=True):
                return super().invoke(ctx)
        except (KeyboardInterrupt, Terminated) as stop:
            self._say_how_to_go_on(ctx, getattr(stop, "rundir", None))
            raise
        except (DotpeExecError, OSError) as error:
            if ctx.params.get("debug"):
                raise
            text = with_option_names(str(error), option_names(self._called(ctx)))
            if not isinstance(error, ExecutorError):  # whose tracebacks have lines
                text = text.replace("\n", "\\n")  # of names that were given
            click.echo(f"dotpe-exec: {text}", err=True)
            failed_at_work = isinstance(error, TaskError | WorkerCrashError) or (
                isinstance(error, ExecutorError) and not isinstance(error, ValueError)
            )
            ctx.exit(1 if failed_at_work else 2)

    def _called(self, ctx: click.Context) -> click.Context:
        """Return a context of the command that was called, without its values."""
        command: click.Command = self
        for word in self._words:
            if isinstance(command, click.Group) and word in command.commands:
                command = command.commands[word]
                ctx = click.Context(command, parent=ctx, info_name=word)
        return ctx

    def _say_how_to_go_on(self, ctx: click.Context, rundir: object) -> None:
        """Print the command that goes on with an interrupted run, where there is one."""
        called = self._called(ctx)
        name = called.command_path.removeprefix(ctx.command_path).strip()
        parameters: dict[str, object] = {}
        with contextlib.suppress(click.ClickException):
            words = self._words[len(name.split()) :]
            parameters = called.command.make_context(name, list(words)).params
        command = resume_command(name, self._words, rundir, parameters)
        if command is not None:
            click.echo(f"\ninterrupted; this goes on with it:\n  {command}", err=True)


def _open_closed_streams() -> None:
    """Give a program that was started with closed standard streams empty ones.

    Else files that are opened later get their numbers, and what anybody prints. The
    lowest free number is taken: the stream's own, if nobody has that yet.
    """
    for number, (name, mode) in enumerate(
        (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))
    ):
        if getattr(sys, name) is None:
            stream = open(os.devnull, mode)  # noqa: SIM115, PTH123 - for the whole program
            if stream.fileno() == number:
                os.set_inheritable(number, True)
            setattr(sys, name, stream)


@click.group(cls=_Group, context_settings=_CONTEXT)
@click.version_option(__version__, prog_name="dotpe-exec")
@click.option("--debug", is_flag=True, help="Show tracebacks and debugging output.")
@click.option("--verbose", is_flag=True, help="Log what is done.")
def main(debug: bool, verbose: bool) -> None:
    """Sampler-free gravitational-wave parameter estimation, on any executor."""
    set_up_logging(logging.DEBUG if debug else logging.INFO if verbose else logging.WARNING)
    lean_cogwheel()
    # Python's last look for garbage, among all objects of cogwheel, takes 0.7 s.
    atexit.register(gc.freeze)


for _command in (
    autotune, bank, campaign, cite, demo, event, export, infer, info, plot, report,
    reweight, run,
):  # fmt: skip
    main.add_command(_command)
