"""``dotpe-exec event``: simulate, make from strain, fetch, show."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ..errors import InputError
from .options import VALUE

_SEARCHES_REPORT = 8.0
"""Network signal-to-noise ratio from which searches report an event, about."""


@click.group()
def event() -> None:
    """Make events from simulated noise or public strain, fetch and show them."""


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
        detectors,
        asds=asds.split(",") if asds else None,
        injection=par_dic,
        **arguments,
    )
    _save_event(data, path)


def _data_options(command: Callable) -> Callable:
    """Add the options that say what an event takes from its strain."""
    for option in reversed(
        [
            click.option(
                "--t-before", type=float, help="[s] (default: what the files hold, to 16)"
            ),
            click.option(
                "--t-after", type=float, help="[s] (default: what the files hold, to 16)"
            ),
            click.option(
                "--wht-filter-duration",
                type=float,
                help="[s] (default: what the files hold, up to 32)",
            ),
            click.option(
                "--fmin", type=float, default=20.0, show_default=True, help="[Hz]"
            ),
            click.option(
                "--fmax", type=float, help="[Hz] (default: 1024, or the files' if lower)"
            ),
            click.option(
                "--psd",
                "psds",
                multiple=True,
                help="Power spectral density, two columns; once for each detector.",
            ),
            click.option("--overwrite", is_flag=True),
        ]
    ):
        command = option(command)
    return command


@event.command("from-strain")
@click.argument("path", type=click.Path(path_type=Path))
@click.argument("files", nargs=-1, required=True)
@click.option(
    "--detectors",
    help="In the order of the files: HL or H1,L1 (default: those that the files name).",
)
@click.option("--tgps", type=float, required=True, help="GPS time of the event [s].")
@click.option("--channel", "channels", multiple=True, help="Of each frame file.")
@_data_options
def event_from_strain(
    path: Path, files: tuple[str, ...], overwrite: bool, **arguments: Any
) -> None:
    """Make an event in PATH from strain FILES (GWOSC HDF5, frames), one for each detector.

    \b
    Example:
      dotpe-exec event from-strain GW150914.npz H1.hdf5 L1.hdf5 --tgps 1126259462.4
    """
    from ..events import event_from_strain as make_event

    _check_event_path(path, overwrite)
    arguments["channels"] = arguments["channels"] or None
    arguments["psds"] = _psds(arguments["psds"])
    _save_event(make_event(list(files), path.stem, **arguments), path)


@event.command("fetch")
@click.argument("name")
@click.argument("path", type=click.Path(path_type=Path), required=False)
@click.option("--detectors", help="HL or H1,L1 (default: all that have data).")
@click.option(
    "--duration",
    type=click.Choice(["32", "4096"]),
    default="4096",
    show_default=True,
    help="Of the files [s]; the noise is measured on them.",
)
@_data_options
def event_fetch(
    name: str, path: Path | None, duration: str, overwrite: bool, **arguments: Any
) -> None:
    """Fetch the strain of the published event NAME from gwosc.org and make an event of it.

    Files that are in the cache already are not fetched again; a download that was
    interrupted goes on.

    \b
    Example:
      dotpe-exec event fetch GW190412
    """
    from ..events import fetch_event

    path = Path(f"{name}.npz") if path is None else path
    _check_event_path(path, overwrite)
    arguments["psds"] = _psds(arguments["psds"])
    data = fetch_event(name, duration=int(duration), progress=True, **arguments)
    _save_event(data, path)


@event.command("show")
@click.argument("name", metavar="EVENT")
@click.option("-o", "--output", help="Picture: .png, .pdf or .svg (default: EVENT.png).")
def event_show(name: str, output: str | None) -> None:
    """Draw EVENT, a file or a bundled name, and say what a search would.

    The picture has whitened strain, spectrogram and noise of each detector. The search is
    a matched filter of each detector with a coarse bank of templates (no spins), within
    0.1 s of the event's time.

    \b
    Example:
      dotpe-exec event show GW150914
    """
    from ..events import show_event

    picture = f"{Path(name).stem}.png" if output is None else output
    trigger = show_event(name, picture)
    click.echo(f"chirp mass {trigger.mchirp:.1f} solar masses (detector frame)")
    for detector, snr in trigger.snr.items():
        click.echo(f"{detector}: SNR {snr:.1f} at GPS {trigger.time[detector]:.4f}")
    quiet = trigger.network_snr < _SEARCHES_REPORT
    note = f", below the {_SEARCHES_REPORT:g} that searches ask for" if quiet else ""
    click.echo(f"network: SNR {trigger.network_snr:.1f}{note}")
    click.echo(picture)


def _psds(given: tuple[str, ...]) -> list[str] | dict[str, str] | None:
    """Return ``H1.txt L1.txt`` as a list, ``H=H1.txt L=L1.txt`` as a dictionary."""
    parts = [part for text in given for part in text.split(",") if part]
    if parts and all("=" in part for part in parts):
        return dict(part.split("=", 1) for part in parts)  # type: ignore[misc]
    return parts or None


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
