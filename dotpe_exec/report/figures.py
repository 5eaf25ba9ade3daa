"""The single pictures of a run, each a function from run to figure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..atomic import atomic_write, check_writable
from ..errors import InputError, MissingFileError
from ..kernels.masses import chirp_mass
from ..optional import needs
from .corner import corner_figure
from .intervals import weighted_quantiles
from .labels import COLORS
from .view import RunView

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

FORMATS = (".png", ".pdf", ".svg")
_SKY_ORDER = 7  # pixels of half a degree
_WIDTH = 6.6  # inches
_N_BAND = 100
"""Samples of the waveform's band."""


def corner(view: RunView) -> Figure:
    """Corner plot of chirp mass, mass ratio, effective spin and distance."""
    return corner_figure({view.label: view.run.samples}, title=view.event_name)


def sky(view: RunView) -> Figure:
    """Map of the whole sky and of the region around the source.

    Raises
    ------
    InputError
        ``ligo.skymap`` is not installed.
    """
    from .notebook import picture

    skymap = view.skymap
    with needs("ligo.skymap", "skymap"):
        import ligo.skymap.plot  # noqa: F401 (registers its projections)
    from ligo.skymap.moc import rasterize

    flat = rasterize(skymap.table["UNIQ", "PROBDENSITY"], order=_SKY_ORDER)
    density = np.asarray(flat["PROBDENSITY"], float)
    order = np.argsort(-density)
    levels = np.empty_like(density)
    levels[order] = 100 * np.cumsum(density[order]) / density.sum()
    figure = picture(figsize=(_WIDTH, 6.4))
    center = _center(view.run.samples)
    whole: Any = figure.add_subplot(2, 1, 1, projection="astro hours mollweide")
    radius = f"{_zoom_radius(view.run.samples):.1f} deg"
    zoom: Any = figure.add_subplot(
        2, 1, 2, projection="astro degrees zoom", center=center, radius=radius
    )
    for axes in (whole, zoom):
        axes.grid(alpha=0.4)
        axes.imshow_hpx((density, "ICRS"), nested=True, cmap="cylon")
        axes.contour_hpx(
            (levels, "ICRS"), nested=True, colors="k", linewidths=0.8, levels=(50, 90)
        )
        if view.truth is not None and {"ra", "dec"} <= view.truth.keys():
            axes.plot(
                *np.degrees([view.truth["ra"], view.truth["dec"]]), "*", color="tab:blue",
                markeredgecolor="white", markersize=11,
                transform=axes.get_transform("world"), label="injected",
            )  # fmt: skip
    if zoom.get_legend_handles_labels()[0]:
        zoom.legend(loc="lower right", fontsize="small")
    zoom.coords[0].set_axislabel("right ascension")
    zoom.coords[1].set_axislabel("declination")
    areas = ", ".join(f"{p:.0%} in {area:.0f} deg²" for p, area in skymap.areas.items())
    figure.suptitle(f"{view.event_name}: probability per solid angle; {areas}", size=11)
    return figure


def _center(samples: pd.DataFrame) -> str:
    """Return the mean direction, in words for astropy."""
    from astropy.coordinates import SkyCoord

    ra, dec = samples["ra"].to_numpy(float), samples["dec"].to_numpy(float)
    weights = samples["weights"].to_numpy(float)
    x, y, z = np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)
    x, y, z = (np.average(part, weights=weights) for part in (x, y, z))
    mean = SkyCoord(np.arctan2(y, x), np.arctan2(z, np.hypot(x, y)), unit="rad")
    return mean.to_string("hmsdms")


def _zoom_radius(samples: pd.DataFrame) -> float:
    """Return the angle from the mean direction within which nearly all samples are."""
    from astropy.coordinates import SkyCoord

    points = SkyCoord(samples["ra"], samples["dec"], unit="rad")
    distance = points.separation(SkyCoord(_center(samples), unit=("hourangle", "deg"))).deg
    (radius,) = weighted_quantiles(distance, samples["weights"], (0.95,))
    return float(np.clip(1.3 * radius, 2.0, 80.0))


def waveform(view: RunView, band: bool = True) -> Figure:
    """Whitened data with the best-fit waveform, one panel per detector.

    Parameters
    ----------
    view : RunView
    band : bool
        Whether to show where 90% of the posterior's waveforms lie at each time.

    Raises
    ------
    MissingFileError
        The run directory has no event or no ``Posterior.json``.
    """
    from .notebook import picture

    times, data_dt, model_dt, names, band_pdt = _whitened(view, band)
    begin, end = _signal_window(times, model_dt)
    rows = (times >= begin) & (times <= end)
    n = len(names)
    figure = picture(figsize=(_WIDTH, 1.6 * n + 0.9), layout="constrained")
    axes = figure.subplots(n, 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for panel, name, data, model, color in zip(
        axes, names, data_dt, model_dt, COLORS * n, strict=False
    ):
        panel.plot(times[rows], data[rows], color="0.6", linewidth=0.8, label="data")
        panel.plot(times[rows], model[rows], color=color, label="best fit")
        if band_pdt is not None:
            low, high = band_pdt[:, names.index(name), rows]
            panel.fill_between(
                times[rows], low, high, color=color, alpha=0.35, linewidth=0, label="90%"
            )
        panel.set_ylabel(f"{name} (σ)")
        panel.grid(alpha=0.3)
    axes[0].legend(loc="upper left", ncols=3, fontsize="small")
    axes[0].set_title(f"{view.event_name}: whitened data and best fit")
    axes[-1].set_xlabel("time from the event's GPS time (s)")
    return figure


def _whitened(
    view: RunView, band: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str], np.ndarray | None]:
    """Return times (n_t,) [s], whitened data and model (n_d, n_t), detector names, band.

    The band, (2, n_d, n_t), is None unless wanted.
    """
    from cogwheel.waveform import WaveformGenerator

    from ..cogwheel_bridge import lal_source
    from ..stages.binning_error import sample_points
    from ..stages.exact_tasks import detector_signals
    from ..waveforms.dense import dense_modes

    run = view.run
    if run.event_file is None or not run.files.posterior.is_file():
        raise MissingFileError(
            f"{run.path} has no event or no {run.files.posterior.name}, which the picture "
            "of the data needs"
        )
    event = run.event
    if run.approximant is None:
        raise MissingFileError(f"{run.files.posterior} names no approximant")
    generator = WaveformGenerator.from_event_data(
        event, run.approximant, harmonic_modes=run.harmonic_modes
    )

    inside = np.flatnonzero((event.wht_filter > 0).any(axis=0) & (event.frequencies > 0))
    frequencies = event.frequencies[inside]

    def whitened(sample: pd.Series) -> np.ndarray:
        par_dic = {name: float(sample[name]) for name in generator.params}
        strain_df = np.zeros_like(event.strain)
        source = lal_source(generator, par_dic)
        if source is None:
            strain_df[:, inside] = generator.get_strain_at_detectors(frequencies, par_dic)
        else:
            points = sample_points(generator, [par_dic])
            for part, h_mpf in dense_modes(frequencies, source):
                strain_df[:, inside[part]] = detector_signals(
                    frequencies[part], h_mpf, source.m_arr, points
                )
        return event.get_whitened_td(strain_df)

    samples = run.samples
    band_pdt = None
    if band:
        some = samples.sample(_N_BAND, replace=True, weights="weights", random_state=0)
        # Neighbours with the same waveform share its generation.
        some = some.sort_values(list(generator.slow_params))
        model_sdt = [whitened(sample) for _, sample in some.iterrows()]
        band_pdt = np.quantile(model_sdt, (0.05, 0.95), axis=0)
    return (
        event.times - event.tcoarse,
        event.get_whitened_td(event.strain),
        whitened(samples.loc[samples["lnl"].idxmax()]),
        list(event.detector_names),
        band_pdt,
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
    from .notebook import picture

    figure = picture(figsize=(_WIDTH, 3.9), layout="constrained")
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
    from .notebook import picture

    tasks = view.run.tasks
    if tasks is None or not len(tasks):
        raise MissingFileError(f"{view.run.path} has no record of tasks")
    stages = (view.run.report or {}).get("stage_times", [])
    origin = min([float(tasks["start"].min()), *(start for _, start, _ in stages)])
    workers = list(dict.fromkeys(tasks["worker"].astype(str)))
    phases = list(dict.fromkeys(tasks["phase"].astype(str)))
    height = min(1.6 + 0.3 * (len(workers) + bool(stages)), 12)
    figure = picture(figsize=(_WIDTH, height), layout="constrained")
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
