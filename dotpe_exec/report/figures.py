"""The single pictures of a run, each a function from run to figure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..atomic import atomic_write, check_writable
from ..errors import InputError, MissingFileError
from ..kernels.masses import chirp_mass
from .corner import PROBABILITIES, contour_levels, corner_figure
from .labels import COLORS
from .view import RunView

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = (".png", ".pdf", ".svg")
_SKY_SMOOTHING = np.radians(1.0)


def corner(view: RunView) -> Figure:
    """Corner plot of chirp mass, mass ratio, effective spin and distance."""
    return corner_figure({view.label: view.run.samples}, title=view.event_name)


def sky(view: RunView) -> Figure:
    """Map of the whole sky and of the region around the source, weighted."""
    from matplotlib.figure import Figure

    samples = view.run.samples
    ra, dec = samples["ra"].to_numpy(float), samples["dec"].to_numpy(float)
    weights = samples["weights"].to_numpy(float)
    if not weights.sum() > 0:
        raise InputError("there are no samples with a weight to plot")
    figure = Figure(figsize=(8, 7), layout="constrained")
    whole, zoom = (
        figure.add_subplot(2, 1, 1, projection="mollweide"),
        figure.add_subplot(2, 1, 2),
    )

    # Right ascension grows to the left, as on the sky seen from inside.
    x_edges = np.linspace(-np.pi, np.pi, 361)
    y_edges = np.linspace(-1, 1, 181)  # sin(dec): cells of equal area
    x = np.pi - np.mod(ra, 2 * np.pi)
    density = _sky_density(x, np.sin(dec), weights, x_edges, y_edges)
    dec_edges = np.arcsin(y_edges)
    shown = np.ma.masked_less(density, contour_levels(density, (0.999,))[0])
    whole.pcolormesh(x_edges, dec_edges, shown.T, cmap="viridis_r", rasterized=True)
    whole.grid(alpha=0.4)
    ticks = np.arange(-150, 151, 60)
    whole.set_xticks(np.radians(ticks), [f"{(180 - t) / 15:g}h" for t in ticks])

    # Around the mean direction on the circle, so that 0h is not an edge.
    center = np.angle(np.average(np.exp(1j * ra), weights=weights))
    offset = np.angle(np.exp(1j * (ra - center)))
    ra_deg = np.degrees(np.mod(center, 2 * np.pi) + offset)
    dec_deg = np.degrees(dec)
    edges = [_zoom_edges(ra_deg, weights), _zoom_edges(dec_deg, weights)]
    from scipy.ndimage import gaussian_filter

    near, *_ = np.histogram2d(ra_deg, dec_deg, bins=edges, weights=weights)
    near = gaussian_filter(near, 1.5)
    centers = [0.5 * (side[1:] + side[:-1]) for side in edges]
    shown = np.ma.masked_less(near, contour_levels(near, (0.999,))[0])
    zoom.pcolormesh(*edges, shown.T, cmap="viridis_r", alpha=0.6, rasterized=True)
    zoom.grid(alpha=0.3)
    zoom.contour(*centers, near.T, levels=contour_levels(near, PROBABILITIES), colors="k")
    zoom.invert_xaxis()
    zoom.set_xlabel("right ascension (deg)")
    zoom.set_ylabel("declination (deg)")
    zoom.set_title("contours hold 50% and 90%", size=10)
    figure.suptitle(f"{view.event_name}: position on the sky")
    return figure


def _sky_density(
    x: np.ndarray,
    sin_dec: np.ndarray,
    weights: np.ndarray,
    x_edges: np.ndarray,
    y_edges: np.ndarray,
) -> np.ndarray:
    """Return the smoothed probability in cells of equal area, right ascension periodic."""
    from scipy.ndimage import gaussian_filter

    density, *_ = np.histogram2d(x, sin_dec, bins=[x_edges, y_edges], weights=weights)
    cells = (
        _SKY_SMOOTHING / (x_edges[1] - x_edges[0]),
        _SKY_SMOOTHING / (y_edges[1] - y_edges[0]),
    )
    return gaussian_filter(density / weights.sum(), cells, mode=("wrap", "nearest"))


def _zoom_edges(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    from .intervals import weighted_quantiles

    low, high = weighted_quantiles(values, weights, (0.002, 0.998))
    margin = max(0.1 * (high - low), 1.0)  # degrees
    return np.linspace(low - margin, high + margin, 81)


def waveform(view: RunView) -> Figure:
    """Whitened data with the best-fit waveform, one panel per detector.

    Raises
    ------
    MissingFileError
        The run directory has no event or no ``Posterior.json``.
    """
    from matplotlib.figure import Figure

    times, data_dt, model_dt, names = _whitened(view)
    begin, end = _signal_window(times, model_dt)
    rows = (times >= begin) & (times <= end)
    n = len(names)
    figure = Figure(figsize=(8, 1.9 * n + 1), layout="constrained")
    axes = figure.subplots(n, 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for panel, name, data, model, color in zip(
        axes, names, data_dt, model_dt, COLORS * n, strict=False
    ):
        panel.plot(times[rows], data[rows], color="0.6", linewidth=0.8, label="data")
        panel.plot(times[rows], model[rows], color=color, label="best fit")
        panel.set_ylabel(f"{name} (σ)")
        panel.grid(alpha=0.3)
    axes[0].legend(loc="upper left", ncols=2, fontsize="small")
    axes[0].set_title(f"{view.event_name}: whitened data and best fit")
    axes[-1].set_xlabel("time from the event's GPS time (s)")
    return figure


def _whitened(view: RunView) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """Return times (n_t,) [s], whitened data and model (n_d, n_t), detector names."""
    from cogwheel.waveform import WaveformGenerator

    from ..events import load_event

    run = view.run
    if run.event_file is None or not run.files.posterior.is_file():
        raise MissingFileError(
            f"{run.path} has no event or no {run.files.posterior.name}, which the picture "
            "of the data needs"
        )
    event = load_event(run.event_file)
    if run.approximant is None:
        raise MissingFileError(f"{run.files.posterior} names no approximant")
    generator = WaveformGenerator.from_event_data(event, run.approximant)
    best = run.samples.loc[run.samples["lnl"].idxmax()]
    par_dic = {name: float(best[name]) for name in generator.params}
    strain_df = np.zeros_like(event.strain)
    band = event.fslice
    strain_df[:, band] = generator.get_strain_at_detectors(event.frequencies[band], par_dic)
    return (
        event.times - event.tcoarse,
        event.get_whitened_td(event.strain),
        event.get_whitened_td(strain_df),
        list(event.detector_names),
    )


def _signal_window(times: np.ndarray, model_dt: np.ndarray) -> tuple[float, float]:
    """Return the times between which the model is worth looking at.

    Where it exceeds a tenth of its peak, at most two seconds before that.
    """
    envelope = np.abs(model_dt).max(axis=0)
    (loud,) = np.nonzero(envelope > 0.1 * envelope.max())
    peak, end = times[np.argmax(envelope)], times[loud[-1]]
    begin = max(times[loud[0]], peak - 2.0)
    margin = max(0.25 * (end - begin), 0.03)
    return begin - margin, end + margin


def incoherent(view: RunView) -> Figure:
    """Incoherent ln likelihood of the selected waveforms against chirp mass."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    points = None
    for bank_id in view.run.bank_ids:
        selected = view.run.intrinsic_samples(bank_id)
        inds, lnlike = selected["inds"], selected["incoherent_lnlikes"]
        if bank_id in view.bank_tables:
            m1, m2 = view.bank_tables[bank_id][["m1", "m2"]].to_numpy()[inds].T
        else:
            known = view.samples_of(bank_id).groupby("i")[["m1", "m2"]].first()
            rows = np.isin(inds, known.index)
            inds, lnlike = inds[rows], lnlike[rows]
            m1, m2 = known.loc[inds].to_numpy().reshape(-1, 2).T
        points = axes.scatter(
            chirp_mass(m1, m2), lnlike, c=m2 / m1, s=8, vmin=0, vmax=1, cmap="viridis",
            rasterized=True,
        )  # fmt: skip
    if points is None:
        raise MissingFileError(f"{view.run.path} has no waveforms selected from its banks")
    for bank_id, table in view.bank_tables.items():
        mchirp = chirp_mass(table["m1"], table["m2"])
        for k, edge in enumerate((mchirp.min(), mchirp.max())):
            name = f"edges of {bank_id}" if k == 0 else None
            axes.axvline(edge, color="0.5", linestyle="--", linewidth=0.8, label=name)
    figure.colorbar(points, label="mass ratio $q$")
    axes.set_xlabel(r"chirp mass, detector frame ($M_\odot$)")
    axes.set_ylabel("incoherent ln likelihood")
    missing = set(view.run.bank_ids) - set(view.bank_tables)
    note = "; the bank is not there, so only those with samples" if missing else ""
    axes.set_title(f"{view.event_name}: waveforms that passed the selection{note}", size=10)
    if view.bank_tables:
        axes.legend(loc="lower right", fontsize="small")
    return figure


def timeline(view: RunView) -> Figure:
    """What each worker did when, by phase, and the stages of the parent.

    Raises
    ------
    MissingFileError
        The run directory has no task table.
    """
    from matplotlib.figure import Figure

    tasks = view.run.tasks
    if tasks is None or not len(tasks):
        raise MissingFileError(f"{view.run.path} has no record of tasks")
    stages = (view.run.report or {}).get("stage_times", [])
    origin = min([float(tasks["start"].min()), *(start for _, start, _ in stages)])
    workers = list(dict.fromkeys(tasks["worker"].astype(str)))
    phases = list(dict.fromkeys(tasks["phase"].astype(str)))
    height = min(1.6 + 0.3 * (len(workers) + bool(stages)), 12)
    figure = Figure(figsize=(8, height), layout="constrained")
    axes = figure.add_subplot()
    for phase, color in zip(phases, COLORS * len(phases), strict=False):
        for row, worker in enumerate(workers):
            some = tasks[(tasks["phase"] == phase) & (tasks["worker"] == worker)]
            bars = list(
                zip(some["start"] - origin, some["end"] - some["start"], strict=True)
            )
            axes.broken_barh(bars, (row - 0.4, 0.8), color=color, linewidth=0)
        axes.plot([], [], color=color, linewidth=6, label=phase)
    for name, start, end in stages:
        axes.broken_barh(
            [(start - origin, end - start)], (-1.4, 0.8), color="0.85", edgecolor="0.4"
        )
        if end - start > 0.06 * (max(s[2] for s in stages) - origin):
            middle = 0.5 * (start + end) - origin
            axes.text(middle, -1, name, ha="center", va="center", size=7)
    ticks = range(-1 if stages else 0, len(workers))
    if len(workers) <= 32:
        names = ["stages", *workers] if stages else workers
        axes.set_yticks(list(ticks), names, size=7)
    else:
        axes.set_ylabel(f"{len(workers)} workers")
    axes.set_ylim(len(workers) - 0.4, -1.6 if stages else -0.6)
    axes.set_xlabel("time (s)")
    figure.legend(loc="outside upper center", ncols=min(len(phases), 5), fontsize="small")
    return figure


FIGURES = {
    "corner": corner,
    "sky": sky,
    "waveform": waveform,
    "incoherent": incoherent,
    "timeline": timeline,
}
"""Every picture by its name on the command line."""


def save_figure(view: RunView, what: str, path: str | Path) -> Path:
    """Write one picture of a run.

    Parameters
    ----------
    view : RunView
    what : str
        A key of :data:`FIGURES`.
    path : path
        The suffix (.png, .pdf, .svg) chooses the format.

    Raises
    ------
    InputError
        No such picture or format.
    MissingFileError, RunDirectoryError
        The run directory lacks what the picture needs.
    """
    path = Path(path)
    if what not in FIGURES:
        raise InputError(f"there is no picture {what!r}, expected one of {list(FIGURES)}")
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"{path} must end in one of {', '.join(FORMATS)}")
    check_writable(path)
    figure = FIGURES[what](view)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=200)
    return path
