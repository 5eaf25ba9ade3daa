"""Throughput of a campaign of injections: time, efficiency of workers, memory.

    python bench/campaign.py [--n-events 100] [--method infer|run] [--n-procs 2]

Two detectors, 8 s, IMRPhenomXPHM, signal-to-noise ratio 8 to 25, chirp mass 20 to 40.
``infer`` aims at 500 effective waveforms; ``run`` takes one bank of 16384 for all events.
With ``--compare`` the same campaign is run by one worker as well: efficiency is the ratio
of worker-seconds, start of the workers included. On a machine that others use as well,
look at the ratio of processor seconds: it lacks only what workers wait for each other, at
the end above all, of which the few events of a short campaign make much. One event is
analysed beforehand, so that no run has the others' compiling.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from dotpe_exec.campaign import Analysis, Campaign, Injections, Settings, make

DURATION, FMAX = 8.0, 1024.0
MCHIRP_RANGE, Q_MIN = (20.0, 40.0), 0.2
BANK_SIZE, PN_PHASE_TOL = 16384, 0.1
ANALYSES: dict[str, dict[str, Any]] = {
    "infer": {
        "n_effective": 500, "mchirp_range": list(MCHIRP_RANGE), "q_min": Q_MIN,
    },
    "run": {"n_ext": 256, "n_phi": 32, "n_t": 64},
}  # fmt: skip


def make_bank(folder: Path, bank_size: int, n_procs: int) -> Path:
    """Build the bank that all events share."""
    from dotpe_exec.banks.build import build_bank
    from dotpe_exec.events import save_event, simulate_event

    folder.mkdir(parents=True)
    save_event(
        simulate_event("grid", "HL", duration=DURATION, fmax=FMAX), folder / "grid.npz"
    )
    return build_bank(
        folder / "bank", bank_size=bank_size, mchirp_range=MCHIRP_RANGE, q_min=Q_MIN,
        event=folder / "grid.npz", pn_phase_tol=PN_PHASE_TOL, seed=1, n_procs=n_procs,
        progress=False,
    )  # fmt: skip


def measure(folder: Path, settings: Settings, n_procs: int) -> dict[str, Any]:
    """Run a campaign; return its numbers."""
    campaign = make(folder, settings, n_procs=n_procs)
    began, cpu_began = time.perf_counter(), cpu_of_workers()
    campaign.run(n_procs=n_procs, executor="process")
    seconds, cpu_seconds = time.perf_counter() - began, cpu_of_workers() - cpu_began
    found = numbers(campaign)
    return found | {"workers": n_procs, "seconds": seconds, "cpu_seconds": cpu_seconds}


def cpu_of_workers() -> float:
    """Return the processor seconds of all worker processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def numbers(campaign: Campaign) -> dict[str, Any]:
    """Return what the table of a campaign says of all its events."""
    table = campaign.table()
    done = table[table["status"] == "finished"]
    return {
        "events": len(table),
        "finished": len(done),
        "median_seconds_per_event": float(done["seconds"].median()),
        "median_cpu_seconds_per_event": float(done["cpu_seconds"].median()),
        "seconds_of_events": float(done["seconds"].sum()),
        "median_n_effective_i": float(done["n_effective_i"].median()),
        "worker_memory_gb": float(done["memory_gb"].max()),
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n-events", type=int, default=100)
    parser.add_argument("--method", choices=list(ANALYSES), default="run")
    parser.add_argument("--bank-size", type=int, default=BANK_SIZE)
    parser.add_argument("--n-procs", type=int, default=2)
    parser.add_argument("--compare", action="store_true", help="with one worker too")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    arguments = dict(ANALYSES[options.method])
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent)
        if options.method == "run":
            bank = make_bank(folder / "banks", options.bank_size, options.n_procs)
            arguments["bank_folder"] = str(bank)
        settings = Settings(
            "throughput", 0, Analysis(options.method, arguments),
            injections=Injections(
                n=options.n_events, duration=DURATION, fmax=FMAX, q_min=Q_MIN,
                mchirp_range=MCHIRP_RANGE,
            ),
        )  # fmt: skip
        workers = [options.n_procs, *([1] if options.compare else [])]
        one_event = dataclasses.replace(settings.injections, n=1)
        warm = dataclasses.replace(settings, injections=one_event)
        make(folder / "warm", warm, n_procs=1).run(n_procs=1, executor="process")
        found = [measure(folder / f"workers_{n}", settings, n) for n in workers]
    print(
        "| workers | events | seconds | median seconds | median processor seconds "
        "| processor seconds of workers | effective waveforms | GB |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for one in found:
        print(
            f"| {one['workers']} | {one['finished']} of {one['events']} "
            f"| {one['seconds']:.0f} | {one['median_seconds_per_event']:.1f} "
            f"| {one['median_cpu_seconds_per_event']:.1f} | {one['cpu_seconds']:.0f} "
            f"| {one['median_n_effective_i']:.0f} | {one['worker_memory_gb']:.2f} |"
        )
    if options.compare:
        many, single = found
        efficiency = single["seconds"] / (many["seconds"] * many["workers"])
        cpu = single["cpu_seconds"] / many["cpu_seconds"]
        print(
            f"efficiency of {many['workers']} workers: {efficiency:.2f}; "
            f"by processor seconds {cpu:.2f}"
        )
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
