"""P-P test: simulated signals drawn from the prior and analysed with the same prior.

    python bench/validation/pp.py OUTPUT_FOLDER [--n-events 100] [--n-procs 2]

Signals are drawn from the IAS prior over a bank's range, uniform in volume out to a
distance at which the median signal-to-noise ratio is about 10, isotropic in the sky, and
put into Gaussian noise of O3 detectors, two and three in turn. Where the analysis is
right, the posterior probability below the true value of a parameter is uniform between 0
and 1 over many signals (Cook, Gelman & Rubin 2006); a Kolmogorov-Smirnov test says how
well it is. Signals are drawn with seeds ``FIRST_SEED``, ``FIRST_SEED + 1``, ...

The analysis has exactly the prior of the signals: the bank's weights make the intrinsic
one; the distance prior ends where the signals' ends (a run knows only cogwheel's default
of 15 Gpc, so the table of the distance integral is replaced here); and of the posterior
samples those are used whose time of arrival is in the range of the signals'.

A quiet signal excludes little of parameter space, so nearly everything is accepted, and
what is not accepted is not negligible together. Nothing is then left out: below
``QUIET_SNR`` the thresholds are lifted, with fewer waveforms and phases, of which enough
are effective there.

The reference waveform is the true one unless ``--search`` is given: a posterior depends on
it through relative binning and the range of arrival times only, and a search may find
noise instead of a quiet signal.

Each signal's result is kept in ``OUTPUT_FOLDER/events``, and a test that was interrupted
goes on from there. At the end there are ``pp.json`` and ``pp.png``. About 20 s of one core
per signal.
"""

from __future__ import annotations

import argparse
import functools
import json
import multiprocessing
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dotpe_exec.executors.worker import initialize

FIRST_SEED = 20260314
MCHIRP_RANGE = (32.0, 42.0)
Q_MIN = 0.3
F_REF = 50.0
DISTANCE_CUT = 2100.0  # [Mpc]
TIME_HALF_RANGE = 0.01  # [s]
DETECTORS = ("HL", "HLV")
FIRST_TGPS, TGPS_STEP = 1.2e9, 1e4
DURATION, FMIN, FMAX = 8.0, 20.0, 512.0

BANK_SIZE = 16384
PN_PHASE_TOL = 0.1
N_EXT = 256
N_T = 128
N_DRAWS = 5000

QUIET_SNR = 7.0
LOUD = {"n_phi": 32}
QUIET = {
    "n_phi": 16, "n_int": 2048, "max_incoherent_lnlike_drop": 1e3,
    "max_bestfit_lnlike_diff": 1e3, "size_limit": 2048 * 16 * N_EXT,
}  # fmt: skip

TESTED = ("mchirp", "lnq", "ra", "dec", "d_luminosity")
ALSO = ("chieff", "iota", "psi", "t_geocenter")


@dataclass(frozen=True)
class Signal:
    """A signal in noise: event, true parameters and optimal signal-to-noise ratio."""

    event: Any
    truth: dict[str, float]
    snr: float


def draw_parameters(
    seed: int,
    *,
    mchirp_range: tuple[float, float] = MCHIRP_RANGE,
    q_min: float = Q_MIN,
    distance_cut: float = DISTANCE_CUT,
    time_half_range: float = TIME_HALF_RANGE,
) -> dict[str, float]:
    """Return the parameters of a signal drawn from the prior."""
    from dotpe_exec.banks.prior import Proposal
    from dotpe_exec.banks.table import PARAMETERS

    rng = np.random.default_rng(seed)
    prior = Proposal(mchirp_range, q_min, alpha=1.0)  # uniform in detector-frame masses
    intrinsic = dict(zip(PARAMETERS, prior.draw(1, rng)[0].tolist(), strict=True))
    return intrinsic | {
        "d_luminosity": distance_cut * rng.random() ** (1 / 3),
        "ra": 2 * np.pi * rng.random(),
        "dec": float(np.arcsin(2 * rng.random() - 1)),
        "psi": np.pi * rng.random(),
        "phi_ref": 2 * np.pi * rng.random(),
        "t_geocenter": time_half_range * (2 * rng.random() - 1),
        "f_ref": F_REF,
    }


def simulate(
    k: int,
    first_seed: int = FIRST_SEED,
    draw: Callable[[int], dict[str, float]] = draw_parameters,
) -> Signal:
    """Return signal ``k``."""
    from dotpe_exec.events import simulate_event

    parameters = draw(first_seed + k)
    event = simulate_event(
        f"signal_{k}", DETECTORS[k % len(DETECTORS)], duration=DURATION, fmin=FMIN,
        fmax=FMAX, tgps=FIRST_TGPS + TGPS_STEP * k, injection=parameters,
        seed=first_seed + k,
    )  # fmt: skip
    q = parameters["m2"] / parameters["m1"]
    truth = parameters | {
        "lnq": float(np.log(q)),
        "mchirp": parameters["m1"] * q**0.6 / (1 + q) ** 0.2,
        "chieff": (parameters["s1z"] + q * parameters["s2z"]) / (1 + q),
    }
    return Signal(event, truth, float(np.sqrt(np.sum(event.injection["h_h"]))))


def make_bank(folder: Path, n_procs: int, bank_size: int = BANK_SIZE) -> Path:
    """Return the bank's folder, built if it is not there; one for all signals."""
    from dotpe_exec.banks.build import build_bank

    return build_bank(
        folder, bank_size=bank_size, mchirp_range=MCHIRP_RANGE, q_min=Q_MIN, f_ref=F_REF,
        event=simulate(0).event, pn_phase_tol=PN_PHASE_TOL, seed=FIRST_SEED,
        n_procs=n_procs, progress=False,
    )  # fmt: skip


def analyse(k: int, bank: Path, search: bool = False) -> dict[str, Any]:
    """Simulate and analyse signal ``k``; return the probability below each true value.

    Parameters
    ----------
    k : int
    bank : path
    search : bool
        Whether to search for a reference waveform.
    """
    from dotpe_exec import run
    from dotpe_exec.inference import pipeline

    start = time.perf_counter()
    signal, table = simulate(k), distance_table()
    original = pipeline.load_distance_table
    pipeline.load_distance_table = lambda *_: table  # type: ignore[assignment]
    arguments: dict[str, Any] = {
        "n_ext": N_EXT, "n_t": N_T, "n_draws": N_DRAWS, "seed": FIRST_SEED + k
    }  # fmt: skip
    arguments |= QUIET if signal.snr < QUIET_SNR else LOUD
    if not search:
        arguments["par_dic_0"] = signal.event.injection["par_dic"]
    try:
        with tempfile.TemporaryDirectory() as parent, warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            rundir = run(
                signal.event, bank, event_dir=parent, progress=False, **arguments
            )  # fmt: skip
            result = result_of(rundir, k, signal, TIME_HALF_RANGE)
    finally:
        pipeline.load_distance_table = original
    return result | {"seconds": time.perf_counter() - start}


def result_of(
    rundir: Path, k: int, signal: Signal, time_half_range: float
) -> dict[str, Any]:
    """Return what a finished run says of signal ``k``; only samples in time count."""
    import pandas as pd

    samples = pd.read_feather(rundir / "samples.feather")
    summary = json.loads((rundir / "summary_results.json").read_text())
    in_time = np.abs(samples["t_geocenter"]) < time_half_range
    weights = (samples["weights"] * in_time).to_numpy()
    share = weights.sum() / samples["weights"].sum()
    weights = weights / weights.sum()
    return {
        "signal": k,
        "snr": signal.snr,
        "detectors": len(signal.event.detector_names),
        "below": {
            name: probability_below(samples[name].to_numpy(), weights, signal.truth[name])
            for name in (*TESTED, *ALSO)
        },
        "in_time": float(share),
    } | {
        name: summary[name]
        for name in ("n_effective", "n_effective_i", "n_effective_e", "bestfit_lnlike_max",
                     "ln_evidence", "ln_evidence_error", "ln_evidence_discarded",
                     "n_distance_marginalizations", "relative_binning_error", "injection")
    }  # fmt: skip


@functools.cache
def distance_table() -> Any:
    """Return the table of the distance integral with the signals' prior."""
    from dotpe_exec.distance_table import table_from_values, tabulate

    return table_from_values(tabulate(DISTANCE_CUT), DISTANCE_CUT)


def probability_below(values: np.ndarray, weights: np.ndarray, true_value: float) -> float:
    """Return the weight below the true value, half of it where samples equal it."""
    below = weights[values < true_value].sum() + 0.5 * weights[values == true_value].sum()
    return float(below)


def p_values(results: list[dict[str, Any]]) -> dict[str, float]:
    """Return the Kolmogorov-Smirnov p-value of uniformity for each parameter."""
    from scipy.stats import kstest

    return {
        name: float(kstest([result["below"][name] for result in results], "uniform").pvalue)
        for name in (*TESTED, *ALSO)
    }


def outcome(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Return p-values, and medians that say what kind of test it was."""

    def median(name: str) -> float:
        return float(np.median([result[name] for result in results]))

    by_parameter = p_values(results)
    return {
        "n_events": len(results),
        "p_values": {name: by_parameter[name] for name in TESTED},
        "p_values_of_others": {name: by_parameter[name] for name in ALSO},
        "median_snr": median("snr"),
        "n_quiet": sum(result["snr"] < QUIET_SNR for result in results),
        "median_n_effective_i": median("n_effective_i"),
        "median_n_effective_e": median("n_effective_e"),
        "median_seconds": median("seconds"),
        "total_seconds": float(sum(result["seconds"] for result in results)),
    }


def run_test(
    folder: Path, n_events: int, n_procs: int, search: bool = False
) -> list[dict[str, Any]]:
    """Analyse all signals with one bank."""

    def analysis() -> Callable[[int], dict[str, Any]]:
        return functools.partial(
            analyse, bank=make_bank(folder / "bank", n_procs), search=search
        )

    return run_all(folder, n_events, n_procs, analysis)


def run_all(
    folder: Path,
    n_events: int,
    n_procs: int,
    analysis: Callable[[], Callable[[int], dict[str, Any]]],
) -> list[dict[str, Any]]:
    """Analyse all signals, each serially in one of ``n_procs`` processes.

    ``analysis`` returns what analyses one; it is called if a signal is missing. A signal
    whose analysis fails costs no other: the error is raised when the others are done.
    """
    events = folder / "events"
    events.mkdir(parents=True, exist_ok=True)
    path = {k: events / f"{k:04d}.json" for k in range(n_events)}
    missing = [k for k in path if not path[k].exists()]
    if not missing:
        return [json.loads(path[k].read_text()) for k in path]
    analyse_one = analysis()
    errors: dict[int, BaseException] = {}
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        n_procs,
        mp_context=spawn,
        initializer=initialize,  # they end when this process is gone, however it ended
        initargs=(os.getpid(),),
    ) as pool:
        futures = {pool.submit(analyse_one, k): k for k in missing}
        for future in as_completed(futures):
            k = futures[future]
            if error := future.exception():
                errors[k] = error
                print(f"signal {k}: {type(error).__name__}: {error}", flush=True)
                continue
            result = future.result()
            partial = path[k].with_suffix(".partial")
            partial.write_text(json.dumps(result))
            partial.replace(path[k])
            print(
                f"signal {k}: SNR {result['snr']:.1f}, "
                f"{result['n_effective_i']:.0f} effective waveforms, "
                f"{result['seconds']:.0f} s",
                flush=True,
            )
    if errors:
        raise RuntimeError(f"signals {sorted(errors)} failed") from errors[min(errors)]
    return [json.loads(path[k].read_text()) for k in path]


def plot(results: list[dict[str, Any]], path: Path) -> None:
    """Draw the fraction of signals below each credible level."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt
    from scipy.stats import binom

    n = len(results)
    levels = np.linspace(0, 1, 201)
    fig, ax = plt.subplots(figsize=(5, 5))
    for probability, grey in ((0.997, 0.92), (0.95, 0.84), (0.68, 0.74)):
        low, high = binom.interval(probability, n, levels)
        ax.fill_between(levels, low / n, high / n, color=str(grey), lw=0)
    by_parameter = p_values(results)
    for name in TESTED:
        ax.plot(
            np.sort([result["below"][name] for result in results]),
            (np.arange(n) + 0.5) / n, label=f"{name}: p = {by_parameter[name]:.2f}",
        )  # fmt: skip
    ax.set(xlabel="probability below the true value", ylabel="fraction of signals",
           xlim=(0, 1), ylim=(0, 1), title=f"{n} signals")  # fmt: skip
    ax.legend(loc="lower right")
    fig.savefig(path, dpi=90, bbox_inches="tight")
    plt.close(fig)


def main() -> None:
    """Run the test and write table and picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--n-events", type=int, default=100)
    parser.add_argument("--n-procs", type=int, default=2)
    parser.add_argument(
        "--search", action="store_true", help="search for reference waveforms"
    )
    arguments = parser.parse_args()
    results = run_test(
        arguments.folder, arguments.n_events, arguments.n_procs, arguments.search
    )
    finish(arguments.folder, results, outcome(results))


def finish(folder: Path, results: list[dict[str, Any]], found: dict[str, Any]) -> None:
    """Write table and picture, and print the table."""
    plot(results, folder / "pp.png")
    text = json.dumps(found, indent=2)
    (folder / "pp.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
