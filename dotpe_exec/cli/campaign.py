"""``dotpe-exec campaign``: many events in one folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ..errors import InputError
from .options import VALUE, executor_options

_FOLDER = click.argument("folder", type=click.Path(path_type=Path))


@click.group()
def campaign() -> None:
    """Analyse many events: catalogues, and injections for P-P tests."""


_INJECTION_OPTIONS: tuple[tuple[str, Any, str], ...] = (
    ("--detectors", str, "Networks of the injections, in turn: HL,HLV (default: HL)."),
    ("--duration", float, "Of injections' data [s] (default: 8)."),
    ("--fmin", float, "[Hz] (default: 20)"),
    ("--fmax", float, "[Hz] (default: 1024)"),
    ("--snr-range", (float, float), "Optimal signal-to-noise ratio (default: 8 25)."),
    ("--d-luminosity-max", float, "[Mpc] (default: from the signal-to-noise ratios)"),
    ("--injection-seed", int, "Of signals and noise (default: 0)."),
)


def _injection_options(command: Callable) -> Callable:
    for flag, kind, text in reversed(_INJECTION_OPTIONS):
        command = click.option(flag, type=kind, help=text)(command)
    for kind, text in (("psd", "Power spectral density"), ("asd", "Amplitude density")):
        command = click.option(
            f"--{kind}",
            f"{kind}s",
            multiple=True,
            help=f"{text} of injections' noise, H1=FILE, once per detector.",
        )(command)
    return command


@campaign.command("make")
@_FOLDER
@click.argument("events", nargs=-1)
@click.option("--injections", type=int, default=0, help="Number of simulated signals.")
@click.option("--name", help="Default: the folder's.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the analyses.")
@click.option("--bank-folder", help="Analyse with this bank (several: by commas).")
@click.option("--n-effective", type=float, help="Without bank: target of infer.")
@click.option("--max-waveforms", type=int, help="Without bank: ceiling of infer.")
@click.option(
    "--mchirp-range",
    type=(float, float),
    help="Of injections, and of infer's prior (default: the bank's; without, 20 40).",
)
@click.option("--q-min", type=float, help="Likewise (default: the bank's, or 0.2).")
@click.option("--approximant", help="Likewise (default: the bank's, or IMRPhenomXPHM).")
@click.option(
    "--set",
    "others",
    type=(str, VALUE),
    multiple=True,
    metavar="ARGUMENT VALUE",
    help="Another argument of the analysis, as in --set n_ext 256.",
)
@_injection_options
@executor_options
def campaign_make(
    folder: Path,
    events: tuple[str, ...],
    injections: int,
    executor: str | None,
    n_procs: int | None,
    progress: bool,
    **options: Any,
) -> None:
    """Make a campaign in FOLDER of EVENTS (files, bundled or published names).

    \b
    Examples:
      dotpe-exec campaign make catalogue GW150914 GW190412 my_event.npz
      dotpe-exec campaign make pp --injections 100 --bank-folder banks/bbh
    """
    from ..campaign import make
    from ..campaign.options import settings_from_options

    settings = settings_from_options(folder, events, injections, options)
    made = make(folder, settings, executor=executor, n_procs=n_procs, progress=progress)
    _show(made)


@campaign.command("run")
@_FOLDER
@click.option("--event", "names", multiple=True, help="Only this event (repeatable).")
@click.option("--chunk", type=int, help="Only part CHUNK (from 0) of --of parts.")
@click.option("--of", "n_chunks", type=int, help="Number of parts.")
@click.option("--redo", is_flag=True, help="Again what was analysed with other settings.")
@executor_options
@click.pass_context
def campaign_run(
    ctx: click.Context,
    folder: Path,
    names: tuple[str, ...],
    chunk: int | None,
    n_chunks: int | None,
    **arguments: Any,
) -> None:
    """Analyse all events that are not finished, several at a time.

    What was ended goes on; several of these commands share the work. The exit status is 1
    where an event failed.

    \b
    Example:
      dotpe-exec campaign run pp --n-procs 8
    """
    from ..campaign import Campaign

    here = Campaign(folder)
    selected: list[str] | None = list(names) or None
    if (chunk is None) != (n_chunks is None):
        raise InputError("chunk and of are given together, or not at all")
    if chunk is not None and n_chunks is not None:
        if not 0 <= chunk < n_chunks:
            raise InputError(f"chunk is {chunk}, expected 0 to {n_chunks - 1}")
        selected = (selected or here.names)[chunk::n_chunks]
    here.run(selected, **arguments)
    _show(here)
    states = here.status()
    if any(states[name] == "failed" for name in selected or states):
        ctx.exit(1)


@campaign.command("status")
@_FOLDER
@click.option("--all", "every", is_flag=True, help="Also the events that are finished.")
def campaign_status(folder: Path, every: bool) -> None:
    """Say how far a campaign is, and why events failed.

    \b
    Example:
      dotpe-exec campaign status pp
    """
    from ..campaign import Campaign

    here = Campaign(folder)
    for name, state in here.status().items():
        if every or state in ("failed", "started"):
            sentence = (here.outcome(name) or {}).get("sentence") or ""
            click.echo(f"{name}: {state}{': ' if sentence else ''}{sentence}")
    _show(here)


@campaign.command("report")
@_FOLDER
@click.option("--pages/--no-pages", default=True, help="A page for each event as well.")
@executor_options
def campaign_report(folder: Path, **arguments: Any) -> None:
    """Write the table of all events (CSV, Parquet) and one page about them.

    \b
    Example:
      dotpe-exec campaign report pp
    """
    from ..campaign import Campaign

    click.echo(Campaign(folder).report(**arguments))


@campaign.command("submit")
@_FOLDER
@click.option(
    "--to", "system", type=click.Choice(["htcondor", "slurm", "lsf"]), required=True
)
@click.option("--events-per-job", type=int, default=1, show_default=True)
@click.option("--memory-gb", type=float, default=2.0, show_default=True)
@click.option("--disk-gb", type=float, default=1.0, show_default=True, help="HTCondor.")
@click.option("--time", default="04:00:00", show_default=True, help="SLURM, LSF.")
@click.option("--account", default="", help="accounting_group, account, or project.")
@click.option("--user", default="", help="accounting_group_user (HTCondor).")
@click.option("--queue", default="", help="Partition (SLURM) or queue (LSF).")
@click.option("--container", default="", help="Image; for LSF an application profile.")
@click.option("--setup", default="", help="Shell command before the program.")
@click.option("--python", help="Interpreter on the nodes (default: this one).")
@click.option("--max-jobs", type=int, help="How many run at the same time.")
@click.option("--extra", multiple=True, help="Another line of the submit file.")
@click.option("--now", is_flag=True, help="Submit, do not only write the files.")
def campaign_submit(
    folder: Path, system: str, events_per_job: int, now: bool, **options: Any
) -> None:
    """Write jobs for a batch system into FOLDER/submit, and with --now submit them.

    \b
    Example:
      dotpe-exec campaign submit pp --to htcondor --account ligo.dev.o4.cbc.pe.bilby
    """
    from ..campaign import Campaign
    from ..campaign.submit import Site, submit_jobs, write_jobs

    options["extra"] = tuple(options["extra"])
    if options["python"] is None:
        del options["python"]
    path = write_jobs(Campaign(folder), system, Site(**options), events_per_job)
    click.echo(path)
    if now:
        click.echo(submit_jobs(path))


def _show(here: Any) -> None:
    counts = here.counts()
    parts = [f"{n} {status}" for status, n in counts.items()]
    click.echo(f"{here.files.path}: {len(here.names)} events, {', '.join(parts)}")
