"""Waveforms of IMRPhenomXPHM by azimuthal number: the fast way, the direct one, cogwheel.

    python bench/waveforms.py [--waveforms 300] [--repeats 5] [--bank-size 65536]

The three ways make the same waveforms, drawn from a bank's prior, one after the other in
each repeat: amplitudes and unwrapped phases, with what falls from the fast way to the
direct one counted as it comes. CPU time per waveform, the ratios of each repeat, and the
largest error over the largest amplitude of its waveform.

With ``--bank-size``, a bank of that many waveforms in 190 bins is built as well, start of
the workers and writing included, and a matrix product is timed beside it.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
from measure import (
    Report,
    Spread,
    Table,
    cpu_seconds,
    machine_rates,
    paired_ratios,
    parser,
)

from dotpe_exec.banks.build import build_bank
from dotpe_exec.banks.prior import Proposal
from dotpe_exec.waveforms import ModeGenerator, generate_waveform_set

MODES = ((2, 2), (2, 1), (3, 3), (3, 2), (4, 4))
WAYS = ("fast", "direct", "cogwheel")


def measure(table: Table, n_b: int, n_waveforms: int, repeats: int) -> None:
    """Add a row to the table."""
    rows = Proposal((20.0, 25.0), 0.2, -1.7).draw(n_waveforms, np.random.default_rng(0))
    fbin = np.geomspace(20.0, 1000.0, n_b)
    make = {way: ModeGenerator("IMRPhenomXPHM", MODES, 50.0, fbin, way) for way in WAYS}
    made = {way: generate_waveform_set(make[way], rows) for way in WAYS}
    h = {way: w.amplitudes_impb * np.exp(1j * w.phases_impb) for way, w in made.items()}
    axes = (1, 2, 3)
    error = np.abs(h["fast"] - h["direct"]).max(axes) / np.abs(h["direct"]).max(axes)
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(repeats):
        for way in WAYS:
            seconds[way].append(
                cpu_seconds(lambda way=way: generate_waveform_set(make[way], rows))
            )
    table.add(
        frequencies=n_b,
        **{f"{way}_ms": Spread.of(seconds[way], 1e3 / n_waveforms) for way in WAYS},
        direct_over_fast=paired_ratios(seconds["direct"], seconds["fast"]),
        cogwheel_over_fast=paired_ratios(seconds["cogwheel"], seconds["fast"]),
        made_fast=float(np.mean(made["fast"].ways_i == "fast")),
        largest_error=f"{error.max():.1e}",
    )


def measure_bank(table: Table, bank_size: int, workers: int) -> None:
    """Add the time of building a bank to the table."""
    fbin = np.round(np.geomspace(20.0, 1000.0, 190) * 128) / 128
    gemm = machine_rates(3).gemm64
    with tempfile.TemporaryDirectory(prefix="bank-") as folder:
        began = time.perf_counter()
        build_bank(
            Path(folder) / "bank",
            bank_size=bank_size,
            mchirp_range=(20.0, 25.0),
            fbin=fbin,
            seed=0,
            n_procs=workers,
            progress=False,
        )
        seconds = time.perf_counter() - began
    table.add(
        waveforms=bank_size,
        frequencies=len(fbin),
        workers=workers,
        seconds=seconds,
        ms_per_waveform_and_worker=1e3 * seconds * workers / bank_size,
        gemm_gflops=gemm / 1e9,
    )


def main() -> None:
    """Measure and print."""
    options = parser(__doc__, repeats=5)
    options.add_argument("--waveforms", type=int, default=300)
    options.add_argument("--bank-size", type=int, help="also build a bank of this size")
    options.add_argument("--workers", type=int, default=2, help="that build it")
    arguments = options.parse_args()
    report = Report(arguments)
    table = Table("waveforms", "CPU time of one waveform with amplitudes and phases.")
    for n_b in (190, 378):
        measure(table, n_b, arguments.waveforms, arguments.repeats)
    report.show(table)
    if arguments.bank_size:
        table = Table("bank", "Wall clock of building a bank, from call to return.")
        measure_bank(table, arguments.bank_size, arguments.workers)
        report.show(table)
    report.write()


if __name__ == "__main__":
    main()
