"""Likelihoods of samples averaged over calibration curves, and what that makes of a run.

The signal in a detector is what the model says times a curve C_d(f), drawn from the
detector's envelope (:mod:`dotpe_exec.events.calibration`). A sample's weight is multiplied
by the mean over curves of its likelihood under the curve, relative to that without: the
posterior is then marginalised over calibration. Likelihoods under curves are those of
relative binning (:mod:`dotpe_exec.kernels.calibrated`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import seeds
from ..derived.detectors import antennas, mode_generator, waveform_parameters
from ..errors import RunDirectoryError
from ..events.calibration import (
    Envelope,
    analysed_band,
    calibration_factors,
    draw_nodes,
)
from ..executors.phases import PhaseRunner
from ..executors.task import Task
from ..kernels.calibrated import curve_factors
from ..kernels.summary import Summary
from .calibration_tasks import Calibrated, CalibrationTask, calibrate
from .exact_tasks import SamplePoints

if TYPE_CHECKING:
    import pandas as pd

N_CURVES = 200
"""Curves that a run averages over."""

_WAVEFORMS_PER_TASK, _SAMPLES_PER_TASK = 64, 1024


@dataclass(frozen=True)
class CalibratedSamples:
    """Samples and the curves that their likelihoods are averaged over.

    Parameters
    ----------
    found : Calibrated
    curves_dkb : (n_d, n_k, n_b) complex
        Factors on the signal at the bins' edges.
    """

    found: Calibrated
    curves_dkb: np.ndarray

    @property
    def n_effective_curves(self) -> float:
        """Effective number of curves, the median of samples."""
        return float(np.median(self.found.n_effective_s))


def calibrate_samples(
    runner: PhaseRunner,
    likelihood: Any,
    summary: Summary,
    samples: pd.DataFrame,
    envelopes: Mapping[str, Envelope],
    *,
    n_curves: int = N_CURVES,
    seed: int,
) -> CalibratedSamples:
    """Average the likelihoods of samples over calibration curves.

    Parameters
    ----------
    runner : PhaseRunner
        Runs the phase ``"calibration"``.
    likelihood : cogwheel.likelihood.RelativeBinningLikelihood
    summary : Summary
        Made with it.
    samples : DataFrame
        Columns as of ``samples.feather``.
    envelopes : dict of Envelope
        :func:`.event_envelopes`; detectors without one are exact.
    n_curves, seed : int
    """
    event = likelihood.event_data
    curves_dkb = _draw_curves(event, likelihood.fbin, envelopes, n_curves, seed)
    generator = mode_generator(likelihood)
    handles = (
        runner.store.put(summary),
        runner.store.put(np.ascontiguousarray(curve_factors(curves_dkb))),
    )
    response_dps, delay_ds = antennas(event.detector_names, samples, event.tgps)
    times_ds = samples["t_geocenter"].to_numpy(float) + delay_ds + event.tcoarse
    phi_s, distance_s = (
        samples[name].to_numpy(float) for name in ("phi_ref", "d_luminosity")
    )
    uniforms_s = seeds.generator(seed, "calibration curve of samples").random(len(samples))
    parameters_ik, number_s = waveform_parameters(samples)
    order_s = np.argsort(number_s, kind="stable")
    number_s = number_s[order_s]
    tasks, members = [], {}
    start = 0
    while start < len(order_s):
        end = np.searchsorted(number_s, number_s[start] + _WAVEFORMS_PER_TASK)
        some = slice(start, min(int(end), start + _SAMPLES_PER_TASK))
        rows = order_s[some]
        first, last = number_s[some][[0, -1]]
        points = SamplePoints(
            response_dps[..., rows], times_ds[:, rows], phi_s[rows], distance_s[rows]
        )
        key = f"{start:08d}"
        payload = CalibrationTask(
            generator,
            *handles,
            parameters_ik[first : last + 1],
            number_s[some] - first,
            points,
            uniforms_s[rows],
        )
        tasks.append(Task(key, payload))
        members[key] = rows
        start = some.stop
    found = Calibrated(*(np.empty(len(samples), kind) for kind in (float, int, float)))
    for task, result in runner.map("calibration", calibrate, tasks, n_tasks=len(tasks)):
        rows = members[task.key]
        for name, values_s in vars(result).items():
            getattr(found, name)[rows] = values_s
    if not np.isfinite(found.ln_ratio_s).all():
        raise RunDirectoryError("likelihoods under calibration curves are not finite")
    return CalibratedSamples(found, curves_dkb)


def _draw_curves(
    event: Any,
    fbin_b: np.ndarray,
    envelopes: Mapping[str, Envelope],
    n_curves: int,
    seed: int,
) -> np.ndarray:
    """Return calibration curves at the bins' edges, (n_d, n_k, n_b)."""
    band = analysed_band(event)
    curves_dkb = np.ones((len(event.detector_names), n_curves, len(fbin_b)), dtype=complex)
    for d, name in enumerate(event.detector_names):
        if name in envelopes:
            rng = seeds.generator(seed, "calibration", name)
            nodes = draw_nodes(envelopes[name], *band, n_curves, rng)
            curves_dkb[d] = calibration_factors(fbin_b, *nodes)
    return curves_dkb
