"""Where the table of the distance-marginalised likelihood comes from.

The table is that of cogwheel's ``LookupTable()`` with its defaults, number for number:
the same grid and the same adaptive quadrature (QUADPACK through SciPy), the integrand
compiled, which takes one second instead of ten. For sources nearer than about 200 Mpc
that quadrature stops at its absolute tolerance and ln L is off by up to 1e-4; the error
is kept, because what users compare with has it too. Where ln L would be off by 0.01 the
table is not used (:mod:`dotpe_exec.kernels.distance`).

The table is kept in the user's cache folder. No trouble with that folder (missing,
read-only, full, written by several processes at once, damaged) ever ends a run: the
table is then computed again and held in memory.
"""

from __future__ import annotations

import functools
import logging
import os
import tempfile
import zlib
from pathlib import Path

import numpy as np

from .cache_folder import user_cache_folder
from .kernels.distance import OVERLAP_SCALE, SIGMAS, DistanceTable

D_LUMINOSITY_MAX = 1.5e4
"""Upper end of the distance prior [Mpc], cogwheel's default."""

_SHAPE = (256, 128)
_VERSION = 1  # to be raised whenever the numbers change
_logger = logging.getLogger(__name__)


def load_distance_table(cache_folder: str | os.PathLike | None = None) -> DistanceTable:
    """Return the distance table, from the cache if it is there.

    Parameters
    ----------
    cache_folder : path, optional
        Where to look for it and to keep it; by default :func:`default_cache_folder`.

    Returns
    -------
    DistanceTable
        The same numbers whether read or computed.
    """
    folder = default_cache_folder() if cache_folder is None else Path(cache_folder)
    return _load(str(folder))


def default_cache_folder() -> Path:
    """Return the folder of the table: ``dotpe`` in the user's cache folder."""
    return user_cache_folder()


@functools.lru_cache(maxsize=4)
def _load(folder: str) -> DistanceTable:
    path = Path(folder) / f"distance_table_v{_VERSION}.npz"
    values_xy = _read(path)
    if values_xy is None:
        values_xy = tabulate()
        _write(path, values_xy)
    return table_from_values(values_xy)


def grid() -> tuple[np.ndarray, np.ndarray]:
    """Return the table's grid in the coordinates of ``table_coordinates``.

    Returns
    -------
    x, y : (256,), (128,) float
        y begins at overlap -10.
    """
    x = np.linspace(-SIGMAS, 0, _SHAPE[0])
    lowest = -SIGMAS / OVERLAP_SCALE
    y = np.linspace(lowest / (1 + abs(lowest)), 1 - 1e-8, _SHAPE[1])
    return x, y


def table_from_values(
    values_xy: np.ndarray, d_luminosity_max: float = D_LUMINOSITY_MAX
) -> DistanceTable:
    """Return the spline through tabulated values.

    Parameters
    ----------
    values_xy : (256, 128) float
        ln F on :func:`grid`.
    d_luminosity_max : float
        Largest distance of the prior [Mpc].
    """
    from scipy.interpolate import RectBivariateSpline

    x, y = grid()
    knots_x, knots_y, coefficients = RectBivariateSpline(x, y, values_xy).tck
    arrays = knots_x, knots_y, coefficients.reshape(_SHAPE)
    for array in arrays:  # one table serves the whole process
        array.flags.writeable = False
    return DistanceTable(*arrays, d_luminosity_max=d_luminosity_max)


def tabulate(d_luminosity_max: float = D_LUMINOSITY_MAX) -> np.ndarray:
    """Return ln F on :func:`grid`; see :mod:`dotpe_exec.kernels.distance` for F.

    Parameters
    ----------
    d_luminosity_max : float
        Largest distance of the prior [Mpc].

    Returns
    -------
    (256, 128) float
        ln(F + 1e-100).
    """
    from scipy import LowLevelCallable
    from scipy.integrate import quad

    x, y = np.meshgrid(*grid(), indexing="ij")
    overlap = y / (1 - np.abs(y)) * OVERLAP_SCALE
    norm_h = np.exp(x) * d_luminosity_max * (SIGMAS + np.abs(overlap))
    d_h, h_h = overlap * norm_h, norm_h**2
    norm_h, overlap = np.sqrt(h_h), d_h / np.sqrt(h_h)
    inverse_volume = 1 / quad(lambda r: 4 * np.pi * r**2, 0, d_luminosity_max)[0]
    with np.errstate(divide="ignore"):
        breaks = np.stack([1 / (d_h / h_h + 5 / norm_h), 1 / (d_h / h_h - 5 / norm_h)], -1)

    integrand = LowLevelCallable(_compiled_integrand().ctypes)
    integral = np.empty(_SHAPE)
    for k in np.ndindex(_SHAPE):
        integral[k] = quad(
            integrand,
            0,
            d_luminosity_max,
            args=(norm_h[k], overlap[k], inverse_volume),
            points=breaks[k],
            full_output=1,  # its warnings are a result then, see the module
        )[0]
    return np.log(integral + 1e-100)


@functools.lru_cache(maxsize=1)
def _compiled_integrand():
    from numba import carray, cfunc, types

    @cfunc(types.float64(types.intc, types.CPointer(types.float64)))
    def integrand(n, arguments):
        r, norm_h, overlap, inverse_volume = carray(arguments, 4)
        if r == 0:
            return 0.0
        prior = 4 * np.pi * r**2 * inverse_volume
        return prior * np.exp(-((norm_h / r - overlap) ** 2) / 2)

    return integrand


def _read(path: Path) -> np.ndarray | None:
    try:
        with np.load(path, allow_pickle=False) as file:
            values, checksum = file["values_xy"], int(file["checksum"])
    except FileNotFoundError:
        return None
    except Exception as error:  # zipfile and NumPy raise many kinds on damaged files
        _logger.warning("ignoring the damaged distance table %s (%s)", path, error)
        return None
    if values.shape != _SHAPE or values.dtype != float or _checksum(values) != checksum:
        _logger.warning("ignoring the damaged distance table %s", path)
        return None
    return values


def _write(path: Path, values_xy: np.ndarray) -> None:
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        with os.fdopen(descriptor, "wb") as file:
            np.savez(file, values_xy=values_xy, checksum=_checksum(values_xy))
        Path(temporary).replace(path)
    except OSError as error:
        _logger.info("the distance table is not kept in %s (%s)", path, error)
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def _checksum(values: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(values).tobytes())
