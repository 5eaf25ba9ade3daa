"""Waveforms at very many frequencies, most of them between those that are generated.

The data's frequencies are much denser than a waveform's features. Divided by a
post-Newtonian phase (LALSimulation's TaylorF2 for aligned spins, of each azimuthal number
m: m/2 times that of the (2, 2) mode at 2 f / m) it varies slowly, so that a few thousand
frequencies, equally spaced in ln f, give all others by interpolation. How well is measured
for each waveform: every other one of these frequencies is interpolated from the rest.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..kernels.interpolation import interpolate_modes, midway
from .direct import Source, generate_modes

TOLERANCE = 1e-5
"""Largest deviation at half the number of nodes, over the waveform's largest amplitude.

With all nodes it is smaller by up to 2^6."""

_N_NODES = 2049
# Fewer frequencies per node are not worth the interpolation.
_LEAST_PER_NODE = 4
# Frequencies at a time, so that modes of long data do not fill the memory.
_BLOCK = 2**14


def dense_modes(
    frequencies_f: np.ndarray, source: Source
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield parts of the frequencies, and the waveform (n_m, 2, n_part) there.

    As :func:`.direct.generate_modes`: interpolated where that is precise (see
    :data:`TOLERANCE`), generated otherwise.

    Parameters
    ----------
    frequencies_f : (n_f,) float
        Increasing [Hz], above zero.
    source : Source
    """
    found = _smooth_modes(frequencies_f, source)
    if found is None:
        # Parts that reach down to where every waveform has power: that one ends below all
        # of its frequencies LALSimulation takes for an error.
        n_parts = -(-len(frequencies_f) // _BLOCK)
        for start in range(n_parts):
            part = slice(start, None, n_parts)
            yield part, generate_modes(np.array(frequencies_f[part]), source)
        return
    smooth_mpn, carrier_mn = found
    ln_first = np.log(frequencies_f[0])
    scale = (carrier_mn.shape[1] - 1) / (np.log(frequencies_f[-1]) - ln_first)
    for start in range(0, len(frequencies_f), _BLOCK):
        part = slice(start, start + _BLOCK)
        position_f = (np.log(frequencies_f[part]) - ln_first) * scale
        h_mpf = np.empty((*smooth_mpn.shape[:2], len(position_f)), dtype=complex)
        interpolate_modes(smooth_mpn, carrier_mn, position_f, h_mpf)
        yield part, h_mpf


def _smooth_modes(
    frequencies_f: np.ndarray, source: Source
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the waveform without carrier (n_m, 2, n_n), and the carrier (n_m, n_n)."""
    n_nodes = _N_NODES
    while n_nodes * _LEAST_PER_NODE <= len(frequencies_f):
        f_n = np.geomspace(frequencies_f[0], frequencies_f[-1], n_nodes)
        f_n[[0, -1]] = frequencies_f[[0, -1]]
        carrier_mn = _carrier(f_n, source)
        h_mpn = generate_modes(f_n, source)
        smooth_mpn = h_mpn * np.exp(1j * carrier_mn[:, np.newaxis])
        interpolated, given = midway(smooth_mpn)
        largest = np.abs(h_mpn).max()
        if np.abs(interpolated - given).max() <= TOLERANCE * largest:
            return smooth_mpn, carrier_mn
        n_nodes = 2 * n_nodes - 1
    return None


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
