"""``dotpe-exec bank build``, ``bank adapt`` and ``bank check``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from .options import FILE, FOLDER, executor_options
from .runs import adaptive_options


@click.group()
def bank() -> None:
    """Build and check waveform banks."""


@bank.command("build")
@click.argument("folder", type=FOLDER)
@click.option("--bank-size", type=int, required=True, help="Number of waveforms.")
@click.option(
    "--mchirp-range", type=float, nargs=2,
    help="Detector-frame chirp masses [solar masses].",
)  # fmt: skip
@click.option(
    "--q-min", type=float, default=0.2, show_default=True, help="Smallest mass ratio."
)
@click.option(
    "--f-ref", type=float, default=50.0, show_default=True,
    help="Reference frequency of the spins [Hz].",
)  # fmt: skip
@click.option(
    "--approximant", default="IMRPhenomXPHM", show_default=True, help="Waveform model."
)
@click.option(
    "--event", required=True, type=FILE, help="Event whose frequency grid the bins lie on."
)
@click.option(
    "--pn-phase-tol", type=float,
    help="Phase tolerance of frequency bins [rad] (default: chosen from the event).",
)  # fmt: skip
@click.option(
    "--blocksize", type=int, default=4096, show_default=True, help="Waveforms per file."
)
@click.option(
    "--alpha", type=float, default=-1.7, show_default=True,
    help="Exponent of the chirp mass in the density that is drawn from.",
)  # fmt: skip
@click.option("--prior-mchirp-range", type=float, nargs=2, help="Range of a shared prior.")
@click.option(
    "--prior",
    metavar="MODULE:NAME",
    help="A prior of one's own: cogwheel's class, an object, a pair (drawing, physical).",
)
@click.option("--n-banks", type=int, default=1, help="Split the range into several banks.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of all draws.")
@click.option("--resume/--no-resume", default=True, help="Continue a partial build.")
@click.option("--overwrite", is_flag=True, help="Replace an existing bank.")
@executor_options
def bank_build(**arguments: Any) -> None:
    """Build a bank in FOLDER.

    \b
    Example:
      dotpe-exec bank build banks/bbh --bank-size 65536 --mchirp-range 20 40 \\
          --event GW150914
    """
    from ..banks.build import build_bank_command

    if arguments["prior"] is not None:
        sys.path.insert(0, str(Path.cwd()))  # where a script of one's own is looked for
    for folder in build_bank_command(**arguments):
        click.echo(folder)


@bank.command("adapt")
@click.argument("event")
@click.argument("rundir", type=FOLDER)
@adaptive_options
@click.option("--resume", is_flag=True, help="Continue what is in RUNDIR.")
@click.option("--overwrite", is_flag=True, help="Replace what is in RUNDIR.")
@executor_options
def bank_adapt(**arguments: Any) -> None:
    """Draw a bank for EVENT, with its waveforms, in RUNDIR/banks/adapted.

    \b
    Example:
      dotpe-exec bank adapt GW150914 runs/GW150914
    """
    from ..inference import infer
    from ..rundir.files import RunFiles

    if arguments["prior"] is not None:
        sys.path.insert(0, str(Path.cwd()))  # where a script of one's own is looked for
    rundir = infer(**arguments, save_waveforms=True)
    click.echo(RunFiles(rundir).bank("adapted"))


@bank.command("check")
@click.argument("folder", type=FOLDER)
@click.option("--progress/--no-progress", default=True, help="Progress bar.")
def bank_check(folder: str, progress: bool) -> None:
    """Validate every file of the bank in FOLDER.

    \b
    Example:
      dotpe-exec bank check banks/bbh
    """
    from ..banks.check import check_bank

    report = check_bank(folder, progress=progress)
    for problem in report.problems:
        click.echo(f"problem: {problem}", err=True)
    if report.problems:
        raise SystemExit(2)
    click.echo(f"{folder}: {report}")
