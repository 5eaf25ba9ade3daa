"""The waveforms of a bank: where they are, and how they are read.

Files are read, not memory-mapped: what is checked is what is used, a file that is
truncated meanwhile is an error and not the end of the process, and nothing is kept that
could be older than the file. A process keeps a few files open and looks at each read
whether they are still those that the paths name.

Every waveform that is read is compared with its digest where the bank carries digests;
elsewhere :func:`waveform_digests` gives those of what was read, for comparison with later.
"""

from __future__ import annotations

import collections
import functools
import itertools
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

import numpy as np
import xxhash

from ..digests import file_digest
from ..errors import BankError, InputError
from ..executors.store import ArrayHandle, aligned_empty
from ..npy_files import check_header, load_npy_vector, reading

WAVEFORMS_NAME = "waveforms"
DIGESTS_NAME = "waveform_digests.npy"

#: Waveform files of a block: amplitude and phase.
KINDS = ("amplitudes", "phase")

_FLOAT = np.dtype(np.float64)
_MOST_OPEN_FILES = 16  # of a process: some systems allow 64
_NO_PHASE = 1e-9  # rad; the phase of a waveform winds through many cycles


def block_name(kind: str, k: int | str) -> str:
    """Return the name of the file of ``kind`` for block ``k``, relative to the bank."""
    return f"{WAVEFORMS_NAME}/{kind}_block_{k}.npy"


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
    digests : str
        Checksum of the file in the folder that has a digest for each waveform; empty
        for a bank without.
    """

    folder: str
    bank_id: str
    n_waveforms: int
    blocksize: int
    n_m: int
    n_b: int
    digests: str = ""

    @property
    def n_blocks(self) -> int:
        """Number of blocks."""
        return -(-self.n_waveforms // self.blocksize)

    def block_shape(self, k: int) -> tuple[int, int, int, int]:
        """Return the shape (waveforms, n_m, 2, n_b) of block ``k``; the last is shorter."""
        n_rows = min(self.blocksize, self.n_waveforms - k * self.blocksize)
        return (n_rows, self.n_m, 2, self.n_b)

    def block_path(self, kind: str, k: int) -> Path:
        """Return the path of the file of ``kind`` for block ``k``."""
        return Path(self.folder) / block_name(kind, k)

    def check_block(self, k: int) -> None:
        """Check presence, kind, shape and length of the files of block ``k``.

        Raises
        ------
        MissingFileError, BankError
        """
        for kind in KINDS:
            _open_file(self, kind, k)

    def read(self, inds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return amplitudes and phases, (len(inds), n_m, 2, n_b) float64 each.

        ``inds`` may be in any order.

        Raises
        ------
        InputError
            An index is outside the bank.
        MissingFileError, BankError
            The file of a block is missing, truncated or of another shape or kind, or a
            waveform is damaged: it disagrees with its digest or, in a bank without, has
            amplitudes but no phase.
        """
        inds = np.asarray(inds, dtype=np.int64)
        if len(inds) and not 0 <= inds.min() <= inds.max() < self.n_waveforms:
            bad = inds[(inds < 0) | (inds >= self.n_waveforms)][0]
            raise InputError(
                f"index {bad} is outside {self.bank_id}, which has {self.n_waveforms} "
                "waveforms"
            )
        shape = (len(inds), self.n_m, 2, self.n_b)
        waveforms = aligned_empty(shape), aligned_empty(shape)
        for k, stretches in _stretches(inds, self.blocksize):
            for kind, rows in zip(KINDS, waveforms, strict=True):
                file = _open_file(self, kind, k)
                with reading(self.block_path(kind, k)):
                    file.read(stretches, rows)
        self._refuse_damaged(inds, *waveforms)
        return waveforms

    def read_ahead(self, start: int, stop: int) -> None:
        """Ask the system to begin reading waveforms; do not wait for it.

        The disk then works while the processor does. ``start`` to ``stop`` lie in one
        block.
        """
        if not hasattr(os, "posix_fadvise") or start >= stop:
            return
        k, row = divmod(start, self.blocksize)
        for kind in KINDS:
            file = _open_file(self, kind, k)
            row_bytes = self.n_m * 2 * self.n_b * _FLOAT.itemsize
            os.posix_fadvise(
                file.descriptor,
                file.offset + row * row_bytes,
                (stop - start) * row_bytes,
                os.POSIX_FADV_WILLNEED,
            )

    def expected_digests(self) -> np.ndarray | None:
        """Return the digests (n_waveforms,) that the bank carries, None without any.

        Raises
        ------
        MissingFileError, BankError
            They are not there any more, or are not those that the bank had when it was
            opened.
        """
        if not self.digests:
            return None
        path = Path(self.folder) / DIGESTS_NAME
        with reading(path):
            return _read_digests(str(path), _signature(path.stat()), self)

    def _refuse_damaged(
        self, inds: np.ndarray, amplitudes_impb: np.ndarray, phases_impb: np.ndarray
    ) -> None:
        expected_i = self.expected_digests()
        if expected_i is not None:
            found_i = waveform_digests(amplitudes_impb, phases_impb)
            damaged = np.flatnonzero(found_i != expected_i[inds])
            if len(damaged):
                raise BankError(
                    f"{self._place(int(inds[damaged[0]]))} does not agree with its digest "
                    f"in {DIGESTS_NAME}: the file is damaged, or was changed after the "
                    f"bank was built; `dotpe-exec bank check {self.folder}` lists all"
                )
            return
        for i in without_phase(phases_impb):
            if amplitudes_impb[i].any():
                raise BankError(
                    f"{self._place(int(inds[i]))} has amplitudes, but the same phase at "
                    "all frequencies: the files are damaged, or those of amplitudes and "
                    "phases were exchanged"
                )

    def _place(self, index: int) -> str:
        k, row = divmod(index, self.blocksize)
        return (
            f"waveform {index} of {self.bank_id} (row {row} of block {k}, "
            f"{self.block_path(KINDS[0], k)} or {KINDS[1]}_block_{k}.npy)"
        )


def _stretches(
    inds: np.ndarray, blocksize: int
) -> Iterator[tuple[int, list[tuple[int, int, int]]]]:
    """Yield each block with its stretches (start, stop, row of the block at start).

    Indices ``start`` to ``stop`` of a stretch are consecutive. Each block comes once,
    whatever the order of the indices: files are looked at once a read.
    """
    if not len(inds):
        return
    block_i, row_i = np.divmod(inds, blocksize)
    edges = np.flatnonzero((np.diff(inds) != 1) | (row_i[1:] == 0)) + 1
    starts, stops = np.append(0, edges), np.append(edges, len(inds))
    by_block = np.argsort(block_i[starts], kind="stable")
    starts, stops = starts[by_block], stops[by_block]
    blocks = block_i[starts].tolist()
    stretches = zip(starts.tolist(), stops.tolist(), row_i[starts].tolist(), strict=True)
    for k, some in itertools.groupby(zip(blocks, stretches, strict=True), itemgetter(0)):
        yield k, [stretch for _, stretch in some]


def without_phase(phases_impb: np.ndarray) -> list[int]:
    """Return the waveforms whose phases are the same at all frequencies."""
    wound_imp = np.abs(phases_impb[..., -1] - phases_impb[..., 0])
    doubtful = np.flatnonzero(wound_imp.max(axis=(1, 2), initial=0.0) < _NO_PHASE)
    return [int(i) for i in doubtful if np.ptp(phases_impb[i], axis=-1).max() < _NO_PHASE]


def waveform_digests(amplitudes_impb: np.ndarray, phases_impb: np.ndarray) -> np.ndarray:
    """Return a digest (n_i,) uint64 of each waveform: XXH3 of amplitudes, then phases.

    It is made for damage and mistakes, at the speed of memory, and not for somebody who
    forges a bank.
    """
    if not len(amplitudes_impb):
        return np.empty(0, dtype=np.uint64)
    # As bytes, whose slices cost less than those of arrays: that is most of the time.
    amplitudes, phases = (
        np.ascontiguousarray(each).data.cast("B") for each in (amplitudes_impb, phases_impb)
    )
    size, digest = amplitudes.nbytes // len(amplitudes_impb), xxhash.xxh3_64_intdigest
    return np.array(
        [
            digest(phases[at : at + size], digest(amplitudes[at : at + size]))
            for at in range(0, amplitudes.nbytes, size)
        ],
        dtype=np.uint64,
    )


_Signature = tuple[int, int, int, int]


def _signature(status: os.stat_result) -> _Signature:
    """Return what differs between two files, and between before and after a change."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


@functools.lru_cache(maxsize=4)
def _read_digests(path: str, signature: _Signature, bank: BankHandle) -> np.ndarray:
    if file_digest(path) != bank.digests:
        raise BankError(f"{path} is damaged, or the bank was built anew meanwhile")
    digests_i = load_npy_vector(Path(path), bank.n_waveforms)
    if digests_i.shape != (bank.n_waveforms,) or digests_i.dtype != np.uint64:
        raise BankError(
            f"{path} holds {len(digests_i)} values of type {digests_i.dtype}, expected a "
            f"digest for each of {bank.n_waveforms} waveforms"
        )
    return digests_i


class _BlockFile:
    """An open file of waveforms, closed with the last reference to it."""

    def __init__(self, path: Path, shape: tuple[int, ...]):
        self.shape = shape
        self.descriptor = -1
        with path.open("rb", buffering=0) as file:
            self.offset = check_header(file, shape, _FLOAT).offset
            self.signature = _signature(os.fstat(file.fileno()))
            self.descriptor = os.dup(file.fileno())

    def __del__(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)

    def read(self, stretches: list[tuple[int, int, int]], rows: np.ndarray) -> None:
        """Fill stretches of ``rows``, ``start`` to ``stop``, from a row of the file on.

        Raises
        ------
        ValueError
            The file was cut short since it was opened.
        """
        size = rows.nbytes // len(rows)
        whole = memoryview(rows.reshape(-1).view(np.uint8))  # type: ignore[arg-type]
        for start, stop, row in stretches:
            room, place = whole[start * size : stop * size], self.offset + row * size
            while room.nbytes:
                n = os.preadv(self.descriptor, [room], place)
                if not n:
                    raise ValueError("truncated while it was read")
                room, place = room[n:], place + n


_open_files: collections.OrderedDict[str, _BlockFile] = collections.OrderedDict()
_open_files_guard = threading.Lock()


def _open_file(bank: BankHandle, kind: str, k: int) -> _BlockFile:
    """Return a block's file, checked; the one that its path names now."""
    path, shape = bank.block_path(kind, k), bank.block_shape(k)
    with reading(path):
        signature = _signature(path.stat())
        with _open_files_guard:
            file = _open_files.pop(str(path), None)
            if file is None or file.signature != signature or file.shape != shape:
                file = _BlockFile(path, shape)
            _open_files[str(path)] = file
            while len(_open_files) > _MOST_OPEN_FILES:
                _open_files.popitem(last=False)
        return file


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


def nonfinite_message(bank: BankHandle, inds: np.ndarray, bad_rows: np.ndarray) -> str:
    """Return a sentence that names waveforms with NaN or infinity and where they lie.

    Parameters
    ----------
    bank : BankHandle
    inds : (n_i,) int
        Indices of the waveforms that were read.
    bad_rows : (n_i,) bool, or (n_bad,) int
        Which of them are not finite.
    """
    bad = np.asarray(inds)[np.asarray(bad_rows)]
    others = f", and so do {len(bad) - 1} more of the same batch" if len(bad) > 1 else ""
    return (
        f"{bank._place(int(bad[0]))} leads to values that are NaN or infinite{others}; "
        f"`dotpe-exec bank check {bank.folder}` lists all"
    )
