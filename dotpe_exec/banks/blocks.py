"""Write the waveform files of a bank, a block at a time, whole or not at all."""

from __future__ import annotations

import contextlib
import os

import numpy as np

from ..atomic import TEMPORARY_PREFIX, sync_file, sync_folder, writing
from ..identity import file_digest
from .format import KINDS, BankHandle


class BlockWriter:
    """Collects the waveforms of one block on disk, in any order.

    Parameters
    ----------
    bank : BankHandle
    k : int
        The block.
    """

    def __init__(self, bank: BankHandle, k: int):
        self.shape = bank.block_shape(k)
        self.n_missing = self.shape[0]
        self._first = k * bank.blocksize
        self._row_bytes = int(np.prod(self.shape[1:])) * 8
        self._paths = {kind: bank.block_path(kind, k) for kind in KINDS}
        self._temporaries = {
            kind: path.with_name(f"{TEMPORARY_PREFIX}{os.getpid()}-{path.name}")
            for kind, path in self._paths.items()
        }
        self._files = {}
        self._offsets = {}
        header = {"descr": "<f8", "fortran_order": False, "shape": self.shape}
        for kind, temporary in self._temporaries.items():
            with writing(self._paths[kind]):
                self._files[kind] = temporary.open("w+b")
                np.lib.format.write_array_header_1_0(self._files[kind], header)
                self._offsets[kind] = self._files[kind].tell()

    def write(self, start: int, amplitudes: np.ndarray, phases: np.ndarray) -> None:
        """Place waveforms ``start``, ``start + 1``, ... of the bank in the block.

        Raises
        ------
        RunDirectoryError
            The disk is full.
        """
        # Not through a memory map: there, a full disk would end the process.
        for kind, array in zip(KINDS, (amplitudes, phases), strict=True):
            with writing(self._paths[kind]):
                file = self._files[kind]
                file.seek(self._offsets[kind] + (start - self._first) * self._row_bytes)
                file.write(np.ascontiguousarray(array, dtype="<f8").data)
        self.n_missing -= len(amplitudes)

    def commit(self) -> dict[str, str]:
        """Give the files their names; return their checksums by file name."""
        checksums = {}
        for kind, path in self._paths.items():
            with writing(path):
                self._files[kind].close()
                temporary = self._temporaries[kind]
                sync_file(temporary)
                checksums[path.name] = file_digest(temporary)
                temporary.replace(path)
        sync_folder(path.parent)
        return checksums

    def discard(self) -> None:
        """Remove what was not committed."""
        for kind, file in self._files.items():
            with contextlib.suppress(OSError):
                file.close()
            self._temporaries[kind].unlink(missing_ok=True)
