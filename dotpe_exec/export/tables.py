"""What exports need of a run: samples that all count the same, evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..derived import detector_parameters, standard_parameters
from ..derived.binary import REQUIRED
from ..errors import RunDirectoryError
from ..kernels.importance import effective_size

if TYPE_CHECKING:
    import pandas as pd

    from ..loading import StoredRun


def export_table(run: StoredRun) -> pd.DataFrame:
    """Return the samples of a run, all counting the same, under the shared names.

    Standard parameters and those of the detectors.

    Raises
    ------
    MissingFileError, RunDirectoryError
        The run is not finished, its samples lack parameters, or its event or posterior are
        not kept.
    """
    import pandas as pd

    missing = [name for name in ("weights", *REQUIRED) if name not in run.samples]
    if missing:
        raise RunDirectoryError(
            f"{run.files.samples} lacks the columns {', '.join(missing)}, which an export "
            "needs"
        )
    samples = equal_weight_samples(run.samples)
    return pd.concat(
        [
            standard_parameters(samples, float(run.event.tgps)),
            detector_parameters(run, samples),
        ],
        axis=1,
    )


def ln_evidence(run: StoredRun) -> tuple[float | None, float | None]:
    """Return a run's ln evidence and its error; None for what is -inf or not known.

    Raises
    ------
    MissingFileError, RunDirectoryError
        The run is not finished, or its summary has no evidence.
    """
    if "ln_evidence" not in run.summary:
        raise RunDirectoryError(
            f"{run.files.summary} lacks ln_evidence, which an export needs"
        )
    return run.summary["ln_evidence"], run.summary.get("ln_evidence_error")


def equal_weight_samples(samples: pd.DataFrame) -> pd.DataFrame:
    """Return samples that all count the same.

    Runs with ``draw_subset`` have drawn such samples already. Otherwise they are drawn here
    by systematic resampling (Kitagawa 1996, J. Comput. Graph. Stat. 5, 1), as many as the
    weights are effective samples (Kish): no number of copies differs by one or more from
    its expectation, and the same table gives the same rows.

    Parameters
    ----------
    samples : DataFrame
        With ``weights``, which need not be normalised.

    Returns
    -------
    DataFrame
        Without ``weights``.

    Raises
    ------
    RunDirectoryError
        No sample has a weight.
    """
    weights = samples["weights"].to_numpy(float)
    if not weights.sum() > 0:
        raise RunDirectoryError("no sample of this run has a weight")
    if not np.ptp(weights) > 1e-12 * weights.max(initial=0.0):
        return samples.drop(columns="weights")
    n = max(1, round(effective_size(weights)))
    steps = np.cumsum(weights) / weights.sum()
    rows = np.searchsorted(steps, (np.arange(n) + 0.5) / n)
    rows = np.minimum(rows, len(weights) - 1)  # against rounding of the last step
    return samples.iloc[rows].drop(columns="weights").reset_index(drop=True)
