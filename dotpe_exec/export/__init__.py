"""Results in the formats of other programs: bilby, PESummary, sky maps, ArviZ."""

from __future__ import annotations

from .._lazy import attributes_from

_PUBLIC = {
    "AnalysedData": "data",
    "analysed_data": "data",
    "bilby_likelihood": "data",
    "export_beside": "beside",
    "equal_weight_samples": "tables",
    "prior_draws": ".run_prior",
    "to_arviz": "arviz",
    "to_bilby": "bilby",
    "make_skymap": ".report.skymap",
    "to_pesummary": "pesummary",
    "to_skymap": ".report.skymap",
}
__all__ = list(_PUBLIC)

__getattr__, __dir__ = attributes_from(__name__, _PUBLIC)
