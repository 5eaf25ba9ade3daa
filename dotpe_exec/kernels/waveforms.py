"""Bank waveforms, moved in time onto the reference ("linear-free").

A bank keeps h = A exp(i phase) by amplitude and phase. Each waveform is shifted so that
its m = 2 plus polarisation is in phase with the reference waveform's: a weighted straight
line is fitted to the phase of their ratio and its slope is taken out as a time shift.
"""

from __future__ import annotations

import math

import numpy as np

from .compiling import CONTRACT, REORDER, kernel
from .summary import LineFit
from .trigonometry import REDUCTION_LIMIT, cos_sin

_TWO_PI = 2 * math.pi

# Sums may be reassociated, which lets them run in vector registers; NaN and infinity keep
# their meaning.


def line_fit_arrays(line_fit: LineFit) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the reference in the form that :func:`line_fit_shift` takes.

    Returns
    -------
    fbin_b : (n_b,) float
        Frequencies [Hz].
    phase_step_b : (n_b,) float
        Increment of the reference's phase from each bin to the next [rad]; the last
        entry is not used.
    weights_b : (n_b,) float
        Squared weight of a residual, per unit amplitude of the waveform: the fit weighs
        residuals with ``line_fit.weights_b`` sqrt|h / h0|. Zero where h0 vanishes.
    """
    h0_b = np.asarray(line_fit.h2plus0_b)
    present = np.abs(h0_b) > 0
    weights_b = np.divide(
        np.square(line_fit.weights_b), np.abs(h0_b), out=np.zeros(len(h0_b)), where=present
    )
    phase_step_b = np.append(np.diff(np.angle(h0_b)), 0.0)
    return readonly(line_fit.fbin_b), readonly(phase_step_b), readonly(weights_b)


@kernel(fastmath=CONTRACT)
def line_fit_shift(amplitude_b, phase_b, fbin_b, phase_step_b, weights_b):
    """Return the time [s] by which one waveform is moved onto the reference.

    dt = -s / (2 pi), with s the slope of the weighted least-squares line through
    (f_b, unwrap(arg(h_b / h0_b))), in closed form. About 20 operations per bin.

    Parameters
    ----------
    amplitude_b, phase_b : (n_b,) float
        The waveform's m = 2 plus polarisation.
    fbin_b, phase_step_b, weights_b : (n_b,) float
        See :func:`line_fit_arrays`.

    Returns
    -------
    float
        Zero where no line is defined (fewer than two bins of non-zero weight).
    """
    sum_w, sum_wf, n_weighted = _weight_sums(amplitude_b, fbin_b, weights_b)
    if n_weighted < 2:
        return 0.0
    mean_f = sum_wf / sum_w
    n_b = fbin_b.size
    unwrapped_b = np.empty(n_b)
    for b in range(n_b - 1):
        step = phase_b[b + 1] - phase_b[b] - phase_step_b[b]
        unwrapped_b[b + 1] = step - _TWO_PI * math.floor(step * (1 / _TWO_PI) + 0.5)
    phase = 0.0
    for b in range(1, n_b):
        phase += unwrapped_b[b]
        unwrapped_b[b] = phase
    unwrapped_b[0] = 0.0
    slope = _weighted_slope(amplitude_b, unwrapped_b, fbin_b, weights_b, mean_f)
    return -slope / _TWO_PI


@kernel(fastmath=REORDER)
def _weight_sums(amplitude_b, fbin_b, weights_b):
    sum_w = 0.0
    sum_wf = 0.0
    n_weighted = 0
    for b in range(fbin_b.size):
        weight = weights_b[b] * amplitude_b[b]
        sum_w += weight
        sum_wf += weight * fbin_b[b]
        n_weighted += weight != 0.0
    return sum_w, sum_wf, n_weighted


@kernel(fastmath=REORDER)
def _weighted_slope(amplitude_b, phase_b, fbin_b, weights_b, mean_f):
    sum_wff = 0.0
    sum_wfp = 0.0
    for b in range(fbin_b.size):
        f = fbin_b[b] - mean_f
        weighted = weights_b[b] * amplitude_b[b] * f
        sum_wff += weighted * f
        sum_wfp += weighted * phase_b[b]
    return sum_wfp / sum_wff if sum_wff != 0.0 else 0.0


@kernel(fastmath=CONTRACT)
def shifted_waveform_row(amplitude_b, phase_b, shift_b, real_b, imag_b):
    """Write A cos(phase + shift) and A sin(phase + shift) of one mode and polarisation.

    About 45 operations and 24 bytes read, 16 written, per bin.
    """
    n_beyond = 0
    for b in range(amplitude_b.size):
        n_beyond += not (abs(phase_b[b] + shift_b[b]) <= REDUCTION_LIMIT)
    if n_beyond == 0:
        for b in range(amplitude_b.size):
            c, s = cos_sin(phase_b[b] + shift_b[b])
            real_b[b] = amplitude_b[b] * c
            imag_b[b] = amplitude_b[b] * s
    else:
        for b in range(amplitude_b.size):
            x = phase_b[b] + shift_b[b]
            real_b[b] = amplitude_b[b] * math.cos(x)
            imag_b[b] = amplitude_b[b] * math.sin(x)


def readonly(array: np.ndarray) -> np.ndarray:
    """Return a C-contiguous read-only view: compiled functions then see one type only,
    memory map or not, and are compiled once.
    """
    view = np.ascontiguousarray(array, dtype=np.float64).view(np.ndarray)
    view = view[...]
    view.flags.writeable = False
    return view


def linear_free_shift(
    amplitudes_impb: np.ndarray, phases_impb: np.ndarray, line_fit: LineFit
) -> np.ndarray:
    """Return the times by which waveforms are moved onto the reference.

    Parameters
    ----------
    amplitudes_impb, phases_impb : (n_i, n_m, 2, n_b) float
        Amplitudes [1/Hz] and phases [rad] of the waveforms.
    line_fit : LineFit

    Returns
    -------
    (n_i,) float
        dt_i [s]; the linear-free waveform is h(f) exp(2 pi i f dt_i). NaN where the
        m = 2 plus polarisation is not finite, zero where it vanishes.
    """
    return _shifts(
        readonly(amplitudes_impb[:, line_fit.m2_index, 0]),
        readonly(phases_impb[:, line_fit.m2_index, 0]),
        *line_fit_arrays(line_fit),
    )


@kernel()
def _shifts(amplitudes_ib, phases_ib, fbin_b, phase_step_b, weights_b):
    dt_i = np.empty(amplitudes_ib.shape[0])
    for i in range(dt_i.size):
        dt_i[i] = line_fit_shift(
            amplitudes_ib[i], phases_ib[i], fbin_b, phase_step_b, weights_b
        )
    return dt_i


def linear_free_waveforms(
    amplitudes_impb: np.ndarray, phases_impb: np.ndarray, line_fit: LineFit
) -> tuple[np.ndarray, np.ndarray]:
    """Return waveforms moved in time onto the reference.

    Parameters
    ----------
    amplitudes_impb, phases_impb : (n_i, n_m, 2, n_b) float
        Amplitudes [1/Hz] and phases [rad] of the waveforms, at 1 Mpc.
    line_fit : LineFit

    Returns
    -------
    h_impb : (n_i, n_m, 2, n_b) complex
        A exp(i (phase + 2 pi f dt_i)) [1/Hz].
    dt_i : (n_i,) float
        See :func:`linear_free_shift` [s].
    """
    dt_i = linear_free_shift(amplitudes_impb, phases_impb, line_fit)
    h_impb = np.empty(amplitudes_impb.shape, dtype=np.complex128)
    fbin_b = np.array(line_fit.fbin_b, dtype=float)
    _waveforms(readonly(amplitudes_impb), readonly(phases_impb), fbin_b, dt_i, h_impb)
    return h_impb, dt_i


@kernel()
def _waveforms(amplitudes_impb, phases_impb, fbin_b, dt_i, h_impb):
    n_i, n_m, n_p, n_b = amplitudes_impb.shape
    real_b = np.empty(n_b)
    imag_b = np.empty(n_b)
    shift_b = np.empty(n_b)
    for i in range(n_i):
        for b in range(n_b):
            shift_b[b] = _TWO_PI * fbin_b[b] * dt_i[i]
        for m in range(n_m):
            for p in range(n_p):
                shifted_waveform_row(
                    amplitudes_impb[i, m, p], phases_impb[i, m, p], shift_b, real_b, imag_b
                )
                for b in range(n_b):
                    h_impb[i, m, p, b] = complex(real_b[b], imag_b[b])
