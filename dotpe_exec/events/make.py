"""Make events: simulated noise with a signal, or from public strain."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import EventError, InputError, MissingFileError
from ..rundir.files import check_name
from ..validation import integer
from .load import check_detectors, check_event_name, load_event

if TYPE_CHECKING:
    from cogwheel.data import EventData

# Of a detector's data. Some arrays of as many complex numbers are made on the way.
_MOST_SAMPLES = 2**28


def simulate_event(
    name: str,
    detectors: Sequence[str],
    *,
    asds: Sequence[str | os.PathLike | Callable] | None = None,
    duration: float = 16.0,
    fmin: float = 20.0,
    fmax: float = 1024.0,
    tgps: float = 0.0,
    injection: Mapping[str, float] | None = None,
    approximant: str = "IMRPhenomXPHM",
    seed: int = 0,
) -> EventData:
    """Return stationary Gaussian noise, with a signal if one is given.

    Parameters
    ----------
    name : str
    detectors : sequence of str
        Of "H", "L", "V"; a string of letters will do.
    asds : sequence, optional
        For each detector the noise amplitude spectral density: a name of cogwheel's
        curves (``"asd_H_O3"``), a file (``.npy`` of shape (2, n), or text of two columns:
        frequency [Hz], density [Hz^-1/2]), or a function of frequency. Default: cogwheel's
        O3 curves.
    duration : float
        Length of the data [s]; the event is at its middle.
    fmin, fmax : float
        Lowest frequency analysed and Nyquist frequency [Hz].
    tgps : float
        GPS time of the event [s].
    injection : dict, optional
        Parameters of the signal, as in cogwheel's ``WaveformGenerator.params``.
    approximant : str
        The signal's.
    seed : int
        Of the noise.

    Returns
    -------
    cogwheel.data.EventData

    Raises
    ------
    EventError, InputError, MissingFileError
    """
    check_event_name(name)
    check_name("event's name", name)  # runs name files after it
    detectors = tuple(detectors)
    check_detectors(detectors, f"the event {name!r}")
    for label, value in (("duration", duration), ("fmin", fmin), ("fmax", fmax)):
        if not (np.isfinite(value) and value > 0):
            raise InputError(f"{label} is {value}, expected a positive number")
    if fmin >= fmax:
        raise InputError(f"fmin is {fmin} Hz, expected less than fmax, {fmax} Hz")
    if abs(n_half := duration * fmax) < 2 or abs(n_half - round(n_half)) > 1e-9 * n_half:
        raise InputError(
            f"duration ({duration} s) times fmax ({fmax} Hz) is {n_half}, expected a whole "
            "number (half the number of samples)"
        )
    if n_half > _MOST_SAMPLES / 2:
        raise InputError(
            f"duration ({duration} s) and fmax ({fmax} Hz) make {2 * n_half:.3g} samples, "
            f"expected at most {_MOST_SAMPLES:.3g}"
        )
    check_tgps(tgps)
    seed = integer("seed", seed, minimum=0)
    if asds is None:
        asds = [f"asd_{detector}_O3" for detector in detectors]
    if len(asds) != len(detectors):
        raise InputError(f"asds: {len(asds)} given, expected one for each of {detectors}")

    from cogwheel.data import EventData

    from ..cogwheel_bridge import check_approximant, check_par_dic, prints_logged

    check_approximant(approximant)
    if injection is not None:
        par_dic = check_par_dic(injection, "injection")
    with prints_logged():
        event = EventData.gaussian_noise(
            name, duration, detectors, [_asd_function(asd) for asd in asds], tgps,
            fmin=fmin, fmax=fmax, seed=seed,
        )  # fmt: skip
        if injection is not None:
            event.inject_signal(par_dic, approximant)
    return load_event(event)


def check_tgps(tgps: float) -> None:
    """Refuse what LAL cannot take for a GPS time: it counts seconds in 32 bits."""
    if not abs(tgps) < 2**31:
        raise InputError(f"tgps is {tgps}, expected GPS seconds")


def _asd_function(asd: str | os.PathLike | Callable) -> str | Callable:
    """Return what cogwheel takes as sensitivity curve."""
    from cogwheel.data import ASDS, make_asd_func

    if callable(asd) or (isinstance(asd, str) and asd in ASDS):
        return asd
    path = Path(asd)
    if not path.is_file():
        raise MissingFileError(
            f"asds: {asd} is neither a file nor one of {', '.join(ASDS)}"
        )
    try:
        table = (
            np.load(path, allow_pickle=False)
            if path.suffix == ".npy"
            else np.loadtxt(path).T
        )
        frequencies, density = table
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"asds: {path} is not a table of two columns: {error}") from error
    if not (np.all(np.diff(frequencies) > 0) and np.all(density > 0)):
        raise InputError(
            f"asds: {path} must have ascending frequencies, positive densities"
        )
    return make_asd_func(frequencies, density)


def event_from_strain(
    files: Sequence[str | os.PathLike],
    name: str,
    detectors: Sequence[str],
    tgps: float,
    *,
    t_before: float = 16.0,
    t_after: float = 16.0,
    wht_filter_duration: float = 32.0,
    fmin: float = 20.0,
    fmax: float = 1024.0,
) -> EventData:
    """Return an event made from strain files, one for each detector.

    Noise is measured from the files themselves (Welch's method), so they should be a good
    deal longer than ``wht_filter_duration``.

    Parameters
    ----------
    files : sequence of path
        Strain as HDF5 from https://gwosc.org, or any format that gwpy reads.
    name : str
    detectors : sequence of str
        In the order of the files.
    tgps : float
        GPS time of the event [s].
    t_before, t_after : float
        Valid data kept before and after the event [s].
    wht_filter_duration : float
        Length of the whitening filter's response [s].
    fmin, fmax : float
        Lowest frequency analysed, and Nyquist frequency after downsampling [Hz].

    Returns
    -------
    cogwheel.data.EventData

    Raises
    ------
    MissingFileError
        A file does not exist.
    EventError
        Files cannot be read or hold no valid data around the event.
    InputError
    """
    check_event_name(name)
    check_name("event's name", name)  # runs name files after it
    detectors = tuple(detectors)
    check_detectors(detectors, f"the event {name!r}")
    if len(files) != len(detectors):
        raise InputError(f"{len(files)} strain files given for {len(detectors)} detectors")
    check_tgps(tgps)
    for file in files:
        if not Path(file).is_file():
            raise MissingFileError(f"the strain file {file} does not exist")

    from cogwheel.data import EventData

    from ..cogwheel_bridge import prints_logged

    try:
        with prints_logged(), warnings.catch_warnings():
            # gwpy warns of units that are missing in GWOSC files.
            warnings.simplefilter("ignore")
            event = EventData.from_timeseries(
                [os.fspath(file) for file in files], name, detectors, tgps,
                t_before=t_before, t_after=t_after, wht_filter_duration=wht_filter_duration,
                fmin=fmin, fmax=fmax,
            )  # fmt: skip
    except Exception as error:
        # gwpy's readers raise errors of many classes, some with a table of formats.
        reason = (str(error) or repr(error)).splitlines()[0]
        raise EventError(
            f"no event {name!r} at GPS time {tgps} could be made from "
            f"{', '.join(map(str, files))}: {reason}"
        ) from error
    return load_event(event)
