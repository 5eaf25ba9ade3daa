"""Run a function in a fresh process and measure time and memory from outside.

    python bench/fresh.py SPECIFICATION.json

is what the fresh process executes: import ``target`` ("module:function") with ``paths``
before all others on the import path, call it with ``kwargs``, write its CPU time and what
it returns (as text) to ``answer``.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dotpe_exec.executors.threads import ENVIRONMENT

_INTERVAL_S = 0.1


@dataclass(frozen=True)
class FreshRun:
    """What a fresh process took.

    Parameters
    ----------
    answer : str
        What the function returned.
    seconds : float
        Wall clock from the start of the process to its end.
    cpu_seconds : float
        Of it and all its descendants.
    own_cpu_seconds : float
        Of it alone, from its start to the return of the function.
    peak_bytes : int
        Largest private memory of all its processes together.
    peak_parent_bytes : int
        Largest private memory of the process itself.
    peak_uss_bytes : int
        Largest unique set size of all together: also counts pages of mapped files (the
        bank) that only one of them maps, which are the page cache's.
    """

    answer: str
    seconds: float
    cpu_seconds: float
    own_cpu_seconds: float
    peak_bytes: int
    peak_parent_bytes: int
    peak_uss_bytes: int


def run_fresh(
    target: str, kwargs: Mapping[str, Any], *, paths: Sequence[str | Path] = ()
) -> FreshRun:
    """Call ``target`` in a fresh process with one thread per library.

    Parameters
    ----------
    target : str
        ``"module:function"``.
    kwargs : mapping
        JSON values.
    paths : sequence of path
        Searched before all others for modules.

    Raises
    ------
    RuntimeError
        The process failed; the message ends with what it printed.
    """
    with tempfile.TemporaryDirectory() as folder:
        specification, answer = Path(folder, "spec.json"), Path(folder, "answer.txt")
        log = Path(folder, "log.txt")
        specification.write_text(
            json.dumps(
                {
                    "target": target,
                    "kwargs": dict(kwargs),
                    "paths": [str(path) for path in paths],
                    "answer": str(answer),
                }
            )
        )
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        started = time.perf_counter()
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [sys.executable, __file__, str(specification)],
                stdout=stream,
                stderr=subprocess.STDOUT,
                env=os.environ | ENVIRONMENT,
            )
            memory = TreeMemory(process.pid)
            memory.start()
            try:
                code = process.wait()
            finally:
                process.terminate()  # does nothing where it has ended
        seconds = time.perf_counter() - started
        memory.stop()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if code != 0:
            text = log.read_text(errors="replace")
            raise RuntimeError(f"{target} ended with {code}:\n{text[-3000:]}")
        own_cpu, _, returned = answer.read_text().partition("\n")
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return FreshRun(
            returned,
            seconds,
            cpu,
            float(own_cpu),
            memory.peak_bytes,
            memory.peak_parent_bytes,
            memory.peak_uss_bytes,
        )


class TreeMemory:
    """Largest private memory of a process and its descendants, sampled.

    Private is anonymous and shared-memory pages, as everywhere in the package; where the
    system does not say (other than Linux), the unique set size.

    Parameters
    ----------
    pid : int
    """

    def __init__(self, pid: int):
        self._pid = pid
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.peak_bytes = self.peak_parent_bytes = self.peak_uss_bytes = 0

    def start(self) -> None:
        """Begin to sample."""
        self._thread.start()

    def stop(self) -> None:
        """End, with all peaks final."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(_INTERVAL_S):
            self._sample()

    def _sample(self) -> None:
        import psutil

        total = total_uss = 0
        try:
            root = psutil.Process(self._pid)
            processes = [root, *root.children(recursive=True)]
        except psutil.Error:
            return
        for process in processes:
            try:
                uss = process.memory_full_info().uss
                private = private_bytes(process.pid, uss)
            except (psutil.Error, OSError):
                continue  # it ended meanwhile
            total += private
            total_uss += uss
            if process.pid == self._pid:
                self.peak_parent_bytes = max(self.peak_parent_bytes, private)
        self.peak_bytes = max(self.peak_bytes, total)
        self.peak_uss_bytes = max(self.peak_uss_bytes, total_uss)


def private_bytes(pid: int, uss: int) -> int:
    """Return anonymous and shared-memory bytes of a process; ``uss`` where unknown."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return uss
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    if "RssAnon" not in fields:
        return uss
    return 1024 * sum(int(fields[name].split()[0]) for name in ("RssAnon", "RssShmem"))


def tree_bytes(folder: Path, pattern: str = "**/*") -> int:
    """Return the size of all files in a folder [bytes]."""
    return sum(path.stat().st_size for path in folder.glob(pattern) if path.is_file())


def _main(specification: Path) -> None:
    """Be the fresh process."""
    spec = json.loads(specification.read_text())
    sys.path[:1] = spec["paths"]  # the first is this file's folder, no place for modules
    module, _, name = spec["target"].partition(":")
    answer = getattr(importlib.import_module(module), name)(**spec["kwargs"])
    Path(spec["answer"]).write_text(f"{time.process_time()}\n{answer}")


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
