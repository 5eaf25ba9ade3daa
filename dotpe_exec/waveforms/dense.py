"""Waveforms at very many frequencies, most of them between those that are generated.

The data's frequencies are much denser than a waveform's features. Divided by a
post-Newtonian phase (LALSimulation's TaylorF2 for aligned spins, of each azimuthal number
m: m/2 times that of the (2, 2) mode at 2 f / m) it varies slowly, so that a few thousand
frequencies, equally spaced in ln f, give all others by interpolation. How well is measured
for each waveform: every other one of these frequencies is interpolated from the rest.
Around those where that fails, at kinks and jumps of models, all frequencies are generated.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..kernels.interpolation import N_NEAREST, interpolate_modes, midway
from .direct import Source, generate_modes

TOLERANCE = 2e-6
"""Largest deviation at half the number of nodes, over the waveform's largest amplitude.

With all nodes it is smaller by up to 2^6."""

PRECISE = 1e-9
"""The same for waveforms with which all others are compared."""

# Nodes to begin with, by tolerance.
_N_NODES = {TOLERANCE: 2049, PRECISE: 8193}
# Fewer frequencies per node are not worth the interpolation.
_LEAST_PER_NODE = 4
# At most so many frequencies per node are generated besides; else more nodes do better.
_MOST_PER_NODE = 2
# Frequencies at a time, so that modes of long data fill neither memory nor cache.
_BLOCK = 2**12
# The same where all are generated: a call has its price.
_GENERATED_BLOCK = 2**14


@dataclass(frozen=True)
class _Smooth:
    """What a waveform is interpolated from, and what it is where that fails.

    Parameters
    ----------
    smooth_mpn : (n_m, 2, n_n) complex
        Without carrier.
    carrier_mn : (n_m, n_n) float
        [rad]
    rough_r : (n_r,) int
        Frequencies that are generated, in order.
    h_mpr : (n_m, 2, n_r) complex
        The waveform there.
    """

    smooth_mpn: np.ndarray
    carrier_mn: np.ndarray
    rough_r: np.ndarray
    h_mpr: np.ndarray


def dense_modes(
    frequencies_f: np.ndarray, source: Source, tolerance: float = TOLERANCE
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield parts of the frequencies, and the waveform (n_m, 2, n_part) there.

    As :func:`.direct.generate_modes`: interpolated where that is precise, generated
    otherwise.

    Parameters
    ----------
    frequencies_f : (n_f,) float
        Increasing [Hz], above zero.
    source : Source
    tolerance : {TOLERANCE, PRECISE}
        What is precise.
    """
    found = _smooth_modes(frequencies_f, source, tolerance)
    if found is None:
        # Parts that reach down to where every waveform has power: that one ends below all
        # of its frequencies LALSimulation takes for an error.
        n_parts = -(-len(frequencies_f) // _GENERATED_BLOCK)
        for start in range(n_parts):
            part = slice(start, None, n_parts)
            yield part, generate_modes(np.array(frequencies_f[part]), source)
        return
    n_m, _, n_nodes = found.smooth_mpn.shape
    for start in range(0, len(frequencies_f), _BLOCK):
        part = slice(start, start + _BLOCK)
        position_f = _positions(frequencies_f[part], frequencies_f[[0, -1]], n_nodes)
        h_mpf = np.empty((n_m, 2, len(position_f)), dtype=complex)
        interpolate_modes(found.smooth_mpn, found.carrier_mn, position_f, h_mpf)
        here = slice(*np.searchsorted(found.rough_r, [start, start + _BLOCK]))
        h_mpf[..., found.rough_r[here] - start] = found.h_mpr[..., here]
        yield part, h_mpf


def _positions(frequencies_f: np.ndarray, ends: np.ndarray, n_nodes: int) -> np.ndarray:
    """Return where frequencies are between the nodes, in units of their spacing."""
    ln_first, ln_last = np.log(ends)
    return (np.log(frequencies_f) - ln_first) * ((n_nodes - 1) / (ln_last - ln_first))


def _smooth_modes(
    frequencies_f: np.ndarray, source: Source, tolerance: float
) -> _Smooth | None:
    """Return what to interpolate from; None where all had better be generated."""
    n_nodes = _N_NODES[tolerance]
    while n_nodes * _LEAST_PER_NODE <= len(frequencies_f):
        f_n = np.geomspace(frequencies_f[0], frequencies_f[-1], n_nodes)
        f_n[[0, -1]] = frequencies_f[[0, -1]]
        carrier_mn = _carrier(f_n, source)
        h_mpn = generate_modes(f_n, source)
        smooth_mpn = h_mpn * np.exp(1j * carrier_mn[:, np.newaxis])
        interpolated, given = midway(smooth_mpn)
        largest = np.abs(h_mpn).max()
        # Written so that what is no number is not precise either.
        fails = ~(np.abs(interpolated - given).max(axis=(0, 1)) <= tolerance * largest)
        # Those at the ends, which are not tested, fail with their neighbours.
        fails = np.pad(fails, N_NEAREST // 2 - 1, mode="edge")
        rough_r = _between(frequencies_f, f_n, 1 + 2 * np.flatnonzero(fails))
        if len(rough_r) <= _MOST_PER_NODE * n_nodes:
            return _Smooth(
                smooth_mpn, carrier_mn, rough_r, _generated(frequencies_f, source, rough_r)
            )
        n_nodes = 2 * n_nodes - 1
    return None


def _between(frequencies_f: np.ndarray, f_n: np.ndarray, nodes: np.ndarray) -> np.ndarray:
    """Return the frequencies around nodes: so far as the polynomials of a place reach."""
    low_f = f_n[np.maximum(nodes - N_NEAREST // 2, 0)]
    high_f = f_n[np.minimum(nodes + N_NEAREST // 2, len(f_n) - 1)]
    change_f = np.zeros(len(frequencies_f) + 1, dtype=int)
    np.add.at(change_f, np.searchsorted(frequencies_f, low_f), 1)
    np.add.at(change_f, np.searchsorted(frequencies_f, high_f, side="right"), -1)
    return np.flatnonzero(np.cumsum(change_f[:-1]))


def _generated(
    frequencies_f: np.ndarray, source: Source, rough_r: np.ndarray
) -> np.ndarray:
    """Return the waveform at some of the frequencies, (n_m, 2, n_r)."""
    if not len(rough_r):
        return np.empty((len(source.m_arr), 2, 0), dtype=complex)
    # With the lowest, where every waveform has power.
    some = frequencies_f[np.concatenate([[0], rough_r])]
    return generate_modes(some, source)[..., 1:]


def _carrier(f_n: np.ndarray, source: Source) -> np.ndarray:
    """Return the post-Newtonian phase for each azimuthal number (n_m, n_n) [rad]."""
    import lal
    import lalsimulation

    par = source.parameters
    series = lalsimulation.SimInspiralTaylorF2AlignedPhasing(
        par["m1"], par["m2"], par["s1z"], par["s2z"], lal.CreateDict()
    )
    total = (par["m1"] + par["m2"]) * lal.MTSUN_SI
    m_m = source.m_arr[:, np.newaxis]
    v_mn = np.cbrt(2 * np.pi * total * f_n / m_m)
    ln_v_mn = np.log(v_mn)
    phase_mn = np.zeros_like(v_mn)
    for k, (plain, log, log2) in enumerate(
        zip(series.v, series.vlogv, series.vlogvsq, strict=True)
    ):
        if plain or log or log2:
            factor_mn = plain + (log + log2 * ln_v_mn) * ln_v_mn
            phase_mn += factor_mn * v_mn ** (k - 5)
    return m_m / 2 * phase_mn
