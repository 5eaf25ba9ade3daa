"""Masses of binaries, and spins weighted by mass."""

from __future__ import annotations

from typing import TypeVar

import numpy as np

_Numbers = TypeVar("_Numbers", float, np.ndarray)


def chirp_mass(m1: _Numbers, m2: _Numbers) -> _Numbers:
    """Return the chirp mass (m1 m2)^(3/5) / (m1 + m2)^(1/5), in the unit of the masses."""
    return (m1 * m2) ** 0.6 / (m1 + m2) ** 0.2


def primary_mass(mchirp: _Numbers, q: _Numbers | float) -> _Numbers:
    """Return the larger mass from chirp mass and mass ratio m2 / m1, in mchirp's unit."""
    return mchirp * (1 + q) ** 0.2 / q**0.6


def effective_spin(m1: _Numbers, m2: _Numbers, s1z: _Numbers, s2z: _Numbers) -> _Numbers:
    """Return chieff, the mean of the aligned spin components by mass."""
    q = m2 / m1
    return (s1z + q * s2z) / (1 + q)
