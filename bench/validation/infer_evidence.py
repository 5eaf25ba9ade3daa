"""The evidence of `infer` against a nested sampler, event by event.

    python bench/validation/infer_evidence.py FOLDER [--events GW150914 ...] [--n-live 800]

For each event: `infer`, then nautilus over the same prior with cogwheel's
``MarginalizedExtrinsicLikelihood``, both with the reference waveform and the frequency
bins of the first. Nothing of this package's likelihood is part of the second. Writes
``FOLDER/EVENT.json`` and prints a row of a table; an event whose file is there is not run
again, so that the table can be made in parts. A nested run takes some ten minutes of one
core; ``--nested OTHER_FOLDER`` takes those of an earlier table, with their reference
waveforms, where they are there, and runs `infer` alone.

The simulated events have Gaussian noise of a fixed seed, distances are chosen for the
signal-to-noise ratio; chirp masses 8 to 60, signal-to-noise ratios 8 to 30, two and three
detectors, aligned and precessing, mass ratios down to 1/8.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
from pathlib import Path
from typing import Any

F_REF = 50.0
Q_MIN = 0.1
PN_PHASE_TOL = 0.05

ALIGNED = {"s1x_n": 0.0, "s1y_n": 0.0, "s2x_n": 0.0, "s2y_n": 0.0}
PRECESSING = {"s1x_n": 0.5, "s1y_n": -0.3, "s2x_n": 0.2, "s2y_n": 0.4}

# Name: chirp mass, mass ratio, aligned spins, in-plane spins, inclination, signal-to-noise
# ratio, detectors, prior range of the chirp mass.
SIMULATED: dict[str, tuple] = {
    "light_hl": (8.0, 0.7, (0.1, 0.0), ALIGNED, 0.5, 12, "HL", (6, 12)),
    "light_loud": (10.0, 0.5, (0.3, -0.2), PRECESSING, 1.0, 25, "HLV", (7, 15)),
    "light_unequal": (12.0, 0.125, (0.4, 0.0), PRECESSING, 0.9, 18, "HL", (8, 18)),
    "middle_quiet": (20.0, 0.8, (0.0, 0.0), ALIGNED, 2.6, 8, "HL", (13, 30)),
    "middle_hlv": (20.0, 0.7, (0.3, 0.3), PRECESSING, 1.05, 12, "HLV", (13, 30)),
    "middle_loud": (28.0, 0.6, (-0.2, 0.1), PRECESSING, 0.4, 30, "HLV", (18, 42)),
    "middle_unequal": (25.0, 0.2, (0.2, 0.5), PRECESSING, 1.3, 16, "HL", (16, 38)),
    "heavy_hl": (45.0, 0.9, (0.0, 0.3), ALIGNED, 0.7, 15, "HL", (30, 70)),
    "heavy_hlv": (60.0, 0.5, (0.5, 0.0), PRECESSING, 2.0, 14, "HLV", (40, 95)),
    "heavy_quiet": (60.0, 0.7, (-0.3, -0.3), PRECESSING, 1.5, 9, "HLV", (40, 95)),
}
SEED = 20260314


def main() -> None:
    """Run what is not there yet and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--events", nargs="+", default=["GW150914", *SIMULATED])
    parser.add_argument("--n-effective", type=float, default=4000)
    parser.add_argument("--n-live", type=int, default=800)
    parser.add_argument("--n-procs", type=int)
    parser.add_argument("--nested", type=Path, help="Folder of an earlier table.")
    parser.add_argument("--seed", type=int, default=SEED, help="Of infer's draws.")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    print(
        "| event | infer | nested | difference | effective waveforms | Pareto's k "
        "| effective per core-second: infer, nested |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name in arguments.events:
        path = arguments.folder / f"{name}.json"
        if not path.exists():
            found = compare(name, arguments)
            path.write_text(json.dumps(found, indent=2), encoding="utf-8")
        found = json.loads(path.read_text(encoding="utf-8"))
        difference = found["ln_evidence"] - found["nested_ln_evidence"]
        error = math.hypot(found["ln_evidence_error"], found["nested_error"])
        print(
            f"| {name} | {found['ln_evidence']:.3f} ± {found['ln_evidence_error']:.3f} "
            f"| {found['nested_ln_evidence']:.3f} ± {found['nested_error']:.3f} "
            f"| {difference:+.3f} ({difference / error:+.1f} sigma) "
            f"| {found['n_effective_waveforms']:.0f} | {found['pareto_k']:.2f} "
            f"| {rate(found, 'n_effective_waveforms', 'core_seconds')}, "
            f"{rate(found, 'nested_n_effective', 'nested_core_seconds')} |",
            flush=True,
        )


def rate(found: dict[str, Any], n_effective: str, core_seconds: str) -> str:
    """Return effective waveforms per core-second; a stored run may not know its own."""
    return (
        f"{found[n_effective] / found[core_seconds]:.1f}" if core_seconds in found else "?"
    )


def core_seconds() -> float:
    """Return the processor time of this process and of its children that ended."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(
            resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        )
    )


def compare(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return both evidences of one event."""
    from dotpe_exec import infer

    event, mchirp_range = make_event(name)
    stored = {} if arguments.nested is None else stored_nested(arguments.nested, name)
    began = core_seconds()
    rundir = infer(
        event,
        n_effective=arguments.n_effective,
        mchirp_range=mchirp_range,
        q_min=Q_MIN,
        f_ref=F_REF,
        pn_phase_tol=PN_PHASE_TOL,
        seed=arguments.seed,
        par_dic_0=stored.pop("par_dic_0", None),
        rundir=arguments.folder / name,
        n_procs=arguments.n_procs,
        executor="process",  # whose workers end, so that their time is known
        overwrite=True,
    )
    seconds = core_seconds() - began
    summary = json.loads((rundir / "summary_results.json").read_text(encoding="utf-8"))
    adaptive = summary["adaptive"]
    return {
        "ln_evidence": summary["ln_evidence"],
        "ln_evidence_error": summary["ln_evidence_error"],
        "n_effective_waveforms": adaptive["n_effective_waveforms"],
        "n_drawn": adaptive["n_drawn"],
        "pareto_k": summary["pareto_k"],
        "core_seconds": seconds,
        **(stored or nested(rundir, mchirp_range, arguments)),
    }


def stored_nested(folder: Path, name: str) -> dict[str, Any]:
    """Return what an earlier nested run found and its reference waveform, if it is there.

    Another reference waveform would be another model of the noise.
    """
    path = folder / f"{name}.json"
    if not path.exists():
        return {}
    from cogwheel.utils import read_json

    found = json.loads(path.read_text(encoding="utf-8"))
    stored = {key: value for key, value in found.items() if key.startswith("nested_")}
    likelihood = read_json(folder / name / "Posterior.json").likelihood
    return stored | {"par_dic_0": dict(likelihood.par_dic_0)}


def make_event(name: str) -> tuple[Any, tuple[float, float]]:
    """Return an event and the prior range of its chirp mass."""
    from dotpe_exec.events import load_event, simulate_event

    if name == "GW150914":
        return load_event(name), (20.0, 45.0)
    mchirp, q, (s1z, s2z), inplane, iota, snr, detectors, mchirp_range = SIMULATED[name]
    m1 = mchirp * (1 + q) ** 0.2 / q**0.6
    par_dic = {
        "m1": m1, "m2": q * m1, "s1z": s1z, "s2z": s2z, "iota": iota, "psi": 1.0,
        "phi_ref": 2.0, "ra": 1.2, "dec": -0.4, "t_geocenter": 0.0, "f_ref": F_REF,
        "d_luminosity": 1000.0, "l1": 0.0, "l2": 0.0, **inplane,
    }  # fmt: skip
    options: dict[str, Any] = {
        "detectors": detectors, "duration": 16.0 if mchirp > 15 else 32.0, "seed": SEED,
    }  # fmt: skip
    at_1000 = simulate_event(name, injection=par_dic, **options)
    assert at_1000.injection is not None
    par_dic["d_luminosity"] *= math.sqrt(sum(at_1000.injection["h_h"])) / snr
    return simulate_event(name, injection=par_dic, **options), mchirp_range


def cogwheels_likelihood(rundir: Path) -> Any:
    """Return cogwheel's marginalised likelihood, with a run's reference and bins."""
    from cogwheel.likelihood import MarginalizedExtrinsicLikelihood
    from cogwheel.utils import read_json

    likelihood = read_json(rundir / "Posterior.json").likelihood
    return MarginalizedExtrinsicLikelihood(
        likelihood.event_data,
        likelihood.waveform_generator,
        likelihood.par_dic_0,
        fbin=likelihood.fbin,
        pn_phase_tol=None,
    )


def nested(
    rundir: Path, mchirp_range: tuple[float, float], arguments: argparse.Namespace
) -> dict[str, Any]:
    """Return the evidence by nautilus with cogwheel's marginalised likelihood."""
    import nautilus
    import numpy as np
    from cogwheel.gw_prior import IntrinsicIASPrior

    began = core_seconds()
    oracle = cogwheels_likelihood(rundir)
    prior = IntrinsicIASPrior(mchirp_range=mchirp_range, q_min=Q_MIN, f_ref=F_REF)
    names = prior.sampled_params

    def ln_likelihood(unit: np.ndarray) -> float:
        sampled = dict(zip(names, prior.cubemin + unit * prior.cubesize, strict=True))
        ln_prior = prior.lnprior(**sampled)
        if ln_prior == -np.inf:
            return -1e100
        standard = prior.transform(**sampled)
        ln_like = oracle.lnlike({n: standard[n] for n in oracle.params})
        return float(ln_like + ln_prior + np.log(prior.cubesize).sum())

    sampler = nautilus.Sampler(
        lambda unit: unit, ln_likelihood, n_dim=len(names), n_live=arguments.n_live,
        pass_dict=False, seed=1,
    )  # fmt: skip
    # Points to which bounds were fitted have volumes that are biased.
    sampler.run(verbose=False, n_eff=arguments.n_effective, discard_exploration=True)
    return {
        "nested_ln_evidence": float(sampler.log_z),
        "nested_error": float(1 / np.sqrt(sampler.n_eff)),
        "nested_n_effective": float(sampler.n_eff),
        "nested_n_likelihoods": int(sampler.n_like),
        "nested_core_seconds": core_seconds() - began,
    }


if __name__ == "__main__":
    main()
