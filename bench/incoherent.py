"""Speed of the incoherent kernel against the dense one and against this machine.

    python bench/incoherent.py [--waveforms 256] [--repeats 7]

Synthetic inspirals of the standard workload's sizes by default (three detectors, four
modes, 378 bins, 64 times, 32 phases), a bank of chirp mass 15 to 30 in Gaussian noise
with a signal of ratio 11; NumPy and numba only. The fast and the dense kernel run in
turn on one thread. Times are the process's, so that neighbours on the machine disturb
less; ratios are taken pair by pair.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np  # noqa: E402

from dotpe_exec.kernels import incoherent as fast  # noqa: E402
from dotpe_exec.kernels.incoherent_dense import incoherent_lnlike_dense  # noqa: E402
from dotpe_exec.kernels.summary import IncoherentSummary, LineFit, Summary, mode_pairs  # noqa: E402

SOLAR_MASS_S = 4.925491e-6
N_DENSE = 32


def make_problem(
    n_i: int, *, n_d: int, m_arr: np.ndarray, n_b: int, n_t: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, IncoherentSummary]:
    """Return amplitudes, phases and summary; the last waveform made is the signal."""
    rng = np.random.default_rng(seed)
    # Bins as a phase tolerance gives them: narrow where the inspiral is fast.
    grid_f = np.arange(20, 1600.01, 1 / 64)
    psi_f = (grid_f / 20) ** (-5 / 3) * 400 + (grid_f / 1600) * 60
    turns_f = np.cumsum(np.abs(np.gradient(psi_f)))
    fbin_b = np.interp(np.linspace(turns_f[0], turns_f[-1], n_b), turns_f, grid_f)

    mchirp_i = np.append(rng.uniform(15, 30, n_i), 20.0)
    shape = (n_i + 1, len(m_arr), 2, 1)
    ringdown_i = 300 * 20 / mchirp_i
    turning = rng.uniform(0, 0.4, shape) * np.cos(
        3 * np.log(fbin_b) + rng.uniform(0, 2 * np.pi, shape)
    )
    strength_m = np.where(m_arr == 2, 1.0, 0.15)[:, None, None]
    amplitudes_impb = (
        strength_m
        * rng.uniform(0.3, 1.0, shape)
        * np.exp(turning)
        * 1e-19
        * (mchirp_i[:, None, None, None] / 20) ** (5 / 6)
        * (fbin_b / 20) ** (-7 / 6)
        / (1 + (fbin_b / ringdown_i[:, None, None, None]) ** 4)
    )
    psi_ib = 3 / 128 * (np.pi * SOLAR_MASS_S * mchirp_i[:, None] * fbin_b) ** (-5 / 3)
    phases_impb = (
        (m_arr[:, None, None] / 2) ** (8 / 3) * psi_ib[:, None, None, :]
        + turning
        + rng.uniform(-np.pi, np.pi, shape)
    )

    spectrum_b = 1e-46 * ((fbin_b / 80) ** -4 + 1 + (fbin_b / 250) ** 2)
    power_db = 4 * np.gradient(fbin_b) / spectrum_b * rng.uniform(0.2, 1, (n_d, 1))
    h0_mpb = (amplitudes_impb * np.exp(1j * phases_impb))[-1]
    t_d = 60 + rng.uniform(-0.01, 0.01, n_d)
    signal_db = np.einsum("dp,mpb->db", rng.normal(size=(n_d, 2)), h0_mpb)
    snr = np.sqrt((power_db * np.abs(signal_db) ** 2).sum())
    signal_db *= 11 / snr * np.exp(-2j * np.pi * fbin_b * t_d[:, None])
    noise_db = rng.normal(size=(n_d, n_b)) + 1j * rng.normal(size=(n_d, n_b))
    data_db = power_db * signal_db + np.sqrt(power_db) * noise_db
    wiggle = 1 + 0.02 * rng.normal(size=(n_d, len(m_arr), 2, n_b))
    m_inds, mprime_inds = mode_pairs(len(m_arr))
    factor_k = np.where(m_inds == mprime_inds, 1.0, 2.0)[:, None, None, None]
    m2_index = int(np.flatnonzero(m_arr == 2)[0])
    summary = Summary(
        fbin_b=fbin_b,
        m_arr=m_arr,
        dh_weights_dmpb=data_db[:, None, None] * wiggle,
        hh_weights_dmppb=power_db[:, None, None, None]
        * factor_k
        * (1 + 0.01j)
        * np.ones((2, 2, 1)),
        asd_drift_d=np.ones(n_d),
        line_fit=LineFit(
            fbin_b,
            h0_mpb[m2_index, 0],
            np.sqrt(power_db[0]) * np.abs(h0_mpb[m2_index, 0]),
            m2_index,
        ),
    )
    times_dt = t_d[:, None] + (np.arange(n_t) - n_t // 2) / 3200
    return (
        amplitudes_impb[:-1].copy(),
        phases_impb[:-1].copy(),
        IncoherentSummary(summary, times_dt),
    )


def seconds(function: Callable[[], object]) -> float:
    """Return the process time that one call takes."""
    start = time.process_time()
    function()
    return time.process_time() - start


def machine(repeats: int) -> tuple[float, float, float]:
    """Return what this machine does: GEMM flop/s (double, single), stream bytes/s."""
    rates = []
    for dtype in (np.float64, np.float32):
        a = np.ones((768, 768), dtype=dtype)
        best = min(seconds(lambda a=a: [a @ a for _ in range(5)]) for _ in range(repeats))
        rates.append(5 * 2 * 768**3 / best)
    source, target = np.ones(2**24), np.ones(2**24)
    best = min(seconds(lambda: np.copyto(target, source)) for _ in range(repeats))
    return rates[0], rates[1], 2 * source.nbytes / best


def operations(
    prepared: fast.PreparedIncoherent, n_exact: float
) -> tuple[float, float, float]:
    """Return flops per waveform, in double and in single precision, and bytes read.

    ``n_exact`` is the mean number of times evaluated in double precision.
    """
    n_d, n_m, _, _, n_b = prepared.dh_weights_dmpcb.shape
    n_k, n_o = len(prepared.pairs_k4), prepared.mode_phasor_mco.shape[2]
    n_r, n_columns = prepared.times_drs.shape[1:]
    n_rows = 2 * n_m * n_b
    double = 45.0 * n_rows
    double += 4 * n_k * n_b * (6 + 8 * n_d)
    double += n_d * n_exact * 14 * n_rows
    single = n_d * n_rows * (8 + 4 * n_r)
    single += n_d * 2 * n_m * (4 * n_r * n_columns)
    single += (
        n_d
        * len(prepared.column_times)
        * (8 * n_m * len(prepared.screen_phasor_omc) + 10 * n_o)
    )
    return double, single, 16.0 * n_rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--waveforms", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--detectors", type=int, default=3)
    parser.add_argument("--modes", type=int, nargs="+", default=[2, 1, 3, 4])
    parser.add_argument("--bins", type=int, default=378)
    parser.add_argument("--times", type=int, default=64)
    parser.add_argument("--phases", type=int, default=32)
    arguments = parser.parse_args()

    amplitudes, phases, summary = make_problem(
        arguments.waveforms,
        n_d=arguments.detectors,
        m_arr=np.array(arguments.modes),
        n_b=arguments.bins,
        n_t=arguments.times,
    )
    prepare_s = seconds(lambda: fast.prepare_incoherent(summary, arguments.phases))
    prepared = fast.prepare_incoherent(summary, arguments.phases)
    compile_s = seconds(lambda: fast.compile_incoherent(prepared))
    some = slice(0, min(N_DENSE, arguments.waveforms))

    def run_fast() -> None:
        fast.incoherent_lnlike(amplitudes, phases, prepared)

    def run_dense() -> None:
        incoherent_lnlike_dense(amplitudes[some], phases[some], summary, arguments.phases)

    lnlike_di, n_evaluated = fast.incoherent_lnlike_counted(amplitudes, phases, prepared)
    dense_di = incoherent_lnlike_dense(
        amplitudes[some], phases[some], summary, arguments.phases
    )
    deviation = np.abs(lnlike_di[:, some] - dense_di).max()
    fast_us, dense_us = [], []
    for _ in range(arguments.repeats):
        fast_us.append(1e6 * seconds(run_fast) / arguments.waveforms)
        dense_us.append(1e6 * seconds(run_dense) / (some.stop - some.start))
    ratios = np.divide(dense_us, fast_us)

    gemm64, gemm32, stream = machine(arguments.repeats)
    n_exact = n_evaluated / lnlike_di.size
    double, single, n_bytes = operations(prepared, n_exact)
    fast_s = 1e-6 * np.median(fast_us)
    print(f"preparation {prepare_s:.3f} s, compilation or loading of it {compile_s:.1f} s")
    print(f"rank {prepared.basis_br.shape[1]}, {n_exact:.2f} times evaluated in double")
    print(f"largest deviation {deviation:.1e}, largest lnlike {dense_di.max():.2f}")
    for name, values in (("dense", dense_us), ("fast", fast_us)):
        print(
            f"{name:6} {np.median(values):8.1f} us per waveform "
            f"({min(values):.1f} to {max(values):.1f})"
        )
    print(
        f"ratio  {np.median(ratios):8.1f} ({min(ratios):.1f} to {max(ratios):.1f}, "
        f"{arguments.repeats} pairs)"
    )
    bound_s = double / gemm64 + single / gemm32
    print(
        f"{double / 1e6:.2f} Mflop double + {single / 1e6:.2f} Mflop single per waveform: "
        f"{(double + single) / fast_s / 1e9:.1f} Gflop/s, {bound_s / fast_s:.0%} of GEMM "
        f"speed ({gemm64 / 1e9:.1f} double, {gemm32 / 1e9:.1f} single)"
    )
    print(
        f"{n_bytes / 1e3:.0f} kB read per waveform: {n_bytes / fast_s / 1e9:.2f} GB/s of "
        f"{stream / 1e9:.1f} GB/s stream"
    )


if __name__ == "__main__":
    main()
