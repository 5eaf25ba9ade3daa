"""What relative binning does to likelihoods, and how to do without it.

Samples that are drawn from the posterior by weight get exact likelihoods, on the full
frequency grid. With D = ln L_exact - ln L_binned of such samples, mean(exp D) estimates
without bias the ratio of the exact evidence to the binned one, to first order exp(mean D);
weights proportional to exp D make the samples those of the exact posterior.

The waveforms are tasks; samples that share one share the work. The sums run over every
frequency of the data, while most of the waveform's values are interpolated, to 2e-6 of its
largest amplitude and mostly much better (:mod:`dotpe_exec.waveforms.dense`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..executors.phases import PhaseRunner
from ..executors.task import Task
from ..warned import warn
from .evidence import effective_number
from .exact_tasks import ExactTask, FullData, SamplePoints, exact_overlaps

if TYPE_CHECKING:
    import pandas as pd

N_SAMPLES = 50
"""Samples whose likelihood is computed exactly, to measure relative binning."""

LARGE_ERROR = 0.5
"""Mean error in ln likelihood that is warned of."""


def binning_error(differences_s: np.ndarray) -> dict[str, float] | None:
    """Return what the summary says of differences exact minus binned.

    Parameters
    ----------
    differences_s : (n,) float
        Of samples drawn by weight.

    Returns
    -------
    dict or None
        ``mean`` and ``largest`` of their absolute values, with a warning where the mean is
        above :data:`LARGE_ERROR`; ``ln_evidence_correction``, their mean, to be added to
        ln evidence to first order, and its standard error
        ``ln_evidence_correction_error``; ``n_samples``. None without samples.
    """
    n = len(differences_s)
    if n == 0:
        return None
    mean, largest = np.abs(differences_s).mean(), np.abs(differences_s).max()
    if mean > LARGE_ERROR:
        warn(
            f"relative binning changes ln likelihoods by {mean:.2f} on average (at most "
            f"{largest:.2f}): give exact_likelihoods=True, or use more "
            "frequency bins (a smaller pn_phase_tol)",
            stacklevel=2,
        )
    return {
        "mean": float(mean),
        "largest": float(largest),
        "ln_evidence_correction": float(differences_s.mean()),
        "ln_evidence_correction_error": _standard_error(differences_s),
        "n_samples": n,
    }


def evidence_change(
    ln_ratios_s: np.ndarray, ln_weights_s: np.ndarray | None = None
) -> dict[str, float]:
    """Return what other likelihoods of samples make of ln evidence.

    Parameters
    ----------
    ln_ratios_s : (n,) float
        D, ln of new over old likelihood.
    ln_weights_s : (n,) float, optional
        ln of the samples' weights; without, they were drawn by weight.

    Returns
    -------
    dict
        ``ln_evidence_change`` (ln of the mean of exp D), its standard error
        ``ln_evidence_change_error``, ``n_samples``, and ``n_effective``: how many of them
        count after weighing.
    """
    n = len(ln_ratios_s)
    ratios_s = np.exp(ln_ratios_s - ln_ratios_s.max())
    weights_s = np.ones(n)
    if ln_weights_s is not None:
        weights_s = np.exp(ln_weights_s - ln_weights_s.max())
    mean = float(np.average(ratios_s, weights=weights_s))
    return {
        "ln_evidence_change": float(np.log(mean) + ln_ratios_s.max()),
        "ln_evidence_change_error": (
            _standard_error(weights_s * (ratios_s - mean)) / weights_s.mean() / mean
        ),
        "n_samples": n,
        "n_effective": effective_number(weights_s * ratios_s),
    }


def reweighted(
    chunks: Sequence[dict[str, Any]],
    ln_ratios_s: np.ndarray,
    columns: Mapping[str, np.ndarray],
) -> Iterator[dict[str, Any]]:
    """Yield columns of drawn samples with new ones, and the weights that follow.

    Weights average to 1.
    """
    ratios_s = np.exp(ln_ratios_s - ln_ratios_s.max(initial=-np.inf))
    weights_s = ratios_s / ratios_s.mean() if len(ratios_s) else ratios_s
    start = 0
    for chunk in chunks:
        some = slice(start, start := start + len(chunk["lnl"]))
        new = {name: column_s[some] for name, column_s in columns.items()}
        yield chunk | {"weights": weights_s[some]} | new


def _standard_error(values_s: np.ndarray) -> float:
    n = len(values_s)
    return float(values_s.std(ddof=1) / np.sqrt(n)) if n > 1 else float("inf")


def binning_differences(
    runner: PhaseRunner, likelihood: Any, samples: pd.DataFrame
) -> np.ndarray:
    """Return ln L_exact - ln L_binned of samples, (n,).

    Parameters
    ----------
    runner : PhaseRunner
        Runs the phase ``"exact likelihoods"``.
    likelihood : cogwheel.likelihood.CBCLikelihood
    samples : pandas.DataFrame
        Waveform parameters and ``lnl`` (binned). A sample drawn several times is computed
        once.
    """
    params = list(likelihood.params)
    group_s = samples.groupby(params, sort=False, dropna=False).ngroup().to_numpy()
    _, first = np.unique(group_s, return_index=True)
    exact = exact_lnlikes(
        runner, likelihood, samples.iloc[first][params].to_dict("records")
    )
    return exact[group_s] - samples["lnl"].to_numpy()


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
    data = full_data(event)
    handle = runner.store.put(data)
    tasks, members = [], {}
    for number, (source, inds) in enumerate(zip(sources, groups, strict=True)):
        key = f"{number:06d}"
        members[key] = inds
        points = sample_points(generator, [par_dics[s] for s in inds])
        tasks.append(Task(key, ExactTask(source, handle, points)))
    dh_ds, hh_ds = np.zeros((2, len(event.detector_names), len(par_dics)))
    for task, result in runner.map(
        "exact likelihoods", exact_overlaps, tasks, n_tasks=len(tasks)
    ):
        dh_ds[:, members[task.key]] = result.dh_ds
        hh_ds[:, members[task.key]] = result.hh_ds
    return 4 * event.df * likelihood.asd_drift**-2 @ (dh_ds - hh_ds / 2)


def full_data(event: Any) -> FullData:
    """Return an event's data between its lowest and highest frequency."""
    inside = np.zeros(len(event.frequencies), dtype=bool)
    inside[event.fslice] = True
    inside &= event.frequencies > 0  # Waveforms vanish there
    return FullData(
        frequencies_f=event.frequencies[inside],
        blued_strain_df=event.blued_strain[:, inside],
        weight_df=event.wht_filter[:, inside] ** 2,
    )


def sample_points(generator: Any, par_dics: Sequence[dict[str, float]]) -> SamplePoints:
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
