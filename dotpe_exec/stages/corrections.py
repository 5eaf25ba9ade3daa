"""Other likelihoods of drawn samples: exact ones, and under calibration curves.

What both make of weights and evidence is the same: samples drawn by weight are weighed by
the ratio of new to old likelihood.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..executors.phases import PhaseRunner
from ..kernels.summary import Summary
from .binning_error import binning_differences, evidence_change
from .calibration import calibrate_samples

if TYPE_CHECKING:
    import pandas as pd

    from ..events.calibration import Envelope


@dataclass(frozen=True)
class Corrections:
    """What other likelihoods make of samples.

    Parameters
    ----------
    ln_ratio_s : (n,) float
        ln of new over old likelihood.
    columns : dict of (n,) arrays
        Of the table of samples.
    differences_s : (n,) float or None
        Exact less binned ln likelihoods.
    exact, calibration : dict or None
        For the summary.
    curves : dict of (n_k, n_b) complex
        Calibration curves by detector.
    """

    ln_ratio_s: np.ndarray
    columns: Mapping[str, np.ndarray]
    differences_s: np.ndarray | None
    exact: dict[str, Any] | None
    calibration: dict[str, Any] | None
    curves: Mapping[str, np.ndarray]


def correct_samples(
    runner: PhaseRunner,
    likelihood: Any,
    summary: Summary,
    samples: pd.DataFrame,
    *,
    exact: bool,
    envelopes: Mapping[str, Envelope],
    seed: int,
) -> Corrections:
    """Compute other likelihoods of samples that were drawn by weight.

    Parameters
    ----------
    runner : PhaseRunner
    likelihood : cogwheel.likelihood.RelativeBinningLikelihood
    summary : Summary
        Made with it.
    samples : DataFrame
    exact : bool
        Whether on the full frequency grid.
    envelopes : dict of Envelope
        Of calibration; empty: it is exact.
    seed : int
        Of calibration curves.
    """
    columns: dict[str, np.ndarray] = {}
    ln_ratio_s = np.zeros(len(samples))
    differences_s = exact_change = calibration = None
    curves: dict[str, np.ndarray] = {}
    if exact:
        differences_s = binning_differences(runner, likelihood, samples)
        exact_change = evidence_change(differences_s)
        columns["lnl_exact"] = samples["lnl"].to_numpy() + differences_s
        ln_ratio_s += differences_s
    if envelopes:
        averaged = calibrate_samples(
            runner, likelihood, summary, samples, envelopes, seed=seed
        )
        calibration = {
            "envelopes": {
                name: {"path": envelope.path, "digest": envelope.digest}
                for name, envelope in envelopes.items()
            },
            "n_curves": averaged.curves_dkb.shape[1],
            "n_effective_curves": averaged.n_effective_curves,
            **evidence_change(averaged.found.ln_ratio_s, ln_ratio_s),
        }
        columns["calibration_curve"] = averaged.found.curve_s.astype(np.int32)
        columns["ln_calibration_ratio"] = averaged.found.ln_ratio_s
        ln_ratio_s += averaged.found.ln_ratio_s
        names = likelihood.event_data.detector_names
        curves = dict(zip(names, averaged.curves_dkb, strict=True))
    return Corrections(
        ln_ratio_s, columns, differences_s, exact_change, calibration, curves
    )
