"""Speed of the incoherent kernel against the dense one and against this machine.

    python bench/incoherent.py [--waveforms 256] [--repeats 7]
    python bench/incoherent.py --w16k [--rundir RUN]

Synthetic inspirals of the standard workload's sizes by default (three detectors, four
modes, 378 bins, 64 times, 32 phases), a bank of chirp mass 15 to 30 in Gaussian noise
with a signal of ratio 11; NumPy and numba only. The fast and the dense kernel run in
turn on one thread. Times are the process's, so that neighbours on the machine disturb
less; ratios are taken pair by pair. With ``--w16k`` on the standard workload itself, the
first waveforms of its bank; the summaries are those of a run, which is made, or of RUN if
that is given.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from measure import (
    KernelFigures,
    Report,
    cpu_seconds,
    kernel_table,
    machine_rates,
    parser,
)
from w16k_run import real_problem

from dotpe_exec.executors.threads import OneThread
from dotpe_exec.kernels import incoherent as fast
from dotpe_exec.kernels.incoherent_dense import incoherent_lnlike_dense
from dotpe_exec.kernels.summary import IncoherentSummary, LineFit, Summary, mode_pairs

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


def measure(
    n_i: int, *, n_d: int, m_arr: np.ndarray, n_b: int, n_t: int, n_phi: int, repeats: int
) -> tuple[KernelFigures, str]:
    """Measure both kernels on a synthetic problem; see :func:`measure_on`."""
    problem = make_problem(n_i, n_d=n_d, m_arr=m_arr, n_b=n_b, n_t=n_t)
    return measure_on(*problem, n_phi=n_phi, repeats=repeats)


def measure_on(
    amplitudes: np.ndarray,
    phases: np.ndarray,
    summary: IncoherentSummary,
    *,
    n_phi: int,
    repeats: int,
) -> tuple[KernelFigures, str]:
    """Measure both kernels in turn; return the figures and a line on what happened."""
    n_i = len(amplitudes)
    prepare_s = cpu_seconds(lambda: fast.prepare_incoherent(summary, n_phi))
    prepared = fast.prepare_incoherent(summary, n_phi)
    compile_s = cpu_seconds(lambda: fast.compile_incoherent(prepared))
    some = slice(0, min(N_DENSE, n_i))

    def run_fast() -> tuple[np.ndarray, int]:
        return fast.incoherent_lnlike_counted(amplitudes, phases, prepared)

    def run_dense() -> np.ndarray:
        return incoherent_lnlike_dense(amplitudes[some], phases[some], summary, n_phi)

    (lnlike_di, n_evaluated), dense_di = run_fast(), run_dense()
    fast_s, dense_s = [], []
    for _ in range(repeats):
        fast_s.append(cpu_seconds(run_fast) / n_i)
        dense_s.append(cpu_seconds(run_dense) / (some.stop - some.start))
    n_exact = n_evaluated / lnlike_di.size
    double, single, n_bytes = operations(prepared, n_exact)
    figures = KernelFigures(
        "incoherent",
        "waveform",
        fast_s,
        dense_s,
        double,
        single,
        n_bytes,
        float(np.abs(lnlike_di[:, some] - dense_di).max()),
        "lnlike",
    )
    remark = (
        f"Incoherent: preparation {prepare_s:.3f} s, compilation or loading of it "
        f"{compile_s:.1f} s, rank {prepared.basis_br.shape[1]}, {n_exact:.2f} times "
        "evaluated in double precision."
    )
    return figures, remark


def main() -> None:
    """Measure and print."""
    arguments_parser = parser(__doc__, repeats=7)
    arguments_parser.add_argument("--waveforms", type=int, default=256)
    arguments_parser.add_argument("--detectors", type=int, default=3)
    arguments_parser.add_argument("--modes", type=int, nargs="+", default=[2, 1, 3, 4])
    arguments_parser.add_argument("--bins", type=int, default=378)
    arguments_parser.add_argument("--times", type=int, default=64)
    arguments_parser.add_argument("--phases", type=int, default=32)
    arguments_parser.add_argument("--w16k", action="store_true", help="on real data")
    arguments_parser.add_argument(
        "--rundir", type=Path, help="a run on W16k; default: made"
    )
    arguments = arguments_parser.parse_args()
    report = Report(arguments)
    with OneThread():
        rates = machine_rates(arguments.repeats)
        if arguments.w16k:
            problem = real_problem(arguments.rundir)
            figures, remark = measure_on(
                *problem.bank.read(np.arange(arguments.waveforms)),
                problem.incoherent,
                n_phi=problem.n_phi,
                repeats=arguments.repeats,
            )
        else:
            figures, remark = measure(
                arguments.waveforms,
                n_d=arguments.detectors,
                m_arr=np.array(arguments.modes),
                n_b=arguments.bins,
                n_t=arguments.times,
                n_phi=arguments.phases,
                repeats=arguments.repeats,
            )
    report.show(kernel_table("incoherent", [figures], rates, remark))
    report.write()


if __name__ == "__main__":
    main()
