"""Mass parameters of binaries."""

from __future__ import annotations

import numpy as np


def chirp_mass(m1: np.ndarray, m2: np.ndarray) -> np.ndarray:
    """Return the chirp mass (m1 m2)^(3/5) / (m1 + m2)^(1/5), in the unit of the masses."""
    return (m1 * m2) ** 0.6 / (m1 + m2) ** 0.2
