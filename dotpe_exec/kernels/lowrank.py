"""A small real basis in frequency for sums over a grid of arrival times.

The matched filter evaluates sum_b y_b exp(2 pi i f_b t) at times that span a few
milliseconds, which is far fewer degrees of freedom than there are frequency bins. Around
the middle of the grid, tau = t - t_mid,

    exp(2 pi i f_b tau_t) = sum_r basis_br coefficients_rt + error_bt.

If the grid is symmetric around its middle the singular vectors in b are real, so that the
first and larger product of the two has half the operations of a complex one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Numbers in a vector register.
_REGISTER = 8


@dataclass(frozen=True)
class TimeBasis:
    """Factors of the time-shift matrices of several detectors, in single precision.

    Parameters
    ----------
    basis_br : (n_b, n_r) float32
    coefficients_drt : (n_d, n_r, n_t) complex64
    t_mid_d : (n_d,) float
        Middle of each detector's time grid [s].
    error_db : (n_d, n_b) float
        Largest |error_bt| over the times, of the factors as rounded.
    growth_db : (n_d, n_b) float
        Largest sum_r |basis_br| (|Re coefficient_rt| + |Im coefficient_rt|): rounding
        errors of the two products are at most a few ulp times sum_b |y_b| growth_b.
    """

    basis_br: np.ndarray
    coefficients_drt: np.ndarray
    t_mid_d: np.ndarray
    error_db: np.ndarray
    growth_db: np.ndarray


def make_time_basis(
    fbin_b: np.ndarray, times_dt: np.ndarray, scale_b: np.ndarray, tolerance: float
) -> TimeBasis:
    """Return the smallest basis that meets the tolerance.

    Parameters
    ----------
    fbin_b : (n_b,) float
        Frequencies [Hz].
    times_dt : (n_d, n_t) float
        Times [s].
    scale_b : (n_b,) float
        Typical size of the numbers y_b that will be summed; positive.
    tolerance : float
        Largest sum_b scale_b error_b / sum_b scale_b that is accepted. With a tolerance
        of zero the basis has full rank.

    Returns
    -------
    TimeBasis
        The actual errors are part of it, whatever the tolerance.
    """
    n_d, n_t = times_dt.shape
    t_mid_d = 0.5 * (times_dt[:, 0] + times_dt[:, -1])
    tau_dt = times_dt - t_mid_d[:, None]
    # Real part of the Gram matrix over times: for symmetric grids the imaginary part
    # vanishes, for others the basis is larger but serves as well.
    phase_bt = 2 * np.pi * np.outer(fbin_b, tau_dt.ravel())
    shift_bt = np.exp(1j * phase_bt)
    scaled_bt = scale_b[:, None] * shift_bt
    gram_bb = scaled_bt.real @ scaled_bt.real.T + scaled_bt.imag @ scaled_bt.imag.T
    vectors_br = np.linalg.eigh(gram_bb)[1][:, ::-1]
    projected_rt = vectors_br.T @ scaled_bt

    # Bisect for the rank: errors fall with it, up to rounding.
    low, high = 0, min(len(fbin_b), 2 * n_d * n_t)
    while high - low > 1:
        middle = (low + high) // 2
        residual_bt = scaled_bt - vectors_br[:, :middle] @ projected_rt[:middle]
        if np.abs(residual_bt).max(axis=1).sum() <= tolerance * scale_b.sum():
            high = middle
        else:
            low = middle

    # Matrix products take whole registers: the rest of the last one is free.
    high = min(-(-high // _REGISTER) * _REGISTER, len(fbin_b))
    basis_br = (vectors_br[:, :high] / scale_b[:, None]).astype(np.float32)
    if 2 * np.pi * fbin_b.max() * np.abs(tau_dt + tau_dt[:, ::-1]).max() < 1e-7:
        # Symmetric up to rounding: make it exact, so that half of it can be left out.
        mirrored_rt = projected_rt.reshape(-1, n_d, n_t)[:, :, ::-1].conj()
        projected_rt = 0.5 * (projected_rt + mirrored_rt.reshape(projected_rt.shape))
    coefficients_rt = projected_rt[:high].astype(np.complex64)
    error_bt = np.abs(shift_bt - basis_br.astype(float) @ coefficients_rt.astype(complex))
    growth_bt = np.abs(basis_br) @ (
        np.abs(coefficients_rt.real) + np.abs(coefficients_rt.imag)
    )
    by_detector = (len(fbin_b), n_d, n_t)
    return TimeBasis(
        basis_br=basis_br,
        coefficients_drt=np.ascontiguousarray(
            coefficients_rt.reshape(high, n_d, n_t).transpose(1, 0, 2)
        ),
        t_mid_d=t_mid_d,
        error_db=error_bt.reshape(by_detector).max(axis=2).T,
        growth_db=growth_bt.reshape(by_detector).max(axis=2).T.astype(float),
    )
