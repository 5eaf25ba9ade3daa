"""Time and memory of the results stage on a synthetic posterior.

    python bench/results.py                    # 10^6 samples, all columns
    python bench/results.py --samples 10000000 # the largest that a run keeps by default

Prints seconds (wall clock and CPU) for each step, peak memory of the process above what
it held before, and how far the sampling coordinates are from cogwheel's on a subset of
rows, with the time that cogwheel takes per row.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil

from dotpe_exec.distance_table import load_distance_table
from dotpe_exec.stages.coherent_set import CoherentSet, Probes
from dotpe_exec.stages.discarded_probes import PROBES_PER_WAVEFORM
from dotpe_exec.stages.results import aggregate, marginalize_bank
from dotpe_exec.stages.run_summary import summarize
from dotpe_exec.stages.sample_rows import all_samples, draw_subset
from dotpe_exec.stages.samples import bank_sample_chunks, sample_chunks, standardized_chunks
from dotpe_exec.stages.standardize import Standardizer
from dotpe_exec.stages.tables import write_chunks

F_REF = 50.0
N_EXT, N_PHI, N_WAVEFORMS, N_SURVIVORS = 512, 32, 16384, 1000


def make_bank(rng: np.random.Generator, n: int) -> dict[str, np.ndarray]:
    """Return intrinsic parameters spread over all that a precessing bank contains."""
    m1 = rng.uniform(20, 60, n)
    bank = {"m1": m1, "m2": m1 * rng.uniform(0.2, 1, n)}
    for body in "12":
        sz, azimuth = rng.uniform(-0.99, 0.99, n), rng.uniform(0, 2 * np.pi, n)
        inplane = np.sqrt((1 - sz**2) * rng.random(n))
        bank[f"s{body}z"] = sz
        bank[f"s{body}x_n"] = inplane * np.cos(azimuth)
        bank[f"s{body}y_n"] = inplane * np.sin(azimuth)
    bank["iota"] = np.arccos(rng.uniform(-1, 1, n))
    bank["log_prior_weights"] = rng.normal(size=n)
    return bank


def make_extrinsic(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return extrinsic samples over the whole sky."""
    return {
        "lat": np.arcsin(rng.uniform(-1, 1, N_EXT)),
        "lon": rng.uniform(0, 2 * np.pi, N_EXT),
        "_phi_ref": rng.uniform(0, 2 * np.pi, N_EXT),
        "psi": rng.uniform(0, np.pi, N_EXT),
        "t_geocenter": rng.normal(scale=0.01, size=N_EXT),
        "log_prior_weights": rng.normal(size=N_EXT),
    }


def make_set(rng: np.random.Generator, n: int) -> CoherentSet:
    """Return an accepted set with n members, ascending in likelihood."""
    survivors = np.sort(rng.choice(N_WAVEFORMS, N_SURVIVORS, replace=False))
    overlap = np.sort(np.sqrt(rng.uniform(90, 130, n)))
    norm_h = overlap * rng.uniform(500, 4000, n)
    probe_i = np.repeat(survivors, PROBES_PER_WAVEFORM)
    zeros = np.zeros(len(probe_i))
    probes = Probes(
        probe_i, *np.zeros((2, len(probe_i)), int), zeros, zeros + 1e6, zeros.astype(bool)
    )
    return CoherentSet(
        i=rng.choice(survivors, n),
        e=rng.integers(N_EXT, size=n, dtype=np.int32),
        o=rng.integers(N_PHI, size=n, dtype=np.int32),
        d_h=overlap * norm_h,
        h_h=norm_h**2,
        bestfit_lnlike=overlap**2 / 2,
        inds=survivors,
        dt_linfree=rng.normal(scale=1e-3, size=N_SURVIVORS),
        probes=probes,
        n_evaluated=n,
    )


def make_prior():
    """Return cogwheel's prior for a HLV event."""
    from cogwheel.gw_prior import CartesianIASPrior

    return CartesianIASPrior(
        f_ref=F_REF, mchirp_range=(15, 60), detector_pair="HL", tgps=1126259462.4,
        ref_det_name="H", f_avg=100.0, t0_refdet=0.0,
        par_dic_0={"phi_ref": 1.0, "iota": 1.0, "ra": 2.0, "dec": 0.5, "psi": 0.3,
                   "t_geocenter": 0.01},
    )  # fmt: skip


class PeakMemory(threading.Thread):
    """Largest private memory (mapped files not counted) of this process while it runs."""

    def __init__(self):
        super().__init__(daemon=True)
        self.process = psutil.Process()
        self.start_bytes = self.peak_bytes = self._private()
        self.stop = threading.Event()

    def _private(self) -> int:
        memory = self.process.memory_info()
        return memory.rss - getattr(memory, "shared", 0)

    def run(self) -> None:
        while not self.stop.wait(0.01):
            self.peak_bytes = max(self.peak_bytes, self._private())


def process_peak_gb() -> float:
    """Return the largest resident memory of this process so far [GB].

    Linux's ``ru_maxrss`` also knows that of the process which started this one.
    """
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text(encoding="utf-8").splitlines()
        return next(int(x.split()[1]) / 1e6 for x in lines if x.startswith("VmHWM"))
    unit = 1e9 if sys.platform == "darwin" else 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def compare_with_cogwheel(frame: pd.DataFrame, prior, n_rows: int) -> tuple[float, float]:
    """Return the largest deviation of a coordinate, and cogwheel's CPU seconds per row."""
    rows = frame.iloc[:: max(len(frame) // n_rows, 1)].reset_index(drop=True)
    theirs = rows[[*prior.standard_params, *prior.conditioned_on]].copy()
    start = time.process_time()
    prior.inverse_transform_samples(theirs)
    seconds = (time.process_time() - start) / len(rows)
    worst = max(
        (np.abs(theirs[name] - rows[name]) / np.maximum(np.abs(theirs[name]), 1)).max()
        for name in prior.sampled_params
    )
    return float(worst), seconds


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--samples", type=int, default=10**6)
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    bank, extrinsic, prior = make_bank(rng, N_WAVEFORMS), make_extrinsic(rng), make_prior()
    table = load_distance_table()
    coherent_set = make_set(rng, arguments.samples)
    marginalize = {
        "log_prior_weights_i": bank["log_prior_weights"],
        "log_prior_weights_e": extrinsic["log_prior_weights"],
        "n_phi": N_PHI,
        "n_int": N_WAVEFORMS,
        "table": table,
    }
    marginalize_bank("warm_up", make_set(rng, 10), **marginalize)
    memory = PeakMemory()
    memory.start()
    figures: dict[str, float] = {}
    clock = [(time.perf_counter(), time.process_time())]

    def tick(name: str) -> None:
        clock.append((time.perf_counter(), time.process_time()))
        wall, cpu = np.subtract(clock[-1], clock[-2])
        figures[name], figures[f"{name}, CPU"] = wall, cpu
        print(f"{name:40s} {wall:8.2f} s {cpu:8.2f} s CPU")

    with tempfile.TemporaryDirectory() as folder:
        clock[0] = time.perf_counter(), time.process_time()
        posterior = aggregate(
            [marginalize_bank("bank_0", coherent_set, **marginalize)], size_limit=10**7
        )
        tick("distance marginalised, aggregated")
        draw_subset(posterior, seed=1)
        tick("subset drawn")
        selection = all_samples(posterior)
        summary = summarize(selection, n_ext=N_EXT, n_phi=N_PHI)
        tick("summary with ln_evidence_error")
        write_chunks(f"{folder}/bank.feather", bank_sample_chunks(posterior.banks[0]))
        write_chunks(f"{folder}/prob.feather", sample_chunks(selection))
        tick("prob_samples written (bank and all)")
        standardizer = Standardizer(
            prior,
            tgps=1126259462.4,
            f_ref=F_REF,
            n_phi=N_PHI,
            extrinsic_samples=extrinsic,
            table=table,
        )
        for _ in standardized_chunks(selection, {"bank_0": bank}, standardizer, seed=1):
            pass
        tick("standardised, all columns")
        chunks = standardized_chunks(selection, {"bank_0": bank}, standardizer, seed=1)
        write_chunks(f"{folder}/samples.feather", chunks)
        tick("standardised and written")
        memory.stop.set()
        memory.join()
        figures["peak_gb"] = (memory.peak_bytes - memory.start_bytes) / 1e9
        set_gb = sum(
            getattr(coherent_set, name).nbytes
            for name in ("i", "e", "o", "d_h", "h_h", "bestfit_lnlike")
        ) / 1e9  # fmt: skip
        print(f"{'peak memory above the accepted set':40s} {figures['peak_gb']:8.2f} GB")
        print(f"{'accepted set':40s} {set_gb:8.2f} GB")
        print(f"{'ln_evidence_error':40s} {summary['ln_evidence_error']:8.3f}")
        if arguments.samples <= 2 * 10**6:
            frame = pd.read_feather(f"{folder}/samples.feather")
            worst, seconds = compare_with_cogwheel(frame, prior, 3000)
            figures["cogwheel_s_per_row"], figures["worst_deviation"] = seconds, worst
            print(f"{'largest deviation from cogwheel':40s} {worst:8.1e} relative")
            print(f"{'cogwheel, per 10^6 rows':40s} {seconds * 1e6:8.2f} s CPU")
    figures["process_peak_gb"] = process_peak_gb()
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
