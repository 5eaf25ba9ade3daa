"""Likelihood of one waveform at many extrinsic points, marginalised over phase, distance.

The matched-filter time series of :mod:`.extrinsic_filter` are interpolated (cubic) to the
arrival times at the detectors and projected on the antenna responses:

    dh_m = sum_{d,p} response_dp z_dmp(t_d)
    hh_k = sum_{d,p,P} response_dp response_dP sum_{|m - m'| = k} hh_mm'pPd
    dh_o = Re sum_m dh_m exp(-i m phi_o),    hh_o = Re sum_k hh_k exp(i k phi_o)
    L = mean_o exp(lnlike_marginalized(dh_o, hh_o))

Cost per (waveform, point): 4 n_d taps of 2 n_m complex numbers and one look-up of the
distance table at an upper bound over phases, about 0.2 microseconds; the phases, where
that bound matters, take a few nanoseconds each.

The weights of extrinsic samples do not depend on the accuracy here (single precision,
1e-3 in ln of the distance integral), only how well they are placed.

Index letters: d detector, m mode, p polarisation, t time, k difference of azimuthal
numbers, q point, o phase, c the (m, p) pairs, f real and imaginary parts in turn.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from .compiling import kernel
from .distance import OVERLAP_SCALE, SIGMAS
from .distance_grid import X_MAX, X_MIN, Y_MAX, Y_MIN
from .extrinsic_filter import FilterData

N_TAPS = 4
"""Time-series samples that the interpolation takes."""

NEGLIGIBLE = 1.0
"""Points left out contribute together less than this share of the best point."""

NEGLIGIBLE_PHASES = 0.05
"""Phases left out contribute together less than this share of a point's best phase."""

# The table ends at y = -1/2. Below, the likelihood is at its least: any signal in
# antiphase fits worse than one too far away to be seen.
_OVERLAP_MIN = -10.0


def marginalized_lnlike(
    series_dtc: np.ndarray,
    norms_kds: np.ndarray,
    times_qd: np.ndarray,
    response_qdp: np.ndarray,
    ln_weight_q: np.ndarray,
    data: FilterData,
    *,
    negligible: float = NEGLIGIBLE,
    negligible_phases: float = NEGLIGIBLE_PHASES,
) -> np.ndarray:
    """Return the likelihood at points, marginalised over orbital phase and distance.

    Parameters
    ----------
    series_dtc : (n_d, n_t, 2 n_m) complex64
        :func:`filter_series` of the waveform.
    norms_kds : (n_k, n_d, 3) complex
        :func:`mode_norms` of the waveform.
    times_qd : (n_q, n_d) float
        Arrival times in bins from the beginning of each detector's series.
    response_qdp : (n_q, n_d, 2) float
        Antenna responses.
    ln_weight_q : (n_q,) float
        ln of the weights with which the points will be summed: tells what is negligible.
    data : FilterData
    negligible, negligible_phases : float
        Points, and phases of a point, left out contribute together less than this share of
        what the best one contributes.

    Returns
    -------
    (n_q,) float
        ln of the phase-averaged, distance-marginalised likelihood; -inf at points that
        were left out.
    """
    if not len(times_qd):
        return np.empty(0)
    n_k, n_d = norms_kds.shape[:2]
    norms_dsk = np.moveaxis(norms_kds, 0, -1).reshape(n_d * 3, n_k).astype(np.complex64)
    return _marginalized_lnlike(
        np.ascontiguousarray(series_dtc).view(np.float32),
        np.ascontiguousarray(norms_dsk).view(np.float32),
        _writable(times_qd, np.float32),
        _writable(response_qdp, np.float32),
        _writable(ln_weight_q, np.float64),
        _writable(data.m_arr, np.int64),
        _writable(data.cos_ko, np.float32),
        _writable(data.sin_ko, np.float32),
        _writable(data.ln_distance_xy, np.float32),
        float(data.d_luminosity_max),
        math.log(len(times_qd) / negligible),
        math.log(data.cos_ko.shape[1] / negligible_phases),
    )


def for_many_calls(data: FilterData) -> FilterData:
    """Return the data with arrays that :func:`marginalized_lnlike` need not convert."""
    return replace(
        data,
        m_arr=_writable(data.m_arr, np.int64),
        cos_ko=_writable(data.cos_ko, np.float32),
        sin_ko=_writable(data.sin_ko, np.float32),
        ln_distance_xy=_writable(data.ln_distance_xy, np.float32),
    )


def _writable(array: np.ndarray, dtype: type) -> np.ndarray:
    """Return a copy where needed: for read-only arrays numba would compile anew."""
    if array.dtype == dtype and array.flags.c_contiguous and array.flags.writeable:
        return array
    return np.array(array, dtype=dtype, order="C")


@kernel()
def _ln_distance(overlap, norm_h, ln_distance_xy, d_max):
    """ln of likelihood marginalised over best fit over distance, linearly interpolated."""
    n_x, n_y = ln_distance_xy.shape
    # Reciprocals of constants are constants: divisions are most of the time here.
    x = math.log(norm_h / (d_max * (SIGMAS + abs(overlap)))) - X_MIN
    y = overlap / (OVERLAP_SCALE + abs(overlap)) - Y_MIN
    x *= (1 / (X_MAX - X_MIN)) * (n_x - 1)
    y *= (1 / (Y_MAX - Y_MIN)) * (n_y - 1)
    x = min(max(x, 0.0), n_x - 1.001)
    y = min(max(y, 0.0), n_y - 1.001)
    i, j = int(x), int(y)
    x -= i
    y -= j
    low = ln_distance_xy[i, j] * (1 - y) + ln_distance_xy[i, j + 1] * y
    high = ln_distance_xy[i + 1, j] * (1 - y) + ln_distance_xy[i + 1, j + 1] * y
    return low * (1 - x) + high * x


@kernel()
def _lnlike_at(dh, hh, ln_distance_xy, d_max):
    """ln of the likelihood at one phase, marginalised over distance."""
    norm_h = math.sqrt(hh)
    overlap = max(dh / norm_h, _OVERLAP_MIN)
    return 0.5 * overlap**2 + _ln_distance(overlap, norm_h, ln_distance_xy, d_max)


@kernel()
def _mode_sums(series_dtf, norms_sf, times_qd, response_qdp, dh_qf, hh_qf):
    """Fill in (d|h) by mode and (h|h) by k, real and imaginary parts in turn."""
    n_q, n_d = times_qd.shape
    n_t, n_f = series_dtf.shape[1:]
    n_m, n_kf = n_f // 4, norms_sf.shape[1]
    tap = np.empty(4, dtype=np.float32)
    sums_f = np.empty(n_f, dtype=np.float32)
    for q in range(n_q):
        dh_f, hh_f = dh_qf[q], hh_qf[q]
        dh_f[:] = 0
        hh_f[:] = 0
        for d in range(n_d):
            t = times_qd[q, d]
            start = min(max(int(t) - 1, 0), n_t - 4)
            x = t - np.float32(start + 1)
            up, down, down2 = x + np.float32(1), x - np.float32(1), x - np.float32(2)
            tap[0] = -x * down * down2 * np.float32(1 / 6)
            tap[1] = up * down * down2 * np.float32(0.5)
            tap[2] = -up * x * down2 * np.float32(0.5)
            tap[3] = up * x * down * np.float32(1 / 6)
            row0, row1 = series_dtf[d, start], series_dtf[d, start + 1]
            row2, row3 = series_dtf[d, start + 2], series_dtf[d, start + 3]
            for f in range(n_f):
                sums_f[f] = (
                    tap[0] * row0[f]
                    + tap[1] * row1[f]
                    + tap[2] * row2[f]
                    + tap[3] * row3[f]
                )
            plus, cross = response_qdp[q, d, 0], response_qdp[q, d, 1]
            for m in range(n_m):
                dh_f[2 * m] += plus * sums_f[4 * m] + cross * sums_f[4 * m + 2]
                dh_f[2 * m + 1] += plus * sums_f[4 * m + 1] + cross * sums_f[4 * m + 3]
            square, mixed, cross2 = plus * plus, plus * cross, cross * cross
            for f in range(n_kf):
                hh_f[f] += (
                    square * norms_sf[3 * d, f]
                    + mixed * norms_sf[3 * d + 1, f]
                    + cross2 * norms_sf[3 * d + 2, f]
                )


@kernel()
def _marginalized_lnlike(
    series_dtf,
    norms_sf,
    times_qd,
    response_qdp,
    ln_weight_q,
    m_arr,
    cos_ko,
    sin_ko,
    ln_distance_xy,
    d_max,
    point_drop,
    phase_drop,
):
    n_q = len(times_qd)
    n_m = len(m_arr)
    n_k, n_phi = cos_ko.shape
    dh_qf = np.empty((n_q, 2 * n_m), dtype=np.float32)
    hh_qf = np.empty((n_q, 2 * n_k), dtype=np.float32)
    _mode_sums(series_dtf, norms_sf, times_qd, response_qdp, dh_qf, hh_qf)

    # Bounds over phases: |dh| from above, hh from below. The most promising point goes
    # first, for it sets what is negligible for the others.
    dh_max_q, hh_min_q, upper_q = np.empty(n_q), np.empty(n_q), np.empty(n_q)
    first = 0
    for q in range(n_q):
        dh_max, hh_min = 0.0, float(hh_qf[q, 0])
        for m in range(n_m):
            dh_max += math.sqrt(dh_qf[q, 2 * m] ** 2 + dh_qf[q, 2 * m + 1] ** 2)
        for k in range(1, n_k):
            hh_min -= math.sqrt(hh_qf[q, 2 * k] ** 2 + hh_qf[q, 2 * k + 1] ** 2)
        dh_max_q[q], hh_min_q[q] = dh_max, hh_min
        upper_q[q] = 0.5 * dh_max**2 / hh_min + ln_weight_q[q] if hh_min > 0 else np.inf
        if upper_q[q] > upper_q[first]:
            first = q

    lnlike_q = np.full(n_q, -np.inf)
    dh_o, hh_o = np.empty(n_phi, np.float32), np.empty(n_phi, np.float32)
    bestfit_o = np.empty(n_phi, np.float32)
    likely_o = np.empty(n_phi, np.int64)
    lnlike_o = np.empty(n_phi)
    largest = -np.inf
    for step in range(-1, n_q):
        q = first if step < 0 else step
        if upper_q[q] < largest - point_drop or (step >= 0 and q == first):
            continue
        if hh_min_q[q] > 0:
            norm_h = math.sqrt(hh_min_q[q])
            shortfall = _ln_distance(dh_max_q[q] / norm_h, norm_h, ln_distance_xy, d_max)
            if upper_q[q] + shortfall < largest - point_drop:
                continue
        dh_o[:] = 0
        hh_o[:] = hh_qf[q, 0]
        for m in range(n_m):
            real, imag = dh_qf[q, 2 * m], dh_qf[q, 2 * m + 1]
            cos_o, sin_o = cos_ko[m_arr[m]], sin_ko[m_arr[m]]
            for o in range(n_phi):
                dh_o[o] += real * cos_o[o] + imag * sin_o[o]
        for k in range(1, n_k):
            real, imag = hh_qf[q, 2 * k], hh_qf[q, 2 * k + 1]
            if real != 0 or imag != 0:
                cos_o, sin_o = cos_ko[k], sin_ko[k]
                for o in range(n_phi):
                    hh_o[o] += real * cos_o[o] - imag * sin_o[o]
        # Of phases at which nothing fits: zero; where there is no power: less.
        for o in range(n_phi):
            bestfit = np.float32(0.5) * dh_o[o] * dh_o[o] / hh_o[o]
            bestfit = bestfit if dh_o[o] > 0 else np.float32(0)
            bestfit_o[o] = bestfit if hh_o[o] > 0 else np.float32(-np.inf)
        best, best_o = np.float32(0), 0
        for o in range(n_phi):
            if bestfit_o[o] > best:
                best, best_o = bestfit_o[o], o
        # Distance marginalisation never exceeds the best fit over distance.
        if best + ln_weight_q[q] < largest - point_drop:
            continue
        # The best phase says which of the others may matter; they are gathered first, for
        # look-ups without a branch between them overlap in the processor.
        least = 0.0
        if bestfit_o[best_o] >= 0:
            lnlike = _lnlike_at(dh_o[best_o], hh_o[best_o], ln_distance_xy, d_max)
            least = max(lnlike - phase_drop, 0.0)
        n_likely = 0
        for turn in range(n_phi):
            o = best_o + turn
            o = o - n_phi if o >= n_phi else o
            likely_o[n_likely] = o
            n_likely += bestfit_o[o] >= least
        for j in range(n_likely):
            o = likely_o[j]
            lnlike_o[j] = _lnlike_at(dh_o[o], hh_o[o], ln_distance_xy, d_max)
        total, scale = 0.0, -np.inf
        for j in range(n_likely):
            if bestfit_o[likely_o[j]] < scale - phase_drop:
                continue
            lnlike = lnlike_o[j]
            if lnlike > scale:
                total = total * math.exp(scale - lnlike) + 1.0
                scale = lnlike
            else:
                total += math.exp(lnlike - scale)
        if total > 0:
            lnlike_q[q] = scale + math.log(total / n_phi)
            largest = max(largest, lnlike_q[q] + ln_weight_q[q])
    return lnlike_q
