"""A few (e, o) per waveform, fixed beforehand, that measure what is discarded.

They depend on the run's seed, the bank's name and the waveform's index alone: a
counter-based hash, so that no generator has to be made per waveform.
"""

from __future__ import annotations

import zlib

import numpy as np

PROBES_PER_WAVEFORM = 4


def probe_points(
    seed: int, bank_id: str, inds: np.ndarray, n_e: int, n_phi: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return extrinsic samples and phases, uniformly distributed, of waveforms' probes.

    Parameters
    ----------
    seed : int
    bank_id : str
    inds : (n_i,) int
        Indices of the waveforms in their bank.
    n_e, n_phi : int
        Numbers of extrinsic samples and of orbital phases.

    Returns
    -------
    e_ik, o_ik : (n_i, PROBES_PER_WAVEFORM) int64
    """
    key = _mix(np.array([seed % 2**64, zlib.crc32(bank_id.encode())], dtype=np.uint64))
    counter_ik = (
        np.asarray(inds).astype(np.uint64)[:, None] * np.uint64(PROBES_PER_WAVEFORM)
        + np.arange(PROBES_PER_WAVEFORM, dtype=np.uint64)
    )  # fmt: skip
    bits_ik = _mix(_mix(counter_ik ^ key[0]) ^ key[1])
    high_ik, low_ik = bits_ik >> np.uint64(32), bits_ik & np.uint64(0xFFFFFFFF)
    e_ik = (high_ik * np.uint64(n_e)) >> np.uint64(32)
    o_ik = (low_ik * np.uint64(n_phi)) >> np.uint64(32)
    return e_ik.astype(np.int64), o_ik.astype(np.int64)


def _mix(bits: np.ndarray) -> np.ndarray:
    """Return bits scrambled (finaliser of SplitMix64: Steele, Lea & Flood 2014)."""
    bits = bits + np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))
