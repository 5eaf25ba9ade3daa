"""Speed of the coherent kernel against the dense one and against this machine.

    python bench/coherent.py [--repeats 5] [--waveforms 512]
    python bench/coherent.py --w16k [--rundir RUN] [--repeats 3]

Synthetic chirps of the standard workload's sizes (three detectors, four modes, 378 bins)
with a signal of signal-to-noise ratio 11; NumPy and numba only. Fast and dense run in
turn on one thread; the dense kernel on fewer waveforms, both per (i, e, o).

With ``--w16k`` on the standard workload itself: all waveforms that a run on it selected,
its extrinsic samples, and the accepted sets of both kernels compared sample by sample.
The run is made, or is RUN if that is given.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from measure import (
    KernelFigures,
    Report,
    Spread,
    Table,
    kernel_table,
    machine_rates,
    paired_ratios,
    parser,
)
from w16k_run import RealProblem, real_problem

from dotpe_exec.executors.threads import OneThread
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
    """Cut a range, as the stage does, so that memory stays small."""
    return [slice(start, start + size) for start in range(0, n, size)]


def measure(n_i: int, n_e: int, n_phi: int, repeats: int) -> tuple[KernelFigures, str]:
    """Measure both kernels in turn; return the figures and lines on what happened.

    Raises
    ------
    RuntimeError
        The accepted set is not that of the dense kernel.
    """
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

    stages, dense_s = [], []
    for _ in range(repeats):
        dense_seconds, (dh_ieo, hh_ieo) = timed(dense)
        seconds, blocks, samples = fast()
        dense_s.append(dense_seconds / dh_ieo.size * n_phi)
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
    n_expected = int((lnlike_ieo > floor).sum())
    if found != n_expected:
        raise RuntimeError(f"{found} samples accepted, the dense kernel has {n_expected}")
    n_pairs = n_i * n_e
    stage_us = np.median(stages, axis=0) / n_pairs * 1e6
    n_k, n_lead = len(prepared.detector_k), int(prepared.lead_d.sum())
    n_nodes = int(prepared.nodes_d.sum())
    n_evaluated = sum(x.n_evaluated for x in blocks)
    # Projection of every waveform with its norms, and sums for the pairs evaluated; in
    # single precision the nodes of every waveform, interpolation and norms of every pair.
    double = (64 * N_B * n_k + 36 * (6 + 8 * N_D) * N_B) * n_i + 128 * n_k * n_evaluated
    single = 64 * int(prepared.lead_d @ prepared.nodes_d) * n_i
    single += (128 * N_D + 42 * N_D) * n_pairs
    moved = 3 * 16 * 8 * N_B * n_i + 128 * n_nodes * n_i
    figures = KernelFigures(
        f"coherent, {n_e} samples, {n_phi} phases",
        "(i, e) pair",
        [sum(seconds) / n_pairs for seconds in stages],
        dense_s,
        double / n_pairs,
        single / n_pairs,
        moved / n_pairs,
        float(error / np.abs(dh_ieo).max()),
        "d_h, relative to the largest",
    )
    remark = (
        f"Coherent, {n_e} samples: ranks {np.bincount(prepared.detector_k).tolist()}, in "
        f"the screening {n_lead}; preparation {preparation * 1e3:.0f} ms; microseconds per "
        f"pair: waveforms {stage_us[0]:.3f}, projection {stage_us[1]:.3f}, search "
        f"{stage_us[2]:.3f}, phases {stage_us[3]:.3f}; pairs evaluated "
        f"{n_evaluated / n_pairs:.2%}, kept "
        f"{sum(len(x.i_p) for x in blocks) / n_pairs:.2%}; same accepted set as the dense "
        f"kernel ({n_expected} samples of {N_DENSE} waveforms)."
    )
    return figures, remark


class OnRealProblem:
    """Both kernels on all waveforms that a run selected.

    Parameters
    ----------
    problem : RealProblem
    """

    def __init__(self, problem: RealProblem):
        self.problem = problem
        self.amplitudes_impb, self.phases_impb = problem.bank.read(problem.inds)
        likeliest = np.argsort(-problem.incoherent_lnlikes, kind="stable")
        self.best = np.sort(likeliest[:N_DENSE])
        self.prepared = prepare_coherent(
            problem.summary,
            problem.response_dpe,
            problem.timeshift_dbe,
            problem.n_phi,
            amplitude_mpb=np.sqrt(np.mean(self.amplitudes_impb[self.best] ** 2, axis=0)),
        )

    def waveforms(self, some: slice | np.ndarray) -> np.ndarray:
        """Return h_impb, as the stage makes them."""
        line_fit = self.problem.summary.line_fit
        return linear_free_waveforms(
            self.amplitudes_impb[some], self.phases_impb[some], line_fit
        )[0]

    def fast(self) -> tuple[list[np.ndarray], int]:
        """Return i, e, o, dh, hh, lnlike of the accepted set; how many were evaluated.

        As the stage does: what the likeliest waveforms reach sets the first floor.
        """
        prepared, n_evaluated, parts = self.prepared, 0, []
        pilots = self.waveforms(self.best)
        found = search_block(
            pilots, project(pilots, prepared), prepared, 0, prepared.n_e, max_drop=1.0
        )
        floor = found.maxima_p.max() - MAX_DROP - 1e-6
        for i in chunks(len(self.amplitudes_impb), 512):
            h_impb = self.waveforms(i)
            projected = project(h_impb, prepared)
            for e in range(0, prepared.n_e, E_BLOCK):
                pairs = search_block(
                    h_impb, projected, prepared, e, min(e + E_BLOCK, prepared.n_e),
                    max_drop=MAX_DROP, floor=floor,
                )  # fmt: skip
                n_evaluated += pairs.n_evaluated
                floor = max(floor, pairs.maxima_p.max(initial=-np.inf) - MAX_DROP)
                for p in chunks(len(pairs.i_p)):
                    pair_s, o_s, *values = expand_pairs(
                        pairs.dh_pmc[p], pairs.hh_pr[p], prepared.phases_cno, floor
                    )
                    indices = pairs.i_p[p][pair_s] + i.start, pairs.e_p[p][pair_s], o_s
                    parts.append([*indices, *values])
        columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
        keep = columns[5] > columns[5].max() - MAX_DROP
        return [column[keep] for column in columns], n_evaluated

    def dense(self) -> tuple[list[np.ndarray], float, float]:
        """Return the same of the dense kernel, and its largest absolute dh and hh."""
        problem, floor, parts, largest = self.problem, -np.inf, [], np.zeros(2)
        for i in chunks(len(self.amplitudes_impb), N_DENSE):
            dh_ieo, hh_ieo = coherent_dense(
                self.waveforms(i), problem.summary, problem.response_dpe,
                problem.timeshift_dbe, problem.n_phi,
            )  # fmt: skip
            largest = np.maximum(largest, [np.abs(dh_ieo).max(), np.abs(hh_ieo).max()])
            lnlike_ieo = bestfit_lnlike(dh_ieo, hh_ieo)
            floor = max(floor, lnlike_ieo.max() - MAX_DROP)
            at = np.nonzero(lnlike_ieo > floor)
            values = dh_ieo[at], hh_ieo[at], lnlike_ieo[at]
            parts.append([at[0] + i.start, *at[1:], *values])
        columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
        keep = columns[5] > columns[5].max() - MAX_DROP
        return [column[keep] for column in columns], *largest

    def table(self, repeats: int) -> Table:
        """Measure both in turn and compare what they accept."""
        n_i, n_e, n_phi = len(self.amplitudes_impb), self.prepared.n_e, self.problem.n_phi
        timed(self.fast)  # compiles
        fast_s, dense_s = [], []
        for _ in range(repeats):
            seconds, (found, n_evaluated) = timed(self.fast)
            fast_s.append(seconds / (n_i * n_e))
            seconds, (expected, *largest) = timed(self.dense)
            dense_s.append(seconds / (n_i * n_e))
        codes = [
            (i.astype(np.int64) * n_e + e) * n_phi + o
            for i, e, o in (found[:3], expected[:3])
        ]
        common, at_found, at_expected = np.intersect1d(*codes, return_indices=True)
        deviations = [
            np.abs(found[k][at_found] - expected[k][at_expected]).max() / largest[k - 3]
            for k in (3, 4)
        ]
        table = Table(
            "coherent_w16k",
            f"{n_i} waveforms, ranks {np.bincount(self.prepared.detector_k).tolist()}, in "
            f"the screening {self.prepared.lead_d.tolist()} at "
            f"{self.prepared.nodes_d.tolist()} nodes, "
            f"{n_evaluated / (n_i * n_e):.2%} of the pairs evaluated. CPU time of one "
            f"thread; {repeats} pairs.",
        )
        table.add(
            samples=n_e,
            phases=n_phi,
            dense_us_per_pair=Spread.of(dense_s, 1e6),
            dense_us_per_phase=Spread.of(dense_s, 1e6 / n_phi),
            fast_us_per_pair=Spread.of(fast_s, 1e6),
            ratio=paired_ratios(dense_s, fast_s),
            accepted=len(codes[1]),
            symmetric_difference=len(codes[0]) + len(codes[1]) - 2 * len(common),
            d_h_deviation=float(deviations[0]),
            h_h_deviation=float(deviations[1]),
        )
        return table


def main() -> None:
    """Measure and print."""
    arguments_parser = parser(__doc__, repeats=5)
    arguments_parser.add_argument("--waveforms", type=int, default=512)
    arguments_parser.add_argument("--w16k", action="store_true", help="on real data")
    arguments_parser.add_argument(
        "--rundir", type=Path, help="a run on W16k; default: made"
    )
    arguments = arguments_parser.parse_args()
    report = Report(arguments)
    with OneThread():
        if arguments.w16k:
            on_w16k = OnRealProblem(real_problem(arguments.rundir))
            report.show(on_w16k.table(arguments.repeats))
        else:
            rates = machine_rates(arguments.repeats)
            measured = [
                measure(arguments.waveforms, n_e, n_phi, arguments.repeats)
                for n_e, n_phi in ((512, 32), (2048, 100))
            ]
            figures, remarks = zip(*measured, strict=True)
            report.show(kernel_table("coherent", figures, rates, " ".join(remarks)))
    report.write()


if __name__ == "__main__":
    main()
