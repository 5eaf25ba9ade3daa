"""Make events: simulated noise with a signal, or from public strain."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import EventError, InputError, MissingFileError
from ..rundir.files import check_name
from ..validation import integer
from .load import check_detectors, check_event_name, load_event
from .psds import read_psds, with_psds
from .spans import fit_spans
from .strain import Strain, detector_letters, read_strain, valid_around

if TYPE_CHECKING:
    from cogwheel.data import EventData

# Of a detector's data. Some arrays of as many complex numbers are made on the way.
_MOST_SAMPLES = 2**28
_FMAX = 1024.0  # [Hz], where files have more


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
        Of "H", "L", "V"; ``"HL"`` and ``"H1,L1"`` will do.
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
    detectors = detector_letters(detectors)
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
    detectors: str | Sequence[str] | None = None,
    tgps: float | None = None,
    *,
    t_before: float | None = None,
    t_after: float | None = None,
    wht_filter_duration: float | None = None,
    fmin: float = 20.0,
    fmax: float | None = None,
    psds: Sequence[str | os.PathLike] | Mapping[str, str | os.PathLike] | None = None,
    channels: Sequence[str] | None = None,
) -> EventData:
    """Return an event made from strain files, one for each detector.

    Noise is measured from the files themselves (Welch's method) unless ``psds`` are given.

    Parameters
    ----------
    files : sequence of path
        Strain as HDF5 from https://gwosc.org, frame files, or any format that gwpy reads.
    name : str
    detectors : str or sequence of str, optional
        In the order of the files: ``"HL"``, ``"H1,L1"``, ``["H", "L"]``. Default: those
        that the files name.
    tgps : float
        GPS time of the event [s].
    t_before, t_after : float, optional
        Valid data kept before and after the event [s]. Default: what the files hold, 16 s
        at most.
    wht_filter_duration : float, optional
        Length of the whitening filter's response [s], half of which is lost at each end
        of the data. Default: what the files hold, 32 s at most.
    fmin : float
        Lowest frequency analysed [Hz].
    fmax : float, optional
        Nyquist frequency after downsampling [Hz]; default 1024 Hz, or the files' if that
        is lower.
    psds : sequence of path, or dict, optional
        Power spectral densities of the noise in the order of the files, or by detector:
        text of two columns, frequency [Hz] and density [1/Hz].
    channels : sequence of str, optional
        Channels of frame files that hold several.

    Returns
    -------
    cogwheel.data.EventData

    Raises
    ------
    MissingFileError
        A file does not exist.
    EventError
        Files cannot be read, hold no valid data around the event, or are of other
        detectors than said.
    InputError
    """
    check_event_name(name)
    check_name("event's name", name)  # runs name files after it
    letters = None if detectors is None else detector_letters(detectors)
    for given, what in ((letters, "detectors"), (channels, "channels")):
        if given is not None and len(files) != len(given):
            raise InputError(f"{len(files)} strain files given for {len(given)} {what}")
    if not files:
        raise InputError("no strain files given, expected one for each detector")
    if tgps is None:
        raise InputError("tgps is missing: give the GPS time of the event")
    check_tgps(tgps)
    strains = [
        read_strain(file, channel)
        for file, channel in itertools.zip_longest(files, channels or ())
    ]
    letters = _agreed_detectors(strains, letters)
    check_detectors(letters, f"the event {name!r}")
    tables = read_psds(psds, letters)
    strains = [valid_around(strain, tgps) for strain in strains]
    spans = fit_spans(
        strains, tgps, t_before=t_before, t_after=t_after,
        wht_filter_duration=wht_filter_duration,
    )  # fmt: skip
    nyquist = min(0.5 / strain.step for strain in strains)
    fmax = min(_FMAX, nyquist) if fmax is None else fmax
    if not 0 < fmin < fmax <= nyquist * (1 + 1e-9):
        raise InputError(
            f"fmin is {fmin} Hz and fmax {fmax} Hz, expected 0 < fmin < fmax and at most "
            f"{nyquist:g} Hz (half the sampling rate of the files)"
        )

    from ..cogwheel_bridge import event_from_timeseries, prints_logged

    try:
        with prints_logged():
            event = event_from_timeseries(
                [strain.series for strain in strains], name, letters, tgps,
                t_before=spans.t_before, t_after=spans.t_after,
                wht_filter_duration=spans.wht_filter_duration, fmin=fmin, fmax=fmax,
            )  # fmt: skip
    except Exception as error:
        # Of cogwheel, gwpy and SciPy, of many classes.
        reason = (str(error) or repr(error)).splitlines()[0]
        raise EventError(
            f"no event {name!r} at GPS time {tgps} could be made from "
            f"{', '.join(map(str, files))}: {reason}"
        ) from error
    if tables:
        event = with_psds(event, tables, fmin, spans.wht_filter_duration)
    return load_event(event)


def _agreed_detectors(
    strains: Sequence[Strain], letters: tuple[str, ...] | None
) -> tuple[str, ...]:
    """Return the detectors that files and caller agree on."""
    found = []
    for i, strain in enumerate(strains):
        said = None if letters is None else letters[i]
        if said is None and strain.detector is None:
            raise EventError(
                f"the strain file {strain.source} does not say of which detector it is: "
                "give detectors"
            )
        if said is not None and strain.detector not in (None, said):
            raise EventError(
                f"the strain file {strain.source} is of detector {strain.detector}, but "
                f"detectors say {said}: give them in the order of the files, or not at all"
            )
        found.append(said or strain.detector)
    return tuple(detector for detector in found if detector)
