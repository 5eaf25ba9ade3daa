"""Where this package meets cogwheel: the only place that uses its underscore names.

Importing it imports cogwheel (and LAL): do so inside functions, never at the top of a
module that the workers of the likelihood phases load.

Index letters: d detector, m harmonic mode (azimuthal number), p/P polarisation (plus,
cross), b frequency bin, f frequency of the FFT grid, t time.
"""

from ..lean_cogwheel import lean_cogwheel
from ..logged_prints import prints_logged

lean_cogwheel()  # before what imports cogwheel

from .arrival import arrival_offset  # noqa: E402
from .checks import check_waveform, known_keywords, with_all_modes  # noqa: E402
from .drift import asd_drift_error  # noqa: E402
from .generation import hplus_hcross_by_m, lal_source  # noqa: E402
from .likelihood import (  # noqa: E402
    check_approximant,
    check_par_dic,
    make_likelihood,
)
from .mode_summary import (  # noqa: E402
    ModeSummary,
    make_incoherent_summary,
    make_summary,
    single_detector_event,
)
from .posterior import make_posterior  # noqa: E402
from .sample_refinement import refine_from_samples  # noqa: E402
from .strain import event_from_timeseries, whitening_filter  # noqa: E402

__all__ = [
    "ModeSummary",
    "arrival_offset",
    "asd_drift_error",
    "check_approximant",
    "check_par_dic",
    "check_waveform",
    "event_from_timeseries",
    "hplus_hcross_by_m",
    "known_keywords",
    "lal_source",
    "make_incoherent_summary",
    "make_likelihood",
    "make_posterior",
    "make_summary",
    "prints_logged",
    "refine_from_samples",
    "single_detector_event",
    "whitening_filter",
    "with_all_modes",
]
