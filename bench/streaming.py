"""Reading a bank that is not in memory: does the incoherent phase run at the disk's speed?

    python bench/streaming.py BANK [--waveforms N] [--repeats 3]

The bank's files are taken out of the page cache before each measurement (where the system
allows it), so that a small bank stands for one that is larger than memory. In turn: the
plain sequential read of the files, the phase with nothing cached, and the phase on what
it has just read. A phase that reads ahead takes about the longer of reading and
computing; one that waits for every page takes their sum.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
from incoherent import make_problem
from measure import Report, Spread, Table, parser

from dotpe_exec.banks.format import Bank, open_bank
from dotpe_exec.banks.waveforms import KINDS, WaveformBatch
from dotpe_exec.executors.threads import OneThread
from dotpe_exec.kernels.incoherent import compile_incoherent, prepare_incoherent
from dotpe_exec.stages.incoherent_tasks import IncoherentTask, incoherent_task

_I_BATCH = 512
_N_PHI, _N_T = 32, 64
_READ_BYTES = 2**22


def block_files(bank: Bank, n_waveforms: int) -> list[Path]:
    """Return the waveform files of the blocks that hold the first waveforms."""
    handle = bank.handle
    n_blocks = -(-n_waveforms // handle.blocksize)
    return [handle.block_path(kind, k) for k in range(n_blocks) for kind in KINDS]


def drop_from_cache(paths: list[Path]) -> None:
    """Take files out of the page cache.

    Raises
    ------
    OSError
        The system does not offer that.
    """
    if not hasattr(os, "posix_fadvise"):
        raise OSError("files cannot be taken out of the page cache on this system")
    for path in paths:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_all(paths: list[Path]) -> int:
    """Read files from beginning to end; return the number of bytes."""
    total = 0
    buffer = bytearray(_READ_BYTES)
    for path in paths:
        with path.open("rb", buffering=0) as file:
            while n_bytes := file.readinto(buffer):
                total += n_bytes
    return total


class Phase:
    """The tasks of the incoherent phase on the first waveforms of a bank.

    The data are synthetic: what is computed costs as much as with an event.
    """

    def __init__(self, bank: Bank, n_waveforms: int):
        handle = bank.handle
        _, _, summary = make_problem(
            1, n_d=3, m_arr=np.asarray(bank.config.m_arr), n_b=handle.n_b, n_t=_N_T
        )
        prepared = prepare_incoherent(summary, _N_PHI)
        compile_incoherent(prepared)
        self._tasks = [
            IncoherentTask(
                WaveformBatch(handle, start, min(start + _I_BATCH, n_waveforms)),
                _Loaded(prepared),
            )
            for start in range(0, n_waveforms, _I_BATCH)
        ]

    def run(self) -> None:
        """Run all tasks."""
        for task in self._tasks:
            incoherent_task(task)


class _Loaded:
    """In place of a handle: what would be loaded."""

    def __init__(self, value):
        self._value = value

    def load(self):
        return self._value


def seconds(function) -> tuple[float, float]:
    """Return wall clock and processor seconds of a call."""
    start = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - start[0], time.process_time() - start[1]


def measure(bank: Bank, n_waveforms: int, repeats: int) -> Table:
    """Measure reading, the phase with nothing cached and with all cached, in turn."""
    paths = block_files(bank, n_waveforms)
    n_bytes = 2 * 8 * n_waveforms * bank.handle.n_m * 2 * bank.handle.n_b
    phase = Phase(bank, n_waveforms)
    total = sum(path.stat().st_size for path in paths)
    read_s, cold_s, warm_s, cpu_s = [], [], [], []
    for _ in range(repeats):
        drop_from_cache(paths)
        # Of whole blocks; the waveforms may end within the last.
        read_s.append(seconds(lambda: read_all(paths))[0] * n_bytes / total)
        drop_from_cache(paths)
        wall, cpu = seconds(phase.run)
        cold_s.append(wall)
        cpu_s.append(cpu)
        warm_s.append(seconds(phase.run)[0])
    least_s = [max(pair) for pair in zip(read_s, warm_s, strict=True)]
    table = Table(
        "streaming",
        f"{n_waveforms} waveforms, {n_bytes / 1e9:.2f} GB; wall clock, one thread, "
        f"{repeats} repeats. Overlap: the longer of reading and computing, over the time "
        "with nothing cached; without overlap: what their sum would give.",
    )
    table.add(
        read_GB_per_s=Spread.of([n_bytes / 1e9 / s for s in read_s]),
        read_s=Spread.of(read_s),
        phase_cached_s=Spread.of(warm_s),
        phase_not_cached_s=Spread.of(cold_s),
        of_it_CPU_s=Spread.of(cpu_s),
        overlap=Spread.of([a / b for a, b in zip(least_s, cold_s, strict=True)]),
        without_overlap=Spread.of(
            [max(r, w) / (r + w) for r, w in zip(read_s, warm_s, strict=True)]
        ),
    )
    return table


def main() -> None:
    """Measure and print."""
    arguments_parser = parser(__doc__, repeats=3)
    arguments_parser.add_argument("bank", type=Path)
    arguments_parser.add_argument("--waveforms", type=int, help="default: all")
    arguments = arguments_parser.parse_args()
    report = Report(arguments)
    bank = open_bank(arguments.bank)
    n_waveforms = arguments.waveforms or bank.n_waveforms
    with OneThread():
        report.show(measure(bank, n_waveforms, arguments.repeats))
    report.write()


if __name__ == "__main__":
    main()
