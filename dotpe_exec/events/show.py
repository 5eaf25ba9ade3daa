"""A picture of an event: whitened strain, its spectrogram, the noise's spectral density."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from ..atomic import atomic_write, check_writable
from ..errors import InputError

if TYPE_CHECKING:
    from cogwheel.data import EventData
    from matplotlib.figure import Figure

    from .matched_filter import Trigger

_BEFORE, _AFTER = 0.5, 0.2  # [s] around the event
_CHUNK, _OVERLAP = 1 / 16, 0.95  # of the spectrogram: [s], share
_LARGEST_POWER = 25.0  # in units of the noise's
_SUFFIXES = (".png", ".pdf", ".svg")


def event_figure(event: EventData, trigger: Trigger | None = None) -> Figure:
    """Return a figure with a column for each detector.

    Parameters
    ----------
    event : cogwheel.data.EventData
    trigger : Trigger, optional
        What was found: marked in strain and spectrogram.
    """
    from matplotlib.figure import Figure
    from scipy.signal import spectrogram

    n_det = len(event.detector_names)
    figure = Figure(figsize=(4.5 * n_det, 8), layout="constrained")
    axes = figure.subplots(3, n_det, squeeze=False, sharey="row")
    whitened_dt = event.get_whitened_td()
    times = event.times - event.tcoarse
    near = (times > -_BEFORE - _CHUNK) & (times < _AFTER + _CHUNK)
    rate = event.nfft * event.df
    n_chunk = max(8, round(_CHUNK * rate))
    for d, name in enumerate(event.detector_names):
        strain, power, density = axes[:, d]
        strain.plot(times[near], whitened_dt[d, near], lw=0.7)
        title = f"{event.eventname}, {name}"
        if trigger is not None:
            title += f": SNR {trigger.snr[name]:.1f}"
            for panel in (strain, power):
                panel.axvline(
                    trigger.time[name] - event.tgps, color="#D55E00", ls="--", lw=0.8
                )
        strain.set(title=title, xlim=(-_BEFORE, _AFTER))
        frequencies, moments, values = spectrogram(
            whitened_dt[d, near], rate, nperseg=n_chunk,
            noverlap=int(_OVERLAP * n_chunk), nfft=4 * n_chunk,
        )  # fmt: skip
        # White noise of unit variance has the density 2 / rate.
        power.pcolormesh(
            moments + times[near][0], frequencies, values * rate / 2, vmin=0,
            vmax=_LARGEST_POWER, shading="nearest", rasterized=True,
        )  # fmt: skip
        power.set(xlim=(-_BEFORE, _AFTER), ylim=event.fbounds, yscale="log",
                  xlabel=f"time from GPS {event.tgps:.14g} [s]")  # fmt: skip
        inside = event.wht_filter[d] > 0
        density.loglog(event.frequencies[inside], 1 / event.wht_filter[d, inside], lw=0.7)
        density.set(xlim=event.fbounds, xlabel="frequency [Hz]")
    axes[0, 0].set_ylabel("whitened strain [noise's deviations]")
    axes[1, 0].set_ylabel("frequency [Hz]")
    lowest = min(
        (1 / row[row > 0]).min() for row in np.asarray(event.wht_filter) if np.any(row > 0)
    )
    axes[2, 0].set(ylabel="amplitude spectral density [Hz$^{-1/2}$]",
                   ylim=(0.5 * lowest, 1e3 * lowest))  # fmt: skip
    return figure


def show_event(event: str | os.PathLike | EventData, path: str | os.PathLike) -> Trigger:
    """Draw an event, and say what a search would.

    Parameters
    ----------
    event : path, str or cogwheel.data.EventData
        As :func:`load_event` takes it.
    path : path
        Picture: ``.png``, ``.pdf`` or ``.svg``.

    Returns
    -------
    Trigger
        Of a matched filter with a coarse bank of templates, :func:`.find_trigger`.

    Raises
    ------
    InputError
        The picture's name has another ending.
    """
    from .load import load_event
    from .matched_filter import find_trigger

    if not str(path).endswith(_SUFFIXES):
        raise InputError(f"the picture {path} must end in {', '.join(_SUFFIXES)}")
    check_writable(path)
    data = load_event(event)
    trigger = find_trigger(data)
    figure = event_figure(data, trigger)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=110)
    return trigger
