"""Sky maps with distance: multi-order HEALPix in FITS, as ``ligo.skymap`` writes them."""

from __future__ import annotations

import contextlib
import io
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..atomic import atomic_write, output_file, read_json, write_json
from ..derived.detectors import interferometer_name
from ..errors import RunDirectoryError
from ..executors.threads import one_thread
from ..kernels.importance import effective_size
from ..loading import StoredRun, load_run
from ..optional import needs
from .sky_density import fitted_density

if TYPE_CHECKING:
    import pandas as pd
    from ligo.skymap.kde import Clustered3DSkyKDE

logger = logging.getLogger(__name__)

_MAX_POINTS = 1000
_MAX_CLUSTERS, _TRIALS = 8, 2
_MIN_POINTS = 50
LEVELS = (0.5, 0.9)
_HELD, _N_DISTANCES = 1 - 1e-6, 100
_DISTANCE_ORDERS, _TOP_ORDER = 2, 4
"""By how much pixels of the same distance are larger, at least this one (4 degrees)."""


@dataclass(frozen=True)
class SkyMap:
    """Probability per solid angle, with distance.

    Parameters
    ----------
    table : astropy.table.Table
        Multi-order: ``UNIQ``, ``PROBDENSITY`` [1/sr], ``DISTMU``, ``DISTSIGMA`` [Mpc],
        ``DISTNORM``.
    areas : dict of float
        Smallest area that holds 50% and 90% [square degrees].
    """

    table: Any
    areas: dict[float, float]

    def volumes(self) -> dict[float, float]:
        """Return the smallest volumes that hold 50% and 90%.

        Volumes of luminosity distance [Mpc^3]: the density of a pixel is its probability
        times ``DISTNORM`` N(r; ``DISTMU``, ``DISTSIGMA``), per r^2 dr.
        """
        from ligo.skymap.moc import uniq2pixarea

        table = self.table
        area_p = uniq2pixarea(np.asarray(table["UNIQ"]))
        columns = ("PROBDENSITY", "DISTMU", "DISTSIGMA", "DISTNORM")
        density, mu, sigma, norm = (np.asarray(table[name], float) for name in columns)
        use = _heaviest(density, area_p)
        use = use[np.isfinite(mu[use]) & (norm[use] > 0)]
        area_p, density, mu, sigma, norm = (
            values[use, np.newaxis] for values in (area_p, density, mu, sigma, norm)
        )
        end = float((mu + 5 * sigma).max())
        edges = np.linspace(0, end, _N_DISTANCES + 1)
        r = (edges[1:] + edges[:-1]) / 2
        volume_pr = area_p * r**2 * (edges[1] - edges[0])
        normal_pr = np.exp(-0.5 * ((r - mu) / sigma) ** 2) / (np.sqrt(2 * np.pi) * sigma)
        density_pr = density * norm * normal_pr
        found = _smallest(density_pr.ravel(), volume_pr.ravel())
        return dict(zip(LEVELS, map(float, found), strict=True))


def stored_skymap(run: StoredRun) -> SkyMap:
    """Return the sky map of a run, kept in its directory.

    Where the directory is one of this package and can be written, the map is written into
    it (``skymap.fits``), and its areas and volumes into ``summary_results.json`` (``sky``);
    a map that is there already is read.

    Raises
    ------
    InputError, MissingFileError, RunDirectoryError
        As :func:`make_skymap`.
    """
    kept, path = kept_skymap(run), run.files.skymap
    if kept is not None:
        return kept
    skymap = make_skymap(run)
    if run.files.identity.is_file() and os.access(run.path, os.W_OK):
        try:
            _write_fits(skymap, path)
            # Read again: the summary as it stands, nothing that a caller changed.
            summary = read_json(run.files.summary)
            write_json(run.files.summary, summary | {"sky": sky_summary(skymap)})
        except (OSError, RunDirectoryError) as error:
            logger.warning("%s: the sky map is not kept: %s", run.path, error)
        else:
            run.__dict__.pop("summary", None)
    return skymap


def kept_skymap(run: StoredRun) -> SkyMap | None:
    """Return the sky map that lies in a run's directory, None where there is none."""
    path = run.files.skymap
    return _read_skymap(path) if path.is_file() and "sky" in run.summary else None


def sky_summary(skymap: SkyMap) -> dict[str, float]:
    """Return what the summary says of a sky map.

    Returns
    -------
    dict
        ``area_50``, ``area_90`` [square degrees]; ``volume_50``, ``volume_90``, of
        luminosity distance [Mpc^3]; ``distance_mean``, ``distance_std`` [Mpc].
    """
    values = {f"area_{100 * p:.0f}": area for p, area in skymap.areas.items()}
    values |= {f"volume_{100 * p:.0f}": v for p, v in skymap.volumes().items()}
    meta = skymap.table.meta
    return values | {
        "distance_mean": meta["distmean"],
        "distance_std": meta["diststd"],
    }


def _read_skymap(path: Path) -> SkyMap:
    with needs("ligo.skymap", "skymap"):
        from ligo.skymap.io import read_sky_map

    try:
        table = read_sky_map(str(path), moc=True, distances=True)
    except Exception as error:  # astropy raises many kinds
        raise RunDirectoryError(f"{path} is damaged, expected FITS: {error}") from error
    return SkyMap(table, credible_areas(table))


def make_skymap(run: StoredRun) -> SkyMap:
    """Return the sky map of a run, by clustered kernel density estimates.

    All samples with the same extrinsic sample share a direction. So that repetitions do
    not pass for information, directions are drawn systematically by weight, as many as
    they are effective samples, each with the distance of one of its samples.

    Raises
    ------
    InputError
        ``ligo.skymap`` is not installed.
    MissingFileError, RunDirectoryError
        The run is not finished, or has too few effective directions.
    """
    with needs("ligo.skymap", "skymap"):
        from ligo.skymap.kde import Clustered3DSkyKDE

    points = effective_directions(run.samples)
    # Its progress bars do not belong on the terminal of a caller.
    # On one thread, as the number of clusters may hang on the last bits of a sum.
    with one_thread(), _seeded(), contextlib.redirect_stderr(io.StringIO()):
        try:
            table = fitted_density(points[:, :2]).as_healpix()
            distances = Clustered3DSkyKDE(
                points, max_k=_MAX_CLUSTERS, trials=_TRIALS, jobs=1
            )
        except np.linalg.LinAlgError as error:
            raise RunDirectoryError(
                "a sky map needs directions that differ, those of this run are all the same"
            ) from error
        _add_distances(table, distances)
    table.meta |= {
        "creator": "dotpe-exec",
        "distmean": float(points[:, 2].mean()),
        "diststd": float(points[:, 2].std()),
    }
    if run.event_file is not None:
        names = {interferometer_name(name) for name in run.event.detector_names}
        table.meta |= {
            # FITS knows ASCII alone.
            "objid": run.event.eventname.encode("ascii", "backslashreplace").decode(),
            "instruments": names,
            "gps_time": float(run.event.tgps),
        }
    return SkyMap(table, credible_areas(table))


def _add_distances(table: Any, distances: Clustered3DSkyKDE) -> None:
    """Add the distance by pixel; as in other maps, none where there is no probability.

    Pixels are much smaller than what distances change over: those in the same larger pixel
    share them.
    """
    from astropy_healpix import healpix_to_lonlat
    from ligo.skymap.moc import nest2uniq, uniq2nest, uniq2pixarea

    uniq = np.asarray(table["UNIQ"])
    use = _heaviest(np.asarray(table["PROBDENSITY"], float), uniq2pixarea(uniq))
    order, pixel = (part.astype(np.int64) for part in uniq2nest(uniq[use]))
    larger = np.maximum(order - _DISTANCE_ORDERS, np.minimum(order, _TOP_ORDER))
    pixel >>= 2 * (order - larger)
    shared, which = np.unique(nest2uniq(larger.astype(np.int8), pixel), return_inverse=True)
    order, pixel = uniq2nest(shared)
    ra, dec = healpix_to_lonlat(pixel, 2 ** order.astype(int), order="nested")
    found = distances.eval_distances(np.stack([ra.rad, dec.rad], axis=1))
    names = ("DISTMU", "DISTSIGMA", "DISTNORM")
    for name, values, none in zip(names, found, (np.inf, 1.0, 0.0), strict=True):
        column = np.full(len(table), none)
        column[use] = np.asarray(values)[which.ravel()]
        table[name] = column


def _heaviest(density: np.ndarray, area: np.ndarray) -> np.ndarray:
    """Return the pixels that hold nearly all, from the densest.

    The rest, as little as it is, is most of the grid.
    """
    order = np.argsort(-density)
    return order[: 1 + np.searchsorted(np.cumsum((density * area)[order]), _HELD)]


def credible_areas(table: Any) -> dict[float, float]:
    """Return the smallest areas of a map that hold 50% and 90% [square degrees]."""
    from ligo.skymap.moc import uniq2pixarea

    density = np.asarray(table["PROBDENSITY"], float)
    area = uniq2pixarea(np.asarray(table["UNIQ"]))
    square_degrees = np.degrees(1) ** 2 * _smallest(density, area)
    return dict(zip(LEVELS, map(float, square_degrees), strict=True))


def _smallest(density: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Return the smallest sizes of pixels that hold 50% and 90% of the probability."""
    order = np.argsort(-density)
    sizes = np.cumsum(size[order])
    probability = np.cumsum((density * size)[order])
    return np.interp(LEVELS, probability / probability[-1], sizes)


def to_skymap(run: StoredRun | str | os.PathLike, output: str | os.PathLike) -> Path:
    """Write a run's sky map as multi-order FITS with distance.

    Parameters
    ----------
    run : path or StoredRun
        A finished run.
    output : path
        The file, ending in ``.fits`` or ``.fits.gz``.

    Returns
    -------
    Path
        The file, which ``ligo.skymap.io.read_sky_map(..., moc=True)`` opens.

    Raises
    ------
    InputError
        ``ligo.skymap`` is not installed, or ``output`` ends differently.
    MissingFileError, RunDirectoryError
        As :func:`make_skymap`; or the file cannot be written.
    """
    output = output_file(output, ".fits", ".fits.gz")
    run = run if isinstance(run, StoredRun) else load_run(run)
    skymap = run.skymap if hasattr(run, "skymap") else make_skymap(run)
    _write_fits(skymap, output)
    return output


def _write_fits(skymap: SkyMap, output: Path) -> None:
    from ligo.skymap.io import write_sky_map

    # astropy takes the compression from the name.
    suffix = ".fits.gz" if output.suffix == ".gz" else ".fits"
    with atomic_write(output) as temporary:
        named = temporary.with_name(temporary.name + suffix)
        try:
            write_sky_map(str(named), skymap.table, nest=True)
            named.replace(temporary)
        finally:
            named.unlink(missing_ok=True)


def effective_directions(samples: pd.DataFrame) -> np.ndarray:
    """Return right ascension, declination, distance of directions that count the same."""
    if "e" not in samples:
        samples = samples.assign(e=samples.groupby(["ra", "dec"]).ngroup())
    weights = samples.groupby("e")["weights"].sum()
    weights = weights[weights > 0]
    n = round(effective_size(weights.to_numpy()))
    if n < _MIN_POINTS:
        raise RunDirectoryError(
            f"a sky map needs at least {_MIN_POINTS} effective directions, this run has "
            f"{n}: a larger n_ext gives more"
        )
    n = min(n, _MAX_POINTS)
    steps = np.cumsum(weights.to_numpy()) / weights.sum()
    picks = np.minimum(np.searchsorted(steps, (np.arange(n) + 0.5) / n), len(weights) - 1)
    # The least of exponential variables over weights is each sample's with its share.
    some = samples[samples["weights"] > 0]
    keys = np.random.default_rng(0).exponential(size=len(some)) / some["weights"]
    one_each = some.iloc[np.argsort(keys.to_numpy())].drop_duplicates("e").set_index("e")
    rows = one_each.loc[weights.index[picks]]
    return rows[["ra", "dec", "d_luminosity"]].to_numpy(float)


@contextlib.contextmanager
def _seeded() -> Iterator[None]:
    """Make the clustering, which draws from NumPy's global state, repeatable."""
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002
