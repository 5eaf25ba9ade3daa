"""A bank folder: open it, check it, read waveforms from it."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..executors.store import ArrayHandle


@dataclass(frozen=True)
class BankHandle:
    """Where a bank's waveforms lie: small, picklable, opened by whoever reads.

    Parameters
    ----------
    folder : str
        The bank folder.
    bank_id : str
    n_waveforms, blocksize, n_m, n_b : int
        Number of waveforms, waveforms per file, modes, frequency bins.
    """

    folder: str
    bank_id: str
    n_waveforms: int
    blocksize: int
    n_m: int
    n_b: int

    def read(self, inds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return amplitudes and phases, (len(inds), n_m, 2, n_b) float64 each.

        ``inds`` may be in any order. Contiguous indices within one file come as a view
        of the memory map, nothing is copied.
        """
        inds = np.asarray(inds, dtype=np.int64)
        if len(inds) and inds[-1] - inds[0] == len(inds) - 1 and np.all(np.diff(inds) == 1):
            k = int(inds[0]) // self.blocksize
            if int(inds[-1]) // self.blocksize == k:
                part = slice(int(inds[0]) - k * self.blocksize, int(inds[-1]) + 1 - k * self.blocksize)
                amplitudes, phases = _open_block(self.folder, k)
                return amplitudes[part], phases[part]
        shape = (len(inds), self.n_m, 2, self.n_b)
        amplitudes_impb, phases_impb = np.empty(shape), np.empty(shape)
        blocks = inds // self.blocksize
        for k in np.unique(blocks):
            rows = np.flatnonzero(blocks == k)
            amplitudes, phases = _open_block(self.folder, int(k))
            amplitudes_impb[rows] = amplitudes[inds[rows] - k * self.blocksize]
            phases_impb[rows] = phases[inds[rows] - k * self.blocksize]
        return amplitudes_impb, phases_impb


@functools.lru_cache(maxsize=64)
def _open_block(folder: str, k: int) -> tuple[np.ndarray, np.ndarray]:
    waveforms = Path(folder) / "waveforms"
    return tuple(  # type: ignore[return-value]
        np.load(waveforms / f"{kind}_block_{k}.npy", mmap_mode="r", allow_pickle=False)
        for kind in ("amplitudes", "phase")
    )


@dataclass(frozen=True)
class WaveformBatch:
    """A batch of waveforms: ``start`` to ``stop`` of the bank, or of an index array."""

    bank: BankHandle
    start: int
    stop: int
    inds: ArrayHandle | None = None

    def indices(self) -> np.ndarray:
        """Return the waveforms' indices in the bank."""
        if self.inds is None:
            return np.arange(self.start, self.stop)
        return np.array(self.inds.load()[self.start : self.stop])

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """Return amplitudes and phases of the batch."""
        return self.bank.read(self.indices())
