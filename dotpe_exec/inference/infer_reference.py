"""Where the samples of ``infer`` fit far better than its reference waveform.

The search before any sample is known leaves out spins in the plane of the orbit. Of a
signal that precesses strongly its waveform explains a part, and binning centred on it may
be off: it is centred on a waveform that samples led to. All else stays that of the waveform
that was found before: the noise level near the event, of which it gives as good an
estimate, and ``Posterior.json``. Which waveform samples lead to, and whether they do,
depends on the seed; the evidence must not.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..adaptive.best_fit import BestFits, BestFitTask, best_fits
from ..adaptive.likelihood import EventLikelihood
from ..adaptive.tasks import LikelihoodTask
from ..executors.task import Task
from ..executors.threads import OneThread
from ..monitor import Monitor
from ..stages.reference import Reference, find_reference
from ..stages.reliability import bestfit_lnlike
from ..stages.standardize import sidereal_time
from ..verdict import MAX_REFERENCE_DEFICIT
from ..waveforms.parameters import PARAMETERS
from .infer_arguments import InferArguments

if TYPE_CHECKING:
    from ..adaptive.draws import Draws
    from ..banks.config import BankConfig

N_TRIED, N_STARTS = 64, 4
"""Waveforms of which the best extrinsic sample is looked for, and from how many of these
the way to the maximum begins."""

MAX_REFINED = 2


@dataclass(frozen=True)
class RefinedReference:
    """A reference waveform that samples led to, and how much better it fits.

    Parameters
    ----------
    reference : Reference
        Binning is centred on its waveform; prior and noise level are those of the former.
    lnlike_before, lnlike_of_best_sample, lnlike : float
        ln likelihoods, maximised over distance: of the reference waveform so far, of the
        best sample, and of the new reference.
    """

    reference: Reference
    lnlike_before: float
    lnlike_of_best_sample: float
    lnlike: float

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers and the waveform's parameters, for the summary."""
        content = dict(vars(self))
        content["par_dic"] = content.pop("reference").par_dic_0
        return content


def refined_from_samples(
    arguments: InferArguments,
    bank_config: BankConfig,
    likelihood: EventLikelihood,
    draws: Draws,
    monitor: Monitor,
) -> RefinedReference | None:
    """Return a reference waveform that fits as samples do, if the present one does not.

    Parameters
    ----------
    arguments : InferArguments
    bank_config : BankConfig
    likelihood : EventLikelihood
        With the present reference waveform, adapted to what was learnt.
    draws : Draws
        What was learnt.
    monitor : Monitor

    Returns
    -------
    RefinedReference or None
        None where a reference waveform was given, or no sample is likelier than the
        present one by as much as the verdict objects to.
    """
    if arguments.par_dic_0 is not None:
        return None
    starts, best = _best_samples(likelihood, draws)
    posterior = likelihood.reference.posterior
    before = bestfit_lnlike(posterior.likelihood, posterior.likelihood.par_dic_0)
    if best - before <= MAX_REFERENCE_DEFICIT:
        return None
    from ..cogwheel_bridge import prints_logged, refine_from_samples

    with OneThread(), prints_logged():
        found = refine_from_samples(posterior.likelihood, starts, arguments.q_min)
    reference = find_reference(
        likelihood.event_data,
        bank_config,
        n_t=arguments.n_t,
        par_dic_0=found.par_dic,
        par_dic_name="the reference waveform that was refined from samples",
        asd_drift=posterior.likelihood.asd_drift,
        coherent_posterior_kwargs=arguments.coherent_posterior_kwargs,
    )
    # Its coordinates are relative to the waveform in Posterior.json, which stays.
    reference.posterior.prior = posterior.prior
    reference = replace(reference, asd_drift_error_d=likelihood.reference.asd_drift_error_d)
    after = bestfit_lnlike(reference.posterior.likelihood, reference.par_dic_0)
    monitor.say(
        f"the best sample fits better than the reference waveform by {best - before:.1f} "
        f"in ln likelihood: refined from samples, over all parameters, it has "
        f"{after:.1f} instead of {before:.1f}"
    )
    return RefinedReference(reference, before, best, after)


def _best_samples(
    likelihood: EventLikelihood, draws: Draws
) -> tuple[list[dict[str, float]], float]:
    """Return the parameters of the best few samples, and the ln likelihood of the best."""
    order_i = np.argsort(-draws.lnlike_i, kind="stable")[:N_TRIED]
    order_i = order_i[draws.lnlike_i[order_i] > -np.inf]
    parameters_ik = likelihood.coordinates.parameters(draws.z_ik[order_i])
    found = _fitted(likelihood, parameters_ik)
    table = likelihood.placed.samples.table
    reference = likelihood.reference.par_dic_0
    gmst = sidereal_time(likelihood.event_data.tgps)
    starts = []
    for i in np.argsort(-found.lnlike_i, kind="stable")[:N_STARTS]:
        at = table.iloc[int(found.e_i[i])]
        starts.append(
            reference
            | dict(zip(PARAMETERS, parameters_ik[i].tolist(), strict=True))
            | {
                "ra": float((at["lon"] + gmst) % (2 * np.pi)),
                "dec": float(at["lat"]),
                "psi": float(at["psi"]),
                "t_geocenter": float(at["t_geocenter"] - found.dt_i[i]),
            }
        )
    return starts, float(found.lnlike_i.max())


def _fitted(likelihood: EventLikelihood, parameters_ik: np.ndarray) -> BestFits:
    """Return how well waveforms fit at the best of the present extrinsic samples."""
    placed, store = likelihood.placed, likelihood.runner.store
    task = Task(
        f"{likelihood.label}best",
        BestFitTask(
            LikelihoodTask(
                likelihood.model, parameters_ik, placed.filter.handle, placed.points
            ),
            response_dpe=store.put(placed.samples.response_dpe),
            expand_dre=store.put(placed.expand_dre),
        ),
    )
    results: list[Any] = [
        result
        for _, result in likelihood.runner.map(
            "best samples",
            best_fits,
            [task],
            n_tasks=1,
            work=lambda payload: len(payload.likelihood.parameters_ik),
            unit="waveform",
        )
    ]
    return results[0]
