"""Each kernel against its dense reference, and against a GEMM and a stream test.

    python bench/run.py micro [--repeats 5]

Synthetic data of the standard workload's sizes (three detectors, four modes, 378 bins,
64 times, 32 phases); NumPy, SciPy and numba only. Fast and dense run in turn.
"""

from __future__ import annotations

import coherent
import incoherent
import numpy as np
from measure import (
    KernelFigures,
    Report,
    cpu_seconds,
    kernel_table,
    machine_rates,
    parser,
)

from dotpe_exec.distance_table import load_distance_table
from dotpe_exec.executors.threads import OneThread
from dotpe_exec.kernels.distance import DistanceTable, lnlike_marginalized
from dotpe_exec.kernels.summary import LineFit
from dotpe_exec.kernels.waveforms import linear_free_waveforms

# Nodes of the direct distance integral: its error is below the table's by far.
_N_NODES = 2000
_SIGMAS = 12.0
# Spline of degree 3 in two dimensions: two bases of 16 flops and 16 products, and the
# coordinates (asinh, log, square roots) counted as 40.
_FLOP_DISTANCE = 2 * 16 + 2 * 16 + 40


def lnlike_marginalized_dense(
    d_h: np.ndarray, h_h: np.ndarray, d_luminosity_max: float
) -> np.ndarray:
    """Integrate over distance by the trapezium rule in u = sqrt(h_h) / r.

    L = int 3 r^2 / r_max^3 exp(d_h / r - h_h / (2 r^2)) dr, with nodes within 12 standard
    deviations of the peak in u; for peaks well above the smallest u only.
    """
    norm = np.sqrt(h_h)
    z = d_h / norm
    u_min = norm / d_luminosity_max
    step = np.linspace(-_SIGMAS, _SIGMAS, _N_NODES)
    u = np.maximum(z[:, None] + step, u_min[:, None])
    exponent = -0.5 * (u - z[:, None]) ** 2
    density = 3 * norm[:, None] ** 3 / u**4 / d_luminosity_max**3 * np.exp(exponent)
    widths = np.diff(u, axis=1)
    integral = (0.5 * (density[:, 1:] + density[:, :-1]) * widths).sum(axis=1)
    return z**2 / 2 + np.log(integral)


def measure_distance(table: DistanceTable, n: int, repeats: int) -> KernelFigures:
    """Measure the distance marginalisation at overlaps of 8 to 30."""
    rng = np.random.default_rng(0)
    overlap, norm = rng.uniform(8, 30, n), rng.uniform(5e3, 6e4, n)
    d_h, h_h = overlap * norm, norm**2
    some = slice(0, min(n, 500))

    def run_fast() -> np.ndarray:
        return lnlike_marginalized(d_h, h_h, table)

    def run_dense() -> np.ndarray:
        return lnlike_marginalized_dense(d_h[some], h_h[some], table.d_luminosity_max)

    deviation = float(np.abs(run_fast()[some] - run_dense()).max())
    fast_s, dense_s = [], []
    for _ in range(repeats):
        fast_s.append(cpu_seconds(run_fast) / n)
        dense_s.append(cpu_seconds(run_dense) / (some.stop - some.start))
    return KernelFigures(
        "distance marginalisation", "sample", fast_s, dense_s, _FLOP_DISTANCE, 0.0, 24.0,
        deviation, "lnlike",
    )  # fmt: skip


def linear_free_waveforms_dense(
    amplitudes_impb: np.ndarray, phases_impb: np.ndarray, line_fit: LineFit
) -> np.ndarray:
    """Make linear-free waveforms as they are defined, with complex exponentials."""
    h_impb = amplitudes_impb * np.exp(1j * phases_impb)
    shifted = np.empty_like(h_impb)
    for i, h_mpb in enumerate(h_impb):
        ratio_b = h_mpb[line_fit.m2_index, 0] / line_fit.h2plus0_b
        slope, _ = np.polyfit(
            line_fit.fbin_b,
            np.unwrap(np.angle(ratio_b)),
            1,
            w=line_fit.weights_b * np.sqrt(np.abs(ratio_b)),
        )
        shifted[i] = h_mpb * np.exp(-1j * slope * line_fit.fbin_b)
    return shifted


def measure_waveforms(n_i: int, repeats: int) -> KernelFigures:
    """Measure waveforms from amplitudes and phases, moved in time."""
    amplitudes, phases, summary, *_ = coherent.make_problem(n_i, 1)

    def run_fast() -> np.ndarray:
        return linear_free_waveforms(amplitudes, phases, summary.line_fit)[0]

    def run_dense() -> np.ndarray:
        return linear_free_waveforms_dense(amplitudes, phases, summary.line_fit)

    h_impb, expected_impb = run_fast(), run_dense()
    deviation = np.abs(h_impb - expected_impb).max() / np.abs(expected_impb).max()
    fast_s, dense_s = [], []
    for _ in range(repeats):
        fast_s.append(cpu_seconds(run_fast) / n_i)
        dense_s.append(cpu_seconds(run_dense) / n_i)
    n_rows = amplitudes[0].size
    # Cosine and sine of each phase: 45 operations, as counted for the incoherent kernel.
    return KernelFigures(
        "linear-free waveforms", "waveform", fast_s, dense_s, 45.0 * n_rows, 0.0,
        32.0 * n_rows, float(deviation), "h, relative to the largest",
    )  # fmt: skip


def measure_all(
    n_waveforms: int, n_samples: int, repeats: int
) -> tuple[list[KernelFigures], str]:
    """Measure every kernel; return the figures and remarks."""
    incoherent_figures, incoherent_remark = incoherent.measure(
        n_waveforms // 2, n_d=3, m_arr=np.array([2, 1, 3, 4]), n_b=378, n_t=64, n_phi=32,
        repeats=repeats,
    )  # fmt: skip
    coherent_figures, coherent_remark = coherent.measure(n_waveforms, 512, 32, repeats)
    figures = [
        measure_waveforms(n_waveforms // 4, repeats),
        incoherent_figures,
        coherent_figures,
        measure_distance(load_distance_table(), n_samples, repeats),
    ]
    return figures, f"{incoherent_remark} {coherent_remark}"


def main() -> None:
    """Measure and print."""
    arguments_parser = parser(__doc__, repeats=5)
    arguments_parser.add_argument("--waveforms", type=int, default=512)
    arguments_parser.add_argument("--samples", type=int, default=100_000)
    arguments = arguments_parser.parse_args()
    report = Report(arguments)
    with OneThread():
        rates = machine_rates(arguments.repeats)
        figures, remark = measure_all(
            arguments.waveforms, arguments.samples, arguments.repeats
        )
    report.show(kernel_table("micro", figures, rates, remark))
    report.write()


if __name__ == "__main__":
    main()
