"""One self-contained HTML page about one run or several."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Sequence
from functools import partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._version import __version__
from ..atomic import atomic_write, check_writable
from ..errors import InputError
from ..kernels.masses import chirp_mass
from ..verdict import RELIABLE, verdict_of
from .compare import jensen_shannon, pairs
from .corner import CORNER_PARAMETERS, EXTRINSIC_PARAMETERS, corner_figure
from .figures import incoherent, sky, timeline, waveform
from .intervals import interval_text
from .noise import noise_note, noise_rows
from .page_pieces import STYLE, formatted, picture, table, text
from .truth import injected_parameters
from .view import RunView, open_views

if TYPE_CHECKING:
    pass

logger = logging.getLogger(__name__)

_QUANTITIES = (
    ("mchirp", "chirp mass, detector frame", "M☉"),
    ("m1", "primary mass, detector frame", "M☉"),
    ("m2", "secondary mass, detector frame", "M☉"),
    ("mass_1_source", "primary mass, source frame", "M☉"),
    ("mass_2_source", "secondary mass, source frame", "M☉"),
    ("final_mass_source", "final mass, source frame", "M☉"),
    ("final_spin", "final spin", ""),
    ("q", "mass ratio m2/m1", ""),
    ("chieff", "effective spin", ""),
    ("chi_p", "effective precession spin", ""),
    ("d_luminosity", "luminosity distance", "Mpc"),
    ("redshift", "redshift", ""),
    ("iota", "inclination", "rad"),
)
_SUMMARY = (
    ("ln_evidence", "ln evidence", ".2f"),
    ("ln_evidence_error", "its standard error", ".2f"),
    ("ln_evidence_discarded", "ln evidence that was discarded", ".2f"),
    ("bestfit_lnlike_max", "largest ln likelihood, distance free", ".2f"),
    ("lnl_marginalized_max", "largest ln likelihood, distance marginalised", ".2f"),
    ("n_effective", "effective samples", ".1f"),
    ("n_effective_i", "effective waveforms", ".1f"),
    ("n_effective_e", "effective extrinsic samples", ".1f"),
    ("n_i_inds_used", "waveforms that passed the selection", "d"),
    ("n_distance_marginalizations", "likelihoods above the threshold", "d"),
)


def write_report(
    rundirs: str | os.PathLike | Sequence[str | os.PathLike], path: str | os.PathLike
) -> Path:
    """Write an HTML page about finished runs; it needs nothing but itself.

    Parameters
    ----------
    rundirs : path or sequence of paths
        Run directories of this package or of the published code; several are compared.
    path : path
        The page, ending in .html.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    InputError
        There is nothing to report, or ``path`` does not end in .html.
    MissingFileError, RunDirectoryError
        A directory does not exist, is not that of a finished run, or is damaged. A
        picture whose data are missing is left out, and the page says why.
    """
    path = Path(path)
    rundirs = [rundirs] if isinstance(rundirs, str | os.PathLike) else list(rundirs)
    if not rundirs:
        raise InputError("no run directory is given, expected at least one")
    if path.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"{path} must end in .html")
    views = open_views(rundirs)
    check_writable(path)
    page = render(views)
    with atomic_write(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def render(views: Sequence[RunView]) -> str:
    """Return the page as text."""
    events = ", ".join(dict.fromkeys(view.event_name for view in views))
    what = "one run" if len(views) == 1 else f"{len(views)} runs"
    parts = [
        f"<h1>{escape(events)}</h1>",
        f'<p class="note">Report on {what} of DOT-PE, by dotpe-exec {__version__}</p>',
        _navigation(),
        '<h2 id="verdict">Verdict</h2>',
        *(_verdict(view, with_label=len(views) > 1) for view in views),
        '<h2 id="results">Results</h2>',
        '<p class="note">Median and 90% interval (5% to 95%), with Monte-Carlo errors '
        "where they show.</p>",
        _results(views),
        noise_note(views),
        _divergences(views),
        '<h2 id="posterior">Posterior</h2>',
        '<div class="figures">',
        _corner(views, CORNER_PARAMETERS, "Masses, spin and distance"),
        _corner(views, EXTRINSIC_PARAMETERS, "Distance, inclination and direction"),
        "</div>",
        '<h2 id="run">What was run</h2>',
        _what_was_run(views),
    ]
    for view in views:
        heading = "Pictures" if len(views) == 1 else view.label
        parts += [
            f"<h2>{escape(heading)}</h2>",
            '<div class="figures">',
            picture(
                partial(waveform, view),
                "Whitened data and the waveform of the sample with the largest likelihood",
            ),
            picture(partial(sky, view), "Position on the sky"),
            picture(
                partial(incoherent, view),
                "Sum of single-detector ln likelihoods of the waveforms that passed the "
                "selection, across the bank",
            ),
            picture(partial(timeline, view), "Who worked when"),
            "</div>",
            _timings(view),
            _arguments(view),
        ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(events)}: DOT-PE report</title>\n<style>{STYLE}</style>\n"
        "</head>\n<body>\n" + "\n".join(parts) + "\n</body>\n</html>\n"
    )


# Sections


def _navigation() -> str:
    parts = {"verdict": "Verdict", "results": "Results", "posterior": "Posterior",
             "run": "What was run"}  # fmt: skip
    links = " · ".join(f'<a href="#{key}">{name}</a>' for key, name in parts.items())
    return f'<nav class="note">{links}</nav>'


def _verdict(view: RunView, *, with_label: bool) -> str:
    label = f"<h3>{escape(view.label)}</h3>" if with_label else ""
    verdict = verdict_of(view.run.summary)
    kind = "finding good" if verdict.status == RELIABLE else f"finding {verdict.status}"
    return (
        f'{label}<div class="{kind}"><strong>{escape(verdict.sentence.capitalize())}.'
        "</strong></div>"
        + "".join(
            f'<div class="finding {finding.status}"><strong>{escape(finding.title)}.'
            f"</strong> {escape(finding.advice)}</div>"
            for finding in verdict.findings
        )
        + _crashes(view)
    )


def _crashes(view: RunView) -> str:
    phases = (view.run.report or {}).get("phases", {})
    n_crashes = sum(phase.get("n_worker_crashes", 0) for phase in phases.values())
    if not n_crashes:
        return ""
    return (
        f'<p class="note">Workers died {n_crashes} time(s). What they ran was repeated and '
        "the results are complete, but memory may be short: fewer processes or smaller "
        "batches need less.</p>"
    )


def _results(views: Sequence[RunView]) -> str:
    rows = []
    for column, name, unit in _QUANTITIES:
        cells = [_interval(view, column) for view in views]
        rows.append([name, *cells, unit])
    for column in _snr_columns(views):
        name = column.removesuffix("_snr").replace("_", " ") + " signal-to-noise ratio"
        rows.append([name, *(_interval(view, column) for view in views), ""])
    for key, name, form in _SUMMARY:
        if any(key in view.run.summary for view in views):
            cells = [formatted(view.run.summary.get(key), form) for view in views]
            rows.append([name, *cells, ""])
    errors = [view.run.summary.get("relative_binning_error") or {} for view in views]
    if any(errors):
        cells = [formatted(error.get("largest"), ".3f") for error in errors]
        rows.append(["largest error of relative binning in ln likelihood", *cells, ""])
    rows += noise_rows(views)
    return table(["quantity", *(view.label for view in views), "unit"], rows)


def _snr_columns(views: Sequence[RunView]) -> list[str]:
    """Return the signal-to-noise ratios that are shown, of all detectors of all runs."""
    names = dict.fromkeys(
        name
        for view in views
        for name in view.columns("detectors")
        if name.endswith(("_optimal_snr", "_matched_filter_snr"))
    )
    return list(names)


def _interval(view: RunView, column: str) -> str:
    samples = view.with_column(column)
    if samples is None or not samples["weights"].sum() > 0:
        return "–"
    return interval_text(samples, column)


def _divergences(views: Sequence[RunView]) -> str:
    """Return the table of divergences between runs; nothing for a single one."""
    rows = []
    for j, k, name in pairs([view.label for view in views]):
        cells = []
        for column, _, _ in _QUANTITIES:
            first, second = views[j].with_column(column), views[k].with_column(column)
            if first is None or second is None:
                cells.append("–")
                continue
            values = (first[column], first["weights"], second[column], second["weights"])
            cells.append(f"{jensen_shannon(*(v.to_numpy(float) for v in values)):.3f}")
        rows.append([name, *cells])
    if not rows:
        return ""
    header = ["runs", *(name for _, name, _ in _QUANTITIES)]
    return (
        "<h3>Jensen-Shannon divergences of the marginal posteriors (bit)</h3>"
        '<p class="note">0: the same; 1: nothing in common. Below about 0.01 is no '
        "difference that a figure would show.</p>" + table(header, rows)
    )


def _what_was_run(views: Sequence[RunView]) -> str:
    rows: list[list[str]] = []
    facts: tuple[tuple[str, Callable[[RunView], Any]], ...] = (
        ("run directory", lambda v: v.run.path.resolve()),
        ("event", lambda v: v.run.kwargs.get("event", v.event_name)),
        ("banks", _banks),
        ("extrinsic samples", lambda v: v.run.kwargs.get("n_ext")),
        ("orbital phases", lambda v: v.run.kwargs.get("n_phi")),
        ("arrival times", lambda v: v.run.kwargs.get("n_t")),
        ("seed", lambda v: v.run.kwargs.get("seed")),
        ("samples", lambda v: len(v.run.samples)),
        ("executor", _executor),
        ("machine", _machine),
    )
    for name, fact in facts:
        rows.append([name, *(text(fact(view)) for view in views)])
    return table(["", *(view.label for view in views)], rows, numeric=False)


def _banks(view: RunView) -> str:
    given = view.run.kwargs.get("bank_folder")
    if isinstance(given, dict):
        folders = [f"{bank_id}: {folder}" for bank_id, folder in given.items()]
    else:
        folders = [str(f) for f in given] if isinstance(given, list) else [str(given)]
    sizes = []
    for bank_id, bank in view.bank_tables.items():
        mchirp = chirp_mass(bank["m1"].to_numpy(), bank["m2"].to_numpy())
        sizes.append(
            f"{bank_id}: {len(bank)} waveforms, chirp mass {mchirp.min():.4g} to "
            f"{mchirp.max():.4g} M☉"
        )
    return "\n".join([*folders, *sizes])


def _executor(view: RunView) -> str | None:
    report = view.run.report
    if not report:
        return None
    n_procs = report.get("config", {}).get("n_procs")
    name = report.get("executor")
    return f"{name}, {n_procs} processes" if name != "serial" and n_procs else name


def _machine(view: RunView) -> str | None:
    machine = (view.run.report or {}).get("machine", {})
    parts = [machine.get("cpu"), machine.get("platform")]
    return ", ".join(str(part) for part in parts if part) or None


def _timings(view: RunView) -> str:
    report = view.run.report
    if not report:
        return '<p class="note">No timings are recorded in this directory.</p>'
    stages = report.get("stages", {})
    rows = [[name, f"{seconds:.1f}"] for name, seconds in stages.items()]
    rows.append(["total", f"{report.get('seconds', sum(stages.values())):.1f}"])
    phases = [
        [
            name,
            f"{phase['work']} {phase['unit']}s",
            f"{phase['seconds']:.1f}",
            formatted(phase.get("work_per_second"), ".4g"),
            formatted(phase.get("worker_busy_fraction"), ".0%"),
            formatted(phase.get("load_balance"), ".0%"),
            f"{phase.get('peak_worker_memory_bytes', 0) / 1e6:.0f}",
            _megabytes(phase.get("predicted_worker_memory_bytes")),
        ]
        for name, phase in report.get("phases", {}).items()
    ]
    header = [
        "parallel phase", "work", "seconds", "work/s", "workers busy", "load balance",
        "MB per worker", "predicted",
    ]  # fmt: skip
    efficiency = _effective_per_core_second(view)
    return (
        f"<h3>Time</h3>{table(['stage', 'seconds'], rows)}"
        f"<h3>Parallel phases</h3>{table(header, phases)}"
        + (f'<p class="note">{efficiency}</p>' if efficiency else "")
    )


def _megabytes(n_bytes: float | None) -> str:
    return "" if n_bytes is None else f"{n_bytes / 1e6:.0f}"


def _effective_per_core_second(view: RunView) -> str:
    report = view.run.report or {}
    n_procs = report.get("config", {}).get("n_procs") or 1
    if report.get("executor") == "serial":
        n_procs = 1
    seconds, n_effective = report.get("seconds"), view.run.summary.get("n_effective")
    if not seconds or n_effective is None:
        return ""
    rate = n_effective / (seconds * n_procs)
    return f"{rate:.3g} effective samples per core-second on {n_procs} core(s)."


def _arguments(view: RunView) -> str:
    text = json.dumps(view.run.kwargs, indent=2, default=str)
    return f"<details><summary>All arguments</summary><pre>{escape(text)}</pre></details>"


def _corner(views: Sequence[RunView], parameters: Sequence[str], caption: str) -> str:
    samples = {view.label: view.run.samples for view in views}
    if len(views) > 1:
        caption += "; numbers above the columns are those of " + views[0].label
    truth = injected_parameters(views[0].run)
    if truth:
        caption += "; black lines: what was injected"
    return picture(lambda: corner_figure(samples, parameters, truth=truth), caption)
