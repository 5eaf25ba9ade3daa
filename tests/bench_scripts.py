"""The benchmarks: where they are, and how their scripts are run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).resolve().parents[1] / "bench"
FOLDERS = (BENCH, BENCH / "validation", BENCH / "scale")


def run_script(name, *options, **environment):
    """Run a script of the benchmarks; return the finished process, its output as text."""
    return subprocess.run(
        [sys.executable, str(BENCH / name), *map(str, options)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": _python_path()} | environment,
    )


def _python_path():
    """Return what ``bench/run.py`` gives the scripts: they import modules beside it."""
    return os.pathsep.join(filter(None, [str(BENCH), os.environ.get("PYTHONPATH")]))
