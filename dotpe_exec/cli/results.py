"""``dotpe-exec report``, ``plot``, ``export`` and ``reweight``: uses of finished runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from ..errors import InputError
from .options import (
    FILE,
    FOLDER,
    VALUE,
    by_detector,
    calibration_options,
    executor_options,
)
from .several import SeveralValues


@click.command()
@click.argument("rundirs", nargs=-1, required=True, metavar="RUNDIR...", type=FOLDER)
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
@click.argument("rundir", type=FOLDER)
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
@click.argument("rundirs", nargs=-1, required=True, metavar="RUNDIR...", type=FOLDER)
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


@click.command(cls=SeveralValues)
@click.argument("rundir", type=FOLDER)
@click.option(
    "--distance",
    type=click.Choice(["comoving"]),
    help="Prior: uniform in comoving volume and source time.",
)
@click.option(
    "--psd",
    "psds",
    multiple=True,
    metavar="DETECTOR=FILE",
    callback=by_detector,
    help="Power spectral density, text of two columns; one for each detector.",
)
@click.option(
    "--asd-drift",
    type=VALUE,
    help="Level of the noise over that of the densities: a number, JSON list or dictionary "
    "(default: 1 with --psd, else the run's).",
)
@click.option("--approximant", help="Another waveform model.")
@calibration_options
@click.option(
    "--n-curves", type=int, default=200, show_default=True, help="Calibration curves."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the curves.")
@click.option(
    "-o",
    "--output",
    default="reweighted.feather",
    show_default=True,
    type=FILE,
    help="Samples with new weights; a summary goes beside it (.json).",
)
@executor_options
def reweight(rundir: str, output: str, **arguments: Any) -> None:
    """Give the samples in RUNDIR the weights of other assumptions.

    \b
    Example:
      dotpe-exec reweight runs/GW150914 --calibration H1=H1.txt L1=L1.txt
    """
    from ..atomic import write_feather, write_json
    from ..result import load

    path = Path(output)
    if path.suffix != ".feather":
        raise InputError(f"--output is {output}, expected a name that ends in .feather")
    new = load(rundir).reweight(**arguments)
    write_feather(path, new.samples)
    summary = {
        "rundir": str(Path(rundir).resolve()),
        "arguments": {
            name: value for name, value in arguments.items() if value is not None
        },
        "ln_evidence": new.ln_evidence,
        "ln_evidence_ratio_error": new.ln_evidence_ratio_error,
        "n_effective": new.n_effective,
        "n_effective_i": new.n_effective_i,
        "verdict": new.verdict,
    }
    write_json(path.with_suffix(".json"), summary)
    click.echo(f"ln evidence {new.ln_evidence:.3f}; {new.verdict}")
    click.echo(path)
