"""Events: load and check them, simulate them, fetch or make them from public strain.

An event is cogwheel's ``EventData``: frequency-domain strain and whitening filter of each
detector. cogwheel is imported inside functions, so importing this package is light.
"""

from .bins import check_bins_on_grid, fbin_from_pn_phase_tol
from .fetch import PublishedStrain, fetch_event, fetch_strain
from .injection import injection_inner_products, injection_lnlike
from .load import bundled_events, check_event_name, load_event
from .make import event_from_strain, simulate_event
from .save import save_event
from .show import event_figure, show_event

__all__ = [
    "PublishedStrain",
    "bundled_events",
    "check_bins_on_grid",
    "check_event_name",
    "event_figure",
    "event_from_strain",
    "fbin_from_pn_phase_tol",
    "fetch_event",
    "fetch_strain",
    "injection_inner_products",
    "injection_lnlike",
    "load_event",
    "save_event",
    "show_event",
    "simulate_event",
]
