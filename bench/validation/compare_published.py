"""The published code and this package on the same input: how fast, how large, how equal.

    python bench/run.py published --checkout PATH [--event FILE --bank FOLDER ...]

PATH is a checkout of the published DOT-PE code, with ``dot_pe/inference.py`` (``run``)
and ``dot_pe/mp_inference.py`` (``run`` with ``n_workers``) in it or in its ``src``;
nothing of it is imported without that option, and here never: every run is a fresh
process with one thread per library and worker.

Two parts. *Whole runs*, repeated in alternation: each implementation, serial and with
processes, searches its own reference waveform and draws its own extrinsic samples. *Same
inputs*, once: ours gets the reference waveform and the extrinsic samples of the first
published run, so that the results can be compared number by number.

What is compared are the coherent samples of ``prob_samples.feather``, all of them, and the
evidence. Both standardise a subset drawn by weight (``draw_subset=True``), as both do by
default: the published code standardises rows one by one, and all of them would take it
more than ten minutes and 12 GB. The draws themselves are random and are not compared.

Stages are timed by when the files that end them were written, the same for both:
``Posterior.json``, ``intrinsic_samples.npz`` of the banks, ``extrinsic_samples.feather``,
``prob_samples.feather`` of the banks, ``summary_results.json``.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from endtoend import warm_page_cache
from fresh import FreshRun, run_fresh, tree_bytes
from measure import Report, Spread, Table, paired_ratios, parser
from w16k import RUN, cache_folder, make_bank, make_event

from dotpe_exec.machine import usable_cores
from dotpe_exec.rundir.files import RunFiles

STAGES = ("reference", "incoherent", "extrinsic", "coherent", "results")
KEYS = ["bank_id", "i", "e", "o"]
COMPARED = ("d_h_1Mpc", "h_h_1Mpc", "ln_posterior")
"""Columns of ``prob_samples.feather``: the first two relative, ln_posterior absolute."""


@dataclass(frozen=True)
class Run:
    """A finished run: what its process took, its seconds by stage, and where it is."""

    fresh: FreshRun
    stages: dict[str, float]
    rundir: Path


def find_package(checkout: Path) -> Path:
    """Return the folder that holds the package ``dot_pe`` of a checkout.

    Raises
    ------
    FileNotFoundError
        There is none with both entry points.
    """
    for folder in (checkout, checkout / "src"):
        if all(
            (folder / "dot_pe" / name).is_file()
            for name in ("inference.py", "mp_inference.py")
        ):
            return folder.resolve()
    raise FileNotFoundError(
        f"{checkout} has no dot_pe/inference.py and dot_pe/mp_inference.py, nor has its "
        "src: expected a checkout of the published code"
    )


def implementations(checkout: Path, n_workers: int) -> dict[str, dict[str, Any]]:
    """Return targets, paths and keyword arguments of the four implementations."""
    package = find_package(checkout)
    paths = [package]
    n_workers_of = {"n_workers": n_workers}
    # Older checkouts draw the extrinsic samples in one process.
    if "n_ext_workers" in (package / "dot_pe" / "mp_inference.py").read_text("utf-8"):
        n_workers_of["n_ext_workers"] = n_workers
    return {
        "published serial": {"target": "dot_pe.inference:run", "paths": paths},
        "ours serial": {"target": "dotpe_exec:run", "options": {"progress": False}},
        "published parallel": {
            "target": "dot_pe.mp_inference:run",
            "paths": paths,
            "options": n_workers_of,
        },
        "ours parallel": {
            "target": "dotpe_exec:run_multicore",
            "options": {"executor": "loky", "n_procs": n_workers, "progress": False},
        },
    }


def stage_seconds(rundir: Path, began: float) -> dict[str, float]:
    """Return the seconds of each stage from the times at which its files were written.

    A stage whose file was given, or is not there, counts with the next one.
    """
    files = RunFiles(rundir)
    ends = {
        "reference": [files.posterior],
        "incoherent": [folder / "intrinsic_samples.npz" for folder in files.bank_folders()],
        "extrinsic": [files.extrinsic_samples],
        "coherent": [folder / "prob_samples.feather" for folder in files.bank_folders()],
        "results": [files.summary],
    }
    seconds, last = {}, began
    for stage, paths in ends.items():
        written = [path.stat().st_mtime for path in paths if path.exists()]
        if written and max(written) >= last:
            seconds[stage] = max(written) - last
            last = max(written)
    return seconds


def start_run(
    implementation: dict[str, Any], rundir: Path, arguments: dict[str, Any]
) -> Run:
    """Run one implementation in a fresh process."""
    began = time.time()
    fresh = run_fresh(
        implementation["target"],
        arguments | implementation.get("options", {}) | {"rundir": str(rundir)},
        paths=implementation.get("paths", ()),
    )
    return Run(fresh, stage_seconds(rundir, began), rundir)


def speed_table(runs: dict[str, list[Run]]) -> Table:
    """Return ratios published / ours of time by stage, memory and disk, pair by pair."""
    table = Table(
        "whole runs",
        "Published over ours, each pair run one after the other; medians (smallest to "
        f"largest) of {len(next(iter(runs.values())))} pairs. Each searches its own "
        "reference waveform and draws its own extrinsic samples.",
    )
    for kind in ("serial", "parallel"):
        theirs, ours = runs[f"published {kind}"], runs[f"ours {kind}"]

        def add(what: str, unit: str, a: Sequence[float], b: Sequence[float], kind=kind):
            table.add(
                what=f"{kind}: {what}",
                unit=unit,
                published=Spread.of(a),
                ours=Spread.of(b),
                ratio=paired_ratios(a, b),
            )

        for stage in STAGES:
            pairs = [
                (a.stages[stage], b.stages[stage])
                for a, b in zip(theirs, ours, strict=True)
                if stage in a.stages and b.stages.get(stage)
            ]
            if pairs:
                add(stage, "s", *zip(*pairs, strict=True))
        add(
            "total",
            "s",
            [run.fresh.seconds for run in theirs],
            [run.fresh.seconds for run in ours],
        )
        add(
            "peak private memory",
            "GB",
            [run.fresh.peak_bytes / 1e9 for run in theirs],
            [run.fresh.peak_bytes / 1e9 for run in ours],
        )
        add(
            "size on disk",
            "MB",
            [tree_bytes(run.rundir) / 1e6 for run in theirs],
            [tree_bytes(run.rundir) / 1e6 for run in ours],
        )
    return table


def accepted(samples: pd.DataFrame, max_bestfit_lnlike_diff: float) -> pd.DataFrame:
    """Return the accepted set by (bank, i, e, o): above each bank's threshold.

    The published code also keeps samples below it, depending on the order of its blocks.
    """
    if "bank_id" not in samples:
        samples = samples.assign(bank_id="bank_0")
    lnlike = samples["bestfit_lnlike"]
    best = lnlike.groupby(samples["bank_id"]).transform("max")
    kept = samples[lnlike > best - max_bestfit_lnlike_diff]
    return kept.set_index(KEYS).sort_index()


@dataclass(frozen=True)
class Differences:
    """How two runs on the same inputs differ.

    Parameters
    ----------
    n_first, n_second, n_symmetric : int
        Sizes of the accepted sets and of their symmetric difference.
    largest : dict
        Largest difference of each compared column over the members of both sets; NaN
        where they share none.
    ln_evidence : tuple of float
        Of both.
    """

    n_first: int
    n_second: int
    n_symmetric: int
    largest: dict[str, float]
    ln_evidence: tuple[float, float]


def differences(first: Path, second: Path, max_bestfit_lnlike_diff: float) -> Differences:
    """Compare two run directories."""
    sets = [
        accepted(pd.read_feather(RunFiles(path).prob_samples), max_bestfit_lnlike_diff)
        for path in (first, second)
    ]
    evidences = [
        float(json.loads(RunFiles(path).summary.read_text())["ln_evidence"])
        for path in (first, second)
    ]
    shared = sets[0].index.intersection(sets[1].index)
    largest = {}
    for column in COMPARED:
        a, b = (some.loc[shared, column].to_numpy() for some in sets)
        scale = np.abs(a) if column != "ln_posterior" else 1.0
        deviation = np.abs(b - a) / scale
        largest[column] = float(deviation.max()) if len(shared) else float("nan")
    return Differences(
        len(sets[0]),
        len(sets[1]),
        len(sets[0].index.symmetric_difference(sets[1].index)),
        largest,
        (evidences[0], evidences[1]),
    )


def equality_table(
    runs: dict[str, Run], pairs: Sequence[tuple[str, str]], max_bestfit_lnlike_diff: float
) -> Table:
    """Return the table of how equal the results are."""
    table = Table(
        "same inputs",
        "Runs with the same event, banks, extrinsic samples and reference waveform. "
        "Accepted set: within max_bestfit_lnlike_diff of the bank's best. Largest "
        "differences over members of both sets, relative for d_h and h_h.",
    )
    for first, second in pairs:
        found = differences(
            runs[first].rundir, runs[second].rundir, max_bestfit_lnlike_diff
        )
        table.add(
            runs=f"{first}, {second}",
            accepted=f"{found.n_first}, {found.n_second}",
            symmetric_difference=found.n_symmetric,
            **{f"largest {name}": f"{value:.1e}" for name, value in found.largest.items()},
            ln_evidence=f"{found.ln_evidence[0]:.6f}, {found.ln_evidence[1]:.6f}",
        )
    return table


def write_reference_waveform(rundir: Path, path: Path) -> Path:
    """Write the reference waveform's parameters of a run to a JSON file."""
    posterior = json.loads(RunFiles(rundir).posterior.read_text())
    likelihood = posterior["init_kwargs"]["likelihood"]["init_kwargs"]
    path.write_text(json.dumps(likelihood["par_dic_0"]))
    return path


def compare(arguments: argparse.Namespace, folder: Path, report: Report) -> None:
    """Do all runs and show the tables."""
    four = implementations(arguments.checkout, arguments.workers)
    event = arguments.event or make_event()
    banks = arguments.bank or [make_bank()]
    for bank in banks:
        warm_page_cache(bank)  # else the first run alone would read the disk
    inputs: dict[str, Any] = {
        "event": str(event),
        "bank_folder": [str(bank) for bank in banks],
        "n_ext": arguments.n_ext,
        "n_phi": arguments.n_phi,
        "n_t": arguments.n_t,
        "mchirp_guess": arguments.mchirp_guess,
        "seed": arguments.seed,
        "max_bestfit_lnlike_diff": arguments.max_bestfit_lnlike_diff,
        "draw_subset": True,
    }
    if len(banks) == 1:
        inputs["bank_folder"] = str(banks[0])
    whole: dict[str, list[Run]] = {name: [] for name in four}
    for repeat in range(arguments.repeats):
        for name, implementation in four.items():
            rundir = folder / f"{name} {repeat}".replace(" ", "_")
            whole[name].append(start_run(implementation, rundir, inputs))
    if arguments.repeats:
        report.show(speed_table(whole))

    same: dict[str, Run] = {}
    for kind in ("serial", "parallel"):
        published, ours = f"published {kind}", f"ours {kind}"
        if arguments.extrinsic_samples is None:
            same[published] = whole[published][0]
            extrinsic = RunFiles(same[published].rundir).extrinsic_samples
        else:
            extrinsic = arguments.extrinsic_samples
            same[published] = start_run(
                four[published],
                folder / f"same_published_{kind}",
                inputs | {"extrinsic_samples": str(extrinsic)},
            )
        par_dic_0 = write_reference_waveform(
            same[published].rundir, folder / f"par_dic_0_{kind}.json"
        )
        given = {"extrinsic_samples": str(extrinsic), "par_dic_0": str(par_dic_0)}
        same[ours] = start_run(four[ours], folder / f"same_ours_{kind}", inputs | given)
    pairs = [
        ("published serial", "ours serial"),
        ("published parallel", "ours parallel"),
    ]
    report.show(equality_table(same, pairs, arguments.max_bestfit_lnlike_diff))


def main() -> None:
    """Run the command line."""
    arguments_parser = parser(__doc__, repeats=3)
    arguments_parser.add_argument(
        "--checkout", type=Path, required=True, help="of the published code"
    )
    arguments_parser.add_argument("--event", type=Path, help="default: the standard one")
    arguments_parser.add_argument(
        "--bank", type=Path, nargs="+", help="default: the standard one of 16384 waveforms"
    )
    arguments_parser.add_argument(
        "--extrinsic-samples",
        type=Path,
        help="of the runs on the same inputs; default: what the first published run drew",
    )
    arguments_parser.add_argument("--workers", type=int, default=usable_cores())
    for name in ("n_ext", "n_phi", "n_t", "mchirp_guess", "seed"):
        default = RUN[name]
        arguments_parser.add_argument(
            f"--{name.replace('_', '-')}", type=type(default), default=default
        )
    arguments_parser.add_argument("--max-bestfit-lnlike-diff", type=float, default=20.0)
    arguments = arguments_parser.parse_args()
    if arguments.repeats == 0 and arguments.extrinsic_samples is None:
        arguments_parser.error("--repeats 0 needs --extrinsic-samples")
    try:
        find_package(arguments.checkout)
    except FileNotFoundError as error:
        arguments_parser.error(str(error))
    report = Report(arguments)
    with tempfile.TemporaryDirectory(dir=cache_folder(), prefix="compare-") as folder:
        compare(arguments, Path(folder), report)
    report.write()


if __name__ == "__main__":
    main()
