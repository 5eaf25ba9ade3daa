"""Speed of the coherent kernel against the dense one and against this machine.

    python bench/coherent.py [--repeats 5] [--waveforms 512]

Synthetic chirps of the standard workload's sizes (three detectors, four modes, 378 bins)
with a signal of signal-to-noise ratio 11; NumPy and numba only. Fast and dense run in
turn on one thread; the dense kernel on fewer waveforms, both per (i, e, o).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import threadpoolctl

from dotpe_exec.kernels.coherent import prepare_coherent, project
from dotpe_exec.kernels.coherent_dense import bestfit_lnlike, coherent_dense
from dotpe_exec.kernels.coherent_pairs import expand_pairs
from dotpe_exec.kernels.coherent_screen import search_block
from dotpe_exec.kernels.summary import LineFit, Summary, mode_pairs
from dotpe_exec.kernels.waveforms import linear_free_waveforms

N_D, N_B, M_ARR = 3, 378, np.array([2, 1, 3, 4])
MAX_DROP = 20.0
N_DENSE = 16
E_BLOCK = 512


def make_problem(
    n_i: int, n_e: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, Summary, np.ndarray, np.ndarray]:
    """Return amplitudes, phases, summary, responses and time shifts.

    Waveforms are like the survivors of a selection: close to the signal. Samples are like
    those of a sky posterior: milliseconds apart.
    """
    rng = np.random.default_rng(seed)
    fbin_b = np.geomspace(20.0, 1600.0, N_B)
    strength_m = np.array([1.0, 0.08, 0.12, 0.06])
    psi_b = 3 / 128 * (np.pi * 20 * 4.93e-6 * fbin_b) ** (-5 / 3)
    stretch_i = 1 + 1e-2 * rng.standard_normal(n_i)
    stretch_i[0] = 1.0
    phase_im = rng.uniform(0, 2 * np.pi, (n_i, 4))
    phases_imb = (
        phase_im[..., None]
        + (M_ARR[:, None] / 2) ** (8 / 3) * stretch_i[:, None, None] * psi_b
        - 2 * np.pi * 8.0 * fbin_b
    )
    twist_i = np.pi / 2 + 0.3 * rng.standard_normal(n_i)
    phases_impb = np.stack([phases_imb, phases_imb + twist_i[:, None, None]], axis=2)
    ringdown_b = 1 / (1 + (fbin_b / 250) ** 4)
    amplitudes_impb = (
        1e-22
        * strength_m[:, None, None]
        * rng.uniform(0.6, 1.0, (n_i, 1, 2, 1))
        * (fbin_b / 100) ** (-7 / 6)
        * ringdown_b
    )
    spectrum_b = 1e-46 * ((fbin_b / 100) ** -4 + 1 + (fbin_b / 300) ** 2)
    weights_b = 4 * np.gradient(fbin_b) / spectrum_b
    asd_drift_d = np.array([1.0, 1.0, 2.5])  # a third detector of less sensitivity
    direction_e = rng.standard_normal((3, n_e))
    response_dpe = 0.4 * rng.standard_normal((N_D, 2, 1)) + 0.5 * rng.standard_normal(
        (N_D, 2, n_e)
    )
    spread_d = np.array([2e-3, 2e-3, 8e-3])  # two sensitive detectors fix the times
    mixing_dk = rng.standard_normal((N_D, 3))
    mixing_dk /= np.linalg.norm(mixing_dk, axis=1, keepdims=True)
    times_de = spread_d[:, None] * (mixing_dk @ direction_e)
    timeshift_dbe = np.exp(-2j * np.pi * fbin_b[:, None] * times_de[:, None])
    h_mpb = amplitudes_impb[0] * np.exp(1j * phases_impb[0])
    signal_db = np.einsum(
        "mpb,dp,db->db", h_mpb, response_dpe[:, :, 0], timeshift_dbe[:, :, 0]
    )
    snr = np.sqrt((weights_b * np.abs(signal_db / asd_drift_d[:, None]) ** 2).sum())
    noise_db = rng.standard_normal((N_D, N_B)) + 1j * rng.standard_normal((N_D, N_B))
    data_db = signal_db * 11.4 / snr + (
        asd_drift_d[:, None] * noise_db / np.sqrt(weights_b)
    )
    m, mprime = mode_pairs(len(M_ARR))
    doubled_m = np.where(m == mprime, 1.0, 2.0)
    hh_weights = doubled_m[:, None, None, None] * weights_b * np.ones((N_D, 1, 2, 2, 1))
    summary = Summary(
        fbin_b,
        M_ARR,
        np.repeat(np.repeat((weights_b * data_db)[:, None, None], 4, 1), 2, 2),
        hh_weights.astype(complex),
        asd_drift_d,
        LineFit(fbin_b, h_mpb[0, 0], np.sqrt(weights_b * np.abs(h_mpb[0, 0])), 0),
    )
    return amplitudes_impb, phases_impb, summary, response_dpe, timeshift_dbe


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    """Return processor seconds (others may share the machine) and the value."""
    start = time.process_time()
    value = function()
    return time.process_time() - start, value


def chunks(n: int, size: int = 10_000) -> list[slice]:
    return [slice(start, start + size) for start in range(0, n, size)]


def machine() -> tuple[float, float, float]:
    """Return flop/s of a matrix product (double, single) and bytes/s of a stream."""
    rates = []
    for dtype in (np.float64, np.float32):
        a = np.ones((768, 768), dtype)
        rates.append(2 * 768**3 / min(timed(lambda a=a: a @ a)[0] for _ in range(8)))
    x, y = np.ones(1 << 23), np.ones(1 << 23)
    stream = 3 * x.nbytes / min(timed(lambda: np.add(x, y, out=y))[0] for _ in range(5))
    return rates[0], rates[1], stream


def run(n_i: int, n_e: int, n_phi: int, repeats: int) -> None:
    amplitudes, phases, summary, response_dpe, timeshift_dbe = make_problem(n_i, n_e)
    floor = -np.inf

    def fast() -> tuple[list[float], Any, Any]:
        seconds = []
        spent, (h_impb, _) = timed(
            lambda: linear_free_waveforms(amplitudes, phases, summary.line_fit)
        )
        seconds.append(spent)
        spent, projected = timed(lambda: project(h_impb, prepared))
        seconds.append(spent)
        spent, blocks = timed(
            lambda: [
                search_block(
                    h_impb,
                    projected,
                    prepared,
                    e,
                    min(e + E_BLOCK, n_e),
                    max_drop=MAX_DROP,
                    floor=floor,
                )
                for e in range(0, n_e, E_BLOCK)
            ]
        )
        seconds.append(spent)
        spent, samples = timed(
            lambda: [
                expand_pairs(x.dh_pmc[p], x.hh_pr[p], prepared.phases_cno, floor)
                for x in blocks
                for p in chunks(len(x.i_p))
            ]
        )
        seconds.append(spent)
        return seconds, blocks, samples

    def dense() -> tuple[np.ndarray, np.ndarray]:
        h_impb = linear_free_waveforms(
            amplitudes[:N_DENSE], phases[:N_DENSE], summary.line_fit
        )[0]
        return coherent_dense(h_impb, summary, response_dpe, timeshift_dbe, n_phi)

    amplitude_mpb = np.sqrt(np.mean(amplitudes[:16] ** 2, axis=0))
    preparation, prepared = timed(
        lambda: prepare_coherent(
            summary, response_dpe, timeshift_dbe, n_phi, amplitude_mpb=amplitude_mpb
        )
    )
    best = max(x.maxima_p.max() for x in fast()[1])  # compiles
    floor = best - MAX_DROP

    ratios, stages, dense_rates = [], [], []
    for _ in range(repeats):
        dense_seconds, (dh_ieo, hh_ieo) = timed(dense)
        seconds, blocks, samples = fast()
        dense_rates.append(dense_seconds / dh_ieo.size)
        ratios.append(dense_rates[-1] / (sum(seconds) / (n_i * n_e * n_phi)))
        stages.append(seconds)
    lnlike_ieo = bestfit_lnlike(dh_ieo, hh_ieo)
    found, error = 0, 0.0
    parts = [(x.i_p[p], x.e_p[p]) for x in blocks for p in chunks(len(x.i_p))]
    for (i_p, e_p), (pair_s, o_s, dh_s, *_) in zip(parts, samples, strict=True):
        i_s, e_s = i_p[pair_s], e_p[pair_s]
        use = i_s < N_DENSE
        found += use.sum()
        error = max(
            error,
            np.abs(dh_ieo[i_s[use], e_s[use], o_s[use]] - dh_s[use]).max(initial=0.0),
        )
    n_pairs = n_i * n_e
    stage_us = np.median(stages, axis=0) / n_pairs * 1e6
    n_k, n_lead = len(prepared.detector_k), int(prepared.lead_k.sum())
    evaluated = sum(x.n_evaluated for x in blocks)
    double = 64 * N_B * n_k * n_i + 28 * 40 * N_B * N_D * n_i + 128 * n_k * evaluated
    single = 64 * n_lead * n_pairs
    print(f"\nn_int {n_i}, n_ext {n_e}, n_phi {n_phi}")
    print(f"  ranks {np.bincount(prepared.detector_k)}, in the screening {n_lead}")
    print(f"  preparation {preparation * 1e3:.0f} ms (once per phase)")
    print(f"  dense  {np.median(dense_rates) * 1e6:.3f} us per (i, e, o)")
    print(
        f"  fast   {stage_us.sum():.3f} us per (i, e): waveforms {stage_us[0]:.3f}, "
        f"projection {stage_us[1]:.3f}, search {stage_us[2]:.3f}, phases {stage_us[3]:.3f}"
    )
    print(
        f"  ratio  {np.median(ratios):.0f} (median of {repeats}; "
        f"{min(ratios):.0f} to {max(ratios):.0f})"
    )
    print(
        f"  pairs evaluated {evaluated / n_pairs:.2%}, kept "
        f"{sum(len(x.i_p) for x in blocks) / n_pairs:.2%}; samples kept "
        f"{sum(len(x[0]) for x in samples)}, best {best:.1f}"
    )
    print(
        f"  same set as dense: {found == (lnlike_ieo > floor).sum()} ({found} samples of "
        f"{N_DENSE} waveforms), dh within {error / np.abs(dh_ieo).max():.1e} of its largest"
    )
    busy = sum(np.median(stages, axis=0)[1:3])
    print(
        f"  projection and search: {double / busy / 1e9:.1f} Gflop/s double and "
        f"{single / busy / 1e9:.1f} single together"
    )
    moved = 3 * 16 * 8 * N_B * n_i + 8 * n_lead * n_pairs / 16
    print(f"  bytes at least moved: {moved / busy / 1e9:.1f} GB/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--waveforms", type=int, default=512)
    arguments = parser.parse_args()
    with threadpoolctl.threadpool_limits(1):
        double, single, stream = machine()
        print(
            f"this machine, one thread: {double / 1e9:.1f} Gflop/s double, "
            f"{single / 1e9:.1f} single (matrix product), {stream / 1e9:.1f} GB/s (stream)"
        )
        for n_e, n_phi in ((512, 32), (2048, 100)):
            run(arguments.waveforms, n_e, n_phi, arguments.repeats)


if __name__ == "__main__":
    main()
