"""Few numbers per waveform in place of all frequency bins: bases of the time shifts.

Arrival times of a detector spread over milliseconds, so that the time-shift matrix
(b x e) has a numerical rank far below the number of bins. With rows scaled by a typical
s_b = |dh_weights h| and T = conj(timeshift),

    s_b T_be = sum_r U_br C_re + E_be,      U^H U = 1,      U^H E = 0,

so that for w_b = dh_weights conj(h), v_b = w_b / s_b,

    sum_b w_b T_be = sum_r A_r C_re + error,    A_r = sum_b v_b U_br,
    |error| <= ||v|| ||E_e||.

``||E_e||`` is measured, not estimated, and ``||v||`` is computed for each waveform, so
that the bound is one. The rank is the smallest for which it holds for a typical waveform
with a margin; a waveform for which it does not hold is computed with all bins.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Columns of the first sketch of the range; doubled until the bound holds.
_FIRST_SKETCH = 64


@dataclass(frozen=True)
class ShiftBasis:
    """Factorisation of one detector's time shifts.

    Parameters
    ----------
    basis_br : (n_b, rank) complex
        U / s: takes dh_weights conj(h) to A.
    coefficients_re : (rank, n_e) complex
        C, rows in order of importance.
    scale_b : (n_b,) float
        s, the rows' scale.
    residual_e : (n_e,) float
        ||E_e||.
    """

    basis_br: np.ndarray
    coefficients_re: np.ndarray
    scale_b: np.ndarray
    residual_e: np.ndarray


def row_scale(weights_mpb: np.ndarray, amplitude_mpb: np.ndarray) -> np.ndarray:
    """Return a typical |weight * h| per bin, bounded below so that it can divide.

    The bound keeps bins that matter little from mattering at all in the choice of the
    basis; it is low enough for waveforms that reach higher frequencies than the typical.
    """
    scale_b = (np.abs(weights_mpb) * amplitude_mpb).max(axis=(0, 1))
    largest = scale_b.max()
    return np.maximum(scale_b, 1e-4 * largest) if largest > 0 else np.ones_like(scale_b)


def factor_shifts(
    shift_be: np.ndarray, scale_b: np.ndarray, tolerance: float
) -> ShiftBasis:
    """Factor a matrix of time shifts to the smallest rank that meets the tolerance.

    Parameters
    ----------
    shift_be : (n_b, n_e) complex
        exp(2 pi i f t), the conjugate of the time shifts.
    scale_b : (n_b,) float
        Positive scale of the rows.
    tolerance : float
        Largest residual ||E_e|| wanted.

    Returns
    -------
    ShiftBasis
        Its residuals are below the tolerance, or at rounding.

    Notes
    -----
    The range comes from a sketch (Halko, Martinsson & Tropp 2011), cost 24 n_b n_e times
    the sketch's columns in flops.
    """
    scaled_be = scale_b[:, None] * shift_be
    # Below the rounding of the products themselves nothing is gained.
    largest = np.linalg.norm(scale_b)
    tolerance = max(tolerance, 4 * np.finfo(float).eps * largest)
    full = min(scaled_be.shape)
    n_columns = _FIRST_SKETCH
    while True:
        n_columns = min(n_columns, full)
        range_bk = _range(scaled_be, n_columns)
        projected_ke = range_bk.conj().T @ scaled_be
        missed_e = np.linalg.norm(scaled_be - range_bk @ projected_ke, axis=0)
        # Half the budget for what the sketch missed, the rest for the truncation.
        if n_columns == full or missed_e.max() <= 0.5 * tolerance:
            break
        n_columns *= 2
    # The left singular vectors are those of the small triangular factor.
    triangle_rk = np.asarray(np.linalg.qr(projected_ke.conj().T, mode="r"))
    rotation_kr = np.linalg.svd(triangle_rk.conj().T, full_matrices=False)[0]
    coefficients_re = rotation_kr.conj().T @ projected_ke
    tail_re = np.cumsum(np.abs(coefficients_re[::-1]) ** 2, axis=0)[::-1]
    residual_re = np.sqrt(np.vstack([tail_re, np.zeros(tail_re.shape[1])]) + missed_e**2)
    sufficient = np.flatnonzero(residual_re.max(axis=1) <= tolerance)
    rank = int(sufficient[0]) if sufficient.size else len(coefficients_re)
    rank = max(rank, 1)
    return ShiftBasis(
        basis_br=(range_bk @ rotation_kr[:, :rank]) / scale_b[:, None],
        coefficients_re=coefficients_re[:rank],
        scale_b=scale_b,
        residual_e=residual_re[rank],
    )


def _range(matrix_be: np.ndarray, n_columns: int) -> np.ndarray:
    """Return an orthonormal basis (n_b, n_columns) of the range, or nearly of it."""
    n_b, n_e = matrix_be.shape
    if n_columns >= n_e:
        sketch = matrix_be
    elif n_columns >= n_b:
        return np.eye(n_b, dtype=complex)
    else:
        # A fixed test matrix, no draw of the run: any that is not special will do.
        sketch = matrix_be @ np.random.default_rng(0).standard_normal((n_e, n_columns))
    return np.linalg.qr(sketch)[0]
