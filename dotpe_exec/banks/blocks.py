"""Write the waveform files of a bank, a block at a time, whole or not at all."""

from __future__ import annotations

import contextlib

import numpy as np

from ..atomic import atomic_write, writing
from ..digests import file_digest
from ..errors import RunDirectoryError
from .waveforms import KINDS, BankHandle, waveform_digests


class BlockWriter:
    """Collects the waveforms of one block on disk, in any order.

    Parameters
    ----------
    bank : BankHandle
    k : int
        The block.

    Raises
    ------
    RunDirectoryError
        The disk is full or the folder cannot be written; so do the methods.
    """

    def __init__(self, bank: BankHandle, k: int):
        shape = bank.block_shape(k)
        self.n_missing = shape[0]
        self._first = k * bank.blocksize
        self._row_bytes = int(np.prod(shape[1:])) * 8
        self._paths = {kind: bank.block_path(kind, k) for kind in KINDS}
        self._files = {}
        self._digests = np.zeros(shape[0], dtype=np.uint64)
        header = {"descr": "<f8", "fortran_order": False, "shape": shape}
        with contextlib.ExitStack() as stack:
            for kind, path in self._paths.items():
                temporary = stack.enter_context(atomic_write(path))
                file = stack.enter_context(temporary.open("r+b"))
                with writing(path):
                    np.lib.format.write_array_header_1_0(file, header)
                    self._offset = file.tell()
                self._files[kind] = file
            self._stack = stack.pop_all()

    def write(self, start: int, amplitudes: np.ndarray, phases: np.ndarray) -> None:
        """Place waveforms ``start``, ``start + 1``, ... of the bank in the block."""
        # Not through a memory map: there, a full disk would end the process.
        for kind, array in zip(KINDS, (amplitudes, phases), strict=True):
            with writing(self._paths[kind]):
                file = self._files[kind]
                file.seek(self._offset + (start - self._first) * self._row_bytes)
                file.write(np.ascontiguousarray(array, dtype="<f8").data)
        rows = slice(start - self._first, start - self._first + len(amplitudes))
        self._digests[rows] = waveform_digests(amplitudes, phases)
        self.n_missing -= len(amplitudes)

    def commit(self) -> tuple[dict[str, str], list[int]]:
        """Give the files their names.

        Returns
        -------
        checksums : dict of str
            By file name.
        digests : list of int
            One for each waveform.
        """
        for kind, file in self._files.items():
            with writing(self._paths[kind]):
                file.flush()
        self._stack.close()
        checksums = {path.name: file_digest(path) for path in self._paths.values()}
        return checksums, self._digests.tolist()

    def discard(self) -> None:
        """Remove what was not committed."""
        # On a full disk, closing a file may fail again.
        with contextlib.suppress(_Discarded, OSError, RunDirectoryError), self._stack:
            raise _Discarded


class _Discarded(Exception):
    """Ends atomic writing without a file."""
