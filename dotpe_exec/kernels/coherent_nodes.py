"""Arrival times interpolated between nodes: what the coherent screening uses of them.

For the screening, the coefficients C_e of a sample's time shift (:mod:`.coherent_basis`)
are replaced by a cubic interpolation between four neighbours on a grid of times,

    C_re ~ sum_j w_ej C_r,g(e)+j,        j = 0..3,

so that a waveform is multiplied with the coefficients of the nodes once, and a sample
costs four multiplications per detector and polarisation, whatever the rank. The norm of
what that leaves out is measured for every sample, so that it can be bounded by
Cauchy-Schwarz; the grid is made so fine that it meets a tolerance. Where that takes as
many nodes as there are samples, and where shifts are not those of the times that they
seem to be, every sample is its own node.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .coherent_basis import ShiftBasis

N_NEIGHBOURS = 4
# Ratio of the spacings that are tried one after the other, and how many are.
_FINER = 0.8
_MAX_TRIALS = 40
_UNIT_ROUNDOFF = float(np.finfo(np.float32).eps)


@dataclass(frozen=True)
class Nodes:
    """Interpolation of one detector's time shifts.

    Parameters
    ----------
    coefficients_rg : (rank, n_g) complex
        C of the nodes, for the leading rows.
    first_e : (n_e,) int
        The first of each sample's nodes.
    weights_ej : (n_e, 4) float
        Their weights.
    error_e : (n_e,) float
        ||C_e - sum_j w_ej C_g||, over the leading rows.
    size_e : (n_e,) float
        sum_j |w_ej| ||C_g||: rounding is relative to this.
    """

    coefficients_rg: np.ndarray
    first_e: np.ndarray
    weights_ej: np.ndarray
    error_e: np.ndarray
    size_e: np.ndarray


def make_nodes(
    basis: ShiftBasis,
    rank: int,
    shift_be: np.ndarray,
    fbin_b: np.ndarray,
    tolerance: float,
) -> Nodes:
    """Return the coarsest interpolation of the leading rows that meets the tolerance.

    Parameters
    ----------
    basis : ShiftBasis
    rank : int
        Leading rows of its coefficients.
    shift_be : (n_b, n_e) complex
        exp(2 pi i f t), what the basis is of.
    fbin_b : (n_b,) float
        Frequencies [Hz].
    tolerance : float
        Largest ``error_e`` wanted.

    Returns
    -------
    Nodes
    """
    coefficients_re = basis.coefficients_re[:rank]
    n_e = coefficients_re.shape[1]
    times_e = _times(shift_be, fbin_b)
    # Takes shifts from the first sample's to coefficients.
    to_coefficients_rb = (
        basis.basis_br[:, :rank].conj().T * np.square(basis.scale_b) * shift_be[:, 0]
    )
    # Half the period of the root-mean-square frequency is surely too coarse.
    power_b = np.square(basis.scale_b)
    typical_f = np.sqrt((power_b * np.square(fbin_b)).sum() / power_b.sum())
    spacing = 0.5 / typical_f if typical_f > 0 else 1.0
    for _ in range(_MAX_TRIALS):
        left_e, weights_ej = _cubic(times_e / spacing)
        used_g, position_ej = np.unique(
            left_e[:, None] + np.arange(N_NEIGHBOURS), return_inverse=True
        )
        if len(used_g) >= n_e:
            break
        shift_bg = np.exp(2j * np.pi * np.outer(fbin_b, used_g * spacing))
        nodes = _with_errors(
            coefficients_re,
            to_coefficients_rb @ shift_bg,
            position_ej.reshape(n_e, N_NEIGHBOURS)[:, 0],
            weights_ej,
        )
        if nodes.error_e.max() <= tolerance:
            return nodes
        spacing *= _FINER
    return _each_its_own(coefficients_re)


def _times(shift_be: np.ndarray, fbin_b: np.ndarray) -> np.ndarray:
    """Return the times (n_e,) [s] behind the shifts, from that of the first sample.

    From the two bins that are closest, which tell times apart up to the inverse of their
    distance: seconds.
    """
    step_b = np.diff(fbin_b)
    if not (step_b > 0).any():
        return np.zeros(shift_be.shape[1])
    b = int(np.argmin(np.where(step_b > 0, step_b, np.inf)))
    turn_e = shift_be[b + 1] * shift_be[b].conj()
    return np.angle(turn_e * turn_e[0].conj()) / (2 * np.pi * step_b[b])


def _cubic(position_e: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first of four neighbours on the integers, and Lagrange's weights."""
    middle_e = np.floor(position_e)
    x = position_e - middle_e
    weights_ej = np.stack(
        [
            -x * (x - 1) * (x - 2) / 6,
            (x + 1) * (x - 1) * (x - 2) / 2,
            -(x + 1) * x * (x - 2) / 2,
            (x + 1) * x * (x - 1) / 6,
        ],
        axis=1,
    )
    return middle_e.astype(np.int64) - 1, weights_ej


def _each_its_own(coefficients_re: np.ndarray) -> Nodes:
    rank, n_e = coefficients_re.shape
    # Nodes beyond the last, which it does not use, make every sample have four.
    coefficients_rg = np.zeros((rank, n_e + N_NEIGHBOURS - 1), dtype=complex)
    coefficients_rg[:, :n_e] = coefficients_re
    weights_ej = np.zeros((n_e, N_NEIGHBOURS))
    weights_ej[:, 0] = 1.0
    return _with_errors(coefficients_re, coefficients_rg, np.arange(n_e), weights_ej)


def _with_errors(
    coefficients_re: np.ndarray,
    coefficients_rg: np.ndarray,
    first_e: np.ndarray,
    weights_ej: np.ndarray,
) -> Nodes:
    missed_re = coefficients_re.copy()
    size_e = np.zeros(len(first_e))
    norm_g = np.linalg.norm(coefficients_rg, axis=0)
    for j in range(N_NEIGHBOURS):
        missed_re -= weights_ej[:, j] * coefficients_rg[:, first_e + j]
        size_e += np.abs(weights_ej[:, j]) * norm_g[first_e + j]
    return Nodes(
        coefficients_rg, first_e, weights_ej, np.linalg.norm(missed_re, axis=0), size_e
    )


def screening_tables(
    bases: list[ShiftBasis],
    timeshift_dbe: np.ndarray,
    fbin_b: np.ndarray,
    budget_d: np.ndarray,
    response_dpe: np.ndarray,
    unit: float,
) -> dict[str, np.ndarray]:
    """Return what the screening uses of the bases, and what bounds its errors.

    Parameters
    ----------
    bases : list of ShiftBasis
        Of each detector.
    timeshift_dbe : (n_d, n_b, n_e) complex
        What they are of, conjugated.
    fbin_b : (n_b,) float
        Frequencies [Hz].
    budget_d : (n_d,) float
        For the norm of the coefficients that are left out, and once more for what
        interpolation changes of the others.
    response_dpe : (n_d, 2, n_e) float
        Divided by asd_drift^2.
    unit : float
        What coefficients are multiplied with, to be of order one.

    Returns
    -------
    dict of arrays
        By the names that they have in :class:`.coherent.PreparedCoherent`.
    """
    values, weights_edj, tail_de = [], [], []
    all_nodes: list[Nodes] = []
    first_node: list[np.ndarray] = []
    lead_d: list[int] = []
    row_k: list[np.ndarray] = []
    n_nodes = 0
    for d, (basis, budget) in enumerate(zip(bases, budget_d, strict=True)):
        power_re = np.abs(basis.coefficients_re) ** 2
        tail_re = np.sqrt(np.cumsum(power_re[::-1], axis=0)[::-1])
        rank = max(int((tail_re.max(axis=1) > budget).sum()), 1)
        tail_de.append(tail_re[rank] if rank < len(tail_re) else np.zeros(len(tail_re[0])))
        nodes = make_nodes(basis, rank, timeshift_dbe[d].conj(), fbin_b, budget)
        real_gk, imag_gk = nodes.coefficients_rg.real.T, nodes.coefficients_rg.imag.T
        values_gck = np.stack(
            [np.hstack([real_gk, -imag_gk]), np.hstack([imag_gk, real_gk])], axis=1
        )
        values.append((values_gck * unit).astype(np.float32).ravel())
        weights_epj = response_dpe[d].T[:, :, None] * nodes.weights_ej[:, None]
        weights_edj.append(weights_epj.reshape(-1, 2 * N_NEIGHBOURS))
        first_node.append(nodes.first_e + n_nodes)
        rows = np.full(len(power_re), -1)
        rows[:rank] = 2 * sum(lead_d) + np.arange(rank)
        row_k.append(rows)
        lead_d.append(rank)
        all_nodes.append(nodes)
        n_nodes += nodes.coefficients_rg.shape[1]
    gain_dpe = np.abs(response_dpe) * unit
    return {
        "lead_d": np.array(lead_d),
        "nodes_d": np.array([nodes.coefficients_rg.shape[1] for nodes in all_nodes]),
        "node_values_x": np.concatenate(values),
        "first_node_ed": np.stack(first_node, axis=1).astype(np.int32),
        "node_weights_edj": np.stack(weights_edj, axis=1).astype(np.float32),
        "row_k": np.concatenate(row_k),
        "screen_error_xdp": np.stack(
            [
                _lead_error(all_nodes, max(lead_d), gain_dpe),
                (np.stack(tail_de)[:, None] * gain_dpe).max(axis=2),
            ]
        ),
    }


def _lead_error(all_nodes: list[Nodes], rank: int, gain_dpe: np.ndarray) -> np.ndarray:
    """Return the error (n_d, 2) of the screening per unit of the norm of what it uses."""
    # Sums of 2 rank terms at the nodes, then of 8 n_d, each of complex numbers.
    n_terms = 2 * rank + 2 * N_NEIGHBOURS * len(all_nodes) + 12
    rounding = 2 * n_terms * _UNIT_ROUNDOFF
    error_de = np.stack([nodes.error_e + rounding * nodes.size_e for nodes in all_nodes])
    return (error_de[:, None] * gain_dpe).max(axis=2)
