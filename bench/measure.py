"""What all benchmarks share: spreads and paired ratios, tables, provenance, memory.

Every table is printed as Markdown and written as JSON with the machine, the versions of
the libraries, the commit and the load of the machine at the start: figures taken while
others were busy can be told from quiet ones.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dotpe_exec.machine import describe_machine

_LIBRARIES = (
    "dotpe-exec", "numpy", "scipy", "numba", "loky", "threadpoolctl", "pandas", "pyarrow",
    "cogwheel-pe", "lalsuite", "distributed", "mpi4py",
)  # fmt: skip
_QUIET_LOAD_PER_CORE = 0.3
_GEMM_SIZE = 768


@dataclass(frozen=True)
class Spread:
    """Repeated measurements of one quantity.

    Parameters
    ----------
    values : tuple of float
        At least one.
    """

    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[float], scale: float = 1.0) -> Spread:
        """Make one of values in another unit: each times ``scale``."""
        return cls(tuple(scale * float(value) for value in values))

    @property
    def median(self) -> float:
        """The median."""
        return statistics.median(self.values)

    def __str__(self) -> str:
        if len(self.values) == 1:
            return number_text(self.median)
        low, high = number_text(min(self.values)), number_text(max(self.values))
        return f"{number_text(self.median)} ({low} to {high})"

    def to_dict(self) -> dict[str, Any]:
        """Return median, extremes and values for JSON."""
        return {
            "median": self.median,
            "min": min(self.values),
            "max": max(self.values),
            "values": list(self.values),
        }


def paired_ratios(numerators: Sequence[float], denominators: Sequence[float]) -> Spread:
    """Return the ratios of measurements that were made one after the other.

    What slows the machine for a while slows both of a pair.

    Raises
    ------
    ValueError
        The sequences do not pair.
    """
    pairs = zip(numerators, denominators, strict=True)
    return Spread.of([numerator / denominator for numerator, denominator in pairs])


def number_text(value: float) -> str:
    """Return a number with three significant digits and no exponent where that reads."""
    if value != 0 and not 1e-3 <= abs(value) < 1e6:
        return f"{value:.2e}"
    if value == 0:
        return "0"
    digits = 2 - int(np.floor(np.log10(abs(value))))
    return f"{value:.{max(digits, 0)}f}"


@dataclass
class Table:
    """One table of a benchmark.

    Parameters
    ----------
    name : str
        Also of the JSON file.
    caption : str
        How it was made.
    rows : list of dict
        Cells by column: text, numbers or Spreads; columns in order of appearance.
    """

    name: str
    caption: str
    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, **cells: Any) -> None:
        """Add a row; underscores in column names are printed as spaces."""
        self.rows.append(cells)

    def columns(self) -> list[str]:
        """Return the names of all columns."""
        return list(dict.fromkeys(name for row in self.rows for name in row))

    def markdown(self) -> str:
        """Return the table in Markdown."""
        columns = self.columns()
        lines = [
            "| " + " | ".join(name.replace("_", " ") for name in columns) + " |",
            "|" + " --- |" * len(columns),
        ]
        for row in self.rows:
            cells = (_cell_text(row.get(name)) for name in columns)
            lines.append("| " + " | ".join(cells) + " |")
        return "\n".join([*lines, "", self.caption])

    def to_dict(self) -> dict[str, Any]:
        """Return the table for JSON."""
        rows = [
            {
                name: cell.to_dict() if isinstance(cell, Spread) else cell
                for name, cell in row.items()
            }
            for row in self.rows
        ]
        return {"table": self.name, "caption": self.caption, "rows": rows}


def _cell_text(cell: Any) -> str:
    if cell is None:
        return ""
    if isinstance(cell, int | str):
        return str(cell)
    return str(cell) if isinstance(cell, Spread) else number_text(float(cell))


def provenance() -> dict[str, Any]:
    """Return machine, versions, commit and load, now."""
    versions = {}
    for name in _LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    machine = describe_machine()
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": machine,
        "versions": versions,
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted_changes": bool(_git("status", "--porcelain", "--", "dotpe_exec")),
        "load_average": load,
        "quiet": load is not None and load < _QUIET_LOAD_PER_CORE * machine["usable_cores"],
    }


def _git(*words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), *words],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


class Report:
    """Collects the tables of one benchmark; prints each and writes them all at the end.

    Parameters
    ----------
    arguments : argparse.Namespace
        Of the command; ``json`` (a path or None) is where the file goes.
    """

    def __init__(self, arguments: argparse.Namespace):
        self._arguments = arguments
        self._provenance = provenance()  # before the benchmark loads the machine itself
        self._tables: list[Table] = []
        if not self._provenance["quiet"]:
            print(f"load average {self._provenance['load_average']}: not a quiet machine\n")

    def show(self, table: Table) -> None:
        """Print a table and keep it for the file."""
        print(table.markdown(), end="\n\n", flush=True)
        self._tables.append(table)

    def write(self) -> None:
        """Write the JSON file, if one is wanted."""
        path = self._arguments.json
        if path is None:
            return
        content = self._provenance | {
            "arguments": vars(self._arguments),
            "tables": [table.to_dict() for table in self._tables],
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(content, indent=2, default=str)  # paths become text
        path.write_text(text + "\n", encoding="utf-8")


def parser(doc: str | None, repeats: int) -> argparse.ArgumentParser:
    """Return a command line with the options of every benchmark."""
    made = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    made.add_argument("--repeats", type=int, default=repeats, help=f"default {repeats}")
    made.add_argument("--json", type=Path, help="write the figures to this file")
    return made


def cpu_seconds(function: Callable[[], Any]) -> float:
    """Return the process time of one call: neighbours on the machine disturb less."""
    start = time.process_time()
    function()
    return time.process_time() - start


@dataclass(frozen=True)
class MachineRates:
    """What one core of this machine does at best.

    Parameters
    ----------
    gemm64, gemm32 : float
        Matrix products of 768 x 768, flop/s in double and in single precision.
    stream : float
        A copy of 128 MB, bytes read and written per second.
    """

    gemm64: float
    gemm32: float
    stream: float


def machine_rates(repeats: int) -> MachineRates:
    """Measure a GEMM and a stream test, the best of several runs; limit threads first."""
    rates = []
    for dtype in (np.float64, np.float32):
        a = np.ones((_GEMM_SIZE, _GEMM_SIZE), dtype=dtype)
        seconds = min(
            cpu_seconds(lambda a=a: [a @ a for _ in range(5)]) for _ in range(repeats)
        )
        rates.append(5 * 2 * _GEMM_SIZE**3 / seconds)
    source, target = np.ones(2**24), np.ones(2**24)
    seconds = min(cpu_seconds(lambda: np.copyto(target, source)) for _ in range(repeats))
    return MachineRates(rates[0], rates[1], 2 * source.nbytes / seconds)


@dataclass(frozen=True)
class KernelFigures:
    """A kernel against its dense reference, measured in turn.

    Parameters
    ----------
    kernel : str
    unit : str
        What one evaluation is of.
    fast_s, dense_s : list of float
        CPU seconds per unit, in pairs.
    flop64, flop32, n_bytes : float
        Floating-point operations and bytes that have to move, per unit, counted from
        the algorithm.
    deviation : float
        Largest deviation from the dense reference.
    deviation_of : str
        What that is of.
    """

    kernel: str
    unit: str
    fast_s: list[float]
    dense_s: list[float]
    flop64: float
    flop32: float
    n_bytes: float
    deviation: float
    deviation_of: str

    @property
    def ratios(self) -> Spread:
        """Time of the dense reference over that of the kernel."""
        return paired_ratios(self.dense_s, self.fast_s)

    def of_gemm(self, rates: MachineRates) -> float:
        """Return the time that the operations take at GEMM speed over that taken."""
        least_s = self.flop64 / rates.gemm64 + self.flop32 / rates.gemm32
        return least_s / statistics.median(self.fast_s)

    def of_stream(self, rates: MachineRates) -> float:
        """Return the time that the bytes take at stream speed over that taken."""
        return self.n_bytes / rates.stream / statistics.median(self.fast_s)


def kernel_table(
    name: str, figures: Sequence[KernelFigures], rates: MachineRates, remark: str
) -> Table:
    """Return the table of kernels against their references and against the machine."""
    table = Table(
        name,
        f"One thread, CPU time, medians (smallest to largest) of {len(figures[0].fast_s)} "
        "pairs. Of GEMM (stream): the time that the counted operations (bytes) take at the "
        f"speed of a matrix product, {rates.gemm64 / 1e9:.1f} Gflop/s double and "
        f"{rates.gemm32 / 1e9:.1f} single precision (of a copy, {rates.stream / 1e9:.1f} "
        f"GB/s), over that taken. {remark}",
    )
    for one in figures:
        fast_s = statistics.median(one.fast_s)
        table.add(
            kernel=one.kernel,
            per=one.unit,
            dense_us=Spread.of(one.dense_s, 1e6),
            fast_us=Spread.of(one.fast_s, 1e6),
            ratio=one.ratios,
            Gflop_per_s=(one.flop64 + one.flop32) / fast_s / 1e9,
            of_GEMM=one.of_gemm(rates),
            GB_per_s=one.n_bytes / fast_s / 1e9,
            of_stream=one.of_stream(rates),
            deviation=f"{one.deviation:.1e} ({one.deviation_of})",
        )
    return table
