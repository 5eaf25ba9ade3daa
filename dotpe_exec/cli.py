"""The command line: every flag is spelled like its Python parameter.

Dashes and underscores are the same (``--n-ext``, ``--n_ext``). Bad input ends with one
sentence and exit code 2; ``--debug`` shows the traceback.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from . import __version__
from .errors import DotpeExecError, ExecutorError, InputError, TaskError, WorkerCrashError

_CONTEXT = {
    "help_option_names": ["-h", "--help"],
    "token_normalize_func": lambda token: token.replace("_", "-"),
    "max_content_width": 92,
}


class _Group(click.Group):
    """A group whose commands turn our own errors into one sentence and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (DotpeExecError, OSError) as error:
            if ctx.params.get("debug"):
                raise
            text = str(error)
            if not isinstance(error, ExecutorError):  # whose tracebacks have lines
                text = text.replace("\n", "\\n")  # of names that were given
            click.echo(f"dotpe-exec: {text}", err=True)
            failed_at_work = isinstance(error, TaskError | WorkerCrashError) or (
                isinstance(error, ExecutorError) and not isinstance(error, ValueError)
            )
            ctx.exit(1 if failed_at_work else 2)


@click.group(cls=_Group, context_settings=_CONTEXT)
@click.version_option(__version__, prog_name="dotpe-exec")
@click.option("--debug", is_flag=True, help="Show tracebacks and debugging output.")
@click.option("--verbose", is_flag=True, help="Log what is done.")
def main(debug: bool, verbose: bool) -> None:
    """Sampler-free gravitational-wave parameter estimation, on any executor."""
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    level = logging.DEBUG if debug else logging.INFO if verbose else logging.WARNING
    logging.getLogger(__package__).setLevel(level)
    logging.captureWarnings(True)


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


_VALUE = JSONOrText()


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
                "--n-procs", type=int, help="Worker processes (default: all cores)."
            ),
            click.option(
                "--progress/--no-progress", default=True, help="Progress bar per stage."
            ),
        ]
    ):
        command = option(command)
    return command


@main.command()
@click.option("--event", required=True, help="Event .npz, or the name of a bundled event.")
@click.option(
    "--bank-folder",
    required=True,
    type=_VALUE,
    help="Bank folder; several separated by commas, or JSON {bank_id: path}.",
)
@click.option("--rundir", help="Run directory.")
@click.option("--event-dir", help="Parent of run directories run_0, run_1, ...")
@click.option(
    "--n-ext", type=int, default=512, show_default=True, help="Extrinsic samples."
)
@click.option("--n-phi", type=int, default=100, show_default=True, help="Orbital phases.")
@click.option("--n-t", type=int, default=128, show_default=True, help="Arrival times.")
@click.option(
    "--n-int", type=_VALUE, help="Waveforms per bank: a number, JSON list or dictionary."
)
@click.option("--i-int-start", type=int, default=0, help="First waveform of the range.")
@click.option("--blocksize", type=int, default=512, show_default=True)
@click.option("--single-detector-blocksize", type=int, default=512, show_default=True)
@click.option("--seed", type=int, help="Seed of all draws (default: drawn and recorded).")
@click.option("--load-inds", is_flag=True, help="Take waveforms from --inds-path.")
@click.option("--inds-path", type=_VALUE, help="intrinsic_samples.npz of an earlier run.")
@click.option("--size-limit", type=int, default=10**7, show_default=True)
@click.option("--draw-subset/--no-draw-subset", default=True, show_default=True)
@click.option("--n-draws", type=int, help="Samples to draw (default: n_effective // 2).")
@click.option(
    "--coherent-score-min-n-effective-prior", type=float, default=100, show_default=True
)
@click.option("--max-incoherent-lnlike-drop", type=float, default=20, show_default=True)
@click.option("--max-bestfit-lnlike-diff", type=float, default=20, show_default=True)
@click.option("--mchirp-guess", type=float, help="Chirp mass guess [solar masses].")
@click.option("--extrinsic-samples", help="extrinsic_samples.feather of an earlier run.")
@click.option("--n-phi-incoherent", type=int, help="Phases of the incoherent stage.")
@click.option(
    "--preselected-indices",
    type=_VALUE,
    help=".npy file, JSON list, or dictionary per bank.",
)
@click.option(
    "--bank-logw-override", type=_VALUE, help="JSON list, or dictionary of lists per bank."
)
@click.option("--coherent-posterior-kwargs", type=_VALUE, help="JSON dictionary.")
@click.option("--par-dic-0", help="JSON file with the reference waveform's parameters.")
@click.option("--i-batch", type=int, help="Waveforms per incoherent batch.")
@click.option("--batches-per-task", type=int, help="Incoherent batches per message.")
@click.option("--pairs-per-task", type=int, help="Coherent pairs per message.")
@click.option("--e-blocksize", type=int, help="Extrinsic samples per coherent block.")
@click.option(
    "--multicore-config",
    type=_VALUE,
    help="JSON dictionary of a MulticoreConfig; the flags for single values win.",
)
@click.option(
    "--multicore",
    type=click.Choice(["auto", "manual"]),
    help="auto: this machine's tuned configuration, tuned first if there is none; "
    "manual: these flags and defaults only (default: the tuned one if there is one).",
)
@click.option(
    "--autotune-only", is_flag=True, help="Tune on this event and bank, and stop."
)
@click.option("--resume", is_flag=True, help="Continue the run in --rundir.")
@click.option("--overwrite", is_flag=True, help="Replace results in --rundir.")
@click.option(
    "--profile", is_flag=True, help="Also profile all processes, and write trace.json."
)
@executor_options
def run(multicore: str | None, autotune_only: bool, **arguments: Any) -> None:
    """Run the inference on an event with one or more banks.

    \b
    Example:
      dotpe-exec run --event GW150914 --bank-folder banks/bbh --rundir runs/GW150914
    """
    from .config import without_cached_config
    from .inference import run_multicore

    if autotune_only or (multicore == "auto" and not _is_tuned()):
        _tune(arguments["event"], arguments["bank_folder"], arguments["progress"])
    if autotune_only:
        return
    with without_cached_config() if multicore == "manual" else contextlib.nullcontext():
        rundir = run_multicore(**arguments)
    show_results(rundir)


def _is_tuned() -> bool:
    from .config import load_cached_config

    return load_cached_config() is not None


def _tune(event: Any, bank_folder: Any, progress: bool, **limits: Any) -> None:
    from .autotune import show_and_keep, tune, tuned_on

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


@main.command()
@click.option("--event", help="Tune on this event (and --bank-folder).")
@click.option("--bank-folder", type=_VALUE, help="Tune on this bank (and --event).")
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
    _tune(**arguments)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def info(as_json: bool) -> None:
    """Print what was detected of this machine, and how it was tuned.

    \b
    Example:
      dotpe-exec info
    """
    from .config import get_shared_config_cache_path, load_cached_config
    from .machine import describe_machine

    config = load_cached_config()
    description = describe_machine() | {
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


def show_results(rundir: Path) -> None:
    """Print the result and timing tables of a finished run."""
    import pandas as pd
    from rich.console import Console

    from .report.table import results_table, timing_table
    from .rundir import RunDirectory

    files = RunDirectory(rundir)
    summary = json.loads(files.summary.read_text(encoding="utf-8"))
    report = json.loads(files.report.read_text(encoding="utf-8"))
    console = Console()
    console.print(results_table(pd.read_feather(files.samples), summary))
    console.print(timing_table(report, summary))
    console.print(f"run directory: {rundir}", soft_wrap=True)


@main.command()
@click.option("--folder", help="Where bank and run go (default: a cache folder).")
@click.option("--bank-size", type=int, default=65536, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@executor_options
def demo(**arguments: Any) -> None:
    """Analyse GW150914 from real LIGO data, with a bank built on the spot.

    \b
    Example:
      dotpe-exec demo
    """
    from .demo import run_demo

    rundir, picture = run_demo(**arguments)
    show_results(rundir)
    click.echo(f"corner plot: {picture}")


@main.command()
@click.argument("rundirs", nargs=-1, required=True, metavar="RUNDIR...")
@click.option("-o", "--output", default="report.html", show_default=True, help="The page.")
def report(rundirs: tuple[str, ...], output: str) -> None:
    """Write one self-contained HTML page about one run, or comparing several.

    \b
    Example:
      dotpe-exec report runs/GW150914 -o GW150914.html
    """
    from .report.page import write_report

    click.echo(write_report(rundirs, output))


@main.command()
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
    from .report.figures import save_figure
    from .report.view import open_views

    (view,) = open_views([rundir])
    click.echo(save_figure(view, what, f"{what}.png" if output is None else output))


@main.command()
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
    from .export import to_bilby, to_pesummary

    suffix = ".h5" if form == "pesummary" else "_result.json"
    if output is None:
        output = Path(rundirs[0]).resolve().name + suffix
    if form == "pesummary":
        click.echo(to_pesummary(rundirs, output))
        return
    if len(rundirs) > 1:
        raise InputError(f"a bilby result holds one run, {len(rundirs)} were given")
    click.echo(to_bilby(rundirs[0], output))


@main.group()
def bank() -> None:
    """Build and check waveform banks."""


@bank.command("build")
@click.argument("folder")
@click.option("--bank-size", type=int, required=True, help="Number of waveforms.")
@click.option("--mchirp-range", type=float, nargs=2, required=True, help="[solar masses]")
@click.option("--q-min", type=float, default=0.2, show_default=True)
@click.option("--f-ref", type=float, default=50.0, show_default=True, help="[Hz]")
@click.option("--approximant", default="IMRPhenomXPHM", show_default=True)
@click.option("--event", required=True, help="Event whose frequency grid the bins lie on.")
@click.option("--pn-phase-tol", type=float, default=0.05, show_default=True, help="[rad]")
@click.option("--blocksize", type=int, default=4096, show_default=True)
@click.option("--alpha", type=float, default=-1.7, show_default=True)
@click.option("--prior-mchirp-range", type=float, nargs=2, help="Range of a shared prior.")
@click.option("--n-banks", type=int, default=1, help="Split the range into several banks.")
@click.option("--seed", type=int, default=0, show_default=True)
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
    from .banks.build import build_bank_command

    for folder in build_bank_command(**arguments):
        click.echo(folder)


@bank.command("check")
@click.argument("folder")
@click.option("--progress/--no-progress", default=True)
def bank_check(folder: str, progress: bool) -> None:
    """Validate every file of the bank in FOLDER.

    \b
    Example:
      dotpe-exec bank check banks/bbh
    """
    from .banks.check import check_bank

    report = check_bank(folder, progress=progress)
    for problem in report.problems:
        click.echo(f"problem: {problem}", err=True)
    if report.problems:
        raise SystemExit(2)
    click.echo(f"{folder}: {report}")


def _detector_list(text: str) -> list[str]:
    return [part for part in text.replace(",", "") if part.strip()]


@main.group()
def event() -> None:
    """Make events from simulated noise or from public strain."""


@event.command("simulate")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--detectors", default="HLV", show_default=True)
@click.option("--asds", help="Sensitivity curves, comma-separated (default: O3).")
@click.option("--duration", type=float, default=16.0, show_default=True, help="[s]")
@click.option("--fmin", type=float, default=20.0, show_default=True, help="[Hz]")
@click.option("--fmax", type=float, default=1024.0, show_default=True, help="[Hz]")
@click.option("--tgps", type=float, default=0.0, show_default=True, help="[s]")
@click.option("--injection", help="JSON, or a JSON file, of the signal's parameters.")
@click.option("--approximant", default="IMRPhenomXPHM", show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--overwrite", is_flag=True)
def event_simulate(
    path: Path, detectors: str, injection: str | None, **arguments: Any
) -> None:
    """Simulate Gaussian noise, with a signal if --injection is given, into PATH.

    \b
    Example:
      dotpe-exec event simulate sim.npz --detectors HL --injection signal.json --seed 1
    """
    from .arguments import load_par_dic
    from .events import simulate_event

    asds = arguments.pop("asds")
    _check_event_path(path, arguments.pop("overwrite"))
    par_dic = None
    if injection is not None:
        inline = injection.lstrip().startswith("{")
        par_dic = load_par_dic(
            _VALUE.convert(injection, None, None) if inline else injection, "injection"
        )
    data = simulate_event(
        path.stem,
        _detector_list(detectors),
        asds=asds.split(",") if asds else None,
        injection=par_dic,
        **arguments,
    )
    _save_event(data, path)


@event.command("from-strain")
@click.argument("path", type=click.Path(path_type=Path))
@click.argument("files", nargs=-1, required=True)
@click.option("--detectors", required=True, help="In the order of the files, as in HL.")
@click.option("--tgps", type=float, required=True, help="GPS time of the event [s].")
@click.option("--t-before", type=float, default=16.0, show_default=True, help="[s]")
@click.option("--t-after", type=float, default=16.0, show_default=True, help="[s]")
@click.option(
    "--wht-filter-duration", type=float, default=32.0, show_default=True, help="[s]"
)
@click.option("--fmin", type=float, default=20.0, show_default=True, help="[Hz]")
@click.option("--fmax", type=float, default=1024.0, show_default=True, help="[Hz]")
@click.option("--overwrite", is_flag=True)
def event_from_strain(
    path: Path, files: tuple[str, ...], detectors: str, overwrite: bool, **arguments: Any
) -> None:
    """Make an event in PATH from strain FILES (GWOSC HDF5), one for each detector.

    \b
    Example:
      dotpe-exec event from-strain GW150914.npz H1.hdf5 L1.hdf5 --detectors HL \\
          --tgps 1126259462.4
    """
    from .events import event_from_strain as make_event

    _check_event_path(path, overwrite)
    data = make_event(list(files), path.stem, _detector_list(detectors), **arguments)
    _save_event(data, path)


def _check_event_path(path: Path, overwrite: bool) -> None:
    from .atomic import check_writable

    if path.suffix != ".npz":
        raise InputError(f"the event file {path} must end in .npz")
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists already; give --overwrite to replace it")
    check_writable(path)


def _save_event(data: Any, path: Path) -> None:
    from .events import save_event

    save_event(data, path)
    click.echo(f"{path}: {data.eventname}, detectors {''.join(data.detector_names)}")


if __name__ == "__main__":
    sys.exit(main())
