"""The range of chirp masses to search for an event about which nothing is known."""

from __future__ import annotations

import math
from typing import Any

RANGE_FACTOR = 1.5
"""How far the range extends to both sides of the best template, and is widened."""


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
