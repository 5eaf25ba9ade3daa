"""The black hole that is left, and the luminosity of the merger.

Averages of fits to numerical relativity, those of the LIGO-Virgo-KAGRA catalogues
(LIGO-T1600168, T1500597), as implemented in ``lalinference.imrtgr.nrutils``: of UIB (Keitel
et al. 2016, arXiv:1612.09566; Jimenez-Forteza et al. 2016, arXiv:1611.00332), of Healy and
Lousto 2016 (arXiv:1610.09713) and, for the spin, of Hofmann, Barausse and Rezzolla 2016
(arXiv:1605.01938). Spins enter as they are at the reference frequency.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


def remnant_parameters(parameters: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return mass and spin of the remnant and the peak luminosity.

    Parameters
    ----------
    parameters : mapping of (n,) float
        ``mass_1``, ``mass_2`` [solar masses], ``a_1``, ``a_2``, ``tilt_1``, ``tilt_2``,
        ``phi_12`` [rad].

    Returns
    -------
    dict of (n,) float
        ``final_mass`` [solar masses], ``final_spin``, ``peak_luminosity`` [10^56 erg/s].
    """
    from lalinference.imrtgr import nrutils

    m1, m2, a_1, a_2, tilt_1, tilt_2, phi_12 = (
        np.asarray(parameters[name], float)
        for name in ("mass_1", "mass_2", "a_1", "a_2", "tilt_1", "tilt_2", "phi_12")
    )
    if not len(m1):
        names = ("final_mass", "final_spin", "peak_luminosity")
        return {name: np.empty(0) for name in names}
    # Rounding may leave a magnitude above 1 by 1e-16, which the fits refuse.
    rows_nk = np.stack(
        [m1, m2, np.minimum(a_1, 1), np.minimum(a_2, 1), tilt_1, tilt_2, phi_12], axis=1
    )
    # Samples of the same waveform have the same remnant, which takes 0.2 ms.
    unique_nk, number_n = np.unique(rows_nk, axis=0, return_inverse=True)
    number_n = number_n.reshape(-1)  # NumPy 2.0 gives it another axis
    *binary, angle = unique_nk.T

    def average(quantity: str, fits: list[str]) -> np.ndarray:
        # phi_12 counts for the spin only.
        phi = angle if quantity == "af" else np.zeros_like(angle)
        found = nrutils.bbh_average_fits_precessing(*binary, phi, quantity, fits)
        return found[number_n]

    return {
        "final_mass": average("Mf", ["UIB2016", "HL2016"]),
        "final_spin": average("af", ["UIB2016", "HBR2016", "HL2016"]),
        "peak_luminosity": average("Lpeak", ["UIB2016", "HL2016"]),
    }
