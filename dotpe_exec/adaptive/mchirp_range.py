"""The range of chirp masses to search for an event about which nothing is known."""

from __future__ import annotations

import math
from typing import Any

RANGE_FACTOR, FROM = 1.5, 6.0
"""How far the range extends to both sides of the best template, and is widened: by this
factor from a chirp mass on, and by less below, where signals are long and chirp masses are
known better, in proportion to the number of cycles."""


def range_around(mchirp: float) -> tuple[float, float]:
    """Return a range of chirp masses around one, to two digits [solar masses]."""
    factor = _factor(mchirp)
    return _rounded(mchirp / factor, math.floor), _rounded(mchirp * factor, math.ceil)


def widened(
    mchirp_range: tuple[float, float], below: bool, above: bool
) -> tuple[float, float]:
    """Return a range that extends further at one end or both [solar masses]."""
    low, high = mchirp_range
    return (
        _rounded(low / _factor(low), math.floor) if below else low,
        _rounded(high * _factor(high), math.ceil) if above else high,
    )


def _factor(mchirp: float) -> float:
    return 1 + (RANGE_FACTOR - 1) * min(mchirp / FROM, 1.0) ** (5 / 3)


def _rounded(value: float, to_integer: Any) -> float:
    digit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{to_integer(round(value / digit, 9)) * digit:.6g}")
