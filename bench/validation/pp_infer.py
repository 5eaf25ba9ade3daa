"""P-P test of ``infer``: simulated signals drawn from the prior that it uses.

    python bench/validation/pp_infer.py OUTPUT_FOLDER [--n-events 100] [--n-procs 2]

Each signal is analysed as a user would, without a bank: a template search, a reference
waveform found by searching, proposals learnt from the data, until ``N_EFFECTIVE`` waveforms
count. Signals are uniform in the component masses within ``MCHIRP_RANGE`` and ``Q_MIN``,
with the spins of cogwheel's ``IntrinsicIASPrior``, isotropic in sky and orientation,
uniform in volume to ``DISTANCE_CUT`` and in time within ``TIME_HALF_RANGE``; none is left
out, loud or quiet. They are put into Gaussian noise of O3 detectors, two and three in turn,
with seeds ``FIRST_SEED``, ``FIRST_SEED + 1``, ...

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
from pathlib import Path
from typing import Any

import numpy as np
import pp

FIRST_SEED = 20261127
MCHIRP_RANGE = (20.0, 45.0)
Q_MIN = 0.2
F_REF = 50.0
DISTANCE_CUT = 2000.0  # [Mpc]
TIME_HALF_RANGE = 0.01  # [s]
SEARCH_HALF_RANGE = 0.03  # [s]

N_EFFECTIVE = 1000
N_DRAWS = 5000


def draw_parameters(seed: int) -> dict[str, float]:
    """Return the parameters of a signal drawn from the prior."""
    return pp.draw_parameters(
        seed,
        mchirp_range=MCHIRP_RANGE,
        q_min=Q_MIN,
        distance_cut=DISTANCE_CUT,
        time_half_range=TIME_HALF_RANGE,
    )


def analyse(k: int) -> dict[str, Any]:
    """Simulate and analyse signal ``k``; return the probability below each true value."""
    from dotpe_exec import infer
    from dotpe_exec.inference import infer_stages

    start, cpu = time.perf_counter(), time.process_time()
    signal, table = pp.simulate(k, FIRST_SEED, draw_parameters), distance_table()
    original = infer_stages.load_distance_table
    infer_stages.load_distance_table = lambda *_: table  # type: ignore[assignment]
    search = {"time_range": (-SEARCH_HALF_RANGE, SEARCH_HALF_RANGE)}
    try:
        with tempfile.TemporaryDirectory() as parent, warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            rundir = infer(
                signal.event, n_effective=N_EFFECTIVE, mchirp_range=MCHIRP_RANGE,
                q_min=Q_MIN, f_ref=F_REF, n_draws=N_DRAWS, seed=FIRST_SEED + k,
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
def distance_table() -> Any:
    """Return the table of the distance integral with the signals' prior."""
    from dotpe_exec.distance_table import table_from_values, tabulate

    return table_from_values(tabulate(DISTANCE_CUT), DISTANCE_CUT)


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
    arguments = parser.parse_args()
    results = pp.run_all(
        arguments.folder, arguments.n_events, arguments.n_procs, lambda: analyse
    )
    pp.finish(arguments.folder, results, outcome(results))


if __name__ == "__main__":
    main()
