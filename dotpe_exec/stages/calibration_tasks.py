"""The task of calibration: likelihoods of some waveforms' samples under all curves.

Its workers make waveforms (:mod:`dotpe_exec.waveforms`): they load LALSimulation, and
cogwheel only for the approximants that are its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..executors.store import ArrayHandle, BundleHandle
from ..kernels.calibrated import bin_terms, calibrated_lnlikes
from ..kernels.summary import Summary
from ..waveforms import ModeGenerator
from .exact_tasks import SamplePoints


@dataclass(frozen=True)
class CalibrationTask:
    """Marginalise the likelihoods of samples over calibration curves.

    Parameters
    ----------
    generator : ModeGenerator
        Of waveforms at the bins' edges.
    summary : BundleHandle
        Of :class:`.Summary`.
    factors : ArrayHandle
        Of calibration curves, (n_k, n_d, 3, n_b): :func:`.curve_factors`.
    parameters_ik : (n_i, 9) float
        Of the task's waveforms.
    waveform_s : (n_s,) int
        Which of them each sample has, ascending.
    points : SamplePoints
    uniforms_s : (n_s,) float
        For the draw of a curve for each sample.
    """

    generator: ModeGenerator
    summary: BundleHandle
    factors: ArrayHandle
    parameters_ik: np.ndarray
    waveform_s: np.ndarray
    points: SamplePoints
    uniforms_s: np.ndarray


@dataclass(frozen=True)
class Calibrated:
    """What calibration changes.

    Parameters
    ----------
    ln_ratio_s : (n_s,) float
        ln of (likelihood averaged over curves / likelihood without curve).
    curve_s : (n_s,) int
        A curve drawn by likelihood.
    n_effective_s : (n_s,) float
        Effective number of curves that the average consists of.
    """

    ln_ratio_s: np.ndarray
    curve_s: np.ndarray
    n_effective_s: np.ndarray


def calibrate(task: CalibrationTask) -> Calibrated:
    """Return the task's marginalised likelihoods."""
    summary: Summary = task.summary.load()
    points = task.points
    bounds = np.searchsorted(task.waveform_s, np.arange(len(task.parameters_ik) + 1))
    terms = []
    for i, parameters_k in enumerate(task.parameters_ik):
        some = slice(bounds[i], bounds[i + 1])
        amplitude_mpb, phase_mpb, _ = task.generator(parameters_k)
        terms.append(
            bin_terms(
                summary,
                amplitude_mpb * np.exp(1j * phase_mpb),
                points.response_dps[..., some],
                points.times_ds[:, some],
                points.phi_s[some],
                points.distance_s[some],
            )
        )
    plain_s, curved_sk = calibrated_lnlikes(np.concatenate(terms), task.factors.load())
    largest_s = curved_sk.max(axis=1)
    ratios_sk = np.exp(curved_sk - largest_s[:, np.newaxis])
    cumulative_sk = np.cumsum(ratios_sk, axis=1)
    sums_s = cumulative_sk[:, -1]
    n_k = ratios_sk.shape[1]
    below_sk = cumulative_sk < (task.uniforms_s * sums_s)[:, np.newaxis]
    return Calibrated(
        ln_ratio_s=largest_s + np.log(sums_s / n_k) - plain_s,
        curve_s=np.minimum(below_sk.sum(axis=1), n_k - 1),
        n_effective_s=sums_s**2 / np.sum(ratios_sk**2, axis=1),
    )
