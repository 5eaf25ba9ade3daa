"""P-P test of ``infer``: simulated signals drawn from the prior that it uses.

    python bench/validation/pp_infer.py OUTPUT_FOLDER [--light] [--n-events 100]

Each signal is analysed as a user would, without a bank: a template search, a reference
waveform found by searching, proposals learnt from the data, until ``N_EFFECTIVE`` waveforms
count. Signals are uniform in the component masses within ranges of chirp masses (20 to 45;
with ``--light`` 6 to 15) and mass ratios, with the spins of cogwheel's
``IntrinsicIASPrior``, isotropic in sky and orientation, uniform in volume to a largest
distance and in time within ``TIME_HALF_RANGE``; none is left out, loud or quiet. They are
put into Gaussian noise of O3 detectors, two and three in turn, with seeds one after the
other.

The analysis has exactly that prior:

* masses and spins by its arguments;
* the distance ends where the signals' does: the table of the distance integral, which knows
  15 Gpc only, is replaced here;
* times: those samples count whose arrival is in the signals' range, which the analysis'
  holds entirely. The reference is searched within ``SEARCH_HALF_RANGE``, and arrival times
  reach 70 ms to both sides of it, so that holds for a reference found in noise too.

Each result is kept in ``OUTPUT_FOLDER/events``, and a test that was interrupted goes on
from there; at the end there are ``pp.json`` and ``pp.png``.
"""

from __future__ import annotations

import argparse
import functools
import json
import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pp


@dataclass(frozen=True)
class Population:
    """What signals are drawn, and how they are kept.

    Parameters
    ----------
    first_seed : int
    mchirp_range : (float, float)
        Detector frame [solar masses].
    q_min : float
    distance_cut : float
        [Mpc]
    duration, fmax : float
        Of the data [s], [Hz].
    """

    first_seed: int
    mchirp_range: tuple[float, float]
    q_min: float
    distance_cut: float
    duration: float
    fmax: float


HEAVY = Population(20261127, (20.0, 45.0), 0.2, 2000.0, 8.0, 512.0)
LIGHT = Population(20261128, (6.0, 15.0), 0.125, 800.0, 32.0, 1024.0)
F_REF = 50.0
TIME_HALF_RANGE = 0.01  # [s]
SEARCH_HALF_RANGE = 0.03  # [s]

N_EFFECTIVE = 1000
N_DRAWS = 5000


def analyse(k: int, population: Population) -> dict[str, Any]:
    """Simulate and analyse signal ``k``; return the probability below each true value."""
    from dotpe_exec import infer
    from dotpe_exec.inference import infer_stages

    start, cpu = time.perf_counter(), time.process_time()
    draw = functools.partial(
        pp.draw_parameters,
        mchirp_range=population.mchirp_range,
        q_min=population.q_min,
        distance_cut=population.distance_cut,
        time_half_range=TIME_HALF_RANGE,
    )
    signal = pp.simulate(
        k, population.first_seed, draw, duration=population.duration, fmax=population.fmax
    )
    table = distance_table(population.distance_cut)
    original = infer_stages.load_distance_table
    infer_stages.load_distance_table = lambda *_: table  # type: ignore[assignment]
    search = {"time_range": (-SEARCH_HALF_RANGE, SEARCH_HALF_RANGE)}
    try:
        with tempfile.TemporaryDirectory() as parent, warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            rundir = infer(
                signal.event, n_effective=N_EFFECTIVE, mchirp_range=population.mchirp_range,
                q_min=population.q_min, f_ref=F_REF, n_draws=N_DRAWS,
                seed=population.first_seed + k,
                coherent_posterior_kwargs={"ref_wf_finder_kwargs": search},
                event_dir=parent, executor="serial", progress=False,
            )  # fmt: skip
            result = pp.result_of(rundir, k, signal, TIME_HALF_RANGE)
            adaptive = json.loads((rundir / "summary_results.json").read_text())["adaptive"]
    finally:
        infer_stages.load_distance_table = original
    kept = ("stopped_by", "n_drawn", "n_learning", "n_waveforms_generated", "information")
    return result | {
        **{name: adaptive[name] for name in kept},
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - cpu,
    }


@functools.cache
def distance_table(distance_cut: float) -> Any:
    """Return the table of the distance integral with the signals' prior."""
    from dotpe_exec.distance_table import table_from_values, tabulate

    return table_from_values(tabulate(distance_cut), distance_cut)


def outcome(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what :func:`pp.outcome` does, and what ``infer`` stopped by."""
    return pp.outcome(results) | {
        "fewest_effective_i": float(np.min([one["n_effective_i"] for one in results])),
        "stopped_by_max_waveforms": sum(
            one["stopped_by"] == "max_waveforms" for one in results
        ),
        "median_in_time": float(np.median([one["in_time"] for one in results])),
    }


def main() -> None:
    """Run the test and write table and picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--n-events", type=int, default=100)
    parser.add_argument("--n-procs", type=int, default=2)
    parser.add_argument("--light", action="store_true", help="Chirp masses of 6 to 15.")
    arguments = parser.parse_args()
    analysis = functools.partial(analyse, population=LIGHT if arguments.light else HEAVY)
    results = pp.run_all(
        arguments.folder, arguments.n_events, arguments.n_procs, lambda: analysis
    )
    pp.finish(arguments.folder, results, outcome(results))


if __name__ == "__main__":
    main()
