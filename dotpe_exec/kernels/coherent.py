"""The coherent likelihood of waveform batches at extrinsic samples, fast.

The formula stands in :mod:`.coherent_dense`. What makes it fast, and how it stays right:

* (d|h): time shifts are factored per detector (:mod:`.coherent_basis`), so that a
  waveform shrinks from n_b bins to K = sum of the ranks numbers by mode and
  polarisation, A_impk, made once for all extrinsic samples:

      dh_iem = sum_{p,k} A_impk B_epk,    B_epk = C_ke response_dpe / asd_drift_d^2.

  The error of that is bounded waveform by waveform; where the bound exceeds the
  tolerance times the waveform's norm, all bins are used.
* (h|h): mode pairs merge by m - m', polarisations by symmetry (:mod:`.coherent_norms`).
* Screening (:mod:`.coherent_screen`): in single precision, from the leading part of A and
  with C interpolated between nodes in time (:mod:`.coherent_nodes`), every (i, e) gets
  an upper bound of bestfit_lnlike over phase, (sum_m |dh_m|)^2 / (2 hh_min), with its own
  errors bounded and added. Only pairs whose bound reaches the floor are evaluated, in
  double precision, one by one, in an order of operations that knows nothing of batches
  (:mod:`.coherent_pairs`).

Cost per waveform: 16 n_m n_b K flops for A, 4 n_mm n_b (6 + 8 n_d) for (h|h), in single
precision 16 n_m K_lead flops per node. Per pair screened: 32 n_m n_d flops for (d|h) and
6 n_d (2 n_orders - 1) for (h|h), in single precision; per pair evaluated: 32 n_m K.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from . import coherent_norms
from .coherent_basis import ShiftBasis, factor_shifts, row_scale
from .coherent_nodes import screening_tables
from .compiling import kernel
from .summary import Summary, mode_pairs

# Errors of (d|h) from the factorisation, relative to the waveform's norm, that is, in
# units of signal-to-noise ratio. Decided by waveform alone, so batches do not matter.
# Less would not be seen in results, and costs rank where few arrival times lie apart.
TOLERANCE = 1e-8
# What is left to waveforms unlike the typical one before they need all bins.
_MARGIN = 10.0
# Part of (d|h) that the screening may leave out for a waveform of the largest spread, in
# units of signal-to-noise ratio; what it does leave out is usually a tenth of that.
_LEAD_TOLERANCE = 0.1
# Waveforms that are worked on together: few enough for the second-level cache.
TILE = 16
# Rows that are summed over are filled up to a multiple of this: no remainder in loops.
_REGISTERS = 16


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
    b_ceq : (2, n_e, n_q) float
        B, real and imaginary part; q is (p, k), filled up with zeros.
    detector_k : (K,) int
        The detector each k belongs to.
    lead_d, nodes_d : (n_d,) int
        How many of its k the screening uses, and at how many nodes in time.
    node_values_x : (sum of 4 nodes_d lead_d,) float32
        For each detector, (nodes_d, 2, 2 lead_d): what (Re A, Im A) is to be multiplied
        with for the real and imaginary part at a node, in units of ``2**exponent``.
    first_node_ed : (n_e, n_d) int32
        The first of a sample's four nodes among all.
    node_weights_edj : (n_e, n_d, 8) float32
        Their weights times response / asd_drift^2, by polarisation and node.
    row_k : (K,) int
        Row of the real part of each k in what the node values are multiplied with, -1
        where the screening does not use it.
    screen_error_xdp : (2, n_d, 2) float
        What the norms of the parts of A that the screening uses and leaves out are to be
        multiplied with to bound its error, in the same units.
    hh_weights_xdcb, pairs_x6
        See :func:`.coherent_norms.pair_weights` and :func:`.coherent_norms.pair_table`.
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
    lead_d: np.ndarray
    nodes_d: np.ndarray
    node_values_x: np.ndarray
    first_node_ed: np.ndarray
    node_weights_edj: np.ndarray
    row_k: np.ndarray
    screen_error_xdp: np.ndarray
    hh_weights_xdcb: np.ndarray
    pairs_x6: np.ndarray
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

    def node_values(self) -> list[np.ndarray]:
        """Return ``node_values_x`` by detector, (2 nodes_d, 2 lead_d) each."""
        sizes = 4 * self.nodes_d * self.lead_d
        parts = np.split(self.node_values_x, np.cumsum(sizes)[:-1])
        return [
            part.reshape(2 * n_g, 2 * n_k)
            for part, n_g, n_k in zip(parts, self.nodes_d, self.lead_d, strict=True)
        ]

    def __post_init__(self) -> None:
        # As a memory map would be: compiled functions see one type only, fast to read.
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            if isinstance(value, np.ndarray):
                value = np.ascontiguousarray(value).view(np.ndarray)
                value.flags.writeable = False
                object.__setattr__(self, item.name, value)


@dataclass(frozen=True)
class Projected:
    """Waveforms reduced to what (d|h) and (h|h) need.

    Parameters
    ----------
    a_cimq : (2, n_i, n_m, n_q) float
        A, real and imaginary part; q is (p, k), filled up with zeros.
    norms_irk : (n_i, n_rows, n_d * 3) float
        Merged norms, see :mod:`.coherent_norms`.
    error_im : (n_i, n_m) float
        Bound of the factorisation's error of dh_m.
    within_i : (n_i,) bool
        Whether that error is within the tolerance.
    z_tpgx : (n_tiles, 2, n_nodes, 2 * n_m * TILE) float32
        (d|h) by polarisation at the nodes of the screening, by tiles of waveforms: x is
        (real or imaginary part, m, i), zero beyond the last waveform.
    screen_error_i : (n_i,) float
        Bound of the screening's error of sum_m |dh_m|, in units of ``2**exponent``.
    """

    a_cimq: np.ndarray
    norms_irk: np.ndarray
    error_im: np.ndarray
    within_i: np.ndarray
    z_tpgx: np.ndarray
    screen_error_i: np.ndarray


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
    dh_weights_dmpb = np.asarray(summary.dh_weights_dmpb)
    fbin_b = np.asarray(summary.fbin_b, dtype=float)
    if amplitude_mpb is None:
        amplitude_mpb = np.broadcast_to(
            np.abs(summary.line_fit.h2plus0_b), dh_weights_dmpb.shape[1:]
        )
    q_ke = coherent_norms.squared_responses(response_dpe, asd_drift_d)
    norm_k = q_ke.mean(axis=1)
    norm_k[1::3] = 0.0
    typical = _typical_norm(amplitude_mpb, summary, norm_k)

    gain_dpe = np.abs(response_dpe) / asd_drift_d[:, None, None] ** 2
    total_gain_d = np.maximum(gain_dpe.max(axis=2).sum(axis=1), np.finfo(float).tiny)
    bases: list[ShiftBasis] = []
    for d, weights_mpb in enumerate(dh_weights_dmpb):
        budget = typical / (len(asd_drift_d) * _MARGIN * np.sqrt(len(fbin_b)))
        bases.append(
            factor_shifts(
                timeshift_dbe[d].conj(),
                row_scale(weights_mpb, amplitude_mpb),
                tolerance * budget / total_gain_d[d],
            )
        )
    detector_k = np.repeat(np.arange(len(bases)), [len(x.coefficients_re) for x in bases])
    residual_de = np.stack([x.residual_e for x in bases])
    b_pke = np.concatenate([x.coefficients_re for x in bases]) * (
        response_dpe[detector_k] / asd_drift_d[detector_k, None, None] ** 2
    ).transpose(1, 0, 2)
    b_eq = b_pke.reshape(-1, b_pke.shape[2]).T
    b_eq = np.pad(b_eq, [(0, 0), (0, -b_eq.shape[1] % _REGISTERS)])
    basis_bk = np.concatenate([x.basis_br for x in bases], axis=1)
    scale_db = np.stack([x.scale_b for x in bases])
    lead_budget = _LEAD_TOLERANCE * typical / (len(bases) * np.sqrt(len(fbin_b)))
    exponent = int(np.frexp(typical)[1]) if typical > 0 else 0
    return PreparedCoherent(
        m_arr=m_arr,
        phases_cno=_phase_table(m_arr, n_phi),
        fold_mpbk=(np.moveaxis(dh_weights_dmpb, 0, -1)[..., detector_k] * basis_bk).conj(),
        spread_dmpb=np.abs(dh_weights_dmpb / scale_db[:, None, None]) ** 2,
        error_dp=(residual_de[:, None] * gain_dpe).max(axis=2),
        tolerance=float(tolerance),
        norm_k=norm_k,
        b_ceq=np.stack([b_eq.real, b_eq.imag]),
        detector_k=detector_k,
        **screening_tables(
            bases,
            timeshift_dbe,
            fbin_b,
            lead_budget / total_gain_d,
            response_dpe / asd_drift_d[:, None, None] ** 2,
            2.0**-exponent,
        ),
        hh_weights_xdcb=coherent_norms.pair_weights(summary),
        pairs_x6=coherent_norms.pair_table(m_arr),
        q_ek=q_ke.T,
        exponent=exponent,
        dh_weights_dmpb=dh_weights_dmpb,
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
    n_d, n_k = len(prepared.asd_drift_d), len(prepared.detector_k)
    a_cimq = np.empty((2, n_i, n_m, prepared.b_ceq.shape[2]))
    a_cimq[..., 2 * n_k :] = 0
    # Sums of |A|^2 of the part that the screening uses and of the rest.
    power_imdpx = np.zeros((n_i, n_m, n_d, 2, 2))
    for m in range(n_m):
        for p in range(2):
            _store(
                h_impb[:, m, p] @ prepared.fold_mpbk[m, p],
                m,
                p,
                prepared.row_k,
                prepared.detector_k,
                a_cimq,
                power_imdpx,
            )
    norms_irk, spread_imdp = coherent_norms.merged_norms(
        h_impb, prepared.hh_weights_xdcb, prepared.spread_dmpb, prepared.pairs_x6
    )
    error_im = np.einsum("imdp,dp->im", np.sqrt(spread_imdp), prepared.error_dp)
    norm_i = np.sqrt(np.maximum(norms_irk[:, 0] @ prepared.norm_k, 0.0))
    within_i = error_im.sum(axis=1) <= prepared.tolerance * norm_i
    screen_error_i = error_im.sum(axis=1) * 2.0**-prepared.exponent + np.einsum(
        "imdpx,xdp->i", np.sqrt(power_imdpx), prepared.screen_error_xdp
    )
    z_tpgx = _at_nodes(a_cimq, prepared)
    return Projected(a_cimq, norms_irk, error_im, within_i, z_tpgx, screen_error_i)


@kernel()
def _store(a_ik, m, p, row_k, detector_k, a_cimq, power_imdpx):
    """Write the conjugate of A where it belongs, and add its squares by detector."""
    n_i, n_k = a_ik.shape
    for i in range(n_i):
        for k in range(n_k):
            real, imag = a_ik[i, k].real, a_ik[i, k].imag
            a_cimq[0, i, m, p * n_k + k] = real
            a_cimq[1, i, m, p * n_k + k] = -imag
            part = 0 if row_k[k] >= 0 else 1
            power_imdpx[i, m, detector_k[k], p, part] += real * real + imag * imag


def _at_nodes(a_cimq: np.ndarray, prepared: PreparedCoherent) -> np.ndarray:
    """Return (d|h) at the nodes in single precision, as ``Projected`` has it."""
    _, n_i, n_m, _ = a_cimq.shape
    n_x, n_lead = n_m * TILE, int(prepared.lead_d.sum())
    z_tpyx = np.empty((-(-n_i // TILE), 2, 2 * prepared.nodes_d.sum(), n_x), np.float32)
    lead_pyx = np.zeros((2, 2 * n_lead, n_x), np.float32)
    values_dyk = prepared.node_values()
    lead_k = prepared.lead_d[prepared.detector_k]
    for tile, z_pyx in enumerate(z_tpyx):
        start = tile * TILE
        if start + TILE > n_i:
            lead_pyx[:] = 0
        _gather_lead(a_cimq, start, prepared.row_k, lead_k, lead_pyx)
        first_y = first_k = 0
        for values_yk in values_dyk:
            n_y, n_k = values_yk.shape
            with np.errstate(over="ignore", invalid="ignore"):
                np.matmul(
                    values_yk,
                    lead_pyx[:, first_k : first_k + n_k],
                    out=z_pyx[:, first_y : first_y + n_y],
                )
            first_y, first_k = first_y + n_y, first_k + n_k
    return z_tpyx.reshape(len(z_tpyx), 2, -1, 2 * n_x)


@kernel()
def _gather_lead(a_cimq, start, row_k, lead_k, lead_pyx):
    """Write a tile's leading part of A: rows are real, then imaginary by detector."""
    n_m = a_cimq.shape[2]
    n_i = min(TILE, a_cimq.shape[1] - start)
    n_k = len(row_k)
    for p in range(2):
        for k in range(n_k):
            y = row_k[k]
            if y >= 0:
                for m in range(n_m):
                    for i in range(n_i):
                        x = m * TILE + i
                        lead_pyx[p, y, x] = a_cimq[0, start + i, m, p * n_k + k]
                        lead_pyx[p, y + lead_k[k], x] = a_cimq[1, start + i, m, p * n_k + k]


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


def _typical_norm(amplitude_mpb: np.ndarray, summary: Summary, norm_k: np.ndarray) -> float:
    """Return a typical sqrt(h|h), from the terms without phase or polarisation mixing."""
    power_mpb = np.square(amplitude_mpb)
    total = 0.0
    for pair, (m, mprime) in enumerate(zip(*mode_pairs(len(power_mpb)), strict=True)):
        if m == mprime:
            for p in range(2):
                weights_db = summary.hh_weights_dmppb[:, pair, p, p].real
                total += norm_k[2 * p :: 3] @ (weights_db @ power_mpb[m, p])
    return float(np.sqrt(abs(total)))


def _phase_table(m_arr: np.ndarray, n_phi: int) -> np.ndarray:
    phi_o = 2 * np.pi * np.arange(n_phi) / n_phi
    angle_no = np.outer(np.concatenate([m_arr, coherent_norms.phase_orders(m_arr)]), phi_o)
    return np.stack([np.cos(angle_no), np.sin(angle_no)])
