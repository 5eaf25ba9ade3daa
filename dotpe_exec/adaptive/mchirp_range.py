"""Which chirp masses to look at, for an event of which nothing is known."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..kernels.masses import primary_mass
from ..stages.mchirp_guess import best_mchirp

if TYPE_CHECKING:
    from cogwheel.data import EventData

LOWEST, HIGHEST = 4.0, 120.0
"""Chirp masses searched [solar masses]: from a light black hole and a heavy neutron star
to what hardly enters the detectors' band."""

N_TEMPLATES = 384

MASS_RATIO = 0.7
"""Of the templates; they do not spin."""

RANGE_FACTOR = 1.5
"""How far the range extends to both sides of the best template, and is widened."""


def search_mchirp(
    event_data: EventData,
    approximant: str,
    f_ref: float,
    mchirp_range: tuple[float, float] = (LOWEST, HIGHEST),
) -> float:
    """Return the chirp mass of the best of a ladder of templates [solar masses].

    Rungs are dense where signals are long: half of them at equal steps of the logarithm,
    half at equal steps of the inverse.

    Raises
    ------
    InputError
        None of the templates could be generated.
    """
    low, high = mchirp_range
    n = N_TEMPLATES // 2
    mchirp_i = np.unique(
        np.concatenate([np.geomspace(low, high, n), 1 / np.linspace(1 / high, 1 / low, n)])
    )
    q = MASS_RATIO
    m1_i = primary_mass(mchirp_i, q)
    zero = np.zeros(len(mchirp_i))
    templates = np.stack([m1_i, q * m1_i, zero, zero], axis=1)
    found = best_mchirp(event_data, templates, approximant, f_ref)
    if found is None:
        raise InputError(
            f"{approximant} could generate none of {len(templates)} templates to find the "
            "event's chirp mass with; give mchirp_range and par_dic_0"
        )
    return found


def range_around(mchirp: float) -> tuple[float, float]:
    """Return a range of chirp masses around one, to two digits [solar masses]."""
    return _rounded(mchirp / RANGE_FACTOR, math.floor), _rounded(
        mchirp * RANGE_FACTOR, math.ceil
    )


def widened(
    mchirp_range: tuple[float, float], below: bool, above: bool
) -> tuple[float, float]:
    """Return a range that extends further at one end or both [solar masses]."""
    low, high = mchirp_range
    return (
        _rounded(low / RANGE_FACTOR, math.floor) if below else low,
        _rounded(high * RANGE_FACTOR, math.ceil) if above else high,
    )


def _rounded(value: float, to_integer: Any) -> float:
    digit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{to_integer(round(value / digit, 9)) * digit:.6g}")
