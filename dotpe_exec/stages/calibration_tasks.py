"""The task of calibration: likelihoods of some waveforms' samples under all curves.

Its workers make waveforms (:mod:`dotpe_exec.waveforms`): they load LALSimulation, and
cogwheel only for the approximants that are its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..executors.store import ArrayHandle, BundleHandle
from ..kernels.calibrated import calibrated_lnlikes
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
    curves : ArrayHandle
        (n_d, n_k, n_b) complex.
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
    curves: ArrayHandle
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
    curves_dkb = task.curves.load()
    n_s = len(task.waveform_s)
    ln_ratio_s, curve_s, n_effective_s = np.empty(n_s), np.empty(n_s, int), np.empty(n_s)
    points = task.points
    for i, parameters_k in enumerate(task.parameters_ik):
        rows = np.flatnonzero(task.waveform_s == i)
        amplitude_mpb, phase_mpb, _ = task.generator(parameters_k)
        plain_s, curved_ks = calibrated_lnlikes(
            summary,
            amplitude_mpb * np.exp(1j * phase_mpb),
            points.response_dps[..., rows],
            points.times_ds[:, rows],
            points.phi_s[rows],
            points.distance_s[rows],
            curves_dkb,
        )
        largest_s = curved_ks.max(axis=0)
        ratios_ks = np.exp(curved_ks - largest_s)
        sums_s = ratios_ks.sum(axis=0)
        ln_ratio_s[rows] = largest_s + np.log(sums_s / len(ratios_ks)) - plain_s
        below_ks = np.cumsum(ratios_ks, axis=0) < task.uniforms_s[rows] * sums_s
        curve_s[rows] = np.minimum(below_ks.sum(axis=0), len(ratios_ks) - 1)
        n_effective_s[rows] = sums_s**2 / np.sum(ratios_ks**2, axis=0)
    return Calibrated(ln_ratio_s, curve_s, n_effective_s)
