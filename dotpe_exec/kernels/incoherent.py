"""Single-detector likelihoods, fast: screened in single precision, decided in double.

The formulas are those of :mod:`.incoherent_dense`. What makes this one fast:

* *The maximum needs no accuracy anywhere but where it is.* The matched filter at all
  times is computed in single precision from a low-rank basis of the time grid
  (:mod:`.lowrank`), and with it all (phase, time). The error of every value is bounded,
  for this very waveform, by sums of absolute values; only times that can hold the maximum
  within that bound are then evaluated in double precision with all frequency bins. The
  result is therefore that of double precision: neither the rank nor single precision
  enters it. Where the bound says nothing (M singular or indefinite, numbers out of
  range) every time is evaluated.
* cos and sin of the phases come from vectorised polynomials (:mod:`.trigonometry`).
* Mode pairs with equal m - m' merge before the phases are evaluated, and with an even
  number of phases the modes of even and odd m are summed once for phi and phi + pi.

Cost per waveform, with N = n_m n_b numbers per polarisation (N = 1512 in the standard
workload) and rank r (about 40):

===================  ===========================  ==========================
step                 operations                   main memory
===================  ===========================  ==========================
waveform             90 N                         32 N bytes read
mode products        (n_m + 1) N (12 + 16 n_d)    in cache
screening filter     n_d N (16 + 8 r), single     in cache
times and phases     n_d n_phi n_t (4 n_m + 10)   in cache
decision             28 n_d N per time            in cache
===================  ===========================  ==========================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from . import incoherent_loops as loops
from .incoherent_dense import singular_rcond
from .incoherent_maximum import decide
from .lowrank import make_time_basis
from .summary import IncoherentSummary, Summary, mode_pairs
from .waveforms import line_fit_arrays, readonly

# Waveforms at a time: few enough for the second-level cache, enough to share the weights
# that must be fetched from beyond it. It does not enter the result.
_CHUNK = 16

# Rows of bins are filled up to a multiple of this: loops over them need no remainder.
_ROW = 32

# Truncation of the time basis: about as large as the bound on single-precision rounding,
# so that neither makes many more times candidates than the other.
_BASIS_TOLERANCE = 1e-4

_ULP32 = 2.0**-24


@dataclass(frozen=True)
class PreparedIncoherent:
    """All that the kernel needs besides waveforms; made once per phase.

    Real and imaginary parts are an axis c; rows of bins are filled with zeros to n_row.
    Indices k run over mode pairs, j over their distinct \\|m - m'\\|, r over the basis,
    s over the columns of the screening times.

    Parameters
    ----------
    fbin_b, phase_step_b, fit_weights_b, m2_index
        The line fit, see :func:`.waveforms.line_fit_arrays`.
    dh_weights_dmpcb : (n_d, n_m, 2, 2, n_row) float
        Summary weights divided by asd_drift^2.
    timeshift_dtcb : (n_d, n_t, 2, n_row) float
        exp(2 pi i f t).
    hh_weights_kppdcb : (n_k, 2, 2, n_d, 2, n_row) float
        Summary weights divided by asd_drift^2.
    pairs_k4 : (n_k, 4) int
        Positions of m and m', index j of the pair and sign of m - m'.
    pair_phasor_jco : (n_j, 2, n_phi) float
        cos and sin of \\|m - m'\\| phi_o.
    mode_phasor_mco : (n_m, 2, n_phi) float
        cos and sin of m phi_o.
    screen_order_m : (n_m,) int
        Positions of the modes of even m, then of those of odd m.
    n_even : int
        Number of modes of even m.
    screen_phasor_omc : (n_screened, n_m, 2) float32
        cos and sin of m phi_o in that order, for the phases that are summed; the others
        follow by phi -> phi + pi, which changes the sign of odd modes.
    rcond : float
        See :func:`.incoherent_dense.symmetric_inverse`.
    scale_b : (n_row,) float
        Inverse of a typical waveform: brings single-precision numbers to order one.
    screen_weights_mpdcb : (n_m, 2, n_d, 2, n_row) float32
        dh_weights exp(2 pi i f t_mid) / scale_b, scaled per detector.
    screen_scale_d : (n_d,) float
        That scale.
    screen_error_mpdb : (n_m, 2, n_d, n_row) float32
        Bound on the error of a screened z per unit of the scaled amplitude.
    rounding : float
        Part of that bound that is relative rounding.
    basis_br : (n_row, n_r) float32
    times_drs : (n_d, n_r, 2 n_s) float32
        Time basis; columns are the real, then the imaginary parts for the screening times.
    column_times : (n_columns,) int
        Index into the time grid of each screened column, columns of mirrored times last.
    """

    fbin_b: np.ndarray
    phase_step_b: np.ndarray
    fit_weights_b: np.ndarray
    m2_index: int
    dh_weights_dmpcb: np.ndarray
    timeshift_dtcb: np.ndarray
    hh_weights_kppdcb: np.ndarray
    pairs_k4: np.ndarray
    pair_phasor_jco: np.ndarray
    mode_phasor_mco: np.ndarray
    screen_order_m: np.ndarray
    n_even: int
    screen_phasor_omc: np.ndarray
    rcond: float
    scale_b: np.ndarray
    screen_weights_mpdcb: np.ndarray
    screen_scale_d: np.ndarray
    screen_error_mpdb: np.ndarray
    rounding: float
    basis_br: np.ndarray
    times_drs: np.ndarray
    column_times: np.ndarray


def _split(array: np.ndarray) -> np.ndarray:
    """Return a complex array with real and imaginary parts as second-last axis."""
    return np.ascontiguousarray(np.stack([array.real, array.imag], axis=-2))


def _padded(array: np.ndarray) -> np.ndarray:
    """Return rows of bins filled with zeros to a whole number of vector registers."""
    n_b = array.shape[-1]
    return np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, -n_b % _ROW)])


def _rows(array: np.ndarray) -> np.ndarray:
    return _split(_padded(array))


def prepare_incoherent(
    incoherent_summary: IncoherentSummary, n_phi: int
) -> PreparedIncoherent:
    """Return what :func:`incoherent_lnlike` needs besides waveforms.

    Parameters
    ----------
    incoherent_summary : IncoherentSummary
    n_phi : int
        Number of orbital phases.

    Returns
    -------
    PreparedIncoherent
        Arrays and numbers only: it can be put into the store.

    Raises
    ------
    ValueError
        Weights are not finite, or their shapes do not fit each other.
    """
    summary = incoherent_summary.summary
    _check(summary)
    times_dt = np.asarray(incoherent_summary.times_dt, dtype=float)
    fbin_b, phase_step_b, fit_weights_b = line_fit_arrays(summary.line_fit)
    drift2_d = np.square(summary.asd_drift_d)
    dh_weights_dmpb = summary.dh_weights_dmpb / drift2_d[:, None, None, None]
    hh_weights_dkppb = summary.hh_weights_dmppb / drift2_d[:, None, None, None, None]
    return PreparedIncoherent(
        fbin_b=fbin_b,
        phase_step_b=phase_step_b,
        fit_weights_b=fit_weights_b,
        m2_index=int(summary.line_fit.m2_index),
        dh_weights_dmpcb=_rows(dh_weights_dmpb),
        timeshift_dtcb=_rows(np.exp(2j * np.pi * fbin_b * times_dt[:, :, None])),
        hh_weights_kppdcb=_rows(np.moveaxis(hh_weights_dkppb, 0, 3)),
        rcond=singular_rcond(hh_weights_dkppb.shape[1], len(fbin_b)),
        **_mode_tables(np.asarray(summary.m_arr, dtype=np.int64), n_phi),
        **_screening_tables(
            fbin_b, times_dt, dh_weights_dmpb, np.abs(summary.line_fit.h2plus0_b)
        ),
    )


def _mode_tables(m_arr: np.ndarray, n_phi: int) -> dict[str, Any]:
    """Return what depends on the modes and phases alone."""
    phi_o = 2 * np.pi * np.arange(n_phi) / n_phi
    # Re(exp(i delta phi) X) = Re(exp(-i delta phi) conj(X)), so that only |delta| matters.
    m_inds, mprime_inds = mode_pairs(len(m_arr))
    delta_k = m_arr[m_inds] - m_arr[mprime_inds]
    delta_j, j_k = np.unique(np.abs(delta_k), return_inverse=True)
    sign_k = np.where(delta_k < 0, -1, 1)
    mode_phasor_mco = _split(np.exp(1j * np.outer(m_arr, phi_o)))
    order_m = np.argsort(m_arr % 2, kind="stable").astype(np.int64)
    n_screened = n_phi // 2 if n_phi % 2 == 0 else n_phi
    screen_phasor_omc = mode_phasor_mco[order_m, :, :n_screened].transpose(2, 0, 1)
    return {
        "pairs_k4": np.stack([m_inds, mprime_inds, j_k.ravel(), sign_k], axis=1).astype(
            np.int64
        ),
        "pair_phasor_jco": _split(np.exp(1j * np.outer(delta_j, phi_o))),
        "mode_phasor_mco": mode_phasor_mco,
        "screen_order_m": order_m,
        "n_even": int(np.count_nonzero(m_arr % 2 == 0)),
        "screen_phasor_omc": np.ascontiguousarray(screen_phasor_omc, dtype=np.float32),
    }


def _screening_tables(
    fbin_b: np.ndarray,
    times_dt: np.ndarray,
    dh_weights_dmpb: np.ndarray,
    typical_b: np.ndarray,
) -> dict[str, Any]:
    """Return scales, basis and error bounds of the screening.

    ``typical_b`` is the modulus of a typical waveform; if it is not typical, only speed
    suffers.
    """
    n_m, _, n_b = dh_weights_dmpb.shape[1:]
    largest = typical_b.max() if typical_b.any() else 1.0
    typical_b = np.maximum(typical_b, 1e-6 * largest)
    size_db = np.sqrt((np.abs(dh_weights_dmpb) ** 2).sum(axis=(1, 2))) * typical_b
    scale_d = 1 / np.where(size_db.any(axis=1), size_db.max(axis=1), 1.0)
    size_b = (scale_d[:, None] * size_db).max(axis=0)
    size_b = np.maximum(size_b, 1e-3 * size_b.max()) if size_b.any() else np.ones(n_b)
    basis = make_time_basis(fbin_b, times_dt, size_b, _BASIS_TOLERANCE)

    # Each of the numbers summed is rounded a few times on its way; a sum of n terms in any
    # order is off by at most n ulp of the sum of absolute values.
    rounding = (n_b + basis.basis_br.shape[1] + 2 * n_m + 24) * _ULP32
    error_db = basis.error_db + rounding * np.maximum(basis.growth_db, 1.0)
    shift_db = np.exp(2j * np.pi * fbin_b * basis.t_mid_d[:, None])
    weights_dmpb = (
        dh_weights_dmpb * (shift_db * typical_b * scale_d[:, None])[:, None, None]
    )
    # The last factor covers that the bound itself is evaluated in single precision.
    error_dmpb = np.abs(weights_dmpb) * error_db[:, None, None] * (1 + rounding)
    columns, coefficients_drs = _screening_columns(basis.coefficients_drt)
    return {
        "scale_b": _padded(1 / typical_b),
        "screen_weights_mpdcb": _rows(np.moveaxis(weights_dmpb, 0, 2)).astype(np.float32),
        "screen_scale_d": scale_d,
        "screen_error_mpdb": _padded(np.moveaxis(error_dmpb, 0, 2)).astype(np.float32),
        "rounding": rounding,
        "basis_br": np.ascontiguousarray(_padded(basis.basis_br.T).T),
        "times_drs": np.concatenate([coefficients_drs.real, coefficients_drs.imag], axis=2),
        "column_times": columns,
    }


def _check(summary: Summary) -> None:
    """Refuse weights that compiled loops, which check nothing, would stumble over."""
    n_d, n_m, n_b = len(summary.asd_drift_d), len(summary.m_arr), len(summary.fbin_b)
    for name, expected in (
        ("dh_weights_dmpb", (n_d, n_m, 2, n_b)),
        ("hh_weights_dmppb", (n_d, n_m * (n_m + 1) // 2, 2, 2, n_b)),
    ):
        found = getattr(summary, name)
        if found.shape != expected:
            raise ValueError(f"{name} has shape {found.shape}, expected {expected}")
        if not np.isfinite(found).all():
            raise ValueError(f"{name} contains NaN or infinity")
    if not 0 <= summary.line_fit.m2_index < n_m:
        raise ValueError(f"m2_index is {summary.line_fit.m2_index} with {n_m} modes")


def _screening_columns(coefficients_drt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the time index of each screening column, and the basis' coefficients.

    On grids symmetric around their middle the coefficients at -tau are the conjugates of
    those at tau: the columns then stand for the later half, and once more, mirrored, for
    the earlier half.
    """
    n_t = coefficients_drt.shape[2]
    if not np.array_equal(coefficients_drt[:, :, ::-1].conj(), coefficients_drt):
        return np.arange(n_t), coefficients_drt
    later = np.arange(n_t // 2, n_t)
    return np.concatenate([later, n_t - 1 - later]), coefficients_drt[:, :, later]


def incoherent_lnlike(
    amplitudes_impb: np.ndarray, phases_impb: np.ndarray, prepared: PreparedIncoherent
) -> np.ndarray:
    """Return the single-detector likelihoods of waveforms.

    Parameters
    ----------
    amplitudes_impb, phases_impb : (n_i, n_m, 2, n_b) float
        Amplitudes [1/Hz] and phases [rad] at 1 Mpc, as a bank keeps them; memory maps
        are read once, where they lie.
    prepared : PreparedIncoherent

    Returns
    -------
    lnlike_di : (n_d, n_i) float
        As :func:`.incoherent_dense.incoherent_lnlike_dense`, to rounding. A waveform's
        values do not depend on which others are in the batch. NaN where the waveform or
        the likelihood is not finite.
    """
    return incoherent_lnlike_counted(amplitudes_impb, phases_impb, prepared)[0]


def incoherent_lnlike_counted(
    amplitudes_impb: np.ndarray, phases_impb: np.ndarray, prepared: PreparedIncoherent
) -> tuple[np.ndarray, int]:
    """Return :func:`incoherent_lnlike`, and how many times were evaluated in double.

    At least one per waveform and detector; many more mean that the screening's bounds are
    too wide to be of use.
    """
    amplitudes_impb, phases_impb = readonly(amplitudes_impb), readonly(phases_impb)
    n_i, n_m = amplitudes_impb.shape[:2]
    n_d, n_r, n_s = prepared.times_drs.shape
    expected = (n_i, prepared.dh_weights_dmpcb.shape[1], 2, len(prepared.fbin_b))
    if not amplitudes_impb.shape == phases_impb.shape == expected:
        # Compiled loops do not check.
        raise ValueError(
            f"waveforms have shapes {amplitudes_impb.shape} and {phases_impb.shape}, "
            f"expected {expected}"
        )
    n_j = len(prepared.pair_phasor_jco)
    n_chunk = max(min(_CHUNK, n_i), 1)
    n_row = len(prepared.basis_br)
    h_impcb = np.zeros((n_chunk, n_m, 2, 2, n_row))
    hh_idjppc = np.empty((n_chunk, n_d, n_j, 2, 2, 2))
    y_dimpcb = np.empty((n_d, n_chunk, n_m, 2, 2, n_row), dtype=np.float32)
    c_xr = np.empty((n_d * n_chunk * n_m * 4, n_r), dtype=np.float32)
    c_dxs = np.empty((n_d, n_chunk * n_m * 4, n_s), dtype=np.float32)
    error_idp = np.empty((n_chunk, n_d, 2))
    unit_i = np.empty(n_chunk)
    lnlike_di = np.empty((n_d, n_i))
    lnlike_id = np.empty((n_chunk, n_d))
    n_evaluated = 0
    basis_br = np.asarray(prepared.basis_br)
    times_drs = np.asarray(prepared.times_drs)
    tables = _tables(prepared)
    for start in range(0, n_i, n_chunk):
        stop = min(start + n_chunk, n_i)
        rows = slice(0, stop - start)
        loops.fill_waveforms(
            amplitudes_impb[start:stop],
            phases_impb[start:stop],
            prepared.m2_index,
            tables["fbin_b"],
            tables["phase_step_b"],
            tables["fit_weights_b"],
            h_impcb,
        )
        hh_idjppc[:] = 0.0
        loops.fill_norms(
            h_impcb[rows], tables["hh_weights_kppdcb"], tables["pairs_k4"], hh_idjppc
        )
        loops.fill_screen(
            h_impcb[rows],
            hh_idjppc,
            tables["scale_b"],
            tables["screen_weights_mpdcb"],
            tables["screen_error_mpdb"],
            y_dimpcb,
            error_idp,
            unit_i,
        )
        with np.errstate(over="ignore", invalid="ignore"):
            np.matmul(y_dimpcb.reshape(-1, n_row), basis_br, out=c_xr)
            np.matmul(c_xr.reshape(n_d, -1, n_r), times_drs, out=c_dxs)
        n_evaluated += decide(
            h_impcb[rows],
            hh_idjppc,
            c_dxs.reshape(n_d, n_chunk, n_m, 2, 2, n_s),
            error_idp,
            unit_i,
            tables["screen_scale_d"],
            prepared.rounding,
            tables["dh_weights_dmpcb"],
            tables["timeshift_dtcb"],
            tables["pair_phasor_jco"],
            tables["mode_phasor_mco"],
            tables["screen_phasor_omc"],
            tables["screen_order_m"],
            prepared.n_even,
            prepared.rcond,
            tables["column_times"],
            lnlike_id,
        )
        lnlike_di[:, start:stop] = lnlike_id[rows].T
    return lnlike_di, n_evaluated


def compile_incoherent(prepared: PreparedIncoherent) -> None:
    """Compile the loops, or load them from the cache on disk, by computing one waveform.

    Where a parent calls this before it starts workers, they find the cache filled.
    """
    shape = (1, *prepared.dh_weights_dmpcb.shape[1:3], len(prepared.fbin_b))
    incoherent_lnlike(np.zeros(shape), np.zeros(shape), prepared)


def _tables(prepared: PreparedIncoherent) -> dict[str, np.ndarray]:
    """Return the arrays as one type for the compiled loops, memory-mapped or not."""
    tables = {}
    for name, value in vars(prepared).items():
        if isinstance(value, np.ndarray):
            tables[name] = value.view(np.ndarray)[...]
            tables[name].flags.writeable = False
    return tables
