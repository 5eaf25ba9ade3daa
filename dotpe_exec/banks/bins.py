"""Frequency bins for relative binning, from a post-Newtonian phase tolerance."""

from __future__ import annotations

import numpy as np

from ..errors import InputError

_N_GRID = 10000
_MOST_BINS = 1e7
FEWEST_BINS = 4


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
