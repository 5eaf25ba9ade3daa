"""Which pairs of waveform and extrinsic sample can matter: search of one block.

For every (i, e) the bound

    bestfit_lnlike <= (sum_m |dh_m|)^2 / (2 hh_min),    hh_min >= hh_0 - sum_n |hh_n|

holds at all orbital phases. It is computed in single precision from the leading part of
A and from time shifts interpolated between nodes (:mod:`.coherent_nodes`), with bounds of
everything that this neglects added to |dh_m| and taken off hh_min: the factorisation's
error, the part left out and the interpolation's error (Cauchy-Schwarz by mode, detector
and polarisation), and rounding. So a rejected pair provably lies below the floor. Where
that bound does not reject, dh_o and hh_o with the same errors do it phase by phase.

Cost per waveform: 16 n_m K_lead flops for each node of a detector. Cost per pair:
32 n_m n_d flops for (d|h), 6 n_d (2 n_orders - 1) for (h|h); then, of the pairs left,
4 (n_m + n_orders) n_phi.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .coherent import TILE, PreparedCoherent, Projected, with_all_bins
from .coherent_pairs import pair_maxima, pair_modes, pair_norms, unrolled
from .compiling import REORDER, kernel

# With these, what is screened at a time stays in the second-level cache, and the floor
# rises soon.
DEFAULT_I_TILE, DEFAULT_E_TILE = TILE, 128
_UNIT_ROUNDOFF = float(np.finfo(np.float32).eps)
# Sums may be reordered (vectorised): rounding is bounded for any order.


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
    i_tile: int = DEFAULT_I_TILE,
    e_tile: int = DEFAULT_E_TILE,
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
    i_tile, e_tile : int
        Waveforms whose candidates are evaluated together, before the floor rises (to the
        next multiple of :data:`.coherent.TILE`), and extrinsic samples that are screened
        at a time: for speed alone.

    Returns
    -------
    CoherentPairs
        Ascending in i, then e: at least all pairs above max(floor, best of the block -
        max_drop); that same floor is applied to what is returned, so that the result is a
        function of the arguments alone.
    """
    screen = _Screen(projected, prepared, e_start, e_stop, e_tile)
    found: list[tuple[np.ndarray, ...]] = []
    n_evaluated = 0
    tiles = range(len(projected.z_tpgx))
    n_together = -(-i_tile // TILE)
    for first in tiles[::n_together]:
        parts = [
            screen.candidates(tile, floor) for tile in tiles[first : first + n_together]
        ]
        i_p, e_p = (np.concatenate(inds_p) for inds_p in zip(*parts, strict=True))
        dh_pmc = exact_modes(h_impb, projected, prepared, i_p, e_p, e_start, e_stop)
        hh_pr = pair_norms(projected.norms_irk, prepared.q_ek, i_p, e_p)
        maxima_p = pair_maxima(dh_pmc, hh_pr, prepared.phases_cno)
        n_evaluated += len(i_p)
        if len(i_p):
            floor = max(floor, maxima_p.max() - max_drop)
        found.append((i_p, e_p, dh_pmc, hh_pr, maxima_p))
        if np.count_nonzero(maxima_p > floor) < len(i_p) // 2:  # keeps memory bounded
            found[-1] = _above(floor, *found[-1])
    i_p, e_p, dh_pmc, hh_pr, maxima_p = _above(
        floor, *(np.concatenate(parts) for parts in zip(*found, strict=True))
    )
    return CoherentPairs(i_p, e_p, dh_pmc, hh_pr, maxima_p, n_evaluated)


def exact_modes(
    h_impb: np.ndarray,
    projected: Projected,
    prepared: PreparedCoherent,
    i_p: np.ndarray,
    e_p: np.ndarray,
    e_start: int,
    e_stop: int,
) -> np.ndarray:
    """Return dh_pmc of pairs of a block within the tolerance of the factorisation.

    Waveforms whose error bound is larger are evaluated with all bins, if any of the pairs
    is theirs; for the whole block, so that it does not matter which.
    """
    dh_pmc = pair_modes(projected.a_cimq, prepared.b_ceq, i_p, e_p)
    if projected.within_i.all():
        return dh_pmc
    for i in np.unique(i_p[~projected.within_i[i_p]]):
        dh_me = with_all_bins(h_impb[i], prepared, slice(e_start, e_stop))
        dh_em = np.ascontiguousarray(dh_me.T[e_p[i_p == i] - e_start])
        dh_pmc[i_p == i] = dh_em.view(float).reshape(len(dh_em), -1, 2)
    return dh_pmc


def _above(
    floor: float,
    i_p: np.ndarray,
    e_p: np.ndarray,
    dh_pmc: np.ndarray,
    hh_pr: np.ndarray,
    maxima_p: np.ndarray,
) -> tuple[np.ndarray, ...]:
    keep = maxima_p > floor
    if keep.all():
        return i_p, e_p, dh_pmc, hh_pr, maxima_p
    kept = np.flatnonzero(keep)
    return i_p[kept], e_p[kept], dh_pmc[kept], hh_pr[kept], maxima_p[kept]


class _Screen:
    """Single-precision bounds of one block of pairs."""

    def __init__(
        self,
        projected: Projected,
        prepared: PreparedCoherent,
        e_start: int,
        e_stop: int,
        e_tile: int,
    ):
        block = slice(e_start, e_stop)
        self.e_start = e_start
        self.e_tile = e_tile
        self.z_tpgx = projected.z_tpgx
        # In the order of their nodes: what neighbours use stays in the nearest cache.
        first_node_ed = prepared.first_node_ed[block]
        self.order_e = np.argsort(
            first_node_ed[:, prepared.nodes_d.argmax()], kind="stable"
        )
        self.first_node_ed = first_node_ed[self.order_e]
        self.node_weights_edj = prepared.node_weights_edj[block][self.order_e]
        self.cos_no, self.sin_no = prepared.phases_cno.astype(np.float32)
        n_i, n_rows, n_k = projected.norms_irk.shape
        self.sizes = unrolled(len(prepared.m_arr), n_rows)
        # Errors of whole tiles.
        self.n_i = n_i
        self.error_i = np.zeros(len(self.z_tpgx) * TILE, np.float32)
        self.error_i[:n_i] = projected.screen_error_i * (1 + 1e-5)
        norms_irk = projected.norms_irk * 2.0 ** (-2 * prepared.exponent)
        q_ek = prepared.q_ek[block]
        rounding = 4 * (n_k + 8) * _UNIT_ROUNDOFF
        slack_i = rounding * (np.abs(norms_irk).sum(axis=1) @ np.abs(q_ek).max(axis=0))
        # Below zero beyond the last waveform: nothing of that reaches a floor.
        self.slack_i = np.full(len(self.error_i), -1, np.float32)
        self.slack_i[:n_i] = slack_i
        self.norms_kri = np.zeros((n_k, n_rows, len(self.error_i)), np.float32)
        self.norms_kri[..., :n_i] = norms_irk.transpose(2, 1, 0)
        self.q_ek = q_ek[self.order_e].astype(np.float32)
        n_tile = min(e_tile, len(q_ek))
        self.dh_ex = np.empty((n_tile, self.z_tpgx.shape[3]), np.float32)
        self.hh_ex = np.empty((n_tile, n_rows * TILE), np.float32)

    def candidates(self, tile: int, floor: float) -> tuple[np.ndarray, np.ndarray]:
        """Return i_p, e_p of a tile's waveforms where the floor may be exceeded."""
        start = tile * TILE
        part = slice(start, start + TILE)
        errors = self.error_i[part], self.slack_i[part]
        norms_kx = self.norms_kri[:, :, part].reshape(len(self.norms_kri), -1)
        # lnlike does not depend on the units of the inner products.
        twice_floor = np.float32(2 * max(floor, 0.0) * (1 - 1e-5))
        reach_ei = np.empty((len(self.q_ek), TILE), dtype=np.bool_)
        for first in range(0, len(self.q_ek), self.e_tile):
            some = slice(first, first + self.e_tile)
            n_some = len(self.q_ek[some])
            dh_ex, hh_ex = self.dh_ex[:n_some], self.hh_ex[:n_some]
            np.matmul(self.q_ek[some], norms_kx, out=hh_ex)
            _interpolate(
                self.z_tpgx[tile],
                self.first_node_ed[some],
                self.node_weights_edj[some],
                dh_ex,
            )
            _reach(dh_ex, hh_ex, *errors, twice_floor, *self.sizes, reach_ei[some])
            _reach_at_phases(
                dh_ex,
                hh_ex,
                *errors,
                self.cos_no,
                self.sin_no,
                twice_floor,
                *self.sizes,
                reach_ei[some],
            )
        n_i = min(TILE, self.n_i - start)
        return _marked(reach_ei, n_i, self.order_e, np.int32(start), np.int32(self.e_start))


@kernel()
def _marked(reach_ei, n_i, order_e, i_start, e_start):
    """Return i_p and e_p of the marked pairs, ascending; rows are in another order."""
    n_e = len(reach_ei)
    reach_ie = np.empty((n_i, n_e), dtype=np.bool_)
    n_pairs = 0
    for e in range(n_e):
        for i in range(n_i):
            reach_ie[i, order_e[e]] = reach_ei[e, i]
            n_pairs += reach_ei[e, i]
    i_p, e_p = np.empty(n_pairs, np.int32), np.empty(n_pairs, np.int32)
    n = 0
    for i in range(n_i):
        for e in range(n_e):
            if reach_ie[i, e]:
                i_p[n], e_p[n] = i_start + i, e_start + e
                n += 1
    return i_p, e_p


@kernel(fastmath=REORDER)
def _interpolate(z_pgx, first_node_ed, node_weights_edj, dh_ex):
    """Write (d|h) of the samples by part, mode and waveform."""
    for e in range(len(first_node_ed)):
        dh_x = dh_ex[e]
        for x in range(len(dh_x)):
            dh_x[x] = 0
        for d in range(first_node_ed.shape[1]):
            g = first_node_ed[e, d]
            w_j = node_weights_edj[e, d]
            w0, w1, w2, w3 = w_j[0], w_j[1], w_j[2], w_j[3]
            w4, w5, w6, w7 = w_j[4], w_j[5], w_j[6], w_j[7]
            z0, z1, z2, z3 = z_pgx[0, g], z_pgx[0, g + 1], z_pgx[0, g + 2], z_pgx[0, g + 3]
            z4, z5, z6, z7 = z_pgx[1, g], z_pgx[1, g + 1], z_pgx[1, g + 2], z_pgx[1, g + 3]
            for x in range(len(dh_x)):
                dh_x[x] += (w0 * z0[x] + w1 * z1[x] + w2 * z2[x] + w3 * z3[x]) + (
                    w4 * z4[x] + w5 * z5[x] + w6 * z6[x] + w7 * z7[x]
                )


@kernel(fastmath=REORDER)
def _reach(dh_ex, hh_ex, error_i, slack_i, twice_floor, modes, orders, reach_ei):
    """Mark the pairs of one tile whose bounds over all phases reach the floor."""
    imag = len(modes) * TILE
    for e in range(len(reach_ei)):
        dh_x, hh_x, reach_i = dh_ex[e], hh_ex[e], reach_ei[e]
        for i in range(TILE):
            total = error_i[i]
            for m in range(len(modes)):
                x = m * TILE + i
                total += np.sqrt(dh_x[x] ** 2 + dh_x[imag + x] ** 2)
            least = hh_x[i] - slack_i[i]
            for n in range(len(orders)):
                x = (2 * n + 1) * TILE + i
                least -= np.sqrt(hh_x[x] ** 2 + hh_x[x + TILE] ** 2)
            # Written so that a NaN (from overflow) reaches the floor.
            reach_i[i] = not (total * total < twice_floor * least)


@kernel(fastmath=REORDER)
def _reach_at_phases(
    dh_ex,
    hh_ex,
    error_i,
    slack_i,
    cos_no,
    sin_no,
    twice_floor,
    modes,
    orders,
    reach_ei,
):
    """Unmark the pairs whose bounds lie below the floor phase by phase."""
    n_m, n_phi = len(modes), cos_no.shape[1]
    imag = n_m * TILE
    for e in range(len(reach_ei)):
        dh_x, hh_x = dh_ex[e], hh_ex[e]
        for i in range(TILE):
            if not reach_ei[e, i]:
                continue
            # Counted in the type of what is compared, which vectorises better.
            n_below = np.float32(0)
            for o in range(n_phi):
                dh, hh = error_i[i], hh_x[i] - slack_i[i]
                for m in range(len(modes)):
                    x = m * TILE + i
                    dh += cos_no[m, o] * dh_x[x] + sin_no[m, o] * dh_x[imag + x]
                for n in range(len(orders)):
                    x = (2 * n + 1) * TILE + i
                    hh += (
                        cos_no[n_m + 1 + n, o] * hh_x[x]
                        - sin_no[n_m + 1 + n, o] * hh_x[x + TILE]
                    )
                below = (dh < 0) | (dh * dh < twice_floor * hh)
                n_below += np.float32(1) if below else np.float32(0)
            reach_ei[e, i] = twice_floor <= 0 or n_below < n_phi
