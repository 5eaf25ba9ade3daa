"""Redshift and comoving volume, in the Planck 2018 cosmology (flat)."""

from __future__ import annotations

import numpy as np


def redshift(d_luminosity: np.ndarray) -> np.ndarray:
    """Return the redshift of luminosity distances [Mpc]; NaN beyond redshift 10."""
    from cogwheel.cosmology import z_of_d_luminosity

    return np.asarray(z_of_d_luminosity(np.asarray(d_luminosity, float)), float)


def comoving_volume_weights(d_luminosity: np.ndarray) -> np.ndarray:
    """Return the ratio of two prior densities of distance, for importance weights.

    The numerator is uniform in comoving volume and source time,
    dV_c/dz / (1 + z) dz/dd_L; the denominator, the prior of DOT-PE, is uniform in
    luminosity volume. The ratio is 1 at distance zero and not normalised.

    Parameters
    ----------
    d_luminosity : (n,) float
        [Mpc]

    Returns
    -------
    (n,) float
        (1 + z)^-4 (1 - d_L / (1 + z) dz/dd_L), cogwheel's function.
    """
    from cogwheel.cosmology import comoving_to_luminosity_diff_vt_ratio

    ratio = comoving_to_luminosity_diff_vt_ratio(np.asarray(d_luminosity, float))
    return np.asarray(ratio, float)
