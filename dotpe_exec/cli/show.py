"""What commands print about finished runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click


def show_results(rundir: Path, *, strict: bool = False) -> None:
    """Print results, verdict and timings of a finished run.

    With ``strict`` the exit status is 3 unless the verdict is "reliable".
    """
    import pandas as pd
    from rich.console import Console

    from ..report.table import printable, results_table, timing_table, verdict_text
    from ..rundir.directory import RunDirectory
    from ..verdict import RELIABLE, verdict_of

    files = RunDirectory(rundir)
    summary = json.loads(files.summary.read_text(encoding="utf-8"))
    report = json.loads(files.report.read_text(encoding="utf-8"))
    console = Console()
    console.print(results_table(pd.read_feather(files.samples), summary))
    console.print(verdict_text(summary))
    console.print(timing_table(report, summary))
    console.print(printable(f"run directory: {rundir}"), soft_wrap=True)
    console.print("to cite: arXiv:2507.16022 and others, as `dotpe-exec cite` prints them")
    if strict and verdict_of(summary).status != RELIABLE:
        click.get_current_context().exit(3)


def show_runs(rundirs: Sequence[str], *, as_json: bool, sky: bool = False) -> None:
    """Print results and verdict of finished runs, or their summaries as JSON.

    With ``sky`` their sky maps are made first, where there are none yet.
    """
    from rich.console import Console

    from ..loading import load_run
    from ..report.table import printable, results_table, verdict_text
    from ..stages.noise_drift import drift_differences

    runs = [load_run(rundir) for rundir in rundirs]
    if sky:
        from ..report.skymap import stored_skymap

        for run in runs:
            stored_skymap(run)
    if as_json:
        summaries = {str(run.path): run.summary for run in runs}
        click.echo(json.dumps(summaries, indent=2))
        return
    console = Console()
    for run in runs:
        console.print(printable(f"run directory: {run.path}"), soft_wrap=True)
        console.print(results_table(run.samples, run.summary))
        console.print(verdict_text(run.summary))
    for sentence in drift_differences({str(run.path): run.summary for run in runs}):
        console.print(
            printable(f"{sentence}; compare evidences at the same asd_drift"),
            soft_wrap=True,
        )
