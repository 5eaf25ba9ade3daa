"""Whether the files that a run reads are those that it began with.

What a bank's table, an event or a list of indices contain is part of the run's identity.
Waveforms are too many to be read for that: here the run directory keeps size, time and
inode of every waveform file, which decide whether it must be looked at again, and a digest
of what was read of it in the incoherent phase, which decides whether it is the same.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..atomic import write_json
from ..banks.format import small_files
from ..banks.waveforms import KINDS, BankHandle, waveform_digests
from ..errors import InputError, RunDirectoryError
from ..rundir.checksums import seal, unseal
from ..rundir.directory import RunDirectory, RunState
from ..stages.incoherent import Candidates

logger = logging.getLogger(__name__)

_N_READ = 256  # waveforms at a time

Stamp = tuple[int, int, int] | None
"""Size, time of change [ns] and inode of a file; None where there is none."""


def file_stamp(path: str | os.PathLike) -> Stamp:
    """Return what tells cheaply that a file may have changed."""
    try:
        status = os.stat(path)  # noqa: PTH116 (of thousands of files)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ino


def block_digests(candidates: Candidates, digests_i: np.ndarray) -> dict[str, str]:
    """Return a digest of each block's candidates, in the order of the bank.

    Parameters
    ----------
    candidates : Candidates
    digests_i : (n_i,) uint64
        Of the waveforms, in the order of the candidates.
    """
    found = {}
    for k, places, _ in _by_block(candidates):
        digest = hashlib.blake2b(digests_i[places].tobytes(), digest_size=8)
        found[str(k)] = digest.hexdigest()
    return found


def _by_block(candidates: Candidates) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yield blocks, where their candidates are, and these, in the order of the bank."""
    inds = np.asarray(candidates.inds, dtype=np.int64)
    order = np.argsort(inds, kind="stable")
    blocks = inds[order] // candidates.bank.blocksize
    starts = np.flatnonzero(np.diff(blocks, prepend=-1))
    for places in np.split(order, starts[1:]) if len(starts) else ():
        k = int(inds[places[0]] // candidates.bank.blocksize)
        yield k, places, inds[places]


class InputRecord:
    """The files that a run reads, as they are when it begins.

    Parameters
    ----------
    directory : RunDirectory
        Where the record is kept.
    candidates : dict of Candidates
        By bank id.
    others : iterable of path
        Further files that the run reads more than once.
    """

    def __init__(
        self,
        directory: RunDirectory,
        candidates: Mapping[str, Candidates],
        others: Iterable[str | os.PathLike] = (),
    ):
        self._directory = directory
        self._candidates = candidates
        self._digests: dict[str, dict[str, str]] = {}
        self._stamps = {
            bank_id: [_block_stamps(some.bank, k) for k in range(some.bank.n_blocks)]
            for bank_id, some in candidates.items()
        }
        small = [
            path
            for some in candidates.values()
            for path in small_files(Path(some.bank.folder))
        ]
        self._others = {path: file_stamp(path) for path in (*small, *map(Path, others))}

    def compare(self, state: RunState) -> None:
        """Compare with what an earlier attempt read, and begin or renew the record.

        Files that look changed are read again. Where that cannot decide, because the
        earlier attempt ended too early, its results are dropped, with a warning.

        Raises
        ------
        RunDirectoryError
            Waveforms changed: the run cannot be gone on with.
        BankError
            They are damaged.
        """
        if state is not RunState.NEW:
            earlier = self._read()
            undecided = [bank_id for bank_id in self._candidates
                         if not self._same_waveforms(bank_id, earlier)]  # fmt: skip
            if undecided and state is RunState.RESUMED:
                logger.warning(
                    "%s: the waveform files of %s are not those that the earlier attempt "
                    "began with, or it left no record of them; the run begins anew",
                    self._directory.path, ", ".join(undecided),
                )  # fmt: skip
                self._directory.drop_checkpoint()
        self._write()

    def read_waveforms(self, digests: Mapping[str, np.ndarray]) -> None:
        """Keep what the incoherent phase read.

        Parameters
        ----------
        digests : dict of (n_i,) uint64
            By bank id, in the order of the candidates; not of banks that carry their own.

        Raises
        ------
        InputError
            See :meth:`refuse_changed`.
        """
        self.refuse_changed()
        self._digests = {
            bank_id: block_digests(self._candidates[bank_id], digests_i)
            for bank_id, digests_i in digests.items()
        }
        self._write()

    def refuse_changed(self) -> None:
        """Refuse to go on where a file changed since the run began.

        Raises
        ------
        InputError
        """
        for bank_id, some in self._candidates.items():
            for k, before in enumerate(self._stamps[bank_id]):
                for kind, old, new in zip(
                    KINDS, before, _block_stamps(some.bank, k), strict=True
                ):
                    if old != new:
                        raise _changed(some.bank.block_path(kind, k))
        for path, stamp in self._others.items():
            if file_stamp(path) != stamp:
                raise _changed(path)

    def _same_waveforms(self, bank_id: str, earlier: Mapping[str, Any]) -> bool:
        """Return whether a bank's waveforms are as before; False where nobody knows."""
        try:
            stamps = earlier[bank_id]["stamps"]
            digests = {str(k): str(d) for k, d in earlier[bank_id]["digests"].items()}
        except (KeyError, TypeError, AttributeError):
            return False
        now = [_plain(stamp) for stamp in self._stamps[bank_id]]
        candidates = self._candidates[bank_id]
        if stamps == now:
            self._digests[bank_id] = digests
            return True
        if len(stamps) != len(now):
            return False
        looks_changed = {k for k in range(len(now)) if stamps[k] != now[k]}
        for k, _, inds in _by_block(candidates):
            if k not in looks_changed:
                continue
            found = _read_digest(candidates.bank, inds)
            if candidates.bank.digests:
                continue  # reading compared them
            if not digests:
                return False
            if found != digests.get(str(k)):
                paths = " or ".join(
                    str(candidates.bank.block_path(kind, k)) for kind in KINDS
                )
                raise RunDirectoryError(
                    f"the run directory {self._directory.path} holds a run with other "
                    f"waveforms: {paths} changed since; undo that, or run again with "
                    "overwrite=True"
                )
        self._digests[bank_id] = digests
        return True

    def _read(self) -> Mapping[str, Any]:
        path = self._directory.inputs
        banks = unseal(path).get("banks") if path.is_file() else {}
        return banks if isinstance(banks, dict) else {}

    def _write(self) -> None:
        banks = {
            bank_id: {
                "stamps": [_plain(stamp) for stamp in stamps],
                "digests": self._digests.get(bank_id, {}),
            }
            for bank_id, stamps in self._stamps.items()
        }
        write_json(self._directory.inputs, seal({"banks": banks}))


def _changed(path: Path) -> InputError:
    return InputError(
        f"{path} changed while the run read it: its results would mix what was before and "
        "after; start the run again"
    )


def _block_stamps(bank: BankHandle, k: int) -> list[Stamp]:
    return [file_stamp(bank.block_path(kind, k)) for kind in KINDS]


def _plain(stamps: list[Stamp]) -> list[list[int] | None]:
    return [None if stamp is None else list(stamp) for stamp in stamps]


def _read_digest(bank: BankHandle, inds: np.ndarray) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for start in range(0, len(inds), _N_READ):
        waveforms = bank.read(inds[start : start + _N_READ])
        digest.update(waveform_digests(*waveforms).tobytes())
    return digest.hexdigest()
