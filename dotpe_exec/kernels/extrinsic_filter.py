"""Matched-filter time series and norms of linear-free waveforms.

    z_dmp(t) = sum_b dh_weights_dmpb conj(h_mpb) exp(2 pi i f_b (t + tcoarse)) / asd_drift^2

on a time grid common to all detectors, through a low-rank basis of the time shifts: per
waveform n_d 2 n_m (n_b + n_t) rank complex products.

Index letters: d detector, m mode, p polarisation, b frequency bin, t time, r rank,
k difference of azimuthal numbers, s term of the antenna response, c the (m, p) pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .distance import DistanceTable
from .distance_grid import tabulate_distance
from .summary import LineFit, Summary, mode_pairs

# Of the polarisations' products, relative: below, they are one and the same.
_SMALLEST_DETERMINANT = 1e-6


@dataclass(frozen=True)
class FilterData:
    """What matched-filter time series and norms are made of.

    Parameters
    ----------
    m_arr : (n_m,) int
    dh_weights_dmpb : (n_d, n_m, 2, n_b) complex
        The summary's, shifted to the beginning of the time grid and over asd_drift^2.
    hh_weights_dmppb : (n_d, n_mm, 2, 2, n_b) complex
        The summary's, over asd_drift^2.
    line_fit : LineFit
    project_br, expand_rt : (n_b, n_r), (n_r, n_t) complex
        exp(2 pi i f_b k dt) = project_br @ expand_rt up to the tolerance of
        :func:`time_basis`.
    collect_rb : (n_r, n_b) complex
        expand_rt = collect_rb @ exp(2 pi i f_b k dt), as well between the grid's times.
    start_b : (n_b,) complex
        Time shift to the beginning of the time grid, which is part of ``dh_weights_dmpb``.
    cos_ko, sin_ko : (n_k, n_phi) float
        Of k phi_o, k = 0, 1, ... largest azimuthal number.
    ln_distance_xy : (n_x, n_y) float
        :func:`tabulate_distance`.
    d_luminosity_max : float
        Upper end of the distance prior [Mpc].
    """

    m_arr: np.ndarray
    dh_weights_dmpb: np.ndarray
    hh_weights_dmppb: np.ndarray
    line_fit: LineFit
    project_br: np.ndarray
    expand_rt: np.ndarray
    collect_rb: np.ndarray
    start_b: np.ndarray
    cos_ko: np.ndarray
    sin_ko: np.ndarray
    ln_distance_xy: np.ndarray
    d_luminosity_max: float


def prepare_filter(
    summary: Summary,
    scale_b: np.ndarray,
    table: DistanceTable,
    *,
    t_start: float,
    dt: float,
    n_t: int,
    tcoarse: float,
    n_phi: int,
) -> FilterData:
    """Prepare time series on the grid ``t_start + dt * arange(n_t)``.

    Parameters
    ----------
    summary : Summary
        Of all detectors.
    scale_b : (n_b,) float
        Typical size of dh_weights conj(h) by bin: the accuracy of the time basis is
        relative to it.
    table : DistanceTable
    t_start, dt : float
        Beginning and step of the grid of arrival times [s].
    n_t : int
    tcoarse : float
        Time of the event from the beginning of the data [s].
    n_phi : int
        Orbital phases.
    """
    asd_drift_d = summary.asd_drift_d
    shift_b = np.exp(2j * np.pi * summary.fbin_b * (t_start + tcoarse))
    project_br, expand_rt, collect_rb = time_basis(
        summary.fbin_b, dt * np.arange(n_t), scale_b
    )
    phase_ko = np.outer(
        np.arange(summary.m_arr.max() + 1), 2 * np.pi / n_phi * np.arange(n_phi)
    )
    return FilterData(
        m_arr=np.asarray(summary.m_arr),
        dh_weights_dmpb=summary.dh_weights_dmpb
        * shift_b
        / asd_drift_d[:, None, None, None] ** 2,
        hh_weights_dmppb=summary.hh_weights_dmppb
        / asd_drift_d[:, None, None, None, None] ** 2,
        line_fit=summary.line_fit,
        project_br=project_br,
        expand_rt=expand_rt,
        collect_rb=collect_rb,
        start_b=shift_b,
        cos_ko=np.cos(phase_ko),
        sin_ko=np.sin(phase_ko),
        ln_distance_xy=tabulate_distance(table),
        d_luminosity_max=float(table.d_luminosity_max),
    )


def time_basis(
    fbin_b: np.ndarray, times_t: np.ndarray, scale_b: np.ndarray, tolerance: float = 1e-7
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Factor the time shifts exp(2 pi i f_b t) into few terms.

    Parameters
    ----------
    fbin_b : (n_b,) float
        Frequencies [Hz].
    times_t : (n_t,) float
        Times [s].
    scale_b : (n_b,) float
        Typical size of what the shifts will multiply.
    tolerance : float
        Singular values below this share of the largest are left out.

    Returns
    -------
    project_br : (n_b, n_r) complex
    expand_rt : (n_r, n_t) complex
        ``project_br @ expand_rt`` is the matrix of time shifts.
    collect_rb : (n_r, n_b) complex
        ``collect_rb @ shifts`` is ``expand_rt``, for any times in the range of the grid.
    """
    # Bins that hardly matter are kept above this share, so that dividing is harmless.
    scale_b = np.maximum(scale_b / scale_b.max(), 1e-4)
    shifts_bt = np.exp(2j * np.pi * np.outer(fbin_b, times_t))
    scaled_bt = scale_b[:, None] * shifts_bt
    # Singular vectors, from the smaller matrix. Those of singular values below 1e-8 of the
    # largest would be lost in rounding.
    squares_r, left_br = np.linalg.eigh(scaled_bt @ scaled_bt.conj().T)
    left_br = left_br[:, squares_r > tolerance**2 * squares_r[-1]][:, ::-1]
    collect_rb = left_br.conj().T * scale_b
    return left_br / scale_b[:, None], collect_rb @ shifts_bt, collect_rb


def filter_series(
    h_impb: np.ndarray, data: FilterData, first_d: np.ndarray, n_t: int
) -> np.ndarray:
    """Return matched-filter time series of linear-free waveforms.

    Parameters
    ----------
    h_impb : (n_i, n_m, 2, n_b) complex
        Linear-free waveforms at 1 Mpc.
    data : FilterData
    first_d : (n_d,) int
        First time bin wanted of each detector.
    n_t : int
        Number of time bins wanted.

    Returns
    -------
    (n_i, n_d, n_t, 2 * n_m) complex64
        z by waveform, detector, time and (mode, polarisation).
    """
    return expand_series(filter_products(h_impb, data), data, first_d, n_t)


def filter_products(h_impb: np.ndarray, data: FilterData) -> np.ndarray:
    """Return products of data and waveforms in the basis of time shifts.

    Parameters
    ----------
    h_impb, data
        As in :func:`filter_series`.

    Returns
    -------
    (n_i, n_d, 2 * n_m, n_r) complex64
    """
    n_i, n_m, n_p, n_b = h_impb.shape
    n_d, n_c = len(data.dh_weights_dmpb), n_m * n_p
    project_br = np.asarray(data.project_br, dtype=np.complex64)
    products_idcr = np.empty((n_i, n_d, n_c, project_br.shape[1]), dtype=np.complex64)
    for i in range(n_i):
        products_dcb = (data.dh_weights_dmpb * h_impb[i].conj()).reshape(n_d * n_c, n_b)
        projected = products_dcb.astype(np.complex64) @ project_br
        products_idcr[i] = projected.reshape(n_d, n_c, -1)
    return products_idcr


def expand_series(
    products_idcr: np.ndarray, data: FilterData, first_d: np.ndarray, n_t: int
) -> np.ndarray:
    """Return matched-filter time series of what :func:`filter_products` returned.

    Parameters
    ----------
    data, first_d, n_t
        As in :func:`filter_series`, which see for what is returned.
    """
    n_i, n_d, n_c = products_idcr.shape[:3]
    parts_dtr = [
        np.asarray(data.expand_rt[:, first : first + n_t].T, dtype=np.complex64)
        for first in first_d
    ]
    series_idtc = np.empty((n_i, n_d, n_t, n_c), dtype=np.complex64)
    for i in range(n_i):
        for d in range(n_d):
            series_idtc[i, d] = parts_dtr[d] @ products_idcr[i, d].T
    return series_idtc


def mode_norms(h_impb: np.ndarray, data: FilterData) -> np.ndarray:
    """Return (h|h) of waveforms by difference of azimuthal numbers.

    Parameters
    ----------
    h_impb : (n_i, n_m, 2, n_b) complex
        Waveforms at 1 Mpc.
    data : FilterData

    Returns
    -------
    (n_i, n_k, n_d, 3) complex
        Coefficients of F+^2, F+ Fx and Fx^2; the phase dependence of term k is
        exp(i k phi).
    """
    n_i, n_b = len(h_impb), h_impb.shape[-1]
    n_d = len(data.hh_weights_dmppb)
    norms_ikds = np.zeros((n_i, len(data.cos_ko), n_d, 3), dtype=complex)
    h_mpib = np.ascontiguousarray(np.moveaxis(h_impb, 0, 2))
    for x, (m, mprime) in enumerate(zip(*mode_pairs(len(data.m_arr)), strict=True)):
        products_ppib = h_mpib[m][:, None] * h_mpib[mprime].conj()[None, :]
        weights_ppbd = np.moveaxis(data.hh_weights_dmppb[:, x], 0, -1)
        # A product for each waveform: the same bits whichever others come with it.
        terms_ppid = np.matmul(
            products_ppib.reshape(4, n_i, 1, n_b), weights_ppbd.reshape(4, 1, n_b, n_d)
        )[:, :, 0]
        terms_ids = np.stack(
            [terms_ppid[0], terms_ppid[1] + terms_ppid[2], terms_ppid[3]], axis=-1
        )
        k = int(data.m_arr[m] - data.m_arr[mprime])
        # Only the real part of term times phasor counts: negative k fold onto positive.
        norms_ikds[:, abs(k)] += terms_ids.conj() if k < 0 else terms_ids
    return norms_ikds


def single_detector_lnlike(
    series_dtc: np.ndarray, norms_kds: np.ndarray, data: FilterData
) -> np.ndarray:
    """Return the ln likelihood of the arrival time at each detector, (n_d, n_t).

    Maximised over the amplitudes of both polarisations and over phase, as in the
    incoherent stage: u^T M^-1 u / 2. Its maximum is where a detector by itself would have
    the signal arrive. A bound that lets polarisations or modes have phases of their own is
    largest elsewhere, by several milliseconds for inclined, precessing binaries.
    """
    n_d, n_t, n_c = series_dtc.shape
    z_mpdt = np.moveaxis(series_dtc, -1, 0).reshape(n_c // 2, 2, n_d, n_t)
    lnlike_dt = np.zeros((n_d, n_t))
    for cos_k, sin_k in zip(data.cos_ko.T, data.sin_ko.T, strict=True):
        phasor_m = (cos_k - 1j * sin_k)[data.m_arr].astype(np.complex64)
        plus_dt, cross_dt = np.tensordot(phasor_m, z_mpdt, 1).real.astype(float)
        norm_ds = np.tensordot(cos_k + 1j * sin_k, norms_kds, 1).real
        plus2_d, both_d, cross2_d = norm_ds.T[..., np.newaxis]
        # Without its part that is determined by rounding alone.
        determinant_d = plus2_d * cross2_d - both_d**2 / 4
        determinant_d = np.maximum(
            determinant_d, _SMALLEST_DETERMINANT * plus2_d * cross2_d
        )
        twice_dt = (
            cross2_d * plus_dt**2 - both_d * plus_dt * cross_dt + plus2_d * cross_dt**2
        )
        np.maximum(
            lnlike_dt,
            np.divide(
                twice_dt / 2, determinant_d, out=np.zeros_like(twice_dt),
                where=determinant_d > 0,
            ),
            out=lnlike_dt,
        )  # fmt: skip
    return lnlike_dt
