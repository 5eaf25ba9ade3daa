"""The reference stage: its time on the standard workload, and how good its waveform is.

    python bench/reference.py time [--repeats 3]
    python bench/reference.py quality [--events 10] [--start 0]
    python bench/reference.py guesses [--evidence]

``time`` measures the stage with search and with a given ``par_dic_0``, on one thread.
``quality`` compares, event by event, the ln likelihood (all modes, exact) of the waveform
found with that of cogwheel's own search: simulated events with two or three detectors,
precessing or aligned, light or heavy, and the bundled ones.
``guesses`` finds the reference of GW150914 and of the standard workload from chirp masses
10% off either way and from other waveforms, and prints how far ``asd_drift`` and the
largest ln likelihood scatter; with ``--evidence`` each way that leads to another reference
makes a whole run on a bank of 4096 waveforms, too, and its ln evidence is printed. Run it
with other values of
``OPENBLAS_CORETYPE``, too. ``--names W16k --ways 0 5`` does a part of it.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import threadpoolctl
from w16k import RUN, cache_folder, make_event

from dotpe_exec.events import fbin_from_pn_phase_tol, load_event, simulate_event
from dotpe_exec.stages.reference import find_reference

MODES = ((2, 2), (2, 1), (3, 3), (3, 2), (4, 4))


def bank_config(event: Any, pn_phase_tol: float = 0.05) -> SimpleNamespace:
    """Return what the stage needs to know of a bank for this event."""
    return SimpleNamespace(
        approximant="IMRPhenomXPHM",
        f_ref=50.0,
        fbin=fbin_from_pn_phase_tol(event, pn_phase_tol),
        m_arr=np.array([2, 1, 3, 4]),
        harmonic_modes=MODES,
    )


def varied_event(number: int) -> tuple[Any, float]:
    """Return a simulated event and a guess at its chirp mass [solar masses]."""
    from cogwheel.gw_utils import m1m2_to_mchirp

    rng = np.random.default_rng([2026, number])
    mchirp, q = np.exp(rng.uniform(np.log(8), np.log(45))), rng.uniform(0.25, 0.95)
    m1 = mchirp * (1 + q) ** 0.2 / q**0.6
    names = ["s1x_n", "s1y_n", "s1z", "s2x_n", "s2y_n", "s2z"]
    spins = dict(zip(names, rng.uniform(-0.5, 0.5, 6), strict=True))
    if number % 2:
        spins |= dict.fromkeys(["s1x_n", "s1y_n", "s2x_n", "s2y_n"], 0.0)
    par_dic = spins | {
        "m1": m1, "m2": q * m1, "l1": 0.0, "l2": 0.0, "f_ref": 50.0,
        "ra": rng.uniform(0, 2 * np.pi), "dec": np.arcsin(rng.uniform(-1, 1)),
        "iota": np.arccos(rng.uniform(-1, 1)), "psi": rng.uniform(0, np.pi),
        "phi_ref": rng.uniform(0, 2 * np.pi), "t_geocenter": rng.uniform(-0.02, 0.02),
        "d_luminosity": 1000.0,
    }  # fmt: skip
    settings: dict[str, Any] = {
        "name": f"varied_{number}",
        "detectors": "HL" if number % 3 == 0 else "HLV",
        "duration": 32.0,
        "fmax": 1024.0,
        "seed": number,
    }
    # Place it at the distance that gives a typical signal-to-noise ratio.
    trial = simulate_event(**settings, injection=par_dic)
    snr = np.sqrt(np.sum(trial.injection["h_h"]))
    par_dic["d_luminosity"] *= snr / rng.uniform(9, 25)
    event = simulate_event(**settings, injection=par_dic)
    # An aligned injection would be taken as it is, by either search: hide it.
    event.injection = None
    return event, float(m1m2_to_mchirp(m1, q * m1) * rng.uniform(0.95, 1.05))


def cogwheel_reference(event: Any, config: Any, mchirp_guess: float) -> Any:
    """Return the posterior that cogwheel's own search makes."""
    from cogwheel.posterior import Posterior

    with contextlib.redirect_stdout(None):
        return Posterior.from_event(
            event,
            mchirp_guess,
            config.approximant,
            "CartesianIASPrior",
            likelihood_kwargs={"fbin": config.fbin, "pn_phase_tol": None},
            ref_wf_finder_kwargs={"time_range": (-0.1, 0.1), "f_ref": config.f_ref},
        )


def compare_quality(start: int, n_events: int) -> None:
    """Print, for each event, both searches' ln likelihoods, chirp-mass ranges and times."""
    cases: list[tuple[str, Any, float]] = [("GW150914", load_event("GW150914"), 30.0)]
    for number in range(start, start + n_events):
        event, guess = varied_event(number)
        cases.append((f"{event.eventname} {''.join(event.detector_names)}", event, guess))
    print(
        "event             lnL ours  cogwheel  gain   CPU s ours  cogwheel  mchirp ranges"
    )
    for name, event, guess in cases:
        config = bank_config(event)
        begin = time.process_time()
        ours = find_reference(event, config, n_t=RUN["n_t"], mchirp_guess=guess).posterior
        middle = time.process_time()
        theirs = cogwheel_reference(event, config, guess)
        end = time.process_time()
        lnl_ours, lnl_theirs = (
            posterior.likelihood.lnlike_fft(posterior.likelihood.par_dic_0)
            for posterior in (ours, theirs)
        )
        ranges = [
            "{:.2f}-{:.2f}".format(*posterior.prior.get_init_dict()["mchirp_range"])
            for posterior in (ours, theirs)
        ]
        print(
            f"{name:16s} {lnl_ours:9.2f} {lnl_theirs:9.2f} {lnl_ours - lnl_theirs:6.2f}"
            f" {middle - begin:10.2f} {end - middle:10.2f}  {' '.join(ranges)}",
            flush=True,
        )


def measure_time(repeats: int) -> None:
    """Print wall and CPU seconds of the stage on the standard workload."""
    event = load_event(Path(make_event()))
    config = bank_config(event)
    found = find_reference(event, config, n_t=RUN["n_t"], mchirp_guess=RUN["mchirp_guess"])
    for label, kwargs in (
        ("with search", {"mchirp_guess": RUN["mchirp_guess"]}),
        ("par_dic_0 given", {"par_dic_0": found.par_dic_0}),
    ):
        wall, cpu = [], []
        for _ in range(repeats):
            begin = time.perf_counter(), time.process_time()
            find_reference(event, config, n_t=RUN["n_t"], **kwargs)
            wall.append(time.perf_counter() - begin[0])
            cpu.append(time.process_time() - begin[1])
        print(
            f"{label}: wall {min(wall):.2f} s (median {np.median(wall):.2f}), "
            f"CPU {min(cpu):.2f} s (median {np.median(cpu):.2f})"
        )


def ways_to_find(event: Any, config: Any, guess: float) -> list[dict[str, Any]]:
    """Return ten sets of arguments that should lead to the same reference."""
    ways: list[dict[str, Any]] = [
        {"mchirp_guess": guess * factor} for factor in (1, 0.9, 0.95, 0.97, 1.03, 1.05, 1.1)
    ]
    first = find_reference(event, config, n_t=8, **ways[0]).par_dic_0
    for change in (
        {"iota": np.pi - first["iota"], "s1z": 0.3},
        {"m1": 1.1 * first["m1"], "m2": 0.95 * first["m2"]},
        {"t_geocenter": 0.0, "ra": 1.0, "s1x_n": 0.4},
    ):
        ways.append({"par_dic_0": first | change, "refine_reference": True})
    return ways


def compare_guesses(names: list[str], ways: slice, with_evidence: bool) -> None:
    """Print the scatter of references found from different guesses, and of evidences."""
    for name, path, guess, mchirp_range in (
        ("GW150914", "GW150914", 30.0, (24.0, 36.0)),
        ("W16k", make_event(), float(RUN["mchirp_guess"]), (18.0, 23.0)),
    ):
        if name not in names:
            continue
        event = load_event(path)
        config = bank_config(event)
        drifts, lnlikes, seconds, evidences = [], [], [], []
        known: dict[tuple[float, ...], float] = {}  # the same reference, the same run
        for way in ways_to_find(event, config, guess)[ways]:
            begin = time.process_time()
            found = find_reference(event, config, n_t=8, **way)
            seconds.append(time.process_time() - begin)
            likelihood = found.posterior.likelihood
            drifts.append(likelihood.asd_drift)
            lnlikes.append(likelihood.lnlike_fft(found.par_dic_0))
            if with_evidence:
                same = tuple(found.par_dic_0.values())
                if same not in known:
                    known[same] = ln_evidence(name, path, mchirp_range, way)
                evidences.append(known[same])
        print(
            f"{name}: asd_drift {np.round(drifts[0], 6)}, largest difference "
            f"{np.ptp(drifts, axis=0).max():.1e}; ln L {lnlikes[0]:.3f}, "
            f"largest difference {np.ptp(lnlikes):.1e}; CPU {np.median(seconds):.1f} s",
            flush=True,
        )
        if with_evidence:
            print(f"  ln evidence {np.round(evidences, 4)}", flush=True)


def ln_evidence(
    name: str, path: Any, mchirp_range: tuple[float, float], way: dict[str, Any]
) -> float:
    """Return the ln evidence of a run on a small bank, which is made once."""
    from dotpe_exec import load, run
    from dotpe_exec.banks.build import build_bank

    bank = build_bank(
        cache_folder() / f"reference_{name}", bank_size=4096, mchirp_range=mchirp_range,
        event=path, pn_phase_tol=0.05, seed=3, progress=False,
    )  # fmt: skip
    sizes = {"n_ext": 512, "n_phi": 32, "n_t": 64, "seed": 42}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rundir = run(path, bank, rundir=f"{folder}/run", progress=False, **sizes, **way)
        return load(rundir).ln_evidence


def main() -> None:
    """Run the measurement asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=["time", "quality", "guesses"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--events", type=int, default=10)
    parser.add_argument("--evidence", action="store_true", help="whole runs, too")
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--names", nargs="+", default=["GW150914", "W16k"])
    parser.add_argument("--ways", type=int, nargs=2, default=(0, 10), help="from, to")
    arguments = parser.parse_args()
    with threadpoolctl.threadpool_limits(1):
        if arguments.what == "time":
            measure_time(arguments.repeats)
        elif arguments.what == "guesses":
            compare_guesses(arguments.names, slice(*arguments.ways), arguments.evidence)
        else:
            compare_quality(arguments.start, arguments.events)


if __name__ == "__main__":
    main()
