"""``dotpe-exec report``, ``plot`` and ``export``: what is made of finished runs."""

from __future__ import annotations

import os
from pathlib import Path

import click

from ..errors import InputError


@click.command()
@click.argument("rundirs", nargs=-1, required=True, metavar="RUNDIR...")
@click.option("-o", "--output", default="report.html", show_default=True, help="The page.")
@click.option(
    "--exports",
    is_flag=True,
    help="Also write files for bilby and PESummary, into a folder beside the page.",
)
def report(rundirs: tuple[str, ...], output: str, exports: bool) -> None:
    """Write one HTML page about one run, or comparing several.

    Pictures and small files are inside the page; large files are linked where they are.

    \b
    Example:
      dotpe-exec report runs/GW150914 -o GW150914.html
    """
    from ..atomic import check_writable
    from ..export import export_beside
    from ..report.page import write_report

    check_writable(output)
    exported = export_beside(output, rundirs) if exports else []
    click.echo(write_report(rundirs, output, exported=exported))


@click.command()
@click.argument("rundir")
@click.option(
    "--what",
    required=True,
    type=click.Choice(["corner", "sky", "waveform", "incoherent", "timeline"]),
)
@click.option("-o", "--output", help="Picture: .png, .pdf or .svg (default: WHAT.png).")
def plot(rundir: str, what: str, output: str | None) -> None:
    """Draw one picture of a run.

    \b
    Example:
      dotpe-exec plot runs/GW150914 --what sky -o sky.pdf
    """
    from ..report.figures import save_figure
    from ..report.view import open_views

    (view,) = open_views([rundir])
    click.echo(save_figure(view, what, f"{what}.png" if output is None else output))


@click.command()
@click.argument("rundirs", nargs=-1, required=True, metavar="RUNDIR...")
@click.option(
    "--format",
    "form",
    required=True,
    type=click.Choice(["bilby", "pesummary"]),
    help="bilby: JSON, of one run. pesummary: HDF5, of one run or several.",
)
@click.option("-o", "--output", help="The file (default: NAME_result.json or NAME.h5).")
def export(rundirs: tuple[str, ...], form: str, output: str | None) -> None:
    """Write samples and evidence in the format of another program.

    \b
    Example:
      dotpe-exec export runs/GW150914 --format bilby -o GW150914_result.json
    """
    from ..export import to_bilby, to_pesummary

    suffix = ".h5" if form == "pesummary" else "_result.json"
    if output is None:
        output = Path(os.path.realpath(rundirs[0])).name + suffix
    if form == "pesummary":
        click.echo(to_pesummary(rundirs, output))
        return
    if len(rundirs) > 1:
        raise InputError(f"a bilby result holds one run, {len(rundirs)} were given")
    click.echo(to_bilby(rundirs[0], output))
