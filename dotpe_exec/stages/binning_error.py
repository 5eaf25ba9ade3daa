"""How much relative binning changes the likelihood: exact ones of the heaviest samples.

Generating a waveform at every frequency of the data is what an exact likelihood costs,
about a second for long data. It is spread over the executor by waveform and by parts of
the grid; samples that share a waveform share the work.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..executors.phases import PhaseRunner
from ..executors.task import Task
from .exact_tasks import ExactTask, FullData, SamplePoints, exact_overlaps
from .results import CombinedPosterior, heaviest
from .samples import standardize

if TYPE_CHECKING:
    import pandas as pd
    from cogwheel.posterior import Posterior

    from .reference import Reference
    from .standardize import Standardizer

N_FREQUENCIES = 2**14
"""Frequencies per task, about."""

N_SAMPLES = 50
"""Samples whose likelihood is computed exactly, to measure relative binning."""

LARGE_ERROR = 0.5
"""Mean error in ln likelihood that is warned of."""


def posterior_binning_error(
    runner: PhaseRunner,
    posterior: CombinedPosterior,
    reference: Reference,
    bank_tables: Mapping[str, pd.DataFrame],
    standardizer: Standardizer,
) -> dict[str, float] | None:
    """Compare binned likelihoods of the heaviest samples with exact ones.

    Returns
    -------
    dict or None
        ``mean`` and ``largest`` absolute difference, with a warning where the mean is
        above :data:`LARGE_ERROR`; None without samples of any weight.
    """
    heavy = standardize(heaviest(posterior, N_SAMPLES), bank_tables, standardizer, seed=0)
    error = relative_binning_error(runner, reference.posterior, heavy, N_SAMPLES)
    if error is None:
        return None
    mean, largest = error
    if mean > LARGE_ERROR:
        warnings.warn(
            f"relative binning changes ln likelihoods by {mean:.2f} on average (at most "
            f"{largest:.2f}): build the bank with more frequency bins (a smaller "
            "pn_phase_tol)",
            stacklevel=2,
        )
    return {"mean": mean, "largest": largest}


def relative_binning_error(
    runner: PhaseRunner, posterior: Posterior, samples: pd.DataFrame, n_samples: int = 50
) -> tuple[float, float] | None:
    """Return the mean and the largest error of relative binning among heavy samples.

    The error of a sample is the absolute difference of its binned ln likelihood and the
    exact one, on the full frequency grid (cogwheel's ``lnlike_fft``).

    Parameters
    ----------
    runner : PhaseRunner
        Runs the phase ``"exact likelihoods"``.
    posterior : cogwheel.posterior.Posterior
    samples : pandas.DataFrame
        Waveform parameters, ``lnl`` (binned) and ``weights`` if they are not equal.
    n_samples : int
        How many of the heaviest to look at; the same sample drawn twice counts once.

    Returns
    -------
    (float, float) or None
        None without samples.
    """
    likelihood = posterior.likelihood
    params = list(likelihood.params)
    if "weights" in samples and samples["weights"].nunique() > 1:
        # A few more than needed, for duplicates among them.
        heaviest = samples.nlargest(10 * n_samples, "weights")
    else:
        # Drawn by weight: the heaviest were drawn most often.
        heaviest = samples.assign(weights=samples.groupby(params)["lnl"].transform("size"))
        heaviest = heaviest.nlargest(len(heaviest), "weights")
    heaviest = heaviest[heaviest["weights"] > 0].drop_duplicates(subset=params)
    # Neighbours with the same intrinsic parameters share a waveform.
    slow = list(likelihood.waveform_generator.slow_params)
    heaviest = heaviest.head(n_samples).sort_values(slow)
    if not len(heaviest):
        return None
    exact_s = exact_lnlikes(runner, likelihood, heaviest[params].to_dict("records"))
    errors_s = np.abs(exact_s - heaviest["lnl"].to_numpy())
    return float(np.mean(errors_s)), float(np.max(errors_s))


def exact_lnlikes(
    runner: PhaseRunner, likelihood: Any, par_dics: Sequence[dict[str, float]]
) -> np.ndarray:
    """Return ln likelihoods on the FFT grid, cogwheel's ``lnlike_fft``, (n,).

    Parameters
    ----------
    runner : PhaseRunner
        Runs the phase ``"exact likelihoods"``.
    likelihood : cogwheel.likelihood.CBCLikelihood
        One whose waveforms do not come from LALSimulation, or that computes exact
        likelihoods in its own way, is evaluated here instead.
    par_dics : sequence of dict
        Within physical bounds.
    """
    from cogwheel.likelihood import CBCLikelihood

    from ..cogwheel_bridge import lal_source

    event, generator = likelihood.event_data, likelihood.waveform_generator
    by_waveform: dict[tuple[float, ...], list[int]] = {}
    for s, par_dic in enumerate(par_dics):
        slow = tuple(par_dic[name] for name in generator.slow_params)
        by_waveform.setdefault(slow, []).append(s)
    groups = list(by_waveform.values())
    found = [lal_source(generator, par_dics[inds[0]]) for inds in groups]
    sources = [source for source in found if source is not None]
    own = type(likelihood).lnlike_fft is not CBCLikelihood.lnlike_fft
    if own or len(sources) < len(groups):
        return np.array([likelihood.lnlike_fft(par_dic) for par_dic in par_dics])
    inside = np.zeros(len(event.frequencies), dtype=bool)
    inside[event.fslice] = True
    inside &= event.frequencies > 0  # Waveforms vanish there
    data = FullData(
        frequencies_f=event.frequencies[inside],
        blued_strain_df=event.blued_strain[:, inside],
        weight_df=event.wht_filter[:, inside] ** 2,
    )
    handle = runner.store.put(data)
    n_parts = -(-len(data.frequencies_f) // N_FREQUENCIES)
    tasks, members = [], {}
    for number, (source, inds) in enumerate(zip(sources, groups, strict=True)):
        points = _points(generator, [par_dics[s] for s in inds])
        for part in range(n_parts):
            key = f"{number:03d}/{part:04d}"
            members[key] = inds
            tasks.append(Task(key, ExactTask(source, handle, part, n_parts, points)))
    results = {
        task.key: result
        for task, result in runner.map(
            "exact likelihoods", exact_overlaps, tasks, n_tasks=len(tasks)
        )
    }
    dh_ds, hh_ds = np.zeros((2, len(event.detector_names), len(par_dics)))
    for key, inds in members.items():  # In the tasks' order
        dh_ds[:, inds] += results[key].dh_ds
        hh_ds[:, inds] += results[key].hh_ds
    return 4 * event.df * likelihood.asd_drift**-2 @ (dh_ds - hh_ds / 2)


def _points(generator: Any, par_dics: Sequence[dict[str, float]]) -> SamplePoints:
    """Return responses, arrival times, phases and distances of samples."""
    from cogwheel import gw_utils

    names, tgps = generator.detector_names, generator.tgps
    response_dps = np.empty((len(names), 2, len(par_dics)))
    times_ds = np.empty((len(names), len(par_dics)))
    for s, par in enumerate(par_dics):
        response_dps[..., s] = gw_utils.fplus_fcross(
            names, par["ra"], par["dec"], par["psi"], tgps
        ).T
        times_ds[:, s] = (
            generator.tcoarse
            + par["t_geocenter"]
            + gw_utils.time_delay_from_geocenter(names, par["ra"], par["dec"], tgps)
        )
    phi_s, distance_s = (
        np.array([par[name] for par in par_dics], dtype=float)
        for name in ("phi_ref", "d_luminosity")
    )
    return SamplePoints(response_dps, times_ds, phi_s, distance_s)
