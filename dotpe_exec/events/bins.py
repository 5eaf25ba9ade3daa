"""Frequency bins of relative binning, on the grid of an event."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ..errors import BankError, InputError
from ..warned import warn

if TYPE_CHECKING:
    from cogwheel.data import EventData

# Bins that are off the event's grid by more than this fraction of its step are refused.
_GRID_TOLERANCE = 1e-6

_N_GRID = 10000
_MOST_BINS = 1e7
FEWEST_BINS = 4

LARGEST_PN_PHASE_TOL = 0.05
"""Tolerance for events that are not loud [rad]."""

_LOUD = 500.0
"""ln likelihood above which the tolerance is smaller."""


def pn_phase_tol_for(lnlike: float) -> float:
    """Return the tolerance with which relative binning is exact enough for an event.

    An error in the waveform that is quadratic in the tolerance changes ln likelihood in
    proportion to the signal's: the tolerance falls with its square root, in steps of
    sqrt(2), so that rounding does not change the bins.

    Parameters
    ----------
    lnlike : float
        Largest ln likelihood of the event, roughly.

    Returns
    -------
    float
        [rad]
    """
    steps = max(0, math.ceil(math.log2(max(lnlike, _LOUD) / _LOUD)))
    return round(LARGEST_PN_PHASE_TOL * 2 ** (-steps / 2), 4)


def fbin_from_pn_phase_tol(
    event_data: EventData, pn_phase_tol: float, approximant: str = "IMRPhenomXPHM"
) -> np.ndarray:
    """Return edges of frequency bins on the event's grid, for building a bank.

    See :func:`pn_bins`.

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
        The tolerance cannot be used.
    """
    from cogwheel.waveform import APPROXIMANTS

    tides = approximant in APPROXIMANTS and bool(APPROXIMANTS[approximant].tides)
    return pn_bins(event_data.frequencies, event_data.fbounds, pn_phase_tol, tides)


def pn_bins(
    frequencies: np.ndarray,
    fbounds: tuple[float, float],
    pn_phase_tol: float,
    tides: bool = False,
) -> np.ndarray:
    """Return bin edges on an event's frequency grid.

    Across each bin the post-Newtonian phase difference between two waveforms, in the
    worst case of terms f^(-5/3), f^(-2/3) and f (with tides f^(5/3)) that each vary by
    2 pi over the band with the same sign, is at most ``pn_phase_tol`` (Zackay, Dai &
    Venumadhav, arXiv:1806.08792). The edges are those that cogwheel's relative binning
    makes of the same tolerance: rounded to the grid, doubles dropped.

    Parameters
    ----------
    frequencies : (n_f,) float
        The event's frequency grid [Hz].
    fbounds : (float, float)
        First and last frequency with data [Hz].
    pn_phase_tol : float
        [rad]
    tides : bool
        Whether the waveforms have tides.

    Raises
    ------
    InputError
        The tolerance is not positive, so large that fewer than four edges result, or so
        small that the bins would not fit into memory.
    """
    if not 0 < pn_phase_tol < np.inf:
        raise InputError(f"pn_phase_tol is {pn_phase_tol}, expected a positive number")
    low, high = (float(f) for f in fbounds)
    exponents = np.array([-5 / 3, -2 / 3, 1] + [5 / 3] * tides)
    coefficients = 2 * np.pi / np.abs(high**exponents - low**exponents)
    f = np.linspace(low, high, _N_GRID)
    phase = np.sum(
        (np.sign(exponents) * coefficients)[:, np.newaxis] * f ** exponents[:, np.newaxis],
        axis=0,
    )
    phase -= phase[0]
    if not phase[-1] / pn_phase_tol < _MOST_BINS:
        raise InputError(
            f"pn_phase_tol is {pn_phase_tol}, which makes more than {_MOST_BINS:.0e} bins, "
            "expected a larger tolerance"
        )
    n_bins = int(np.ceil(phase[-1] / pn_phase_tol))
    edges = np.interp(np.linspace(0, phase[-1], n_bins + 1), phase, f)
    df = frequencies[1] - frequencies[0]
    fbin = frequencies[np.unique(np.searchsorted(frequencies, edges - df / 2))]
    if len(fbin) < FEWEST_BINS:
        raise InputError(
            f"pn_phase_tol is {pn_phase_tol}, which makes {len(fbin)} bin edges, expected "
            f"a smaller tolerance and at least {FEWEST_BINS}"
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
        warn(
            f"the bank's bins cover {fbin[0]} to {fbin[-1]} Hz, but {event_data.eventname} "
            f"has data from {fmin} to {fmax} Hz: the rest is not used",
            stacklevel=2,
        )
