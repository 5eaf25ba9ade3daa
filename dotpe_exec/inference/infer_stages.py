"""The stages of ``infer``, in order: reads like the method."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..adaptive.around import REACH
from ..adaptive.bank import AdaptedBank
from ..adaptive.coordinates import PriorCoordinates
from ..adaptive.draws import Draws, Produced, Progress
from ..adaptive.explorer import N_PILOT, PILOT_SHARE, Explorer
from ..adaptive.likelihood import EventLikelihood
from ..adaptive.mchirp_range import widened
from ..adaptive.own_coordinates import OwnCoordinates
from ..adaptive.results import (
    bank_posterior,
    effective_thinned,
    evidence_sums,
)
from ..adaptive.tasks import WaveformModel
from ..atomic import write_feather, write_json
from ..distance_table import load_distance_table
from ..executors.phases import PhaseRunner
from ..kernels.importance import logsumexp
from ..machine import describe_machine, driver_threads
from ..monitor import Monitor
from ..rundir.directory import RunDirectory
from ..seeds import generator
from ..stages.incoherent import Candidates
from ..stages.noise_drift import drift_by_detector
from ..stages.reference import Reference, find_reference, save_posterior
from ..stages.selection import Survivors
from ..verdict import MAX_PARETO_K, judge
from ..warned import warn
from ..waveforms import generation_way
from .bank_pilot import BankPilot
from .infer_arguments import BANK_ID, InferArguments
from .infer_event import (
    aligned_spins_of,
    bank_config_for,
    best_template_for,
    mchirp_range_for,
    own_prior_of,
    prior_description,
    with_range,
)
from .infer_final import N_EXT, Final, final_likelihoods
from .infer_reference import MAX_REFINED, refined_from_samples
from .inputs import RunInputs
from .output import SampleWriter, write_extrinsic, write_survivors
from .pipeline import write_posterior

if TYPE_CHECKING:
    from cogwheel.data import EventData

    from ..events.calibration import Envelope

logger = logging.getLogger(__name__)

SIZE_LIMIT = 10**7
"""Samples that are kept at most: more than there ever are."""

MARGIN = 1.03
"""Effective waveforms to explore for, over those wanted."""

EDGES = ((0.01, 0.02), (0.05, 0.1), (0.2, 0.6))
"""The posterior reaches an end of a range that was found if more than the second share of
it lies in the first share of the prior, in any of these: where learning ends with few
points that count, the first alone may hold none of them."""

MAX_RANGES = 4
MOST_MORE = 1.5
"""By so much, at most, more effective waveforms are explored for where the final
likelihoods fall short: what one heavy waveform takes from them, more may give back."""
UNINFORMED = 0.5
"""Nats by which the data must have narrowed the prior down for there to be a signal."""


STAGES = ("chirp mass", "reference", "learning", "production", "likelihoods", "results")
"""In order; those in the middle may come again."""


def infer_stages(
    arguments: InferArguments,
    event_data: EventData,
    directory: RunDirectory,
    runner: PhaseRunner,
    monitor: Monitor,
    envelopes: Mapping[str, Envelope],
    pilot: BankPilot | None = None,
    n_ext_most: int = N_EXT,
) -> dict[str, Any]:
    """Do all stages, write their results, and return the run's summary.

    Without ``arguments.n_ext`` there are at most ``n_ext_most`` extrinsic samples.
    """
    assert arguments.seed is not None
    bank_folder = directory.bank(BANK_ID)
    table = load_distance_table()
    monitor.plan(STAGES)

    with monitor.stage("chirp mass"):
        best = best_template_for(arguments, event_data)
        mchirp_range = mchirp_range_for(arguments, best, monitor)
        bank_config = bank_config_for(event_data, arguments, best)
        pn_phase_tol = bank_config.info["pn_phase_tol"]
        if arguments.pn_phase_tol is None:
            monitor.say(
                f"{len(bank_config.fbin)} frequency bins: pn_phase_tol is "
                f"{pn_phase_tol:g}, chosen from the event"
            )
    write_json(
        directory.run_kwargs,
        arguments.record()
        | {"prior": prior_description(arguments)}
        | {"pn_phase_tol": pn_phase_tol, "bank_folder": {BANK_ID: str(bank_folder)}},
    )

    with monitor.stage("reference"):
        reference = find_reference(
            event_data,
            bank_config,
            n_t=arguments.n_t,
            mchirp_guess=None if best is None else best.mchirp,
            par_dic_0=arguments.par_dic_0,
            asd_drift=drift_by_detector(arguments.asd_drift, event_data.detector_names),
            coherent_posterior_kwargs=arguments.coherent_posterior_kwargs,
            q_min=arguments.q_min,
        )
        save_posterior(reference.posterior, directory.path)

    model = WaveformModel(
        bank_config.approximant,
        bank_config.harmonic_modes,
        bank_config.f_ref,
        generation_way(bank_config.approximant, bank_config.harmonic_modes),
        runner.store.put(np.asarray(bank_config.fbin)),
    )
    for attempt in range(MAX_RANGES):
        coordinates = _coordinates(arguments, mchirp_range)
        likelihood = EventLikelihood(
            runner,
            coordinates,
            reference,
            event_data,
            model,
            table,
            n_phi=arguments.n_phi,
            seed=arguments.seed,
            folder=directory.adapting_folder,
            label=f"{attempt}-",
        )
        explorer = _explorer(arguments, coordinates, likelihood, attempt, monitor, pilot)
        with monitor.stage("learning"):
            draws = explorer.learn()
            below, above = _at_edges(coordinates, draws)
        if arguments.mchirp_range is not None or not (below or above):
            break
        if attempt + 1 < MAX_RANGES:
            mchirp_range = widened(mchirp_range, below, above)
            monitor.say(
                "the posterior reaches the edge of the chirp masses, which are now "
                f"{mchirp_range[0]:g} to {mchirp_range[1]:g}"
            )

    refined = []
    for number in range(MAX_REFINED):
        with monitor.stage("reference"):
            better = refined_from_samples(
                arguments, bank_config, likelihood, draws, monitor
            )
        if better is None:
            break
        refined.append(better.to_dict())
        reference = better.reference
        likelihood = likelihood.around(reference, f"{attempt}-{number}-")
        with monitor.stage("learning"):
            draws = explorer.go_on_with(likelihood, _start(likelihood))

    target = arguments.n_effective
    n_ext = N_EXT if arguments.n_ext is None else arguments.n_ext
    while True:
        with monitor.stage("production"):
            produced = _produce(explorer, MARGIN * target)
        with monitor.stage("likelihoods"):
            final = final_likelihoods(
                arguments,
                produced,
                likelihood,
                n_ext=n_ext,
                n_ext_most=n_ext if arguments.n_ext is not None else n_ext_most,
                say=monitor.say,
            )
            n_ext = len(final.extrinsic.table)
        exhausted = explorer.n_drawn >= arguments.max_waveforms
        if final.n_effective >= arguments.n_effective or exhausted:
            break
        with monitor.stage("production"):
            begins_anew = explorer.begins_anew(
                final.valid[final.inds], final.result.lnlike_i
            )
        if begins_anew:
            target = arguments.n_effective
        else:
            target *= min(1.1 * arguments.n_effective / final.n_effective, MOST_MORE)
    reached = final.n_effective >= arguments.n_effective

    with monitor.stage("results"):
        bank = AdaptedBank(
            with_range(bank_config, mchirp_range, prior_description(arguments)),
            coordinates.parameters(produced.z_ik[final.valid]),
            final.log_prior_weights,
        )
        bank.write(bank_folder)
        if arguments.save_waveforms:
            bank.write_waveforms(bank_folder, likelihood.waveforms)
        summary = _write(
            arguments, event_data, bank, directory, reference, final, table, runner,
            envelopes,
        )  # fmt: skip
        k = summary["pareto_k"]
        information = final.information()
        summary["adaptive"] = {
            "mchirp_range": list(mchirp_range),
            "mchirp_range_found": arguments.mchirp_range is None,
            "q_min": arguments.q_min,
            "stopped_by": "n_effective" if reached else "max_waveforms",
            "n_effective_waveforms": final.n_effective,
            "n_learning": explorer.n_drawn - len(produced),
            "n_drawn": len(produced),
            "n_final": len(final.inds),
            "n_ext": n_ext,
            "n_failed": int(np.count_nonzero(produced.failed_i)),
            "n_waveforms_generated": likelihood.n_waveforms,
            "n_likelihoods": likelihood.n_likelihoods,
            "information": information,
            "reference_refined": refined,
            "rounds": [vars(progress) for progress in explorer.history],
        }
        summary["diagnostics"] = judge(summary).to_dict()
        _tell(arguments, final, reached, k, information, monitor)

    write_feather(directory.tasks, monitor.tasks_frame())
    report = monitor.report() | {
        "executor": runner.executor.name,
        "n_proposals": final.extrinsic.n_proposals,
        "n_proposals_tried": final.extrinsic.n_proposals_tried,
        "config": {"n_procs": runner.executor.n_workers},
        "machine": describe_machine(),
    }
    write_json(directory.report, report)
    return summary


def _explorer(
    arguments: InferArguments,
    coordinates: PriorCoordinates,
    likelihood: EventLikelihood,
    attempt: int,
    monitor: Monitor,
    pilot: BankPilot | None,
) -> Explorer:
    seed = arguments.seed
    assert seed is not None

    def tell(progress: Progress) -> None:
        goal = f" of {arguments.n_effective:g}" if progress.part == "production" else ""
        monitor.say(
            f"{progress.part}, round {progress.round}: {progress.n_effective:.0f}{goal} "
            f"effective waveforms, {progress.n_drawn} drawn, "
            f"ln Z {progress.ln_evidence:.2f} +- {progress.ln_evidence_error:.2f}"
        )

    def rng(*path: str | int) -> np.random.Generator:
        return generator(seed, "explorer", attempt, *path)

    first = None
    if pilot is not None:
        first = pilot.draw(coordinates, arguments.max_waveforms, rng("bank waveforms"))
    elif isinstance(coordinates, OwnCoordinates):
        n = min(N_PILOT, max(int(PILOT_SHARE * arguments.max_waveforms), 1))
        first = coordinates.pilot(n, rng("pilot"))

    return Explorer(
        coordinates,
        likelihood,
        rng,
        max_points=arguments.max_waveforms,
        n_effective=arguments.n_effective,
        pilot=first,
        start_k=_start(likelihood),
        report=tell,
    )


def _start(likelihood: EventLikelihood) -> np.ndarray | None:
    """Return where to look around if learning is stuck: at the reference waveform."""
    start_k = likelihood.reference_k
    return None if start_k is None else np.clip(start_k, -REACH, REACH)


def _produce(explorer: Explorer, n_effective: float) -> Produced:
    """Return points of which so many count when the light ones are thinned out."""
    wanted = n_effective
    while True:
        produced = explorer.produce(wanted)
        counting = effective_thinned(produced.ln_weights())
        if counting >= n_effective or explorer.n_drawn >= explorer.max_points:
            return produced
        wanted *= 1.01 * n_effective / max(counting, 0.1 * n_effective)


def _at_edges(coordinates: PriorCoordinates, draws: Draws) -> tuple[bool, bool]:
    """Return whether the posterior reaches the lower and upper end of chirp masses."""
    ln_i = draws.lnlike_i + draws.ln_ratio()
    share_i = np.exp(ln_i - logsumexp(ln_i))
    quantile_i = coordinates.mchirp_quantiles(draws.z_ik)
    return (
        any(share_i[quantile_i < edge].sum() > share for edge, share in EDGES),
        any(share_i[quantile_i > 1 - edge].sum() > share for edge, share in EDGES),
    )


def _coordinates(
    arguments: InferArguments, mchirp_range: tuple[float, float]
) -> PriorCoordinates:
    """Return the coordinates of the default prior, or for the one that was given."""
    aligned_spins = aligned_spins_of(arguments.approximant)
    own = own_prior_of(arguments)
    if own is None:
        return PriorCoordinates(
            mchirp_range, arguments.q_min, arguments.f_ref, aligned_spins
        )
    return OwnCoordinates(
        mchirp_range, arguments.q_min, arguments.f_ref, aligned_spins, own
    )


def _write(
    arguments: InferArguments,
    event_data: EventData,
    bank: AdaptedBank,
    directory: RunDirectory,
    reference: Reference,
    final: Final,
    table: Any,
    runner: PhaseRunner,
    envelopes: Mapping[str, Envelope],
) -> dict[str, Any]:
    """Write the files of a run, and return the summary."""
    assert arguments.seed is not None
    write_extrinsic(directory, final.extrinsic)
    lnlike_i = final.result.lnlike_i
    write_survivors(directory, {BANK_ID: Survivors(final.inds, lnlike_i[None], lnlike_i)})
    weights = final.log_prior_weights.copy()
    weights[final.inds] = final.ln_weight_i
    posterior = bank_posterior(
        BANK_ID,
        final.inds,
        final.result,
        ln_weight_i=weights[final.inds],
        n_int=final.n_int,
        n_phi=arguments.n_phi,
        ln_discarded=final.ln_discarded,
    )
    sums = evidence_sums(
        final.result,
        ln_weight_i=weights[final.inds],
        ln_scale=final.ln_scale,
        n_int=final.n_int,
    )
    inputs = RunInputs(
        event=event_data,
        banks={BANK_ID: bank},  # type: ignore[dict-item]
        candidates=dict[str, Candidates](),
        n_int={BANK_ID: final.n_int},
        log_prior_weights={BANK_ID: weights},
        envelopes=dict(envelopes),
    )
    with SampleWriter(directory, driver_threads(runner.executor.n_workers)) as write:
        write.bank(posterior)
        return write_posterior(
            write,
            [posterior],
            runner,
            inputs,
            reference,
            final.extrinsic,
            table,
            n_phi=arguments.n_phi,
            seed=arguments.seed,
            size_limit=SIZE_LIMIT,
            draw=True,
            n_draws=arguments.n_draws,
            exact_likelihoods=arguments.exact_likelihoods,
            evidence_sums=sums,
        )


def _tell(
    arguments: InferArguments,
    final: Final,
    reached: bool,
    k: float | None,
    information: float,
    monitor: Monitor,
) -> None:
    """Say why it ended, and warn of what makes the result doubtful."""
    if reached:
        monitor.say(f"{final.n_effective:.0f} effective waveforms: enough")
    else:
        warn(
            f"{final.n_effective:.0f} effective waveforms, not the "
            f"{arguments.n_effective:g} asked for, after max_waveforms="
            f"{arguments.max_waveforms}: raise it, or ask for fewer",
            stacklevel=2,
        )
    if k is not None and k > MAX_PARETO_K:
        warn(
            f"Pareto's k of the waveforms' weights is {k:.2f}, above {MAX_PARETO_K}: a few "
            "waveforms decide the evidence, and its error may be larger than stated",
            stacklevel=2,
        )
    if information < UNINFORMED:
        warn(
            f"the posterior of the intrinsic parameters is hardly narrower than the prior "
            f"({information:.2f} nats): there is no signal here, or it is too weak",
            stacklevel=2,
        )
