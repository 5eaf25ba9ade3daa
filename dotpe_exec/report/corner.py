"""Corner plots of weighted samples, of one run or of several over each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from .intervals import decimals, weighted_quantiles
from .labels import COLORS, LABELS

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CORNER_PARAMETERS = ("mchirp", "q", "chieff", "d_luminosity")
EXTRINSIC_PARAMETERS = ("d_luminosity", "iota", "ra", "dec")
PROBABILITIES = (0.5, 0.9)
_N_BINS = 40
_TAIL = 1e-3  # outside the plotted range, on each side
_SMOOTHING = 1.2  # bins


def with_derived_columns(samples: pd.DataFrame) -> pd.DataFrame:
    """Return samples with the mass ratio q = m2/m1 added."""
    return samples.assign(q=samples["m2"] / samples["m1"])


def corner_figure(
    samples: Mapping[str, pd.DataFrame],
    parameters: Sequence[str] = CORNER_PARAMETERS,
    title: str | None = None,
) -> Figure:
    """Draw the marginal distributions of weighted samples, one and two at a time.

    Parameters
    ----------
    samples : mapping of str to pandas.DataFrame
        By label, as in ``samples.feather``; the column ``weights`` is honoured.
    parameters : sequence of str
        Columns to show; ``q`` is derived from the masses.
    title : str, optional

    Returns
    -------
    matplotlib.figure.Figure
        Contours hold 50% and 90% of the probability; the median and the 90% interval of
        the first samples stand above each column.

    Raises
    ------
    InputError
        There is no such column, or no sample with a weight.
    """
    from matplotlib.figure import Figure

    columns = {label: _columns(frame, parameters) for label, frame in samples.items()}
    edges = [
        _edges([(values[k], weights) for values, weights in columns.values()])
        for k in range(len(parameters))
    ]
    n = len(parameters)
    figure = Figure(figsize=(2.1 * n + 0.6, 2.1 * n + 0.4), layout="constrained")
    axes = figure.subplots(n, n, sharex="col", squeeze=False)
    for color, (label, (values, weights)) in zip(_cycle(), columns.items(), strict=False):
        for row in range(n):
            _draw_marginal(axes[row, row], values[row], weights, edges[row], color, label)
            for column in range(row):
                pair = values[column], values[row]
                _draw_joint(
                    axes[row, column], pair, weights, (edges[column], edges[row]), color
                )
    first, weights = next(iter(columns.values()))
    for row, parameter in enumerate(parameters):
        low, median, high = weighted_quantiles(first[row], weights, (0.05, 0.5, 0.95))
        n_digits = decimals(high - low)
        minus, plus = f"{median - low:.{n_digits}f}", f"{high - median:.{n_digits}f}"
        axes[row, row].set_title(
            f"${median:.{n_digits}f}_{{-{minus}}}^{{+{plus}}}$", size=10
        )
        axes[row, row].set_yticks([])
        axes[-1, row].set_xlabel(LABELS.get(parameter, parameter))
        axes[-1, row].tick_params("x", labelrotation=45)
        axes[0, row].set_xlim(edges[row][0], edges[row][-1])
        for column in range(n):
            if column > row:
                axes[row, column].set_axis_off()
            elif column < row:
                axes[row, column].set_ylim(edges[row][0], edges[row][-1])
                if column:
                    axes[row, column].set_yticklabels([])
                else:
                    axes[row, 0].set_ylabel(LABELS.get(parameter, parameter))
    if len(columns) > 1:
        figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="upper right")
    if title:
        figure.suptitle(title)
    return figure


def save_corner_plot(
    samples: pd.DataFrame,
    path: str | Path,
    parameters: Sequence[str] = CORNER_PARAMETERS,
    title: str | None = None,
) -> Path:
    """Write :func:`corner_figure` of one run to ``path``, whose suffix is the format."""
    path = Path(path)
    corner_figure({"": samples}, parameters, title).savefig(path, dpi=150)
    return path


def _cycle() -> list[str]:
    return list(COLORS) * 100


def _columns(
    samples: pd.DataFrame, parameters: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Return values (n_parameters, n) and weights (n,) that are finite and not zero."""
    frame = with_derived_columns(samples)
    missing = [name for name in (*parameters, "weights") if name not in frame]
    if missing:
        raise InputError(f"the samples have no column {missing[0]!r}")
    values = frame[list(parameters)].to_numpy(dtype=float).T
    weights = frame["weights"].to_numpy(dtype=float)
    good = np.isfinite(values).all(axis=0) & (weights > 0)
    if not good.any():
        raise InputError("there are no samples with a weight to plot")
    return values[:, good], weights[good] / weights[good].sum()


def _edges(columns: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Return bin edges that hold nearly all of every run."""
    ends = np.array(
        [weighted_quantiles(values, w, (_TAIL, 1 - _TAIL)) for values, w in columns]
    )
    low, high = float(ends[:, 0].min()), float(ends[:, 1].max())
    margin = 0.05 * (high - low) or 1e-3 * max(abs(low), 1.0)
    return np.linspace(low - margin, high + margin, _N_BINS + 1)


def _draw_marginal(
    axes: Axes,
    values: np.ndarray,
    weights: np.ndarray,
    edges: np.ndarray,
    color: str,
    label: str,
) -> None:
    density, _ = np.histogram(values, edges, weights=weights, density=True)
    axes.stairs(density, edges, color=color, label=label)
    axes.stairs(density, edges, color=color, fill=True, alpha=0.15)
    for bound in weighted_quantiles(values, weights, (0.05, 0.95)):
        axes.axvline(bound, color=color, linestyle=":", linewidth=0.8)


def _draw_joint(
    axes: Axes,
    pair: tuple[np.ndarray, np.ndarray],
    weights: np.ndarray,
    edges: tuple[np.ndarray, np.ndarray],
    color: str,
) -> None:
    from scipy.ndimage import gaussian_filter

    density, _, _ = np.histogram2d(*pair, bins=list(edges), weights=weights)
    density = gaussian_filter(density, _SMOOTHING)
    centers = [0.5 * (side[1:] + side[:-1]) for side in edges]
    levels = contour_levels(density, PROBABILITIES)
    axes.contourf(*centers, density.T, levels=[*levels, np.inf], colors=[color], alpha=0.2)
    axes.contour(*centers, density.T, levels=levels, colors=[color], linewidths=1)


def contour_levels(density: np.ndarray, probabilities: Sequence[float]) -> list[float]:
    """Return the densities above which the given shares of the total lie, ascending.

    Parameters
    ----------
    density : float array of any shape
        Probability in cells of equal size.
    probabilities : sequence of float

    Returns
    -------
    list of float
        Without repetitions.
    """
    ordered = np.sort(density, axis=None)[::-1]
    cumulative = np.cumsum(ordered) / ordered.sum()
    places = np.searchsorted(cumulative, probabilities)
    return sorted({float(ordered[min(place, len(ordered) - 1)]) for place in places})
