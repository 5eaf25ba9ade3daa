"""Corner plot of a run's samples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

CORNER_PARAMETERS = ("mchirp", "q", "chieff", "d_luminosity")


def with_derived_columns(samples: pd.DataFrame) -> pd.DataFrame:
    """Return samples with the mass ratio q = m2/m1 added."""
    return samples.assign(q=samples["m2"] / samples["m1"])


def save_corner_plot(
    samples: pd.DataFrame,
    path: str | Path,
    parameters: Sequence[str] = CORNER_PARAMETERS,
    title: str | None = None,
) -> Path:
    """Draw the marginal distributions of weighted samples, one and two at a time.

    Parameters
    ----------
    samples : pandas.DataFrame
        As in ``samples.feather``; the column ``weights`` is honoured.
    path : path
        Picture to write; the suffix chooses the format (.png, .pdf, .svg).
    parameters : sequence of str
        Columns to show; ``q`` is derived from the masses.
    title : str, optional

    Returns
    -------
    pathlib.Path
    """
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt
    from cogwheel import gw_plotting

    frame = with_derived_columns(samples)[[*parameters, "weights"]]
    frame = frame[np.isfinite(frame).all(axis=1) & (frame["weights"] > 0)]
    plot = gw_plotting.CornerPlot(
        frame, params=list(parameters), smooth=1.0, tail_probability=1e-3, bins="rice"
    )
    plot.plot(title=title, max_figsize=8)
    path = Path(path)
    plot.fig.savefig(path, dpi=150, bbox_inches="tight")
    plt.close(plot.fig)
    return path
