"""The likelihood phases as a benchmark: real kernels, real tasks, on any executor.

The synthetic problem has the sizes of a typical run (three detectors, four modes, 378
bins) and a signal in it, so that the kernels reject and accept as they do in one. It is
made without LAL, in about a second.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..banks.waveforms import BankHandle
from ..config import DEFAULT_BLOCKSIZE, MulticoreConfig
from ..executors.interface import Executor
from ..executors.phases import PhaseRunner
from ..executors.private_memory import private_bytes
from ..executors.resolve import resolve_executor
from ..executors.store import ArrayStore
from ..inference.memory_model import BASE_BYTES, ProblemSize, coherent_worker_bytes
from ..kernels.coherent_screen import DEFAULT_E_TILE, DEFAULT_I_TILE
from ..kernels.masses import chirp_mass
from ..kernels.summary import IncoherentSummary, LineFit, Summary, mode_pairs
from ..monitor import Monitor
from ..stages.coherent import coherent_sets
from ..stages.incoherent import Candidates, incoherent_lnlikes
from ..stages.selection import Survivors

_N_EXT = 512
_N_PHI = 32
_N_T = 64
_TARGET_SECONDS = 0.5  # of one measurement, on however many processes
_N_SURVIVORS = 512


@dataclass
class KernelWorkload:
    """Incoherent and coherent phases of given data, measured.

    Parameters
    ----------
    bank : BankHandle
    n_waveforms : int
        How many of the bank are used; they are in the page cache.
    incoherent_summary : IncoherentSummary
    summary : Summary
    response_dpe : (n_d, 2, n_e) float
    timeshift_dbe : (n_d, n_b, n_e) complex
    n_phi : int
    store : ArrayStore
    candidate_e_blocksize : list of int
    candidate_tiles : list of (int, int)
        Pairs of ``i_tile`` and ``e_tile``.
    """

    bank: BankHandle
    n_waveforms: int
    incoherent_summary: IncoherentSummary
    summary: Summary
    response_dpe: np.ndarray
    timeshift_dbe: np.ndarray
    n_phi: int
    store: ArrayStore
    candidate_e_blocksize: list[int] = field(default_factory=lambda: [128, 256, 512])
    candidate_tiles: list[tuple[int, int]] = field(
        default_factory=lambda: [
            (i_tile, e_tile)
            for i_tile in (DEFAULT_I_TILE, 4 * DEFAULT_I_TILE)
            for e_tile in (DEFAULT_E_TILE // 2, DEFAULT_E_TILE, 2 * DEFAULT_E_TILE)
        ]
    )

    def __post_init__(self) -> None:
        self._repeats = {"incoherent": 1, "coherent": 1}
        self._pools: dict[int, Executor] = {}
        # Compilation, page cache and warm-up, once for all measurements.
        lnlikes = self._incoherent(MulticoreConfig(i_batch=self.n_waveforms), "serial")[1]
        sums = lnlikes["copy_0"].sum(axis=0)
        keep = np.sort(np.argsort(-sums)[:_N_SURVIVORS])
        self._survivors = Survivors(keep, lnlikes["copy_0"][:, keep], sums[keep])
        self._coherent(MulticoreConfig(e_blocksize=_N_EXT), "serial")
        for phase, run in (("incoherent", self.incoherent), ("coherent", self.coherent)):
            rate, _ = run(MulticoreConfig(e_blocksize=_N_EXT))
            n_once = self.n_waveforms
            if phase == "coherent":
                n_once = len(self._survivors.inds) * self.response_dpe.shape[2]
            self._repeats[phase] = max(1, round(_TARGET_SECONDS * rate / n_once))

    @property
    def worker_bytes(self) -> int:
        """Predicted memory of a worker [bytes]."""
        size = ProblemSize(
            n_m=self.bank.n_m, n_b=self.bank.n_b, n_ext=self.response_dpe.shape[2]
        )
        return coherent_worker_bytes(size, DEFAULT_BLOCKSIZE)

    def close(self) -> None:
        """End the workers."""
        for pool in self._pools.values():
            pool.shutdown()
        self._pools.clear()

    def incoherent(self, config: MulticoreConfig) -> tuple[float, float]:
        """Return waveforms per CPU second of one core, and its peak memory [GB]."""
        before = private_bytes()
        report, _ = self._incoherent(config, "serial")
        return _cpu_rate(report), _as_worker(report, before)

    def coherent(self, config: MulticoreConfig) -> tuple[float, float]:
        """Return (i, e) pairs per CPU second of one core, and its peak memory [GB]."""
        before = private_bytes()
        report = self._coherent(config, "serial")
        return _cpu_rate(report), _as_worker(report, before)

    def both_phases(self, config: MulticoreConfig) -> tuple[float, float]:
        """Return passes through both phases per second, and peak memory [GB] per worker.

        On one core as much time goes into one phase as into the other. Workers stay, so
        that numbers of processes can be compared in turn.
        """
        executor = self._executor(config.n_procs or 1)
        before = private_bytes()
        reports = [self._incoherent(config, executor)[0], self._coherent(config, executor)]
        n_procs = config.n_procs or 1
        if n_procs == 1:
            memory = max(_as_worker(report, before) for report in reports)
        else:
            memory = max(report["peak_worker_memory_bytes"] for report in reports) / 1e9
        seconds = sum(report["seconds"] for report in reports)
        return n_procs * 2 * _TARGET_SECONDS / seconds, memory

    def _executor(self, n_procs: int) -> Executor | str:
        if n_procs == 1:
            return "serial"
        if n_procs not in self._pools:
            self._pools[n_procs] = resolve_executor("loky", n_procs)
        return self._pools[n_procs]

    def _copies(self, phase: str, config: MulticoreConfig) -> list[str]:
        # As many banks of the same waveforms as keep every process busy as long.
        return [f"copy_{k}" for k in range(self._repeats[phase] * (config.n_procs or 1))]

    def _incoherent(
        self, config: MulticoreConfig, executor: Executor | str
    ) -> tuple[dict, dict]:
        candidates = Candidates(self.bank, range(self.n_waveforms))
        copies = self._copies("incoherent", config)
        with self._measured(executor, config.n_procs) as (runner, monitor):
            lnlikes = incoherent_lnlikes(
                runner,
                dict.fromkeys(copies, candidates),
                self.incoherent_summary,
                n_phi=self.n_phi,
                i_batch=config.i_batch or DEFAULT_BLOCKSIZE,
                tasks_per_message=config.batches_per_task,
            )
        return monitor.report()["phases"]["incoherent"], lnlikes

    def _coherent(self, config: MulticoreConfig, executor: Executor | str) -> dict:
        copies = self._copies("coherent", config)
        banks = {name: replace(self.bank, bank_id=name) for name in copies}
        with self._measured(executor, config.n_procs) as (runner, monitor):
            coherent_sets(
                runner,
                banks,
                dict.fromkeys(copies, self._survivors),
                self.summary,
                self.response_dpe,
                self.timeshift_dbe,
                n_phi=self.n_phi,
                i_blocksize=DEFAULT_BLOCKSIZE,
                e_blocksize=config.e_blocksize or _N_EXT,
                max_bestfit_lnlike_diff=20.0,
                size_limit=10**6,
                seed=0,
                pairs_per_message=config.pairs_per_task,
                i_tile=config.i_tile,
                e_tile=config.e_tile,
            )
        return monitor.report()["phases"]["coherent"]

    @contextlib.contextmanager
    def _measured(
        self, executor: Executor | str, n_procs: int | None
    ) -> Iterator[tuple[PhaseRunner, Monitor]]:
        with Monitor(progress=False, n_workers=n_procs) as monitor:
            yield PhaseRunner(self.store, executor, monitor=monitor), monitor


def _as_worker(report: Mapping[str, Any], before: int) -> float:
    """Return what a worker of its own would have taken [GB].

    This process held ``before`` bytes already: LAL, the event, what was measured earlier.
    """
    return (BASE_BYTES + max(report["peak_worker_memory_bytes"] - before, 0)) / 1e9


def _cpu_rate(report: Mapping[str, Any]) -> float:
    # Waiting, for the disk or for a core that others use, is not counted.
    return report["work"] / report["parent_cpu_seconds"]


@contextlib.contextmanager
def event_workload(event: Any, bank_folder: Any) -> Iterator[KernelWorkload]:
    """Make the workload of an event and the first bank, extrinsic samples made up.

    Parameters
    ----------
    event, bank_folder
        As in :func:`dotpe_exec.run_multicore`.
    """
    from ..banks.format import open_banks
    from ..events import check_bins_on_grid, load_event
    from ..stages.reference import find_reference, injected_mchirp

    bank = next(iter(open_banks(bank_folder).values()))
    event_data = load_event(event)
    check_bins_on_grid(bank.config.fbin, event_data)
    guess = injected_mchirp(event_data)
    if guess is None:
        table = bank.table()
        mchirp = chirp_mass(table["m1"], table["m2"])
        guess = float(np.median(mchirp))
    reference = find_reference(event_data, bank.config, n_t=_N_T, mchirp_guess=guess)
    n_waveforms = min(bank.n_waveforms, 2048)
    bank.handle.read(np.arange(n_waveforms))
    response_dpe, timeshift_dbe = _extrinsic(
        reference.summary.fbin_b, len(reference.summary.asd_drift_d), event_data.tcoarse
    )
    with (
        ArrayStore() as store,
        contextlib.closing(
            KernelWorkload(
                bank.handle,
                n_waveforms,
                reference.incoherent,
                reference.summary,
                response_dpe,
                timeshift_dbe,
                _N_PHI,
                store,
            )
        ) as workload,
    ):
        yield workload


@contextlib.contextmanager
def synthetic_workload(
    n_waveforms: int = 2048, n_b: int = 378, n_d: int = 3, seed: int = 0
) -> Iterator[KernelWorkload]:
    """Make a workload of synthetic waveforms, noise and a signal.

    Parameters
    ----------
    n_waveforms, n_b, n_d : int
        Number of waveforms, frequency bins and detectors.
    seed : int
    """
    folder = Path(tempfile.mkdtemp(prefix="dotpe-exec-autotune-"))
    try:
        rng = np.random.default_rng(seed)
        m_arr = np.array([2, 1, 3, 4])
        fbin_b = np.geomspace(20.0, 1000.0, n_b)
        amplitudes_impb, phases_impb = _waveforms(rng, n_waveforms, m_arr, fbin_b)
        bank = _write_bank(folder, amplitudes_impb, phases_impb)
        tcoarse = 4.0
        summary = _summary(
            rng, amplitudes_impb[0], phases_impb[0], m_arr, fbin_b, n_d, tcoarse
        )
        times_t = tcoarse + (np.arange(_N_T) - _N_T // 2) / 2048.0
        response_dpe, timeshift_dbe = _extrinsic(fbin_b, n_d, tcoarse)
        with (
            ArrayStore() as store,
            contextlib.closing(
                KernelWorkload(
                    bank,
                    n_waveforms,
                    IncoherentSummary(summary, np.tile(times_t, (n_d, 1))),
                    summary,
                    response_dpe,
                    timeshift_dbe,
                    _N_PHI,
                    store,
                )
            ) as workload,
        ):
            yield workload
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _waveforms(
    rng: np.random.Generator, n_i: int, m_arr: np.ndarray, fbin_b: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return amplitudes and phases (n_i, n_m, 2, n_b) of Newtonian chirps."""
    solar_mass = 4.925491e-6  # s
    mchirp_i = rng.uniform(15.0, 30.0, n_i)
    size_m = np.array([1.0, 0.1, 0.2, 0.05])[: len(m_arr)]
    cos_iota_i = rng.uniform(-1, 1, n_i)
    size_ip = np.stack([(1 + cos_iota_i**2) / 2, np.abs(cos_iota_i) + 0.05], axis=1)
    amplitudes_impb = (
        1e-20
        * (mchirp_i / 20.0)[:, None, None, None] ** (5 / 6)
        * size_m[:, None, None]
        * size_ip[:, None, :, None]
        * (fbin_b / 100.0) ** (-7 / 6)
    )
    psi_ib = 3 / 128 * (np.pi * solar_mass * np.outer(mchirp_i, fbin_b)) ** (-5 / 3)
    phases_impb = (
        -0.5 * m_arr[:, None, None] * psi_ib[:, None, None, :]
        + rng.uniform(0, 2 * np.pi, (n_i, len(m_arr), 1, 1))
        + np.array([0.0, np.pi / 2])[:, None]
    )
    return amplitudes_impb, phases_impb


def _write_bank(
    folder: Path, amplitudes_impb: np.ndarray, phases_impb: np.ndarray
) -> BankHandle:
    waveforms = folder / "waveforms"
    waveforms.mkdir()
    np.save(waveforms / "amplitudes_block_0.npy", amplitudes_impb)
    np.save(waveforms / "phase_block_0.npy", phases_impb)
    n_i, n_m, _, n_b = amplitudes_impb.shape
    return BankHandle(str(folder), "synthetic", n_i, n_i, n_m, n_b)


def _summary(
    rng: np.random.Generator,
    amplitude_mpb: np.ndarray,
    phase_mpb: np.ndarray,
    m_arr: np.ndarray,
    fbin_b: np.ndarray,
    n_d: int,
    tcoarse: float,
) -> Summary:
    """Return the summary of data that are one of the waveforms plus noise.

    The bins are taken for the whole frequency grid: with data s and weights c_b,
    (d|h)_mp = sum_b c_b s_b conj(h_mp), (h|h)_mm'pP = sum_b c_b h_mp conj(h_m'P).
    """
    h_mpb = amplitude_mpb * np.exp(1j * phase_mpb)
    response_dp = rng.uniform(0.2, 0.8, (n_d, 2)) * rng.choice([-1, 1], (n_d, 2))
    signal_db = np.einsum("dp,mpb->db", response_dp, h_mpb)
    weights_b = np.gradient(fbin_b) / (1 + (40.0 / fbin_b) ** 8 + (fbin_b / 200.0) ** 2)
    # Loud enough that few waveforms come near the signal's, as in a real run.
    weights_b *= 12.0**2 / np.sum(weights_b * np.abs(signal_db) ** 2)
    noise_db = rng.standard_normal((n_d, n_b := len(fbin_b), 2)) @ [1, 1j]
    data_db = signal_db + noise_db / np.sqrt(2 * weights_b)
    data_db = data_db * np.exp(-2j * np.pi * fbin_b * tcoarse)
    n_m = len(m_arr)
    dh_weights_dmpb = np.broadcast_to(
        (weights_b * data_db)[:, None, None, :], (n_d, n_m, 2, n_b)
    ).copy()
    m_inds, mprime_inds = mode_pairs(n_m)
    factor_k = np.where(m_inds == mprime_inds, 1.0, 2.0)
    hh_weights_dkppb = np.broadcast_to(
        (factor_k[:, None] * weights_b)[None, :, None, None, :],
        (n_d, len(m_inds), 2, 2, n_b),
    ).astype(complex)
    line_fit = LineFit(fbin_b, h_mpb[0, 0], np.sqrt(weights_b) * np.abs(h_mpb[0, 0]), 0)
    return Summary(fbin_b, m_arr, dh_weights_dmpb, hh_weights_dkppb, np.ones(n_d), line_fit)


def _extrinsic(
    fbin_b: np.ndarray, n_d: int, tcoarse: float, n_e: int = _N_EXT
) -> tuple[np.ndarray, np.ndarray]:
    """Return responses and time shifts of made-up samples, a few milliseconds wide."""
    rng = np.random.default_rng(1)
    response_dpe = rng.uniform(-0.8, 0.8, (n_d, 2, n_e))
    times_de = tcoarse + rng.normal(0.0, 2e-3, (n_d, n_e))
    return response_dpe, np.exp(-2j * np.pi * fbin_b[:, None] * times_de[:, None, :])
