"""`infer` with default arguments on signals like those of published events.

    python bench/validation/like_published.py FOLDER [NAME ...]

Masses, spins, detectors and signal-to-noise ratio are about those of the event of the name;
the noise is Gaussian, of a fixed seed. Prints a row of a table for each, and leaves the run
directories in FOLDER.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

from infer_evidence import ALIGNED, F_REF, core_seconds

# Detector-frame masses, aligned spins, in-plane spins, inclination, signal-to-noise ratio,
# detectors, duration [s].
PRECESSING = {"s1x_n": 0.5, "s1y_n": 0.3, "s2x_n": 0.5, "s2y_n": -0.2}
SLIGHTLY = {"s1x_n": 0.3, "s1y_n": 0.1, "s2x_n": 0.1, "s2y_n": -0.2}
STRONGLY = {"s1x_n": 0.8, "s1y_n": 0.2, "s2x_n": 0.1, "s2y_n": -0.2}
SIGNALS: dict[str, tuple] = {
    "GW170608": (11.8, 8.2, (0.05, 0.0), ALIGNED, 2.5, 15, "HL", 32.0),
    "GW170817": (1.6, 1.3, (0.01, 0.0), ALIGNED, 2.6, 32, "HLV", 128.0),
    "GW190412": (36.0, 10.0, (0.3, 0.1), SLIGHTLY, 0.75, 19, "HLV", 16.0),
    "GW190521": (150.0, 120.0, (0.1, 0.1), PRECESSING, 0.8, 14.5, "HLV", 8.0),
    "GW190814": (24.5, 2.72, (0.0, 0.0), ALIGNED, 0.85, 25, "HLV", 32.0),
    "GW200115": (6.1, 1.5, (-0.1, 0.0), ALIGNED, 0.6, 11, "HL", 64.0),
    "GW200129": (42.0, 29.0, (0.1, 0.1), STRONGLY, 0.6, 26.5, "HLV", 8.0),
}
SEED = 77


def main() -> None:
    """Analyse the signals and print the table."""
    from dotpe_exec import infer
    from dotpe_exec.events import simulate_event

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", default=list(SIGNALS))
    arguments = parser.parse_args()
    print("| like | chirp masses | ln evidence | waveforms, extrinsic | core-s | verdict |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name in arguments.names:
        m1, m2, (s1z, s2z), inplane, iota, snr, detectors, duration = SIGNALS[name]
        par_dic = {
            "m1": m1, "m2": m2, "s1z": s1z, "s2z": s2z, "iota": iota, "psi": 1.0,
            "phi_ref": 2.0, "ra": 1.2, "dec": -0.4, "t_geocenter": 0.0, "f_ref": F_REF,
            "d_luminosity": 1000.0, "l1": 0.0, "l2": 0.0, **inplane,
        }  # fmt: skip
        options = {"detectors": detectors, "duration": duration, "seed": SEED}
        at_1000 = simulate_event(name, injection=par_dic, **options)
        assert at_1000.injection is not None
        par_dic["d_luminosity"] *= math.sqrt(sum(at_1000.injection["h_h"])) / snr
        event = simulate_event(name, injection=par_dic, **options)
        event.injection = None  # nothing is to be known
        began = core_seconds()
        rundir = infer(
            event, n_effective=1000, seed=1, rundir=arguments.folder / name,
            executor="serial", overwrite=True,
        )  # fmt: skip
        summary = json.loads((rundir / "summary_results.json").read_text("utf-8"))
        adaptive, verdict = summary["adaptive"], summary["diagnostics"]
        keys = ", ".join(finding["key"] for finding in verdict["findings"])
        low, high = adaptive["mchirp_range"]
        print(
            f"| {name} | {low:g} to {high:g} "
            f"| {summary['ln_evidence']:.3f} ± {summary['ln_evidence_error']:.3f} "
            f"| {adaptive['n_effective_waveforms']:.0f}, {summary['n_effective_e']:.0f} "
            f"| {core_seconds() - began:.0f} | {verdict['status']} {keys} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
