"""``dotpe-exec event simulate`` and ``event from-strain``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..errors import InputError
from .options import VALUE


@click.group()
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
    from ..events import simulate_event
    from ..validation import load_par_dic

    asds = arguments.pop("asds")
    _check_event_path(path, arguments.pop("overwrite"))
    par_dic = None
    if injection is not None:
        inline = injection.lstrip().startswith("{")
        par_dic = load_par_dic(
            VALUE.convert(injection, None, None) if inline else injection, "injection"
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
    from ..events import event_from_strain as make_event

    _check_event_path(path, overwrite)
    data = make_event(list(files), path.stem, _detector_list(detectors), **arguments)
    _save_event(data, path)


def _check_event_path(path: Path, overwrite: bool) -> None:
    from ..atomic import check_writable

    if path.suffix != ".npz":
        raise InputError(f"the event file {path} must end in .npz")
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists already; give --overwrite to replace it")
    check_writable(path)


def _save_event(data: Any, path: Path) -> None:
    from ..events import save_event

    save_event(data, path)
    click.echo(f"{path}: {data.eventname}, detectors {''.join(data.detector_names)}")


def _detector_list(text: str) -> list[str]:
    return [part for part in text.replace(",", "") if part.strip()]
