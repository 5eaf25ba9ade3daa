"""What `infer` costs and what it is worth: waveforms, likelihoods, shares of the time.

    python bench/infer.py [EVENT] [--mchirp-range 20 45] [--n-effective 4000 8000]

Runs `infer` for each target and prints a table: effective waveforms, waveforms drawn and
generated, likelihoods, Pareto's k, ln Z, seconds, CPU seconds of all processes, effective
waveforms per core-second, and where the time of the workers went. CPU seconds count what
the processes used, so that they mean the same on a busy machine.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SCRIPT = """
import json, sys
from dotpe_exec import infer
if __name__ == "__main__":
    infer(**json.loads(sys.argv[1]))
"""


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("event", nargs="?", default="GW150914")
    parser.add_argument("--mchirp-range", type=float, nargs=2)
    parser.add_argument("--q-min", type=float, default=0.1)
    parser.add_argument("--n-effective", type=float, nargs="+", default=[4000.0])
    parser.add_argument("--n-procs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    for target in arguments.n_effective:
        with tempfile.TemporaryDirectory() as folder:
            measured = measure(
                {
                    "event": arguments.event,
                    "mchirp_range": arguments.mchirp_range,
                    "q_min": arguments.q_min,
                    "n_effective": target,
                    "n_procs": arguments.n_procs,
                    "seed": arguments.seed,
                    "rundir": folder + "/run",
                    "progress": False,
                }
            )
        print(json.dumps(measured, indent=2))


def measure(options: dict[str, Any]) -> dict[str, Any]:
    """Return what one run cost, in a process of its own."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", SCRIPT, json.dumps(options)], check=True)
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    rundir = Path(options["rundir"])
    summary = json.loads((rundir / "summary_results.json").read_text(encoding="utf-8"))
    report = json.loads((rundir / "run_report.json").read_text(encoding="utf-8"))
    adaptive = summary["adaptive"]
    return {
        "target": options["n_effective"],
        "n_effective_waveforms": adaptive["n_effective_waveforms"],
        "stopped_by": adaptive["stopped_by"],
        "n_learning": adaptive["n_learning"],
        "n_drawn": adaptive["n_drawn"],
        "n_waveforms_generated": adaptive["n_waveforms_generated"],
        "n_likelihoods": adaptive["n_likelihoods"],
        "pareto_k": summary["pareto_k"],
        "ln_evidence": summary["ln_evidence"],
        "ln_evidence_error": summary["ln_evidence_error"],
        "seconds": seconds,
        "cpu_seconds": cpu,
        "effective_waveforms_per_core_second": adaptive["n_effective_waveforms"] / cpu,
        "stage_seconds": report["stages"],
        "worker_seconds": {
            name: phase["worker_seconds"] for name, phase in report["phases"].items()
        },
    }


if __name__ == "__main__":
    main()
