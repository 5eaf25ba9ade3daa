"""Values and options that several commands take."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import click


class JSONOrText(click.ParamType):
    """A JSON value (number, list, dictionary) or, where it is not JSON, the text."""

    name = "value"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except ValueError:
            if value.lstrip()[:1] in ("{", "["):
                self.fail(f"{value!r} is not valid JSON", param, ctx)
            return value


VALUE = JSONOrText()

#: Paths that the shell completes; whether they exist is found out by who opens them.
FILE = click.Path(dir_okay=False, readable=False)
FOLDER = click.Path(file_okay=False, readable=False)


def executor_options(command: Callable) -> Callable:
    """Add the options that say where tasks run."""
    for option in reversed(
        [
            click.option(
                "--executor",
                help="serial, process, loky, dask or mpi (default: loky when more than one "
                "process is used, else serial).",
            ),
            click.option(
                "--n-procs",
                "--n-workers",
                type=int,
                help="Worker processes (default: all cores).",
            ),
            click.option(
                "--progress/--no-progress", default=True, help="Progress bar per stage."
            ),
        ]
    ):
        command = option(command)
    return command


strict_option = click.option(
    "--strict", is_flag=True, help='Exit with status 3 unless the verdict is "reliable".'
)
