"""Results in the formats of other programs: bilby's JSON, PESummary's HDF5."""

from __future__ import annotations

from .bilby import to_bilby
from .parameters import equal_weight_samples, standard_parameters
from .pesummary import to_pesummary

__all__ = ["equal_weight_samples", "standard_parameters", "to_bilby", "to_pesummary"]
