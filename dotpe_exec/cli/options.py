"""Values and options that several commands take."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import click

from ..errors import InputError


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

    def shell_complete(self, ctx: Any, param: Any, incomplete: str) -> list[Any]:
        """Complete as a path, which most of these options take as well."""
        from click.shell_completion import CompletionItem

        return [CompletionItem(incomplete, type="file")]


VALUE = JSONOrText()


class PathText(click.ParamType):
    """A path that the shell completes; whoever opens it finds out what it is.

    Parameters
    ----------
    kind : {"file", "dir"}
    """

    def __init__(self, kind: str):
        self.kind = kind
        self.name = "path"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        return value

    def shell_complete(self, ctx: Any, param: Any, incomplete: str) -> list[Any]:
        from click.shell_completion import CompletionItem

        return [CompletionItem(incomplete, type=self.kind)]


FILE, FOLDER = PathText("file"), PathText("dir")


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


def calibration_options(command: Callable) -> Callable:
    """Add the options of calibration uncertainty."""
    for option in (
        click.option(
            "--calibration-correction",
            type=click.Choice(["data", "template"]),
            default="data",
            show_default=True,
            help="What the factors of --calibration are applied to.",
        ),
        click.option(
            "--calibration",
            multiple=True,
            metavar="DETECTOR=FILE",
            callback=by_detector,
            help="Calibration envelope as bilby reads it, to average over.",
        ),
    ):
        command = option(command)
    return command


def by_detector(
    ctx: click.Context, param: click.Parameter, pairs: tuple[str, ...]
) -> dict[str, str] | None:
    """Return ``DETECTOR=FILE`` pairs as a dictionary, None without."""
    files = {}
    for pair in pairs:
        detector, equals, file = pair.partition("=")
        if not (detector and equals and file):
            raise InputError(
                f"{param.opts[0]} is {pair!r}, expected DETECTOR=FILE, as in H1=H1.txt"
            )
        files[detector] = file
    return files or None


strict_option = click.option(
    "--strict", is_flag=True, help='Exit with status 3 unless the verdict is "reliable".'
)
