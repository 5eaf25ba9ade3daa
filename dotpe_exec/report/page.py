"""One HTML page about one run or several; its template is ``resources/report.html.j2``."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from .._version import __version__
from ..atomic import atomic_write, check_writable
from ..errors import DotpeExecError, InputError
from ..kernels.masses import chirp_mass
from ..verdict import Verdict, verdict_of
from .compare import jensen_shannon, pairs
from .corner import CORNER_PARAMETERS, EXTRINSIC_PARAMETERS, corner_figure
from .downloads import Download, downloads_of
from .figures import incoherent, sky, timeline, waveform
from .noise import noise_notes
from .results_rows import (
    QUANTITIES,
    Card,
    cards,
    common_truth,
    formatted,
    result_groups,
)
from .templates import Picture, picture, render_template
from .view import RunView, open_views

logger = logging.getLogger(__name__)

SPIN_PARAMETERS = ("a_1", "a_2", "chi_p", "chieff")


def write_report(
    rundirs: str | os.PathLike | Sequence[str | os.PathLike],
    path: str | os.PathLike,
    *,
    exported: Sequence[Sequence[Path]] = (),
) -> Path:
    """Write an HTML page about finished runs.

    Pictures and small files are inside the page; large files are linked where they are, by
    their place relative to the page. The sky map is kept in the run directory
    (``skymap.fits``, and ``sky`` in ``summary_results.json``) where that is possible.

    Parameters
    ----------
    rundirs : path or sequence of paths
        Run directories of this package or of the published code; several are compared.
    path : path
        The page, ending in .html.
    exported : sequence of sequences of path
        Of each run, files for other programs, to be linked
        (:func:`dotpe_exec.export.export_beside`).

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
    for view in views:
        _keep_skymap(view)
    page = render(views, path.parent, exported)
    with atomic_write(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def _keep_skymap(view: RunView) -> None:
    try:
        view.keep_skymap()
    except DotpeExecError as error:
        logger.info("%s: no sky map: %s", view.label, error)  # the page says so


@dataclass(frozen=True)
class _RunPart:
    """What the page shows of one run."""

    label: str
    verdict: Verdict
    n_crashes: int
    cards: list[Card]
    data: list[Picture]
    computing: list[Picture]
    stages: list[list[str]]
    phases: list[list[str]]
    efficiency: str
    arguments: str
    downloads: list[Download]


def render(
    views: Sequence[RunView],
    folder: str | os.PathLike = ".",
    exported: Sequence[Sequence[Path]] = (),
) -> str:
    """Return the page as text.

    Parameters
    ----------
    views : sequence of RunView
    folder : path
        Where the page will be.
    exported : sequence of sequences of path
        Of each run, files for other programs.
    """
    events = ", ".join(dict.fromkeys(view.event_name for view in views))
    labels = [view.label for view in views]
    exported = exported or [[] for _ in views]
    return render_template(
        "report.html.j2",
        events=events,
        version=__version__,
        labels=labels,
        runs=[
            _run_part(view, Path(folder), files)
            for view, files in zip(views, exported, strict=True)
        ],
        groups=result_groups(views),
        injected=bool(common_truth(views)),
        noise_notes=noise_notes(views),
        divergences=_divergences(views),
        quantities=[name for _, name, _ in QUANTITIES],
        posterior=[
            _corner(views, CORNER_PARAMETERS, "Masses, spin and distance"),
            _corner(views, EXTRINSIC_PARAMETERS, "Distance, inclination and direction"),
            *_spins(views),
        ],
        facts=_facts(views),
    )


def _run_part(view: RunView, folder: Path, exported: Sequence[Path]) -> _RunPart:
    report = view.run.report or {}
    stages = report.get("stages", {})
    times = [[name, f"{seconds:.1f}"] for name, seconds in stages.items()]
    if report:
        times.append(["total", f"{report.get('seconds', sum(stages.values())):.1f}"])
    phases = report.get("phases", {})
    return _RunPart(
        label=view.label,
        verdict=verdict_of(view.run.summary),
        n_crashes=sum(phase.get("n_worker_crashes", 0) for phase in phases.values()),
        cards=cards(view),
        data=[
            picture(
                partial(waveform, view),
                "Whitened data with the waveform of the best sample, and "
                "where 90% of the posterior's waveforms lie",
            ),
            picture(
                partial(sky, view),
                "Position on the sky; contours hold 50% and 90%",
            ),
        ],
        computing=[
            picture(
                partial(incoherent, view),
                "Sum of single-detector ln likelihoods of the waveforms that passed the "
                "selection, across the bank",
            ),
            picture(partial(timeline, view), "Who worked when"),
        ],
        stages=times,
        phases=_with_content(
            [_PHASE_HEADER, *(_phase_row(name, phase) for name, phase in phases.items())]
        ),
        efficiency=_effective_per_core_second(view),
        arguments=json.dumps(view.run.kwargs, indent=2, default=str),
        downloads=downloads_of(view, folder, exported),
    )


# Tables


@dataclass(frozen=True)
class _Divergences:
    name: str
    cells: list[str]


def _divergences(views: Sequence[RunView]) -> list[_Divergences]:
    """Return the divergences between all pairs of runs, by quantity [bit]."""
    rows = []
    for j, k, name in pairs([view.label for view in views]):
        cells = []
        for column, _, _ in QUANTITIES:
            first, second = views[j].with_column(column), views[k].with_column(column)
            if first is None or second is None:
                cells.append("–")
                continue
            values = (first[column], first["weights"], second[column], second["weights"])
            cells.append(f"{jensen_shannon(*(v.to_numpy(float) for v in values)):.3f}")
        rows.append(_Divergences(name, cells))
    return rows


def _facts(views: Sequence[RunView]) -> list[list[str]]:
    facts: tuple[tuple[str, Callable[[RunView], Any]], ...] = (
        ("run directory", lambda v: v.run.path.resolve()),
        ("event", lambda v: v.run.kwargs.get("event", v.event_name)),
        ("banks", _banks),
        ("extrinsic samples", _n_ext),
        ("orbital phases", lambda v: v.run.kwargs.get("n_phi")),
        ("arrival times", lambda v: v.run.kwargs.get("n_t")),
        ("seed", lambda v: v.run.kwargs.get("seed")),
        ("samples", lambda v: len(v.run.samples)),
        ("calibration", _calibration),
        ("executor", _executor),
        ("machine", _machine),
    )

    def text(value: Any) -> str:
        return "–" if value is None else str(value)

    return [[name, *(text(fact(view)) for view in views)] for name, fact in facts]


def _n_ext(view: RunView) -> str | int | None:
    """Return how many were asked for, or how many were taken where nobody asked."""
    given = view.run.kwargs.get("n_ext")
    if given is not None:
        return given
    taken = (view.run.summary.get("adaptive") or {}).get("n_ext")
    return None if taken is None else f"{taken}, as many as the evidence needs"


def _calibration(view: RunView) -> str:
    found = view.run.summary.get("calibration")
    if not found:
        return "taken as exact"
    return (
        f"averaged over {', '.join(found['envelopes'])}; {found['n_effective_curves']:.0f} "
        f"of {found['n_curves']} curves count"
    )


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


_PHASE_HEADER = [
    "parallel phase", "work", "seconds", "work/s", "workers busy", "load balance",
    "MB per worker", "predicted",
]  # fmt: skip


def _with_content(table: list[list[str]]) -> list[list[str]]:
    """Return a table without columns that have a header only."""
    kept = [k for k in range(len(table[0])) if any(row[k] for row in table[1:])]
    return [[row[k] for k in kept] for row in table] if kept else []


def _phase_row(name: str, phase: dict[str, Any]) -> list[str]:
    predicted = phase.get("predicted_worker_memory_bytes")
    return [
        name,
        f"{phase['work']} {phase['unit']}s",
        f"{phase['seconds']:.1f}",
        formatted(phase.get("work_per_second"), ".4g"),
        formatted(phase.get("worker_busy_fraction"), ".0%"),
        formatted(phase.get("load_balance"), ".0%"),
        f"{phase.get('peak_worker_memory_bytes', 0) / 1e6:.0f}",
        "" if predicted is None else f"{predicted / 1e6:.0f}",
    ]


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


# Pictures of the posterior


def _corner(views: Sequence[RunView], parameters: Sequence[str], caption: str) -> Picture:
    """Return a corner plot of all runs, with the first one's prior and injection."""
    samples = {}
    for view in views:
        frame = view.run.samples
        for name in parameters:
            found = view.with_column(name)
            if found is not None and name not in frame:
                frame = frame.assign(**{name: found[name]})
        samples[view.label] = frame
    prior, truth = views[0].prior, common_truth(views)
    caption += "; contours hold 50% and 90%"
    if len(views) > 1:
        caption += "; numbers above the columns are those of " + views[0].label
    if prior is not None:
        caption += "; grey: the prior"
    if truth:
        caption += "; black lines: what was injected"
    return picture(
        lambda: corner_figure(samples, parameters, prior=prior, truth=truth), caption
    )


def _spins(views: Sequence[RunView]) -> list[Picture]:
    """Return the corner plot of spins where these can be derived."""
    if any(view.with_column(name) is None for view in views for name in SPIN_PARAMETERS):
        return []
    return [_corner(views, SPIN_PARAMETERS, "Spins")]
