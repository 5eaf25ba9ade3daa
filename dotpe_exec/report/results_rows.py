"""The page's table of results: quantities by group, one column for each run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..derived.detectors import interferometer_name
from .intervals import decimals, interval_text, weighted_quantiles
from .noise import noise_rows

if TYPE_CHECKING:
    from .view import RunView

_MASSES = (
    ("mass_1_source", "primary mass, source frame", "M☉"),
    ("mass_2_source", "secondary mass, source frame", "M☉"),
    ("final_mass_source", "final mass, source frame", "M☉"),
    ("mchirp", "chirp mass, detector frame", "M☉"),
    ("m1", "primary mass, detector frame", "M☉"),
    ("m2", "secondary mass, detector frame", "M☉"),
    ("q", "mass ratio m2/m1", ""),
)
_SPINS = (
    ("chieff", "effective spin", ""),
    ("chi_p", "effective precession spin", ""),
    ("a_1", "primary spin magnitude", ""),
    ("a_2", "secondary spin magnitude", ""),
    ("final_spin", "final spin", ""),
)
_PLACE = (
    ("d_luminosity", "luminosity distance", "Mpc"),
    ("redshift", "redshift", ""),
    ("iota", "inclination of the orbit", "rad"),
    ("theta_jn", "inclination of the total angular momentum", "rad"),
)
QUANTITIES = (*_MASSES, *_SPINS, *_PLACE)
"""Column, name and unit of what several runs are compared by."""

_EVIDENCE = (
    ("ln_evidence", "ln evidence", ".2f"),
    ("ln_evidence_error", "its standard error", ".2f"),
    ("ln_evidence_discarded", "ln evidence that was discarded", ".2f"),
    ("bestfit_lnlike_max", "largest ln likelihood, distance free", ".2f"),
    ("lnl_marginalized_max", "largest ln likelihood, distance marginalised", ".2f"),
)
_SAMPLING = (
    ("n_effective", "effective samples", ".1f"),
    ("n_effective_i", "effective waveforms", ".1f"),
    ("n_effective_e", "effective extrinsic samples", ".1f"),
    ("n_i_inds_used", "waveforms that passed the selection", "d"),
    ("n_distance_marginalizations", "likelihoods above the threshold", "d"),
)
_SKY = (
    ("area_50", "area that holds 50%", "deg²", 1.0, ".0f"),
    ("area_90", "area that holds 90%", "deg²", 1.0, ".0f"),
    ("volume_50", "volume that holds 50%", "Gpc³", 1e-9, ".3g"),
    ("volume_90", "volume that holds 90%", "Gpc³", 1e-9, ".3g"),
)
_CARDS = (
    ("mass_1_source", "primary mass, source", "M☉"),
    ("mass_2_source", "secondary mass, source", "M☉"),
    ("chieff", "effective spin", ""),
    ("d_luminosity", "distance", "Mpc"),
    ("network_matched_filter_snr", "network SNR", ""),
)


@dataclass(frozen=True)
class Group:
    """Rows of the table that belong together: name, one cell for each run, unit."""

    title: str
    rows: list[list[str]]


@dataclass(frozen=True)
class Card:
    """A number to be seen first."""

    name: str
    median: str
    interval: str
    unit: str


def result_groups(views: Sequence[RunView]) -> list[Group]:
    """Return the table of results, without groups of which nothing is known.

    If the first run's signal was injected, each row's last cell but the unit is its value.
    """
    truth = common_truth(views)
    groups = [
        Group("Masses", _intervals(views, _MASSES, truth)),
        Group("Spins", _intervals(views, _SPINS, truth)),
        Group("Distance and orientation", _intervals(views, _PLACE, truth)),
        Group("Position", _sky_rows(views)),
        Group("Signal-to-noise ratios", _intervals(views, _snr_names(views), None)),
        Group("Goodness of fit", _fit_rows(views)),
        Group("Evidence and likelihood", _summary_rows(views, _EVIDENCE)),
        Group("Sampling", [*_summary_rows(views, _SAMPLING), *_binning_rows(views)]),
        Group("Noise near the event", noise_rows(views)),
    ]
    if truth:
        for group in groups[3:]:
            for row in group.rows:
                row.insert(-1, "")
    return [group for group in groups if group.rows]


def common_truth(views: Sequence[RunView]) -> Mapping[str, float] | None:
    """Return what was injected, None unless all runs are of the same event."""
    if len({view.event_name for view in views}) > 1:
        return None
    return views[0].truth


def cards(view: RunView) -> list[Card]:
    """Return the numbers of a run that are seen first."""
    found = []
    for column, name, unit in _CARDS:
        samples = view.with_column(column)
        if samples is None or not samples["weights"].sum() > 0:
            continue
        low, median, high = weighted_quantiles(
            samples[column], samples["weights"], (0.05, 0.5, 0.95)
        )
        n = decimals(high - low)
        minus, plus = f"−{median - low:.{n}f}", f"+{high - median:.{n}f}"
        found.append(
            Card(name, f"{median:.{n}f}".replace("-", "−"), f"{plus} {minus}", unit)
        )
    area = _sky(view).get("area_90")
    if area is not None:
        found.append(Card("90% area", f"{area:.0f}", "", "deg²"))
    return found


def interval(view: RunView, column: str) -> str:
    """Return median and 90% interval of a column, a dash without it."""
    samples = view.with_column(column)
    if samples is None or not samples["weights"].sum() > 0:
        return "–"
    return interval_text(samples, column)


def formatted(value: Any, form: str) -> str:
    """Return a number as text, a dash for none."""
    if value is None:
        return "–"
    return f"{int(value) if form == 'd' else value:{form}}"


def _intervals(
    views: Sequence[RunView],
    columns: Sequence[tuple[str, str, str]],
    truth: Mapping[str, float] | None,
) -> list[list[str]]:
    rows = []
    for column, name, unit in columns:
        cells = [interval(view, column) for view in views]
        if truth:
            value = truth.get(column)
            cells.append("" if value is None else f"{value:.4g}")
        rows.append([name, *cells, unit])
    return rows


def _snr_names(views: Sequence[RunView]) -> list[tuple[str, str, str]]:
    """Return the signal-to-noise ratios that are shown, of all detectors of all runs."""
    columns = dict.fromkeys(
        name
        for view in views
        for name in view.columns("detectors")
        if name.endswith(("_optimal_snr", "_matched_filter_snr"))
    )
    return [
        (c, c.removesuffix("_snr").replace("_", " ") + " signal-to-noise ratio", "")
        for c in columns
    ]


def _sky(view: RunView) -> Mapping[str, float]:
    """Return areas and volumes, those that are known."""
    stored = view.run.summary.get("sky")
    if isinstance(stored, Mapping):
        return stored
    skymap = view.__dict__.get("skymap")
    if skymap is None:
        return {}
    return {f"area_{100 * p:.0f}": area for p, area in skymap.areas.items()}


def _sky_rows(views: Sequence[RunView]) -> list[list[str]]:
    known = [_sky(view) for view in views]
    rows = []
    for key, name, unit, factor, form in _SKY:
        values = [sky.get(key) for sky in known]
        if any(value is not None for value in values):
            cells = [formatted(None if v is None else factor * v, form) for v in values]
            rows.append([name, *cells, unit])
    return rows


def _fit_rows(views: Sequence[RunView]) -> list[list[str]]:
    fits = [view.run.summary.get("goodness_of_fit") or {} for view in views]
    rows = []
    for name in dict.fromkeys(name for fit in fits for name in fit):
        cells = [_fit_text(fit.get(name)) for fit in fits]
        rows.append([f"chi-squared of {interferometer_name(name)}", *cells, ""])
    return rows


def _fit_text(fit: Mapping[str, float] | None) -> str:
    if not fit:
        return "–"
    return (
        f"{fit['chi_squared']:.1f} for {fit['n_degrees_of_freedom']} degrees of freedom, "
        f"p = {fit['p_value']:.2g}"
    )


def _summary_rows(
    views: Sequence[RunView], keys: Sequence[tuple[str, str, str]]
) -> list[list[str]]:
    return [
        [name, *(formatted(view.run.summary.get(key), form) for view in views), ""]
        for key, name, form in keys
        if any(key in view.run.summary for view in views)
    ]


def _binning_rows(views: Sequence[RunView]) -> list[list[str]]:
    errors = [view.run.summary.get("relative_binning_error") or {} for view in views]
    if not any(errors):
        return []
    cells = [formatted(error.get("largest"), ".3f") for error in errors]
    return [["largest error of relative binning in ln likelihood", *cells, ""]]
