"""The distance-marginalised likelihood on a grid fine enough for linear interpolation."""

from __future__ import annotations

import functools

import numpy as np

from .distance import OVERLAP_SCALE, SIGMAS, DistanceTable, lnlike_marginalized

# The coordinates of the distance table, and how finely it is tabulated for linear
# interpolation (to about 1e-3 in the logarithm).
X_MIN, X_MAX, _N_X = -10.0, 0.0, 400
Y_MIN, Y_MAX, _N_Y = -0.5, 1.0, 600


@functools.lru_cache(maxsize=2)  # it takes 0.1 s, and `infer` asks again and again
def tabulate_distance(table: DistanceTable) -> np.ndarray:
    """Return ln(L / max over distance of L), evenly spaced in the table's coordinates.

    With v = d_h / sqrt(h_h): x = ln(sqrt(h_h) / (d_max (10 + |v|))), y = v / (10 + |v|).
    """
    x = np.linspace(X_MIN, X_MAX, _N_X)[:, None]
    y = np.linspace(Y_MIN, Y_MAX, _N_Y)[None, :-1]
    overlap = OVERLAP_SCALE * y / (1 - np.abs(y))
    norm_h = np.exp(x) * table.d_luminosity_max * (SIGMAS + np.abs(overlap))
    lnlike = lnlike_marginalized(overlap * norm_h, norm_h**2, table)
    ln_distance = lnlike - 0.5 * overlap**2
    # y = 1 is an infinite overlap, beyond any signal.
    return np.concatenate([ln_distance, ln_distance[:, -1:]], axis=1)
