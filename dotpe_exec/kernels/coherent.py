"""The coherent likelihood of waveform batches at extrinsic samples, fast.

The formula stands in :mod:`.coherent_dense`. What makes it fast, and how it stays right:

* (d|h): time shifts are factored per detector (:mod:`.coherent_basis`), so that a
  waveform shrinks from n_b bins to K = sum of the ranks numbers by mode and
  polarisation, A_impk, made once for all extrinsic samples:

      dh_iem = sum_{p,k} A_impk B_epk,    B_epk = C_ke response_dpe / asd_drift_d^2.

  The error of that is bounded waveform by waveform; where the bound exceeds the
  tolerance times the waveform's norm, all bins are used.
* (h|h): mode pairs merge by m - m', polarisations by symmetry (:mod:`.coherent_norms`).
* Screening (:mod:`.coherent_screen`): a matrix product in single precision of the
  leading part of A and B gives every (i, e) an upper bound of bestfit_lnlike over phase,
  (sum_m |dh_m|)^2 / (2 hh_min), with its own errors bounded and added. Only pairs whose
  bound reaches the floor are evaluated, in double precision, one by one, in an order
  of operations that knows nothing of batches (:mod:`.coherent_pairs`).

Cost per waveform: 16 n_m n_b K flops for A, about 120 n_m^2 n_b n_d for (h|h). Per pair
screened: 16 n_m K_lead flops in single precision; per pair evaluated: 32 n_m K.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numba
import numpy as np

from . import coherent_norms
from .coherent_basis import ShiftBasis, factor_shifts, row_scale
from .summary import Summary

# Errors of (d|h) from the factorisation, relative to the waveform's norm, that is, in
# units of signal-to-noise ratio. Decided by waveform alone, so batches do not matter.
TOLERANCE = 1e-9
# What is left to waveforms unlike the typical one before they need all bins.
_MARGIN = 3.0
# Part of (d|h) that the screening may leave out for a waveform of the largest spread, in
# units of signal-to-noise ratio; what it does leave out is usually a tenth of that.
_LEAD_TOLERANCE = 0.1


@dataclass(frozen=True)
class PreparedCoherent:
    """What all batches of one coherent phase share, made once.

    Parameters
    ----------
    m_arr : (n_m,) int
    phases_cno : (2, n_m + n_orders, n_phi) float
        cos and sin: first of m phi_o, then of (m - m') phi_o.
    fold_mpbk : (n_m, 2, n_b, K) complex
        Takes conj(A) from h.
    spread_dmpb : (n_d, n_m, 2, n_b) float
        Takes ||v||^2 of the error bound from |h|^2.
    error_dp : (n_d, 2) float
        Largest ||E_e|| |response| / asd_drift^2: what ||v|| is to be multiplied with.
    tolerance : float
        Largest error of (d|h) relative to the waveform's norm.
    norm_k : (n_d * 3,) float
        Mean squared responses, for that norm.
    b_ceq : (2, n_e, 2 * K) float
        B, real and imaginary part; q is (p, k).
    detector_k : (K,) int
        The detector each k belongs to.
    lead_k : (K,) bool
        Whether the screening uses k.
    lead_cqe : (2, 4 * K_lead, n_e) float32
        B for the screening: what [Re A, Im A] is multiplied with for the real and
        the imaginary part of (d|h), in units of ``2**exponent``.
    tail_dpe, lead_norm_e : (n_d, 2, n_e), (n_e,) float
        Norms of what the screening leaves out and uses of B, in the same units.
    pair_weights_cxdb : (2, n_mm * 4, n_d, n_b) float
    q_ek : (n_e, n_d * 3) float
        Squared responses.
    exponent : int
        ``2**exponent`` is a typical sqrt(h|h): units of the single-precision part.
    dh_weights_dmpb, response_dpe, timeshift_dbe, asd_drift_d
        As given, for waveforms that need all bins.
    """

    m_arr: np.ndarray
    phases_cno: np.ndarray
    fold_mpbk: np.ndarray
    spread_dmpb: np.ndarray
    error_dp: np.ndarray
    tolerance: float
    norm_k: np.ndarray
    b_ceq: np.ndarray
    detector_k: np.ndarray
    lead_k: np.ndarray
    lead_cqe: np.ndarray
    tail_dpe: np.ndarray
    lead_norm_e: np.ndarray
    pair_weights_cxdb: np.ndarray
    q_ek: np.ndarray
    exponent: int
    dh_weights_dmpb: np.ndarray
    response_dpe: np.ndarray
    timeshift_dbe: np.ndarray
    asd_drift_d: np.ndarray

    @property
    def n_e(self) -> int:
        """Number of extrinsic samples."""
        return len(self.q_ek)

    @property
    def n_phi(self) -> int:
        """Number of orbital phases."""
        return self.phases_cno.shape[2]

    def __post_init__(self) -> None:
        # As a memory map would be: compiled functions see one type only, fast to read.
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            if isinstance(value, np.ndarray):
                value = np.ascontiguousarray(value).view()
                value.flags.writeable = False
                object.__setattr__(self, item.name, value)


@dataclass(frozen=True)
class Projected:
    """Waveforms reduced to what (d|h) and (h|h) need.

    Parameters
    ----------
    a_cimq : (2, n_i, n_m, 2 * K) float
        A, real and imaginary part; q is (p, k).
    norms_irk : (n_i, n_rows, n_d * 3) float
        Merged norms, see :mod:`.coherent_norms`.
    error_im : (n_i, n_m) float
        Bound of the factorisation's error of dh_m.
    within_i : (n_i,) bool
        Whether that error is within the tolerance.
    lead_nq : (n_i * n_m, 4 * K_lead) float32
        The part of A that the screening uses: n is (i, m), q is (c, p, k).
    lead_norm_im : (n_i, n_m) float
        Its norm.
    tail_imdp : (n_i, n_m, n_d, 2) float
        Norm of the part that it does not use.
    """

    a_cimq: np.ndarray
    norms_irk: np.ndarray
    error_im: np.ndarray
    within_i: np.ndarray
    lead_nq: np.ndarray
    lead_norm_im: np.ndarray
    tail_imdp: np.ndarray


def prepare_coherent(
    summary: Summary,
    response_dpe: np.ndarray,
    timeshift_dbe: np.ndarray,
    n_phi: int,
    *,
    amplitude_mpb: np.ndarray | None = None,
    tolerance: float = TOLERANCE,
) -> PreparedCoherent:
    """Make what all batches share: bases, their coefficients, responses, phases.

    Parameters
    ----------
    summary : Summary
    response_dpe : (n_d, 2, n_e) float
    timeshift_dbe : (n_d, n_b, n_e) complex
    n_phi : int
    amplitude_mpb : (n_m, 2, n_b) float, optional
        Typical |h| at 1 Mpc, for the choice of the bases; default: the reference's
        dominant mode for all. A bad choice costs time, never correctness.
    tolerance : float
        Largest error of (d|h) from the factorisation, relative to the waveform's norm.
    """
    m_arr = np.array(summary.m_arr, dtype=np.int64)
    asd_drift_d = np.array(summary.asd_drift_d, dtype=float)
    response_dpe = np.array(response_dpe, dtype=float)
    if amplitude_mpb is None:
        amplitude_mpb = np.broadcast_to(
            np.abs(summary.line_fit.h2plus0_b), summary.dh_weights_dmpb.shape[1:]
        )
    q_ke = coherent_norms.squared_responses(response_dpe, asd_drift_d)
    norm_k = q_ke.mean(axis=1)
    norm_k[1::3] = 0.0
    weights_cxdb = coherent_norms.pair_weights(summary)
    typical = _typical_norm(amplitude_mpb, weights_cxdb[0], m_arr, norm_k)

    gain_dp = np.abs(response_dpe).max(axis=2) / asd_drift_d[:, None] ** 2
    bases: list[ShiftBasis] = []
    for d, weights_mpb in enumerate(summary.dh_weights_dmpb):
        budget = typical / (len(asd_drift_d) * _MARGIN * np.sqrt(weights_mpb.shape[-1]))
        bases.append(
            factor_shifts(
                timeshift_dbe[d].conj(),
                row_scale(weights_mpb, amplitude_mpb),
                tolerance * budget / max(gain_dp[d].sum(), np.finfo(float).tiny),
            )
        )
    detector_k = np.repeat(np.arange(len(bases)), [len(x.coefficients_re) for x in bases])
    basis_bk = np.concatenate([x.basis_br for x in bases], axis=1)
    scale_db = np.stack([x.scale_b for x in bases])
    coefficients_ke = np.concatenate([x.coefficients_re for x in bases])
    gain_dpe = np.abs(response_dpe) / asd_drift_d[:, None, None] ** 2
    error_dp = (np.stack([x.residual_e for x in bases])[:, None] * gain_dpe).max(axis=2)

    lead_budget = _LEAD_TOLERANCE * typical / (len(bases) * np.sqrt(basis_bk.shape[0]))
    lead_k, tail_de = _leading(bases, lead_budget / gain_dp.sum(axis=1))
    b_pke = coefficients_ke * (
        response_dpe[detector_k] / asd_drift_d[detector_k, None, None] ** 2
    ).transpose(1, 0, 2)
    exponent = int(np.frexp(typical)[1]) if typical > 0 else 0
    lead_qe = b_pke[:, lead_k].reshape(-1, b_pke.shape[2]) * 2.0**-exponent
    lead_cqe = np.stack(
        [
            np.concatenate([lead_qe.real, -lead_qe.imag]),
            np.concatenate([lead_qe.imag, lead_qe.real]),
        ]
    )
    fold_mpbk = (
        np.moveaxis(summary.dh_weights_dmpb, 0, -1)[..., detector_k] * basis_bk
    ).conj()
    b_eq = b_pke.reshape(-1, b_pke.shape[2]).T
    return PreparedCoherent(
        m_arr=m_arr,
        phases_cno=_phase_table(m_arr, n_phi),
        fold_mpbk=fold_mpbk,
        spread_dmpb=np.abs(summary.dh_weights_dmpb / scale_db[:, None, None]) ** 2,
        error_dp=error_dp,
        tolerance=float(tolerance),
        norm_k=norm_k,
        b_ceq=np.stack([b_eq.real, b_eq.imag]),
        detector_k=detector_k,
        lead_k=lead_k,
        lead_cqe=lead_cqe.astype(np.float32),
        tail_dpe=tail_de[:, None] * gain_dpe * 2.0**-exponent,
        lead_norm_e=np.linalg.norm(lead_qe, axis=0),
        pair_weights_cxdb=weights_cxdb,
        q_ek=q_ke.T,
        exponent=exponent,
        dh_weights_dmpb=np.asarray(summary.dh_weights_dmpb),
        response_dpe=response_dpe,
        timeshift_dbe=np.asarray(timeshift_dbe),
        asd_drift_d=asd_drift_d,
    )


def project(h_impb: np.ndarray, prepared: PreparedCoherent) -> Projected:
    """Reduce waveforms to what the likelihood at any extrinsic sample needs of them.

    Parameters
    ----------
    h_impb : (n_i, n_m, 2, n_b) complex
        Linear-free waveforms at 1 Mpc.
    prepared : PreparedCoherent
    """
    n_i, n_m = h_impb.shape[:2]
    n_k = prepared.fold_mpbk.shape[-1]
    a_cimq = np.empty((2, n_i, n_m, 2 * n_k))
    for m in range(n_m):
        for p in range(2):
            a_ik = h_impb[:, m, p] @ prepared.fold_mpbk[m, p]
            part = slice(p * n_k, (p + 1) * n_k)
            a_cimq[0, :, m, part] = a_ik.real
            np.negative(a_ik.imag, out=a_cimq[1, :, m, part])
    norms_irk, power_idmp = coherent_norms.merged_norms(
        h_impb, prepared.pair_weights_cxdb, prepared.spread_dmpb, prepared.m_arr
    )
    error_im = np.einsum("idmp,dp->im", np.sqrt(power_idmp), prepared.error_dp)
    norm_i = np.sqrt(np.maximum(norms_irk[:, 0] @ prepared.norm_k, 0.0))
    within_i = error_im.sum(axis=1) <= prepared.tolerance * norm_i
    lead_nq = np.empty((n_i * n_m, 4 * int(prepared.lead_k.sum())), dtype=np.float32)
    lead_norm_im = np.empty((n_i, n_m))
    tail_imdp = np.zeros((n_i, n_m, len(prepared.asd_drift_d), 2))
    _split_lead(
        a_cimq, prepared.lead_k, prepared.detector_k, lead_nq, lead_norm_im, tail_imdp
    )
    np.sqrt(tail_imdp, out=tail_imdp)
    return Projected(
        a_cimq, norms_irk, error_im, within_i, lead_nq, lead_norm_im, tail_imdp
    )


@numba.njit(cache=True, error_model="numpy")
def _split_lead(a_cimq, lead_k, detector_k, lead_nq, lead_norm_im, tail_imdp):
    _, n_i, n_m, _ = a_cimq.shape
    n_k = len(lead_k)
    n_lead = lead_nq.shape[1] // 4
    for i in range(n_i):
        for m in range(n_m):
            row_q = lead_nq[i * n_m + m]
            lead_power = 0.0
            for p in range(2):
                q = p * n_lead
                for k in range(n_k):
                    real, imag = a_cimq[0, i, m, p * n_k + k], a_cimq[1, i, m, p * n_k + k]
                    power = real * real + imag * imag
                    if lead_k[k]:
                        row_q[q], row_q[2 * n_lead + q] = real, imag
                        lead_power += power
                        q += 1
                    else:
                        tail_imdp[i, m, detector_k[k], p] += power
            lead_norm_im[i, m] = np.sqrt(lead_power)


def with_all_bins(
    h_mpb: np.ndarray, prepared: PreparedCoherent, e: slice = slice(None)
) -> np.ndarray:
    """Return dh_me (n_m, n_e) complex of one waveform, without any factorisation."""
    n_m = len(h_mpb)
    dh_me: np.ndarray | float = 0.0
    for d, weights_mpb in enumerate(prepared.dh_weights_dmpb):
        w_mpb = (weights_mpb * h_mpb.conj()).reshape(2 * n_m, -1)
        dh_mpe = (w_mpb @ prepared.timeshift_dbe[d][:, e].conj()).reshape(n_m, 2, -1)
        response_pe = prepared.response_dpe[d][:, e] / prepared.asd_drift_d[d] ** 2
        dh_me = dh_me + (dh_mpe * response_pe).sum(axis=1)
    return np.asarray(dh_me)


def _typical_norm(
    amplitude_mpb: np.ndarray, real_xdb: np.ndarray, m_arr: np.ndarray, norm_k: np.ndarray
) -> float:
    """Return a typical sqrt(h|h), from the terms without phase or polarisation mixing."""
    table_xc = coherent_norms.pair_table(m_arr)
    power_ab = np.square(amplitude_mpb).reshape(-1, amplitude_mpb.shape[-1])
    total = 0.0
    for (first, second, _, _, slot), real_db in zip(table_xc, real_xdb, strict=True):
        if first == second:
            total += norm_k[slot::3] @ (real_db @ power_ab[first])
    return float(np.sqrt(abs(total)))


def _leading(
    bases: list[ShiftBasis], budget_d: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return which k the screening uses, and the norm (n_d, n_e) of those it leaves out."""
    lead, tail = [], []
    for basis, budget in zip(bases, budget_d, strict=True):
        power_re = np.abs(basis.coefficients_re) ** 2
        tail_re = np.sqrt(np.cumsum(power_re[::-1], axis=0)[::-1])
        rank = max(int((tail_re.max(axis=1) > budget).sum()), 1)
        lead.append(np.arange(len(tail_re)) < rank)
        tail.append(tail_re[rank] if rank < len(tail_re) else np.zeros(tail_re.shape[1]))
    return np.concatenate(lead), np.stack(tail)


def _phase_table(m_arr: np.ndarray, n_phi: int) -> np.ndarray:
    phi_o = 2 * np.pi * np.arange(n_phi) / n_phi
    angle_no = np.outer(np.concatenate([m_arr, coherent_norms.phase_orders(m_arr)]), phi_o)
    return np.stack([np.cos(angle_no), np.sin(angle_no)])
