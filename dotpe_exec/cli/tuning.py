"""``dotpe-exec autotune`` and ``dotpe-exec info``."""

from __future__ import annotations

import json
from typing import Any

import click

from .._version import __version__
from ..errors import InputError
from .options import VALUE


@click.command()
@click.option("--event", help="Tune on this event (and --bank-folder).")
@click.option("--bank-folder", type=VALUE, help="Tune on this bank (and --event).")
@click.option(
    "--max-memory-gb-per-worker", type=float, help="Reject what takes more memory [GB]."
)
@click.option("--progress/--no-progress", default=True, help="Progress bar and table.")
def autotune(**arguments: Any) -> None:
    """Find the fastest configuration on this machine and keep it for later runs.

    \b
    Example:
      dotpe-exec autotune --event GW150914 --bank-folder banks/bbh
    """
    tune_and_show(**arguments)


@click.command()
@click.argument("rundirs", nargs=-1, metavar="[RUNDIR]...")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--sky",
    is_flag=True,
    help="Make the sky maps of the runs (needs ligo.skymap): skymap.fits, and areas and "
    "volumes in the summary.",
)
def info(rundirs: tuple[str, ...], as_json: bool, sky: bool) -> None:
    """Print what was detected of this machine, or results and verdict of finished runs.

    \b
    Example:
      dotpe-exec info
      dotpe-exec info runs/GW150914 --sky
    """
    if rundirs:
        from .show import show_runs

        show_runs(rundirs, as_json=as_json, sky=sky)
        return
    if sky:
        raise InputError("--sky needs a run directory: dotpe-exec info RUNDIR --sky")
    from ..config import get_shared_config_cache_path, load_cached_config
    from ..executors.backends import installed_executors
    from ..machine import describe_machine

    config = load_cached_config()
    description = describe_machine() | {
        "executors": installed_executors(),
        "version": __version__,
        "config_cache": str(get_shared_config_cache_path()),
        "cached_config": None if config is None else config.to_dict(),
    }
    if as_json:
        click.echo(json.dumps(description, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False)
    table.add_column()
    table.add_column(overflow="fold")  # paths whole
    for name, value in description.items():
        if name.endswith("_memory"):
            value = f"{value / 1e9:.1f} GB"
        elif isinstance(value, dict):
            value = ", ".join(
                f"{k}: {item}" for k, item in value.items() if item is not None
            )
        elif isinstance(value, list):
            value = ", ".join(map(str, value))
        table.add_row(name.replace("_", " "), "none" if value is None else str(value))
    Console().print(table)


def is_tuned() -> bool:
    """Say whether this machine has a configuration that was tuned for it."""
    from ..config import load_cached_config

    return load_cached_config() is not None


def tune_and_show(event: Any, bank_folder: Any, progress: bool, **limits: Any) -> None:
    """Tune on an event and a bank, keep the configuration and print it."""
    from ..tuning.autotune import show_and_keep, tune, tuned_on

    result = show_and_keep(
        tune(event=event, bank_folder=bank_folder, progress=progress, **limits),
        tuned_on(None, event, bank_folder),
        progress=progress,
    )
    values = {name: v for name, v in result.config.to_dict().items() if v is not None}
    if not progress:  # else it stands below the table
        click.echo(result.verdict)
    click.echo(json.dumps(values))
    if result.kept_in is not None:
        click.echo(f"kept in {result.kept_in}")
