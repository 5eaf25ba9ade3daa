"""Benchmarks, and what validates the science: one command per table.

    python bench/run.py --list
    python bench/run.py TABLE [options of the table's script]

Scripts in this folder measure speed and memory; those in ``validation/`` compare the
science with other programs and with itself; those in ``scale/`` model runs on more workers
than are at hand. Each prints Markdown and writes JSON, by default to
``results/TABLE.json`` in the folder of ``DOTPE_EXEC_BENCH_CACHE`` (``--json`` names another
file). Scripts run with one thread per numerical library.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from w16k import cache_folder

from dotpe_exec.executors.threads import ENVIRONMENT

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Benchmark:
    """A table and the command that makes it."""

    script: str
    about: str
    options: tuple[str, ...] = ()

    def command(self, name: str, options: Sequence[str]) -> list[str]:
        """Return the command line, with a JSON file in the cache unless one is named."""
        target = [] if _names_json(options) else ["--json", str(_default_json(name))]
        script = str(HERE / self.script)
        return [sys.executable, script, *self.options, *target, *options]


BENCHMARKS = {
    "micro": Benchmark(
        "micro.py", "each kernel against its dense reference, GEMM and stream; a minute"
    ),
    "phases": Benchmark(
        "phases.py", "the likelihood phases on every executor, strong and weak scaling"
    ),
    "endtoend": Benchmark(
        "endtoend.py", "whole runs: time per stage, memory, disk, effective samples"
    ),
    "growth": Benchmark(
        "endtoend.py", "whole runs against the size of the bank, line fitted", ("--growth",)
    ),
    "campaign": Benchmark(
        "campaign.py", "a hundred injections: throughput and memory of a campaign"
    ),
    "profile": Benchmark("profiled.py", "what profiling costs, whole runs in pairs"),
    "banks": Benchmark(
        "many_banks.py",
        "ten small banks against one of their total size, whole runs in pairs",
    ),
    "scale": Benchmark(
        "scale/scale.py",
        "whole runs against a model of them, which predicts 1 to 1024 workers; six minutes",
    ),
    "executors": Benchmark(
        "executors.py", "start-up, overhead per phase and task, recovery after a kill"
    ),
    "scale-model": Benchmark(
        "scale/scale_model.py", "predictions from stored parameters of that model"
    ),
    "results": Benchmark("results.py", "the results stage on 10^6 samples"),
    "checkpoint": Benchmark(
        "checkpoint.py", "what keeping the results of finished tasks costs a run"
    ),
    "published": Benchmark(
        "validation/compare_published.py",
        "whole runs beside a checkout of the published code",
    ),
    "intrinsic-error": Benchmark(
        "validation/intrinsic_error.py", "stated error of the evidence against its scatter"
    ),
}
"""Scripts of ``validation/`` that print no table are run by themselves."""


def _names_json(options: Sequence[str]) -> bool:
    return any(option.partition("=")[0] == "--json" for option in options)


def _default_json(name: str) -> Path:
    folder = cache_folder() / "results"
    folder.mkdir(exist_ok=True)
    return folder / f"{name}.json"


def main(words: Sequence[str]) -> int:
    """Run the command line; return the exit status."""
    if not words or words[0] in ("-h", "--help"):
        print(__doc__.strip())
        return 0 if words else 2
    if words[0] == "--list":
        for name, benchmark in BENCHMARKS.items():
            print(f"{name:10} {benchmark.about}")
        return 0
    name, *options = words
    if name not in BENCHMARKS:
        print(
            f"no table {name!r}, expected one of {', '.join(BENCHMARKS)}", file=sys.stderr
        )
        return 2
    command = BENCHMARKS[name].command(name, options)
    # Scripts in the folders below import the modules that lie beside this one.
    path = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))
    environment = os.environ | ENVIRONMENT | {"PYTHONPATH": path}
    return subprocess.run(command, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
