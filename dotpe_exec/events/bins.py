"""Frequency bins of relative binning, on the grid of an event."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from ..errors import BankError, InputError

if TYPE_CHECKING:
    from cogwheel.data import EventData

# Bins that are off the event's grid by more than this fraction of its step are refused.
_GRID_TOLERANCE = 1e-6


def fbin_from_pn_phase_tol(
    event_data: EventData, pn_phase_tol: float, approximant: str = "IMRPhenomXPHM"
) -> np.ndarray:
    """Return edges of frequency bins on the event's grid, for building a bank.

    Across a bin the phases of two post-Newtonian waveforms differ by at most
    ``pn_phase_tol``: the rule of Zackay, Dai & Venumadhav (arXiv:1806.08792), as cogwheel's
    relative binning applies it.

    Parameters
    ----------
    event_data : cogwheel.data.EventData
    pn_phase_tol : float
        [rad]
    approximant : str
        One with tides needs one more post-Newtonian term.

    Returns
    -------
    (n_b,) float
        [Hz]

    Raises
    ------
    InputError
        The tolerance is not positive, or so large that too few bins are left.
    """
    from cogwheel.waveform import APPROXIMANTS

    if not (np.isfinite(pn_phase_tol) and pn_phase_tol > 0):
        raise InputError(
            f"pn_phase_tol is {pn_phase_tol}, expected a positive number [rad]"
        )
    exponents = np.array([-5 / 3, -2 / 3, 1.0])
    if approximant in APPROXIMANTS and APPROXIMANTS[approximant].tides:
        exponents = np.append(exponents, 5 / 3)
    fmin, fmax = event_data.fbounds
    # Each term may run through one cycle over the band; the signs add up at worst.
    coefficients = (
        2 * np.pi * np.sign(exponents) / np.abs(fmax**exponents - fmin**exponents)
    )
    frequencies = np.linspace(fmin, fmax, 10000)
    phase = (frequencies[:, np.newaxis] ** exponents) @ coefficients
    phase -= phase[0]
    n_bins = int(np.ceil(phase[-1] / pn_phase_tol))
    edges = np.interp(np.linspace(0, phase[-1], n_bins + 1), phase, frequencies)
    fbin = event_data.frequencies[_grid_indices(edges, event_data)]
    if len(fbin) < 5:
        raise InputError(
            f"pn_phase_tol is {pn_phase_tol} rad: only {len(fbin)} bin edges, expected at "
            "least 5; give a smaller tolerance"
        )
    return fbin


def _grid_indices(fbin: np.ndarray, event_data: EventData) -> np.ndarray:
    """Round bin edges to the event's frequencies, without doubles, as cogwheel does."""
    return np.unique(np.searchsorted(event_data.frequencies, fbin - event_data.df / 2))


def check_bins_on_grid(fbin: np.ndarray, event_data: EventData) -> None:
    """Refuse a bank whose bins are not frequencies of the event.

    Waveforms of a bank are known at its bin edges alone; relative binning rounds the edges
    to the frequencies of the data and drops doubles, after which the two do not fit.

    Parameters
    ----------
    fbin : (n_b,) float
        The bank's bin edges [Hz].
    event_data : cogwheel.data.EventData

    Raises
    ------
    BankError

    Warns
    -----
    UserWarning
        The bins leave out frequencies at which the event has data.
    """
    fbin = np.asarray(fbin, dtype=float)
    df, frequencies = event_data.df, event_data.frequencies
    remedy = (
        "; build the bank for this event, or make the event with the duration, fmin and "
        "fmax of the bank's event"
    )
    if fbin[-1] > frequencies[-1] + _GRID_TOLERANCE * df:
        raise BankError(
            f"the bank's bins reach {fbin[-1]} Hz, but the data of {event_data.eventname} "
            f"end at {frequencies[-1]} Hz{remedy}"
        )
    distance = np.abs(fbin / df - np.round(fbin / df))
    if np.any(distance > _GRID_TOLERANCE):
        first = fbin[np.argmax(distance > _GRID_TOLERANCE)]
        raise BankError(
            f"the bank's bins are not frequencies of {event_data.eventname}, of which "
            f"there is one every {df} Hz: {first} Hz is none (relative binning would round "
            f"the bins, and the bank's waveforms would not fit them){remedy}"
        )
    if len(_grid_indices(fbin, event_data)) != len(fbin):
        raise BankError(
            f"the bank has several bins for one frequency of {event_data.eventname}{remedy}"
        )
    fmin, fmax = event_data.fbounds
    if fbin[0] > fmin + 1.0 or fbin[-1] < fmax - 1.0:
        warnings.warn(
            f"the bank's bins cover {fbin[0]} to {fbin[-1]} Hz, but {event_data.eventname} "
            f"has data from {fmin} to {fmax} Hz: the rest is not used",
            stacklevel=2,
        )
