"""Figures of a campaign's page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .statistics import Calibration

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_WIDE = 3  # ratio of masses from which on their axis is logarithmic
_BANDS = ((0.997, 0.92), (0.95, 0.84), (0.68, 0.74))  # probability, grey


def pp_plot(some: list[Calibration]) -> Figure:
    """Draw the fraction of true values below each credible level; grey is chance."""
    from matplotlib.figure import Figure
    from scipy.stats import binom

    n = max(len(one.below_n) for one in some)
    levels = np.linspace(0, 1, 201)
    figure = Figure(figsize=(5.5, 5.5), layout="constrained")
    axes = figure.subplots()
    for probability, grey in _BANDS:
        low, high = binom.interval(probability, n, levels)
        axes.fill_between(levels, low / n, high / n, color=str(grey), lw=0)
    axes.plot([0, 1], [0, 1], color="0.4", lw=0.8)
    for one in some:
        fractions = (np.arange(len(one.below_n)) + 0.5) / len(one.below_n)
        axes.plot(one.below_n, fractions, label=f"{one.name}: p = {one.p_value:.3f}")
    axes.set(xlabel="posterior probability below the true value",
             ylabel="fraction of injections", xlim=(0, 1), ylim=(0, 1),
             title=f"{n} injections; grey: 68, 95, 99.7% by chance")  # fmt: skip
    axes.legend(loc="lower right", fontsize="small")
    return figure


def catalogue_plot(table: pd.DataFrame) -> Figure:
    """Draw chirp mass against mass ratio and redshift, with 90% intervals."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, x, label in (
        (left, "mchirp", "chirp mass, detector frame [solar masses]"),
        (right, "mchirp_source", "chirp mass, source frame [solar masses]"),
    ):
        y = "q" if axes is left else "redshift"
        axes.errorbar(
            table[x], table[y], xerr=_bars(table, x), yerr=_bars(table, y),
            fmt="o", ms=4, lw=0.8, color="#0072b2", alpha=0.7,
        )  # fmt: skip
        axes.set(xlabel=label, ylabel="mass ratio m2/m1" if y == "q" else "redshift")
        if table[x].max() > _WIDE * table[x].min():
            axes.set_xscale("log")
    if len(table) <= 30:
        for _, row in table.iterrows():
            left.annotate(
                row["name"], (row["mchirp"], row["q"]), fontsize=6, annotation_clip=True
            )
    return figure


def _bars(table: pd.DataFrame, name: str) -> np.ndarray | None:
    if f"{name}_low" not in table:
        return None
    middle = table[name].to_numpy(dtype=float)
    low = table[f"{name}_low"].to_numpy(dtype=float)
    high = table[f"{name}_high"].to_numpy(dtype=float)
    return np.maximum(np.stack([middle - low, high - middle]), 0)
