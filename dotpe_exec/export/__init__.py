"""Results in the formats of other programs: bilby's JSON, PESummary's HDF5."""

from __future__ import annotations

from .._lazy import attributes_from

_PUBLIC = {
    "AnalysedData": "data",
    "analysed_data": "data",
    "bilby_likelihood": "data",
    "equal_weight_samples": "tables",
    "prior_draws": "prior",
    "to_bilby": "bilby",
    "to_pesummary": "pesummary",
}
__all__ = list(_PUBLIC)

__getattr__, __dir__ = attributes_from(__name__, _PUBLIC)
