"""The page about a campaign: one self-contained file, searchable without a network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._version import __version__
from ..atomic import atomic_write
from ..verdict import RELIABLE
from .mapping import map_jobs
from .statistics import LEVELS, calibrations, combined_p_value
from .tasks import FINISHED, EventOutcome, outcome_of

if TYPE_CHECKING:
    import pandas as pd

    from .campaign import Campaign

_COLUMNS = (
    ("snr", "SNR", ".1f"),
    ("mchirp", "chirp mass", ".4g"),
    ("q", "mass ratio", ".2f"),
    ("chieff", "effective spin", ".2f"),
    ("d_luminosity", "distance [Mpc]", ".0f"),
    ("redshift", "redshift", ".2f"),
    ("ln_evidence", "ln evidence", ".2f"),
    ("n_effective_i", "effective waveforms", ".0f"),
    ("seconds", "seconds", ".0f"),
)
_FORMULA = tuple("=+-@\t\r")
_WITH_SPAN = {"mchirp", "q", "chieff", "d_luminosity"}


@dataclass(frozen=True)
class PageJob:
    """A page of one event, from its run directory."""

    name: str
    rundir: str
    path: str


def write_page(job: PageJob) -> EventOutcome:
    """Write the page of one event."""
    return outcome_of(job.name, lambda: _write_page(job))


def _write_page(job: PageJob) -> dict[str, Any]:
    from ..report.page import write_report as write_one

    write_one([job.rundir], job.path)
    return {}


def write_report(
    campaign: Campaign,
    *,
    pages: bool,
    executor: Any = None,
    n_procs: int | None = None,
    progress: bool = True,
) -> Path:
    """Write tables and pages; see :meth:`Campaign.report`."""
    files = campaign.files
    finished = [name for name, state in campaign.status().items() if state == FINISHED]
    if pages:
        jobs = [
            PageJob(name, str(files.rundir(name)), str(files.page(name)))
            for name in finished
            if _is_older(files.page(name), files.outcome(name))
        ]
        for _ in map_jobs(
            "pages", write_page, jobs, executor=executor, n_procs=n_procs,
            progress=progress,
        ):  # fmt: skip
            pass  # an event without a page has no link
    table = campaign.table()
    with atomic_write(files.table_csv) as temporary:
        no_formulas(table).to_csv(temporary, index=False)
    with atomic_write(files.table_parquet) as temporary:
        table.to_parquet(temporary, index=False)
    with atomic_write(files.report) as temporary:
        temporary.write_text(_page(campaign, table), encoding="utf-8")
    return files.report


def no_formulas(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose texts no spreadsheet takes for formulas.

    A cell that begins with ``=``, ``+``, ``-`` or ``@`` gets an apostrophe before it;
    numbers and missing values stay as they are.
    """
    texts = table.select_dtypes(include=["object", "string", "category"])

    def plain(cell: object) -> object:
        return f"'{cell}" if isinstance(cell, str) and cell[:1] in _FORMULA else cell

    return table.assign(**{name: texts[name].map(plain) for name in texts})


def _is_older(path: Path, than: Path) -> bool:
    return not path.is_file() or path.stat().st_mtime < than.stat().st_mtime


def _page(campaign: Campaign, table: pd.DataFrame) -> str:
    from ..report.templates import embedded, render_template
    from .figures import catalogue_plot, pp_plot

    some = calibrations(table)
    finished = table[table["status"] == FINISHED]
    return render_template(
        "campaign.html.j2",
        name=campaign.settings.name,
        version=__version__,
        counts=campaign.counts(),
        n_events=len(table),
        n_doubtful=int((finished["verdict"] != RELIABLE).sum()),
        columns=[label for _, label, _ in _COLUMNS],
        rows=[_shown(campaign, row) for row in table.to_dict("records")],
        calibrations=[_shown_calibration(one) for one in some],
        combined=combined_p_value(some) if some else None,
        levels=[f"{100 * level:.0f}%" for level in LEVELS],
        pp=embedded(pp_plot(some)) if some else None,
        catalogue=embedded(catalogue_plot(finished)) if len(finished) else None,
        limits=_limits(campaign),
    )


def _shown(campaign: Campaign, row: dict[str, Any]) -> dict[str, Any]:
    """Return a row of the table as text."""
    page = campaign.files.page(row["name"])
    cells = []
    for key, _, form in _COLUMNS:
        value = row[key]
        if value is None or value != value:
            cells.append({"text": "", "sort": ""})
            continue
        text = format(value, form)
        if key in _WITH_SPAN:
            low, high = row[f"{key}_low"], row[f"{key}_high"]
            text += f" [{format(low, form)}, {format(high, form)}]"
        cells.append({"text": text, "sort": f"{value:.12g}"})
    notes = row["sentence"] or row["findings"] or ""
    return {
        "name": row["name"],
        "link": f"report/{page.name}" if page.is_file() else "",
        "status": row["status"],
        "verdict": row["verdict"],
        "notes": notes,
        "cells": cells,
    }


def _shown_calibration(one: Any) -> dict[str, Any]:
    return {
        "name": one.name,
        "p_value": f"{one.p_value:.3f}",
        "low": one.p_value < 0.01,
        "coverage": [
            f"{100 * share:.0f}% ± {100 * error:.0f}%"
            for share, error in zip(one.coverage, one.coverage_error, strict=True)
        ],
        "bias": f"{one.bias:+.2f} ± {one.bias_error:.2f}",
    }


def _limits(campaign: Campaign) -> str:
    injections = campaign.settings.injections
    if injections is None or not injections.n:
        return ""
    low, high = injections.mchirp_range
    return (
        f"Injections: {injections.approximant}, detectors "
        f"{', '.join(injections.detectors)}, detector-frame chirp mass {low:g} to {high:g} "
        f"solar masses, mass ratio from {injections.q_min:g}, signal-to-noise ratio "
        f"{injections.snr_range[0]:g} to {injections.snr_range[1]:g}, distance to "
        f"{injections.d_luminosity_max:g} Mpc. Only posterior samples within these limits "
        "count for P-P plot, coverage and bias, as the signals were drawn within them."
    )
