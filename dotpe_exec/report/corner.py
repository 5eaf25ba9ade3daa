"""Corner plots of weighted samples, of one run or of several over each other."""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from .intervals import decimals, independent_samples, weighted_quantiles
from .labels import COLORS, LABELS
from .modes import separations, split

if TYPE_CHECKING:
    import pandas as pd

    from .notebook import Picture

CORNER_PARAMETERS = ("mchirp", "q", "chieff", "d_luminosity")
EXTRINSIC_PARAMETERS = ("d_luminosity", "iota", "ra", "dec")
PROBABILITIES = (0.5, 0.9)
_N_BINS = 40
_PANEL = 1.75  # inches
_TAIL = 1e-3  # outside the plotted range, on each side
_SMOOTHING = 1.0  # bins
_PRIOR_COLOR = "0.55"


def with_derived_columns(samples: pd.DataFrame) -> pd.DataFrame:
    """Return samples with the mass ratio q = m2/m1 added, if it follows from them."""
    if "q" in samples or not {"m1", "m2"} <= set(samples):
        return samples
    return samples.assign(q=samples["m2"] / samples["m1"])


def corner_figure(
    samples: Mapping[str, pd.DataFrame],
    parameters: Sequence[str] = CORNER_PARAMETERS,
    title: str | None = None,
    *,
    prior: pd.DataFrame | None = None,
    truth: Mapping[str, float] | None = None,
) -> Picture:
    """Draw the marginal distributions of weighted samples, one and two at a time.

    Parameters
    ----------
    samples : mapping of str to pandas.DataFrame
        By label, as in ``samples.feather``; the column ``weights`` is honoured.
    parameters : sequence of str
        Columns to show; ``q`` is derived from the masses.
    title : str, optional
    prior : pandas.DataFrame, optional
        Draws from the prior, shown in grey on the diagonal.
    truth : mapping of str to float, optional
        Injected values, shown as lines, of those parameters that it has.

    Returns
    -------
    matplotlib.figure.Figure
        Contours hold 50% and 90% of the probability; the median and the 90% interval of
        the first samples stand above each column, those of each mode if there are several.

    Raises
    ------
    InputError
        There is no such column, or no sample with a weight.
    """
    from .notebook import picture

    corner = _corner_package()
    parameters = list(parameters)
    if not parameters:
        raise InputError("no parameters are given to plot")
    columns = {label: _columns(frame, parameters) for label, frame in samples.items()}
    ranges = [
        _range(
            [(values[k], weights) for values, weights in columns.values()],
            (truth or {}).get(name),
        )
        for k, name in enumerate(parameters)
    ]
    n = len(parameters)
    figure = picture(figsize=(_PANEL * n + 0.6, _PANEL * n + 0.6))
    truths = None if truth is None else [truth.get(name) for name in parameters]
    for color, (values, weights) in zip(_cycle(), columns.values(), strict=False):
        corner.corner(
            values.T,
            _N_BINS,
            range=ranges,
            weights=weights,
            color=color,
            labels=[LABELS.get(name, name) for name in parameters],
            smooth=_SMOOTHING,
            levels=PROBABILITIES,
            plot_datapoints=False,
            plot_density=False,
            fill_contours=True,
            no_fill_contours=False,
            contourf_kwargs={"colors": ["none", _faint(color, 0.2), _faint(color, 0.45)]},
            hist_kwargs={"density": True, "histtype": "stepfilled", "alpha": 0.25,
                         "ec": color},
            truths=truths,
            truth_color="k",
            fig=figure,
            labelpad=0.06,
            label_kwargs={"fontsize": 12},
        )  # fmt: skip
    axes = np.array(figure.axes).reshape(n, n)
    first, weights = next(iter(columns.values()))
    frames = list(samples.values())
    for k, (values, panel) in enumerate(zip(first, np.diagonal(axes), strict=True)):
        title_k = _title(values, weights, frames[0])
        # Two intervals are longer than the panel is wide.
        panel.set_title(title_k, size=7.5 if " or " in title_k else 10)
        panel.autoscale(axis="y")
        panel.set_ylim(bottom=0)
        if prior is not None and parameters[k] in with_derived_columns(prior):
            _draw_prior(panel, with_derived_columns(prior)[parameters[k]], ranges[k])
    handles = [
        panel_handle(label, color)
        for color, label in zip(_cycle(), columns, strict=False)
        if len(columns) > 1
    ]
    if prior is not None:
        handles.append(panel_handle("prior", _PRIOR_COLOR))
    if handles:
        figure.legend(handles=handles, loc="upper right", fontsize="small")
    if title:
        figure.suptitle(title)
    return figure


@functools.cache
def _corner_package() -> ModuleType:
    """Return ``corner`` without ``arviz``, which takes two seconds to import.

    Corner imports it where it is installed, for data that are not given to it here. Whoever
    else imports corner gets another copy, that has all.
    """
    if sys.modules.keys() & {"corner", "arviz"}:
        return importlib.import_module("corner")
    sys.modules["arviz"] = None  # type: ignore[assignment]
    try:
        return importlib.import_module("corner")
    finally:
        for name in [*sys.modules]:
            if name == "arviz" or name.partition(".")[0] == "corner":
                del sys.modules[name]


def panel_handle(label: str, color: str):
    """Return a line for a legend."""
    from matplotlib.lines import Line2D

    return Line2D([], [], color=color, label=label)


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


def _title(values: np.ndarray, weights: np.ndarray, samples: pd.DataFrame) -> str:
    """Return median and 90% interval, or one of each mode where there are several."""
    mode = split(values, separations(values, weights, independent_samples(samples)))
    parts = []
    for k in range(int(mode.max(initial=0)) + 1):
        low, median, high = weighted_quantiles(
            values[mode == k], weights[mode == k], (0.05, 0.5, 0.95)
        )
        n_digits = decimals(high - low)
        minus, plus = f"{median - low:.{n_digits}f}", f"{high - median:.{n_digits}f}"
        parts.append(f"${median:.{n_digits}f}_{{-{minus}}}^{{+{plus}}}$")
    return " or ".join(parts)


def _cycle() -> list[str]:
    return list(COLORS) * 100


def _faint(color: str, alpha: float) -> tuple[float, float, float, float]:
    from matplotlib.colors import to_rgb

    return (*to_rgb(color), alpha)


def _draw_prior(panel, values: pd.Series, limits: tuple[float, float]) -> None:
    """Draw the density of all draws, of which the panel may show a part."""
    edges = np.linspace(*limits, _N_BINS + 1)
    counts, _ = np.histogram(values, edges)
    density = counts / (len(values) * np.diff(edges))
    panel.stairs(density, edges, color=_PRIOR_COLOR, linewidth=1)


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


def _range(
    columns: Sequence[tuple[np.ndarray, np.ndarray]], truth: float | None = None
) -> tuple[float, float]:
    """Return limits that hold nearly all of every run, and what was injected."""
    ends = np.array(
        [weighted_quantiles(values, w, (_TAIL, 1 - _TAIL)) for values, w in columns]
    )
    if truth is not None and np.isfinite(truth):
        ends = np.vstack([ends, [truth, truth]])
    low, high = float(ends[:, 0].min()), float(ends[:, 1].max())
    margin = 0.05 * (high - low) or 1e-3 * max(abs(low), 1.0)
    return low - margin, high + margin
