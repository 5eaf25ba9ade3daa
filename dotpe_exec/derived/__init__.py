"""Quantities that follow from a run's samples: vectorised, from tables to tables.

Names are those of bilby, PESummary and the GWTC releases. Masses are in the detector's
frame unless their name ends in ``_source``; angles of spins are LALInference's, at the
reference frequency.
"""

from __future__ import annotations

from .binary import binary_parameters, standard_parameters
from .cosmology import comoving_volume_weights, redshift
from .detectors import detector_parameters
from .remnant import remnant_parameters

__all__ = [
    "binary_parameters",
    "comoving_volume_weights",
    "detector_parameters",
    "redshift",
    "remnant_parameters",
    "standard_parameters",
]
