"""Marginalisation over luminosity distance, and draws from its conditional.

A waveform h at 1 Mpc has the likelihood exp(d_h / r - h_h / (2 r^2)) at r Mpc. With the
distance prior 3 r^2 / r_max^3 the marginalised likelihood is

    L = exp(d_h^2 / (2 h_h)) F,
    F = int_0^r_max 3 r^2 / r_max^3 exp(-(sqrt(h_h) / r - d_h / sqrt(h_h))^2 / 2) dr.

ln F is a smooth function of the two coordinates of :func:`table_coordinates`, tabulated
once (:mod:`dotpe_exec.distance_table`) and interpolated by a bicubic spline. Table and
coordinates are those of cogwheel's ``LookupTable`` (cogwheel-pe 1.6), so that results
agree with it. Where that table ends, or is not right to 0.01, F is integrated instead:
sources nearer than about 10 Mpc or around the prior's end, overlaps above
``LARGEST_OVERLAP``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .compiling import kernel

SIGMAS = 10.0
"""Offset of the overlap d_h / sqrt(h_h) in the first coordinate."""

OVERLAP_SCALE = 10.0
"""Overlap at which the second coordinate is one half."""

LARGEST_OVERLAP = 45.0
"""Overlap (signal-to-noise ratio) above which the table is too coarse."""

# How far the end of the prior may lie below the peak [standard deviations]: beyond, the
# table is off by up to 0.2 near overlap 0, and its values end at ln F = -230.
_FARTHEST = 1.0

# First coordinate (sources at about 10 Mpc) below which the table is off by up to 0.02
# where a near source and none at all are about as likely; it begins at -10.
_NEAREST = -7.5

_DEGREE = 3

# The conditional of the distance is integrated over u = sqrt(h_h) / r in cells: linear
# in u around the likelihood's peak, logarithmic below, where the prior u^-4 rules.
_N_LINEAR_CELLS = 64
_LOG_CELLS_PER_E_FOLD = 24
_LINEAR_FROM = 3.0  # above this u the prior is smooth on the scale of a linear cell
_PEAK_ALONE_FROM = 10.0  # overlap above which the prior's far tail has mass below 1e-8
_STEEP = 10.0  # d ln(Gaussian) / d ln u at u_min above which linear cells fit better
_N_SIGMA_BELOW = 7.0
_E_FOLDS_ABOVE = 25.0  # the cells end where the density is down by exp(-25)
_MAX_LOG_CELLS = 1024
_N_NEWTON = 6


@dataclass(frozen=True, eq=False)  # hashed as the object that it is
class DistanceTable:
    """ln F as a bicubic tensor spline.

    Parameters
    ----------
    knots_x, knots_y : (n_x + 4,), (n_y + 4,) float
        Knots in the two coordinates of :func:`table_coordinates`.
    coefficients_xy : (n_x, n_y) float
        B-spline coefficients.
    d_luminosity_max : float
        Upper end of the distance prior [Mpc].
    """

    knots_x: np.ndarray
    knots_y: np.ndarray
    coefficients_xy: np.ndarray
    d_luminosity_max: float


def table_coordinates(
    d_h: npt.ArrayLike, h_h: npt.ArrayLike, d_luminosity_max: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the coordinates in which ln F is smooth.

    Parameters
    ----------
    d_h, h_h : (...) float
        Inner products (d|h) and (h|h) at 1 Mpc.
    d_luminosity_max : float
        Upper end of the distance prior [Mpc].

    Returns
    -------
    x, y : (...) float
        x = ln(sqrt(h_h) / (r_max (10 + abs(v)))) and y = v / (10 + abs(v)), with the
        overlap v = d_h / sqrt(h_h).
    """
    norm_h = np.sqrt(h_h)
    overlap = np.asarray(d_h) / norm_h
    x = np.log(norm_h / (d_luminosity_max * (SIGMAS + np.abs(overlap))))
    y = overlap / (OVERLAP_SCALE + np.abs(overlap))
    return x, y


def lnlike_marginalized(
    d_h: npt.ArrayLike, h_h: npt.ArrayLike, table: DistanceTable
) -> np.ndarray:
    """Return the log likelihood marginalised over luminosity distance.

    Parameters
    ----------
    d_h, h_h : (...) float
        Inner products (d|h) and (h|h) at 1 Mpc, summed over detectors.
    table : DistanceTable

    Returns
    -------
    (...) float
        ln of the likelihood relative to noise alone. Where ``h_h`` is zero, or below by
        rounding, there is no signal and the value is 0; NaN gives NaN.
    """
    d_h, h_h = np.broadcast_arrays(np.asarray(d_h, float), np.asarray(h_h, float))
    lnlike = np.empty(d_h.size)
    _lnlike_marginalized(
        d_h.ravel(),
        h_h.ravel(),
        np.ascontiguousarray(table.knots_x),
        np.ascontiguousarray(table.knots_y),
        np.ascontiguousarray(table.coefficients_xy),
        float(table.d_luminosity_max),
        lnlike,
    )
    return lnlike.reshape(d_h.shape)


def sample_distance(
    d_h: npt.ArrayLike, h_h: npt.ArrayLike, uniforms: npt.ArrayLike, table: DistanceTable
) -> np.ndarray:
    """Draw luminosity distances from their conditional given the other parameters.

    The conditional, proportional to r^2 exp(d_h / r - h_h / (2 r^2)) up to the prior's
    end, is inverted by its cumulative, one uniform number per draw. Simpson's rule in
    cells of u = sqrt(h_h) / r is right to about 1e-5 of the total, and to 2e-4 where
    d_h < 0 and distances pile up at the prior's end.

    Parameters
    ----------
    d_h, h_h : (...) float
        Inner products (d|h) and (h|h) at 1 Mpc, summed over detectors.
    uniforms : (...) float
        Numbers in [0, 1): the quantiles of the distances returned.
    table : DistanceTable
        Only its ``d_luminosity_max`` is used.

    Returns
    -------
    (...) float
        Luminosity distances [Mpc]. Where ``h_h`` is zero, or below by rounding, they are
        draws from the prior; NaN gives NaN.
    """
    d_h, h_h, uniforms = np.broadcast_arrays(
        np.asarray(d_h, float), np.asarray(h_h, float), np.asarray(uniforms, float)
    )
    distance = np.empty(d_h.size)
    _sample_distance(
        d_h.ravel(), h_h.ravel(), uniforms.ravel(), float(table.d_luminosity_max), distance
    )
    return distance.reshape(d_h.shape)


@kernel()
def _basis(knots: np.ndarray, x: float, basis: np.ndarray) -> int:
    """Fill in the four cubic B-splines that do not vanish at x (de Boor, Cox).

    Returns the index of the first one. x is clamped to the knots' range, as FITPACK does.
    """
    n = len(knots) - _DEGREE - 1
    if x < knots[_DEGREE]:
        x = knots[_DEGREE]
    elif x > knots[n]:
        x = knots[n]
    low, high = _DEGREE, n
    while high - low > 1:
        middle = (low + high) // 2
        if x >= knots[middle]:
            low = middle
        else:
            high = middle
    basis[0] = 1.0
    for degree in range(1, _DEGREE + 1):
        carried = 0.0
        for j in range(degree):
            right = knots[low + j + 1]
            left = knots[low + j + 1 - degree]
            part = basis[j] / (right - left)
            basis[j] = carried + (right - x) * part
            carried = (x - left) * part
        basis[degree] = carried
    return low - _DEGREE


@kernel(nogil=True)
def _lnlike_marginalized(
    d_h: np.ndarray,
    h_h: np.ndarray,
    knots_x: np.ndarray,
    knots_y: np.ndarray,
    coefficients_xy: np.ndarray,
    d_luminosity_max: float,
    lnlike: np.ndarray,
) -> None:
    basis_x = np.empty(_DEGREE + 1)
    basis_y = np.empty(_DEGREE + 1)
    density_log = np.empty(2 * _MAX_LOG_CELLS + 1)
    density_linear = np.empty(2 * _N_LINEAR_CELLS + 1)
    x_max = knots_x[-1]
    for k in range(len(d_h)):
        if math.isnan(d_h[k]) or math.isnan(h_h[k]):
            lnlike[k] = math.nan
            continue
        if h_h[k] <= 0:
            lnlike[k] = 0.0
            continue
        norm_h = math.sqrt(h_h[k])
        overlap = d_h[k] / norm_h
        u_min = norm_h / d_luminosity_max
        x = math.log(u_min / (SIGMAS + abs(overlap)))
        if not (
            _NEAREST <= x <= x_max
            and -SIGMAS <= overlap <= LARGEST_OVERLAP
            and u_min - overlap < _FARTHEST
        ):
            lnlike[k] = _lnlike_integrated(overlap, u_min, density_log, density_linear)
            continue
        y = overlap / OVERLAP_SCALE
        y /= 1 + abs(y)
        start_x = _basis(knots_x, x, basis_x)
        start_y = _basis(knots_y, y, basis_y)
        value = 0.0
        for i in range(_DEGREE + 1):
            row = 0.0
            for j in range(_DEGREE + 1):
                row += coefficients_xy[start_x + i, start_y + j] * basis_y[j]
            value += row * basis_x[i]
        lnlike[k] = value + 0.5 * overlap**2


@kernel()
def _sample_distance(
    d_h: np.ndarray,
    h_h: np.ndarray,
    uniforms: np.ndarray,
    d_luminosity_max: float,
    distance: np.ndarray,
) -> None:
    density_log = np.empty(2 * _MAX_LOG_CELLS + 1)
    density_linear = np.empty(2 * _N_LINEAR_CELLS + 1)
    for k in range(len(d_h)):
        if math.isnan(d_h[k]) or math.isnan(h_h[k]) or math.isnan(uniforms[k]):
            distance[k] = math.nan
        elif h_h[k] <= 0:
            distance[k] = d_luminosity_max * uniforms[k] ** (1 / 3)
        else:
            norm_h = math.sqrt(h_h[k])
            # Small distances are large u.
            u = _sample_u(
                d_h[k] / norm_h,
                norm_h / d_luminosity_max,
                1 - uniforms[k],
                density_log,
                density_linear,
            )
            distance[k] = min(norm_h / u, d_luminosity_max)


@kernel()
def _lnlike_integrated(
    overlap: float, u_min: float, density_log: np.ndarray, density_linear: np.ndarray
) -> float:
    """Return the log likelihood by integration over u; see :func:`_fill_cells`."""
    u_start, n_log, _, n_linear, _, _ = _fill_cells(
        overlap, u_min, density_log, density_linear
    )
    mass = _simpson(density_log, n_log) + _simpson(density_linear, n_linear)
    # The best fit over distance, or the exponent where the density is relative to 1.
    height = 0.5 * overlap**2 if u_start < overlap else u_start * (overlap - 0.5 * u_start)
    return height + math.log(3 * mass) + 3 * math.log(u_min / u_start)


@kernel()
def _sample_u(
    overlap: float,
    u_min: float,
    quantile: float,
    density_log: np.ndarray,
    density_linear: np.ndarray,
) -> float:
    """Return the quantile of the density of :func:`_fill_cells`."""
    _, n_log, log_step, n_linear, u_linear, linear_step = _fill_cells(
        overlap, u_min, density_log, density_linear
    )
    mass_log = _simpson(density_log, n_log)
    wanted = quantile * (mass_log + _simpson(density_linear, n_linear))
    if wanted < mass_log:
        return u_min * math.exp(log_step * _invert(density_log, n_log, wanted))
    return u_linear + linear_step * _invert(density_linear, n_linear, wanted - mass_log)


@kernel()
def _fill_cells(
    overlap: float, u_min: float, density_log: np.ndarray, density_linear: np.ndarray
) -> tuple[float, int, float, int, float, float]:
    """Fill in the density u^-4 exp(-(u - overlap)^2 / 2), u > u_min, at ends and middles.

    Relative to its height at u_start, or to its Gaussian's where that is higher, in two
    rows of cells, logarithmic from u_min on and linear from u_linear on.

    Returns
    -------
    u_start : float
        Where the cells begin.
    n_log, log_step, n_linear, u_linear, linear_step
    """
    if overlap > _PEAK_ALONE_FROM or u_min * (u_min - overlap) > _STEEP:
        u_linear = max(u_min, overlap - _N_SIGMA_BELOW)
        log_range = 0.0
    else:
        u_linear = max(u_min, _LINEAR_FROM)
        log_range = math.log(u_linear / u_min)
    u_max = overlap + math.sqrt(max(u_linear - overlap, 0.0) ** 2 + 2 * _E_FOLDS_ABOVE)
    n_log = min(math.ceil(log_range * _LOG_CELLS_PER_E_FOLD), _MAX_LOG_CELLS)
    log_step = log_range / max(n_log, 1)
    # Of the type of n_log: a constant would be compiled for anew.
    n_linear = len(density_linear) // 2
    linear_step = (u_max - u_linear) / n_linear

    # Both densities relative to the same height, so that nothing under- or overflows.
    u_start = u_min if n_log else u_linear
    least = 0.5 * max(u_start - overlap, 0.0) ** 2
    u = u_start
    half_ratio = math.exp(0.5 * log_step)
    for k in range(2 * n_log + 1):  # per unit of ln u, times the step
        gaussian = math.exp(least - 0.5 * (u - overlap) ** 2)
        density_log[k] = log_step * (u_start / u) ** 3 * gaussian
        u *= half_ratio
    # At equal steps a Gaussian's ratio of neighbours changes by a constant factor.
    half_step = 0.5 * linear_step
    offset = u_linear - overlap
    gaussian = math.exp(least - 0.5 * offset**2) * linear_step / u_start
    ratio = math.exp(-half_step * (offset + 0.5 * half_step))
    ratio_of_ratios = math.exp(-(half_step**2))
    for k in range(2 * n_linear + 1):
        prior = u_start / (u_linear + k * half_step)
        prior *= prior
        density_linear[k] = prior * prior * gaussian
        gaussian *= ratio
        ratio *= ratio_of_ratios

    return u_start, n_log, log_step, n_linear, u_linear, linear_step


@kernel()
def _simpson(density: np.ndarray, n_cells: int) -> float:
    total = 0.0
    for cell in range(n_cells):
        total += density[2 * cell] + 4 * density[2 * cell + 1] + density[2 * cell + 2]
    return total / 6


@kernel()
def _invert(density: np.ndarray, n_cells: int, wanted: float) -> float:
    """Return the position, in cells, up to which the density's integral is wanted."""
    for cell in range(n_cells):
        low, middle, high = density[2 * cell], density[2 * cell + 1], density[2 * cell + 2]
        mass = (low + 4 * middle + high) / 6
        if wanted < mass:
            return cell + _invert_cell(low, middle, high, wanted)
        wanted -= mass
    return float(n_cells)


@kernel()
def _invert_cell(low: float, middle: float, high: float, wanted: float) -> float:
    """Return t where the integral from 0 of the parabola through (0, 1/2, 1) is wanted."""
    slope = -3 * low + 4 * middle - high
    curvature = 2 * (low - 2 * middle + high)
    t_low, t_high = 0.0, 1.0
    t = 6 * wanted / (low + 4 * middle + high)
    for _ in range(_N_NEWTON):
        excess = t * (low + t * (slope / 2 + t * curvature / 3)) - wanted
        if excess > 0:
            t_high = t
        else:
            t_low = t
        value = low + t * (slope + t * curvature)
        t_new = t - excess / value if value > 0 else t_low - 1
        t = t_new if t_low <= t_new <= t_high else 0.5 * (t_low + t_high)
    return t
