"""P-P test: simulated signals drawn from the prior and analysed with the same prior.

    python bench/pp.py OUTPUT_FOLDER [--n-events 100] [--n-procs 2]

Signals are drawn from the IAS prior over a small bank's range, uniform in volume out to a
distance at which the median signal-to-noise ratio is about 10, isotropic in the sky, and
put into Gaussian noise of O3 detectors, two and three in turn. Where the analysis is
right, the posterior probability below the true value of a parameter is uniform between 0
and 1 over many signals (Cook, Gelman & Rubin 2006); a Kolmogorov-Smirnov test says how
well it is. The analysis ends its distance prior where the signals' ends.

Writes ``pp.json`` and ``pp.png``. About 15 s of one core per signal.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import warnings
from pathlib import Path

import numpy as np

MCHIRP_RANGE = (24.0, 30.0)
Q_MIN = 0.3
DISTANCE_CUT = 1600.0  # [Mpc]
BANK_SIZE = 8192
FIRST_SEED = 20260314
PARAMETERS = ("mchirp", "lnq", "ra", "dec", "d_luminosity")


def draw_signal(seed: int) -> dict[str, float]:
    """Return the parameters of a signal drawn from the prior."""
    from dotpe_exec.banks.prior import Proposal
    from dotpe_exec.banks.table import PARAMETERS as INTRINSIC

    rng = np.random.default_rng(seed)
    prior = Proposal(MCHIRP_RANGE, Q_MIN, alpha=1.0)  # uniform in detector-frame masses
    signal = dict(zip(INTRINSIC, prior.draw(1, rng)[0].tolist(), strict=True))
    return signal | {
        "d_luminosity": DISTANCE_CUT * rng.random() ** (1 / 3),
        "ra": 2 * np.pi * rng.random(),
        "dec": float(np.arcsin(2 * rng.random() - 1)),
        "psi": np.pi * rng.random(),
        "phi_ref": 2 * np.pi * rng.random(),
        "t_geocenter": 0.02 * (rng.random() - 0.5),
        "f_ref": 50.0,
    }


def analyse(k: int, folder: Path, n_procs: int) -> dict[str, float]:
    """Simulate and analyse signal ``k``; return the probability below each true value."""
    import pandas as pd

    from dotpe_exec import pipeline, run_multicore
    from dotpe_exec.banks.build import build_bank
    from dotpe_exec.distance_table import table_from_values, tabulate
    from dotpe_exec.events import simulate_event

    seed = FIRST_SEED + k
    signal = draw_signal(seed)
    event = simulate_event(
        f"signal_{k}", "HLV" if k % 2 else "HL", duration=8.0, fmin=20.0, fmax=512.0,
        tgps=1.2e9 + 1e4 * k, injection=signal, seed=seed,
    )  # fmt: skip
    bank = build_bank(
        folder / "bank", bank_size=BANK_SIZE, mchirp_range=MCHIRP_RANGE, q_min=Q_MIN,
        event=event, pn_phase_tol=0.3, seed=FIRST_SEED, n_procs=n_procs, progress=False,
    )  # fmt: skip
    # Runs know only cogwheel's default prior, to 15 Gpc.
    table = table_from_values(tabulate(DISTANCE_CUT), DISTANCE_CUT)
    pipeline.load_distance_table = lambda: table  # type: ignore[assignment]
    with tempfile.TemporaryDirectory(dir=folder) as parent, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        rundir = run_multicore(
            event, bank, n_ext=256, n_phi=16, n_t=128, seed=seed, n_draws=4000,
            event_dir=parent, n_procs=n_procs, progress=False,
        )  # fmt: skip
        samples = pd.read_feather(rundir / "samples.feather")
        summary = json.loads((rundir / "summary_results.json").read_text())
    weights = samples["weights"] / samples["weights"].sum()
    q = signal["m2"] / signal["m1"]
    truth = signal | {
        "lnq": np.log(q),
        "mchirp": signal["m1"] * q**0.6 / (1 + q) ** 0.2,
    }
    below = {
        # Samples share waveforms: half of what is exactly equal counts as below.
        name: float(
            weights[samples[name] < truth[name]].sum()
            + 0.5 * weights[samples[name] == truth[name]].sum()
        )
        for name in PARAMETERS
    }
    snr = float(np.sqrt(np.sum(event.injection["h_h"])))
    return below | {"snr": snr, "n_effective_i": summary["n_effective_i"]}


def p_values(results: list[dict[str, float]]) -> dict[str, float]:
    """Return the Kolmogorov-Smirnov p-value of uniformity for each parameter."""
    from scipy.stats import kstest

    return {
        name: float(kstest([result[name] for result in results], "uniform").pvalue)
        for name in PARAMETERS
    }


def run_test(folder: Path, n_events: int, n_procs: int) -> list[dict[str, float]]:
    """Analyse all signals; results of an earlier, interrupted test are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    progress = folder / "results.jsonl"
    lines = progress.read_text().splitlines() if progress.exists() else []
    results = [json.loads(line) for line in lines]
    for k in range(len(results), n_events):
        results.append(analyse(k, folder, n_procs))
        with progress.open("a") as file:
            file.write(json.dumps(results[-1]) + "\n")
    return results[:n_events]


def plot(results: list[dict[str, float]], path: Path) -> None:
    """Draw the fraction of signals below each credible level."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt
    from scipy.stats import binom

    n = len(results)
    levels = np.linspace(0, 1, 201)
    fig, ax = plt.subplots(figsize=(5, 5))
    for sigmas, grey in ((0.997, 0.92), (0.95, 0.84), (0.68, 0.74)):
        low, high = binom.interval(sigmas, n, levels)
        ax.fill_between(levels, low / n, high / n, color=str(grey), lw=0)
    for name, p_value in p_values(results).items():
        ax.plot(
            np.sort([result[name] for result in results]), (np.arange(n) + 0.5) / n,
            label=f"{name}: p = {p_value:.2f}",
        )  # fmt: skip
    ax.set(xlabel="probability below the true value", ylabel="fraction of signals",
           xlim=(0, 1), ylim=(0, 1), title=f"{n} signals")  # fmt: skip
    ax.legend(loc="lower right")
    fig.savefig(path, dpi=120, bbox_inches="tight")
    plt.close(fig)


def main() -> None:
    """Run the test and write table and picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--n-events", type=int, default=100)
    parser.add_argument("--n-procs", type=int, default=2)
    arguments = parser.parse_args()
    results = run_test(arguments.folder, arguments.n_events, arguments.n_procs)
    plot(results, arguments.folder / "pp.png")
    outcome = {
        "n_events": len(results),
        "p_values": p_values(results),
        "median_snr": float(np.median([result["snr"] for result in results])),
        "median_n_effective_i": float(np.median([r["n_effective_i"] for r in results])),
    }
    (arguments.folder / "pp.json").write_text(json.dumps(outcome, indent=2))
    shutil.rmtree(arguments.folder / "bank", ignore_errors=True)
    print(json.dumps(outcome, indent=2))


if __name__ == "__main__":
    main()
