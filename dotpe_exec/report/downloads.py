"""The files that a page offers: small ones inside it, others by their place beside it."""

from __future__ import annotations

import os
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .templates import data_address

if TYPE_CHECKING:
    from .view import RunView

LARGEST_EMBEDDED = 2**17
"""Bytes of a file that a page holds itself."""

_KINDS = {".json": "application/json"}


@dataclass(frozen=True)
class Download:
    """A file to download.

    Parameters
    ----------
    name : str
        Of the file, as it is saved.
    what : str
    size : str
    address : str
        Data, or a path relative to the page.
    embedded : bool
    """

    name: str
    what: str
    size: str
    address: str
    embedded: bool


def downloads_of(
    view: RunView, folder: Path, exports: Sequence[Path] = ()
) -> list[Download]:
    """Return the files of a run, and what was exported of it, that are there.

    Parameters
    ----------
    view : RunView
    folder : path
        Where the page will be: addresses are relative to it, so that page and run directory
        can be moved together.
    exports : sequence of path
        Files that other programs read.
    """
    files = view.run.files
    offered = [
        (files.samples, "samples with all parameters (feather: pandas.read_feather)"),
        (files.summary, "results: evidence, verdict, goodness of fit"),
        (files.skymap, "sky map with distance (multi-order FITS: ligo.skymap)"),
        (files.prob_samples, "likelihoods and weights of all that was accepted"),
        (files.run_kwargs, "configuration: all arguments of the run"),
        (files.posterior, "reference waveform and prior, for cogwheel"),
        (files.report, "timings, sizes, machine, versions"),
    ]
    if view.run.event_file is not None:
        offered.append((view.run.event_file, "the event's data, for cogwheel"))
    found = [_download(path, what, folder) for path, what in offered if path.is_file()]
    return found + [
        _download(path, _EXPORTED[path.suffix], folder, embed=False) for path in exports
    ]


_EXPORTED = {".json": "bilby result", ".h5": "PESummary file"}


def _download(path: Path, what: str, folder: Path, *, embed: bool = True) -> Download:
    size = path.stat().st_size
    small = embed and size <= LARGEST_EMBEDDED and path.suffix in _KINDS
    address = (
        data_address(path.read_bytes(), _KINDS[path.suffix])
        if small
        else relative_address(path, folder)
    )
    return Download(path.name, what, _readable(size), address, small)


def relative_address(path: Path, folder: Path) -> str:
    """Return the address of a file for a page in a folder."""
    path, folder = path.resolve(), folder.resolve()
    try:
        relative = Path(os.path.relpath(path, folder))
    except ValueError:  # another drive
        return path.as_uri()
    return urllib.parse.quote(relative.as_posix())


def _readable(size: int) -> str:
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000  # type: ignore[assignment]
    return f"{size:.3g} GB"
