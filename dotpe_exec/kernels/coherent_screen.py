"""Which pairs of waveform and extrinsic sample can matter: search of one block.

For every (i, e) the bound

    bestfit_lnlike <= (sum_m |dh_m|)^2 / (2 hh_min),    hh_min >= hh_0 - sum_n |hh_n|

holds at all orbital phases. It is computed in single precision from the leading part of
A and B, with bounds of everything that this neglects added to |dh_m| and taken off
hh_min: the factorisation's error, the part left out (Cauchy-Schwarz by mode, detector
and polarisation), and rounding. So a rejected pair provably lies below the floor. Where
that bound does not reject, dh_o and hh_o with the same errors do it phase by phase.

Cost per pair: 16 n_m K_lead flops, about 12 n_orders n_d for hh; then, of the pairs left,
4 (n_m + n_orders) n_phi.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from .coherent import PreparedCoherent, Projected, with_all_bins
from .coherent_pairs import pair_maxima, pair_modes, pair_norms

# Waveforms per matrix product: keeps its result in the second-level cache.
_I_TILE = 16
_UNIT_ROUNDOFF = float(np.finfo(np.float32).eps)


@dataclass(frozen=True)
class CoherentPairs:
    """Pairs (i, e) that may reach the floor at some orbital phase.

    Parameters
    ----------
    i_p, e_p : (n_pairs,) int32
        Positions in the batch of waveforms and in all extrinsic samples.
    dh_pmc : (n_pairs, n_m, 2) float
        (d|h) by mode, real and imaginary part.
    hh_pr : (n_pairs, n_rows) float
        (h|h) by m - m', see :mod:`.coherent_norms`.
    maxima_p : (n_pairs,) float
        Largest bestfit_lnlike over orbital phases.
    n_evaluated : int
        Number of pairs evaluated in double precision.
    """

    i_p: np.ndarray
    e_p: np.ndarray
    dh_pmc: np.ndarray
    hh_pr: np.ndarray
    maxima_p: np.ndarray
    n_evaluated: int


def search_block(
    h_impb: np.ndarray,
    projected: Projected,
    prepared: PreparedCoherent,
    e_start: int,
    e_stop: int,
    *,
    max_drop: float,
    floor: float = -np.inf,
) -> CoherentPairs:
    """Return all pairs of a block whose best phase lies above the floor.

    Parameters
    ----------
    h_impb : (n_i, n_m, 2, n_b) complex
        The waveforms; read only for those that need all bins.
    projected : Projected
        The same waveforms, projected.
    prepared : PreparedCoherent
    e_start, e_stop : int
        The block of extrinsic samples.
    max_drop : float
        Pairs that are this much below the best of the block are left out.
    floor : float
        Pairs that do not exceed it are left out.

    Returns
    -------
    CoherentPairs
        At least all pairs above max(floor, best of the block - max_drop); that same
        floor is applied to what is returned, so that the result is a function of the
        arguments alone.
    """
    screen = _Screen(projected, prepared, e_start, e_stop)
    found: list[tuple[np.ndarray, ...]] = []
    n_evaluated = 0
    for start in range(0, len(h_impb), _I_TILE):
        stop = min(start + _I_TILE, len(h_impb))
        i_p, e_p = screen.candidates(start, stop, floor)
        full_p = ~projected.within_i[i_p]
        dh_pmc = pair_modes(projected.a_cimq, prepared.b_ceq, i_p, e_p)
        for i in np.unique(i_p[full_p]):
            # A bound that fails is infinite in the screening: all e of i are here.
            dh_me = with_all_bins(h_impb[i], prepared, slice(e_start, e_stop))
            dh_em = np.ascontiguousarray(dh_me.T[e_p[i_p == i] - e_start])
            dh_pmc[i_p == i] = dh_em.view(float).reshape(len(dh_em), -1, 2)
        hh_pr = pair_norms(projected.norms_irk, prepared.q_ek, i_p, e_p)
        maxima_p = pair_maxima(dh_pmc, hh_pr, prepared.phases_cno)
        n_evaluated += len(i_p)
        if len(i_p):
            floor = max(floor, maxima_p.max() - max_drop)
        found.append(_above(floor, i_p, e_p, dh_pmc, hh_pr, maxima_p))
    i_p, e_p, dh_pmc, hh_pr, maxima_p = _above(
        floor, *(np.concatenate(parts) for parts in zip(*found, strict=True))
    )
    return CoherentPairs(i_p, e_p, dh_pmc, hh_pr, maxima_p, n_evaluated)


def _above(
    floor: float,
    i_p: np.ndarray,
    e_p: np.ndarray,
    dh_pmc: np.ndarray,
    hh_pr: np.ndarray,
    maxima_p: np.ndarray,
) -> tuple[np.ndarray, ...]:
    keep = maxima_p > floor
    return i_p[keep], e_p[keep], dh_pmc[keep], hh_pr[keep], maxima_p[keep]


class _Screen:
    """Single-precision bounds of one block of pairs."""

    def __init__(
        self, projected: Projected, prepared: PreparedCoherent, e_start: int, e_stop: int
    ):
        block = slice(e_start, e_stop)
        self.e_start = e_start
        self.n_m = projected.error_im.shape[1]
        self.lead_nq = projected.lead_nq
        self.lead_cqe = prepared.lead_cqe[:, :, block]
        self.phases_cno = prepared.phases_cno.astype(np.float32)

        unit = 2.0**-prepared.exponent
        rounding = (2 * self.lead_nq.shape[1] + 8) * _UNIT_ROUNDOFF
        error_im = (
            projected.error_im * unit
            + projected.lead_norm_im * (rounding * prepared.lead_norm_e[block].max())
            + np.einsum(
                "imdp,dp->im",
                projected.tail_imdp,
                prepared.tail_dpe[:, :, block].max(axis=2),
            )
        )
        error_i = error_im.sum(axis=1) * (1 + 1e-5)
        error_i[~projected.within_i] = np.inf
        self.error_i = error_i.astype(np.float32)

        norms_irk = projected.norms_irk * unit**2
        q_ek = prepared.q_ek[block]
        rounding = 4 * (norms_irk.shape[2] + 8) * _UNIT_ROUNDOFF
        slack_i = rounding * (np.abs(norms_irk).sum(axis=1) @ np.abs(q_ek).max(axis=0))
        self.slack_i = slack_i.astype(np.float32)
        self.norms_irk = norms_irk.astype(np.float32)
        self.q_ke = np.ascontiguousarray(q_ek.T, dtype=np.float32)

    def candidates(
        self, start: int, stop: int, floor: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return i_p, e_p of waveforms start to stop where the floor may be exceeded."""
        a_nq = self.lead_nq[start * self.n_m : stop * self.n_m]
        i_p, e_p = _candidates(
            a_nq @ self.lead_cqe[0],
            a_nq @ self.lead_cqe[1],
            self.error_i[start:stop],
            self.norms_irk[start:stop],
            self.q_ke,
            self.slack_i[start:stop],
            self.phases_cno,
            # lnlike does not depend on the units of the inner products.
            np.float32(2 * floor * (1 - 1e-5)) if floor > 0 else np.float32(0),
        )
        return i_p + np.int32(start), e_p + np.int32(self.e_start)


@numba.njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
def _candidates(
    real_ne, imag_ne, error_i, norms_irk, q_ke, slack_i, phases_cno, twice_floor
):
    # Comparisons are written so that a NaN (from overflow) is a candidate.
    n_i, n_rows, n_k = norms_irk.shape
    n_m = len(real_ne) // n_i
    n_e = real_ne.shape[1]
    n_phi = phases_cno.shape[2]
    i_p, e_p = np.empty(n_i * n_e, np.int32), np.empty(n_i * n_e, np.int32)
    total_e, least_e = np.empty(n_e, np.float32), np.empty(n_e, np.float32)
    hh_re = np.empty((n_rows, n_e), np.float32)
    dh_o, hh_o = np.empty(n_phi, np.float32), np.empty(n_phi, np.float32)
    n = 0
    for i in range(n_i):
        total_e[:] = error_i[i]
        for m in range(i * n_m, (i + 1) * n_m):
            for e in range(n_e):
                total_e[e] += np.sqrt(real_ne[m, e] ** 2 + imag_ne[m, e] ** 2)
        hh_re[:] = 0
        hh_re[0] = -slack_i[i]
        for r in range(n_rows):
            for k in range(n_k):
                for e in range(n_e):
                    hh_re[r, e] += norms_irk[i, r, k] * q_ke[k, e]
        for e in range(n_e):
            least_e[e] = hh_re[0, e]
        for r in range(1, n_rows, 2):
            for e in range(n_e):
                least_e[e] -= np.sqrt(hh_re[r, e] ** 2 + hh_re[r + 1, e] ** 2)
        for e in range(n_e):
            if total_e[e] * total_e[e] < twice_floor * least_e[e]:
                continue
            # The bound over all phases reaches the floor: bounds phase by phase.
            dh_o[:] = error_i[i]
            for m in range(n_m):
                real, imag = real_ne[i * n_m + m, e], imag_ne[i * n_m + m, e]
                for o in range(n_phi):
                    dh_o[o] += phases_cno[0, m, o] * real + phases_cno[1, m, o] * imag
            hh_o[:] = hh_re[0, e]
            for order in range(1, (n_rows + 1) // 2):
                real, imag = hh_re[2 * order - 1, e], hh_re[2 * order, e]
                for o in range(n_phi):
                    hh_o[o] += (
                        phases_cno[0, n_m + order, o] * real
                        - phases_cno[1, n_m + order, o] * imag
                    )
            n_below = 0
            for o in range(n_phi):
                n_below += (dh_o[o] < 0) | (dh_o[o] * dh_o[o] < twice_floor * hh_o[o])
            if twice_floor <= 0 or n_below < n_phi:
                i_p[n], e_p[n] = i, e
                n += 1
    return i_p[:n].copy(), e_p[:n].copy()
