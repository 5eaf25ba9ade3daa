"""Strain files: what is in them, of which detector, and where it is valid.

HDF5 of gwosc.org and frame files (``.gwf``) say of which detector they are; so do names
as LIGO-T010150 has them (``H-H1_GWOSC_4KHZ_R1-1126259447-32.hdf5``).
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import EventError, InputError, MissingFileError
from ..lean_cogwheel import import_gwpy

if TYPE_CHECKING:
    from gwpy.timeseries import TimeSeries

_NAME = re.compile(r"[A-Z]+-([A-Z]\d)_.+-\d+(?:\.\d+)?-\d+(?:\.\d+)?\.\w+")
_PREFIX = re.compile(r"([A-Z])\d?")


@dataclass(frozen=True)
class Strain:
    """Strain of one detector.

    Parameters
    ----------
    source : str
        The file.
    series : gwpy.timeseries.TimeSeries
    detector : str or None
        Its letter; None where the file does not say.
    """

    source: str
    series: TimeSeries
    detector: str | None

    @property
    def start(self) -> float:
        """GPS time of the first sample [s]."""
        return float(self.series.t0.value)

    @property
    def end(self) -> float:
        """GPS time at which the data end [s]."""
        return self.start + len(self.series) * self.step

    @property
    def step(self) -> float:
        """Sampling step [s]."""
        return float(self.series.dt.value)


def detector_letters(detectors: str | Sequence[str]) -> tuple[str, ...]:
    """Return detectors as cogwheel calls them, from ``"HL"``, ``"H1,L1"``, ``["H1"]``.

    Raises
    ------
    InputError
        Something is not the name of a detector.
    """
    text = detectors if isinstance(detectors, str) else ",".join(map(str, detectors))
    letters = []
    for part in re.split(r"[,\s]+", text.strip(", ")):
        if not re.fullmatch(r"([A-Za-z]\d?)+", part):
            raise InputError(
                f"detectors are {text!r}, expected names such as H1,L1 or letters as in HLV"
            )
        letters += [match[0].upper() for match in re.findall(r"[A-Za-z]\d?", part)]
    return tuple(letters)


def read_strain(path: str | os.PathLike, channel: str | None = None) -> Strain:
    """Read a strain file.

    Parameters
    ----------
    path : path
        HDF5 from gwosc.org, a frame file, or any format that gwpy reads.
    channel : str, optional
        Channel of a frame file; not needed where there is only one, or one of strain.

    Raises
    ------
    MissingFileError
        It does not exist.
    EventError
        It cannot be read, or has several channels.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"the strain file {path} does not exist")
    import_gwpy()
    from gwpy.timeseries import TimeSeries

    try:
        if path.suffix == ".gwf":
            _check_frame_file(path)
            channel = channel or _only_channel(path)
            series = TimeSeries.read(os.fspath(path), channel, format="gwf")
        elif inside := _gwosc_detector(path):
            channel = f"{inside}:"
            series = TimeSeries.read(os.fspath(path), format="hdf5.gwosc")
        else:
            series = TimeSeries.read(os.fspath(path))
            channel = series.name
    except EventError:
        raise
    except Exception as error:
        # gwpy's readers raise errors of many classes, some with a table of formats.
        reason = (str(error) or repr(error)).splitlines()[0]
        raise EventError(f"the strain file {path} cannot be read: {reason}") from error
    return Strain(os.fspath(path), series, _detector(channel, path))


def _gwosc_detector(path: Path) -> str | None:
    """Return the detector that a file in the layout of gwosc.org names."""
    import h5py

    if not h5py.is_hdf5(path):
        return None
    with h5py.File(path) as file:
        if "strain/Strain" not in file or "meta/Detector" not in file:
            return None
        name = file["meta/Detector"][()]
        return name.decode() if isinstance(name, bytes) else str(name)


def _check_frame_file(path: Path) -> None:
    """Refuse a frame file that is not whole: the libraries that read them may crash.

    The last structure of a file says how long the file is, before what is 28 bytes
    (format version 8) or 24 bytes (version 6) with it.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        magic = file.read(4)
        file.seek(-min(size, 28), os.SEEK_END)
        end = file.read()
    lengths = [
        int.from_bytes(end[len(end) - back : len(end) - back + 8], order)
        for back in (28, 24)
        for order in ("little", "big")
        if len(end) >= back
    ]
    if magic != b"IGWD" or size not in lengths:
        raise EventError(f"the strain file {path} is not a whole frame file (.gwf)")


def _only_channel(path: Path) -> str:
    from gwpy.io.gwf import get_channel_names

    names = list(get_channel_names(os.fspath(path)))
    some = [name for name in names if "STRAIN" in name.upper()] or names
    if len(some) != 1:
        raise EventError(
            f"the frame file {path} has the channels {', '.join(names)}: give the channel"
        )
    return some[0]


def _detector(channel: str | None, path: Path) -> str | None:
    if channel and (match := re.match(r"([A-Z])\d:", channel)):
        return match[1]
    match = _NAME.fullmatch(path.name)
    return match[1][0] if match else None


def valid_around(strain: Strain, tgps: float) -> Strain:
    """Return the part of the data around the event that has no gap.

    Raises
    ------
    EventError
        There are no data at that time.
    """
    if not strain.start <= tgps < strain.end:
        raise EventError(
            f"the strain file {strain.source} has data from GPS time {strain.start:.10g} "
            f"to {strain.end:.10g}: nothing at GPS time {tgps:.14g}"
        )
    i_event = int((tgps - strain.start) / strain.step)
    bad = np.flatnonzero(~np.isfinite(strain.series.value))
    after = int(np.searchsorted(bad, i_event))
    if after < len(bad) and bad[after] == i_event:
        raise EventError(
            f"the strain file {strain.source} has a gap (NaN) at GPS time {tgps:.14g}"
        )
    first = bad[after - 1] + 1 if after else 0
    last = bad[after] if after < len(bad) else len(strain.series)
    return Strain(strain.source, strain.series[first:last], strain.detector)
