"""Posterior and evidence of GW150914 from an independent nested sampler.

Samples the intrinsic parameters with nautilus through cogwheel, the likelihood
marginalised over extrinsic parameters by cogwheel's ``MarginalizedExtrinsicLikelihood``:
nothing of this package's pipeline is used but the event file. The prior (detector-frame
chirp mass 26 to 36 solar masses, mass ratio from 0.2, the IAS spin prior) contains that of
the demo's bank: restrict samples and evidence to it before comparing with the demo.

    python bench/validation/nested_sampler.py OUTPUT_FOLDER [--n-live 800]

Takes about half an hour on one core and writes ``samples.feather`` and ``evidence.json``.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np

MCHIRP_RANGE = (26.0, 36.0)
Q_MIN = 0.2
F_REF = 50.0


def main() -> None:
    """Run the sampler and write what it found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--n-live", type=int, default=800)
    parser.add_argument("--pn-phase-tol", type=float, default=0.05)
    arguments = parser.parse_args()

    import nautilus
    import pandas as pd
    from cogwheel.gw_prior import IntrinsicIASPrior
    from cogwheel.likelihood import MarginalizedExtrinsicLikelihood
    from cogwheel.posterior import Posterior

    from dotpe_exec.events import load_event

    event = load_event("GW150914")
    posterior = Posterior.from_event(
        event,
        mchirp_guess=31.0,
        approximant="IMRPhenomXPHM",
        prior_class=IntrinsicIASPrior,
        prior_kwargs={"mchirp_range": MCHIRP_RANGE, "q_min": Q_MIN, "f_ref": F_REF},
        likelihood_class=MarginalizedExtrinsicLikelihood,
        likelihood_kwargs={"fbin": None, "pn_phase_tol": arguments.pn_phase_tol},
        ref_wf_finder_kwargs={"time_range": (-0.1, 0.1), "f_ref": F_REF},
    )
    prior = posterior.prior
    names = prior.sampled_params

    def ln_likelihood(unit: np.ndarray) -> float:
        # The prior density over the cube, zero outside its support, is part of the
        # integrand: nautilus integrates over the unit cube.
        ln_prob = posterior.lnposterior(*(prior.cubemin + unit * prior.cubesize))
        return float(ln_prob) + float(np.log(prior.cubesize).sum())

    start = time.perf_counter()
    sampler = nautilus.Sampler(
        lambda unit: unit, ln_likelihood, n_dim=len(names), n_live=arguments.n_live,
        pass_dict=False, seed=1,
    )  # fmt: skip
    sampler.run(verbose=True, n_eff=4000, discard_exploration=True)
    points, ln_weights, ln_likes = sampler.posterior()
    values = prior.cubemin + points * prior.cubesize
    samples = pd.DataFrame(values, columns=names)
    samples["weights"] = np.exp(ln_weights - ln_weights.max())
    samples["lnl"] = ln_likes
    arguments.folder.mkdir(parents=True, exist_ok=True)
    samples.to_feather(arguments.folder / "samples.feather")
    evidence = {
        "ln_evidence": float(sampler.log_z),
        "n_effective": float(sampler.n_eff),
        "n_likelihoods": int(sampler.n_like),
        "seconds": time.perf_counter() - start,
    }
    (arguments.folder / "evidence.json").write_text(json.dumps(evidence, indent=2))
    print(json.dumps(evidence, indent=2))


if __name__ == "__main__":
    main()
