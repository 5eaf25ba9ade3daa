"""The marginalised likelihoods of an `infer` run against two others, waveform by waveform.

    python bench/validation/likelihoods.py RUNDIR [--n 100]

For waveforms drawn from the run's posterior: ln likelihoods as the run has them, with
extrinsic samples that all waveforms share; with extrinsic samples drawn for each waveform
alone, 2048 of a pool of 32768; and cogwheel's. The run's posterior averages the ratio of
likelihoods to the ratio of evidences. cogwheel's integral has its own points for each
waveform; how many count is printed, and where few do it is too low, by its own account and
against the second: so is the evidence of a sampler that uses it.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from infer_evidence import cogwheels_likelihood

from dotpe_exec.adaptive import likelihood as adaptive_likelihood
from dotpe_exec.adaptive.coordinates import PriorCoordinates
from dotpe_exec.adaptive.likelihood import EventLikelihood
from dotpe_exec.adaptive.tasks import WaveformModel
from dotpe_exec.banks.config import read_config
from dotpe_exec.distance_table import load_distance_table
from dotpe_exec.executors.phases import PhaseRunner
from dotpe_exec.executors.store import ArrayStore
from dotpe_exec.inference.infer_event import aligned_spins_of
from dotpe_exec.stages import extrinsic_scoring
from dotpe_exec.stages.reference import find_reference
from dotpe_exec.waveforms.generator import generation_way
from dotpe_exec.waveforms.parameters import PARAMETERS

N_EXT, POOL = 2048, 2**15
# A single waveform has a single proposal, which is to be taken.
LEAST_PRIOR, PROPOSAL_POINTS = 2, 2**17


def main() -> None:
    """Print mean differences and ratios of evidences."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("rundir", type=Path)
    parser.add_argument("--n", type=int, default=100, help="waveforms")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)  # cogwheel warns of waveforms that it rejects
    shared_i, parameters_ik = drawn(arguments.rundir, arguments.n, arguments.seed)
    own_i = own_likelihoods(arguments.rundir, shared_i, parameters_ik, arguments.seed)
    cogwheel_i, counting_i = cogwheels(arguments.rundir, parameters_ik)
    print("| likelihood | mean ln L less the run's | ln of evidence over the run's |")
    print("| --- | --- | --- |")
    for name, other_i in (("own extrinsic samples", own_i), ("cogwheel", cogwheel_i)):
        known = np.isfinite(other_i)
        print(f"| {name} | {mean(other_i[known] - shared_i[known])} | "
              f"{ln_mean(other_i - shared_i)} |")  # fmt: skip
    print(
        f"\ncogwheel: {np.median(counting_i):.0f} points count in the median "
        f"({counting_i.min():.0f} to {counting_i.max():.0f}), "
        f"{np.count_nonzero(~np.isfinite(cogwheel_i))} of {len(cogwheel_i)} rejected"
    )


def mean(difference_i: np.ndarray) -> str:
    """Return a mean and its error."""
    error = difference_i.std(ddof=1) / np.sqrt(len(difference_i))
    return f"{difference_i.mean():+.3f} +- {error:.3f}"


def ln_mean(ln_ratio_i: np.ndarray) -> str:
    """Return ln of the mean ratio, and its error."""
    ratio_i = np.exp(ln_ratio_i)
    error = ratio_i.std(ddof=1) / np.sqrt(len(ratio_i)) / ratio_i.mean()
    return f"{np.log(ratio_i.mean()):+.3f} +- {error:.3f}"


def drawn(rundir: Path, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return likelihoods (n,) and parameters (n, 9) of waveforms of the posterior."""
    bank = rundir / "banks" / "adapted"
    table = pd.read_feather(bank / "intrinsic_sample_bank.feather")
    with np.load(bank / "intrinsic_samples.npz") as final:
        lnlikes = pd.Series(final["incoherent_lnlikes"], index=final["inds"])
    samples = pd.read_feather(rundir / "prob_samples.feather")
    weights = samples.groupby("i")["weights"].sum()
    chosen = np.random.default_rng(seed).choice(
        weights.index.to_numpy(), n, p=weights.to_numpy() / weights.sum()
    )
    return lnlikes.loc[chosen].to_numpy(), table.iloc[chosen][list(PARAMETERS)].to_numpy()


def own_likelihoods(
    rundir: Path, shared_i: np.ndarray, parameters_ik: np.ndarray, seed: int
) -> np.ndarray:
    """Return ln likelihoods, each with extrinsic samples of its own."""
    adaptive_likelihood.FIRST_POOL = POOL  # type: ignore[misc]
    extrinsic_scoring.MIN_EFFECTIVE_PRIOR = LEAST_PRIOR  # type: ignore[misc]
    extrinsic_scoring.MAX_PROPOSAL_POINTS = PROPOSAL_POINTS  # type: ignore[misc]
    cogwheel_likelihood = cogwheels_likelihood(rundir)
    config = read_config(rundir / "banks" / "adapted" / "bank_config.json")
    summary = json.loads((rundir / "summary_results.json").read_text(encoding="utf-8"))
    arguments = json.loads((rundir / "run_kwargs.json").read_text(encoding="utf-8"))
    adaptive = summary["adaptive"]
    coordinates = PriorCoordinates(
        tuple(adaptive["mchirp_range"]), adaptive["q_min"], config.f_ref,
        aligned_spins_of(config.approximant),
    )  # fmt: skip
    z_ik = coordinates.of_parameters(parameters_ik)
    reference = find_reference(
        cogwheel_likelihood.event_data,
        config,
        n_t=arguments["n_t"],
        par_dic_0=dict(cogwheel_likelihood.par_dic_0),
        asd_drift=np.array(list(summary["asd_drift"].values())),
    )
    found = []
    with (
        tempfile.TemporaryDirectory() as folder,
        ArrayStore(Path(folder) / "store", in_process=True) as store,
        PhaseRunner(store, "serial") as runner,
    ):
        model = WaveformModel(
            config.approximant,
            config.harmonic_modes,
            config.f_ref,
            generation_way(config.approximant, config.harmonic_modes),
            store.put(np.asarray(config.fbin)),
        )
        for i, z_k in enumerate(z_ik):
            likelihood = EventLikelihood(
                runner, coordinates, reference, cogwheel_likelihood.event_data, model,
                load_distance_table(), n_phi=arguments["n_phi"], seed=seed,
                folder=Path(folder), label=f"{i}-",
            )  # fmt: skip
            likelihood.reference_k = None  # samples for this waveform alone
            _, result, _ = likelihood.final(
                z_k[None], shared_i[[i]], np.zeros(1), n_ext=N_EXT, n_draws=1
            )
            found.append(result.lnlike_i[0])
    return np.array(found)


def cogwheels(rundir: Path, parameters_ik: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return cogwheel's ln likelihoods and how many of its points count in each."""
    oracle = cogwheels_likelihood(rundir)
    f_ref = oracle.par_dic_0["f_ref"]
    found = []
    for parameters_k in parameters_ik:
        par_dic = dict(zip(PARAMETERS, map(float, parameters_k), strict=True))
        lnlike, integral = oracle.lnlike_and_metadata(
            dict.fromkeys(oracle.params, 0.0) | par_dic | {"f_ref": f_ref}
        )
        found.append((lnlike, integral.n_effective))
    return tuple(np.array(found).T)  # type: ignore[return-value]


if __name__ == "__main__":
    main()
