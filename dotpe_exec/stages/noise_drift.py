"""The noise level near the event, its error, and what it means for the evidence.

Inner products in detector d are divided by ``asd_drift``$_d^2$. With ln L_d the detector's
part of the ln likelihood of a sample (distance and all other parameters given),

    d ln Z / d ln asd_drift_d = -2 <ln L_d>,

the average over the posterior.
"""

from __future__ import annotations

import itertools
import numbers
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError

if TYPE_CHECKING:
    import pandas as pd

N_SAMPLES = 64
"""Samples whose likelihood is split by detector."""
SAME_DRIFT = 1e-4
"""Drifts that differ by less are the same."""


def drift_by_detector(asd_drift: Any, detector_names: Sequence[str]) -> np.ndarray | None:
    """Return a drift that is given as an array over detectors, None if none is given.

    Parameters
    ----------
    asd_drift : None, float, sequence or mapping
        One number for all detectors, a number for each in the event's order, or
        ``{detector: number}``.
    detector_names : sequence of str
        The event's, one letter each.

    Raises
    ------
    InputError
    """
    if asd_drift is None:
        return None
    names = list(detector_names)
    if isinstance(asd_drift, Mapping):
        if set(asd_drift) != set(names):
            raise InputError(
                f"asd_drift has the detectors {', '.join(map(str, asd_drift)) or 'none'}, "
                f"expected the event's: {', '.join(names)}"
            )
        values = [asd_drift[name] for name in names]
    elif isinstance(asd_drift, numbers.Real) and not isinstance(asd_drift, bool):
        values = [asd_drift] * len(names)
    elif isinstance(asd_drift, Sequence | np.ndarray) and not isinstance(asd_drift, str):
        values = list(asd_drift)
        if len(values) != len(names):
            raise InputError(
                f"asd_drift has {len(values)} numbers, expected one for each of the "
                f"event's detectors: {', '.join(names)}"
            )
    else:
        raise InputError(
            f"asd_drift is {asd_drift!r}, expected a number, or one for each detector"
        )
    for name, value in zip(names, values, strict=True):
        real = isinstance(value, numbers.Real) and not isinstance(value, bool)
        if not (real and 0.1 <= value <= 10):
            raise InputError(
                f"asd_drift of {name} is {value!r}, expected a number near 1 (0.1 to 10)"
            )
    return np.array(values, dtype=float)


def drift_summary(
    likelihood: Any, samples: pd.DataFrame, *, error_d: np.ndarray | None
) -> dict[str, Any]:
    """Return what the summary says of the noise level near the event.

    Parameters
    ----------
    likelihood : cogwheel.likelihood.RelativeBinningLikelihood
        Its ``asd_drift`` is the run's.
    samples : pandas.DataFrame
        Waveform parameters of samples drawn by weight; :data:`N_SAMPLES` of them are split
        by detector.
    error_d : (n_d,) float or None
        Statistical error of the drift; None where it was given.

    Returns
    -------
    dict
        ``asd_drift``, ``asd_drift_error`` and ``d_ln_evidence_d_ln_asd_drift``, each by
        detector; ``asd_drift_given``.
    """
    names = list(likelihood.event_data.detector_names)
    drift_d = np.asarray(likelihood.asd_drift, dtype=float)

    def by_detector(values_d: np.ndarray | None) -> dict[str, float] | None:
        if values_d is None:
            return None
        return {name: float(value) for name, value in zip(names, values_d, strict=True)}

    return {
        "asd_drift": by_detector(drift_d),
        "asd_drift_error": by_detector(error_d),
        "asd_drift_given": error_d is None,
        "d_ln_evidence_d_ln_asd_drift": by_detector(_sensitivity(likelihood, samples)),
    }


def _sensitivity(likelihood: Any, samples: pd.DataFrame) -> np.ndarray | None:
    params = list(likelihood.params)
    if not len(samples):
        return None
    # Rows are in an order: evenly spaced ones are fair.
    rows = np.unique(np.linspace(0, len(samples) - 1, N_SAMPLES).round().astype(int))
    counts = samples.iloc[rows].groupby(params, sort=False).size()
    lnlikes_sd = np.array(
        [
            likelihood.lnlike_detectors_no_asd_drift(dict(zip(params, values, strict=True)))
            for values in counts.index
        ]
    )
    mean_d = counts.to_numpy() @ lnlikes_sd / counts.sum()
    return -2 * mean_d / np.asarray(likelihood.asd_drift, dtype=float) ** 2


def drift_differences(summaries: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return a sentence for each pair of runs that divided by different noise levels.

    Parameters
    ----------
    summaries : mapping
        Content of ``summary_results.json`` by what a run is called.
    """
    sentences = []
    for (one, first), (other, second) in itertools.combinations(summaries.items(), 2):
        ours, theirs = first.get("asd_drift"), second.get("asd_drift")
        if not isinstance(ours, Mapping) or not isinstance(theirs, Mapping):
            continue
        shared = [name for name in ours if name in theirs]
        changes = {name: float(np.log(theirs[name] / ours[name])) for name in shared}
        if all(abs(change) < SAME_DRIFT for change in changes.values()):
            continue
        listed = ", ".join(f"{n} {ours[n]:.4f} and {theirs[n]:.4f}" for n in shared)
        sentence = f"{one} and {other} differ in asd_drift: {listed}"
        slopes = first.get("d_ln_evidence_d_ln_asd_drift") or {}
        if all(isinstance(slopes.get(name), int | float) for name in shared):
            effect = sum(slopes[name] * changes[name] for name in shared)
            sentence += f"; this alone changes ln evidence by {effect:+.2f}"
        sentences.append(sentence)
    return sentences
