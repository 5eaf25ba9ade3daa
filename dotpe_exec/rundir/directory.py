"""The run directory: who may write there, and which run it belongs to.

Its file names are those of :mod:`dotpe_exec.rundir.files`; :mod:`dotpe_exec.loading` reads
one.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Iterable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from ..atomic import json_text, remove_temporaries, write_json
from ..digests import text_digest
from ..errors import InputError, RunDirectoryError
from .checkpoint import Checkpoint
from .checksums import damaged_files, record_checksums, seal, unseal
from .files import RunFiles, check_name, waveforms_of
from .identity import RunIdentity
from .lock import DirectoryLock

logger = logging.getLogger(__name__)

_RUN_PREFIX = "run_"  # cogwheel's get_rundir


class RunState(Enum):
    """What :meth:`RunDirectory.prepare` found."""

    NEW = "new"
    RESUMED = "resumed"
    FINISHED = "finished"


class RunDirectory(RunFiles):
    """A directory of one run; as a context manager it gives the lock back at the end.

    Parameters
    ----------
    path : path
        Made by :meth:`prepare` if it does not exist.
    """

    def __init__(self, path: str | os.PathLike):
        super().__init__(path)
        self._lock = DirectoryLock(self.lock)
        self._identity: RunIdentity | None = None
        self._sizes: dict[str, int] = {}

    def __enter__(self) -> RunDirectory:
        return self

    def __exit__(self, *exception: object) -> None:
        error = exception[1] if len(exception) > 1 else None
        if error is not None:
            error.rundir = self.path  # type: ignore[attr-defined]  # for who says how to go on
        self.release()

    def make_bank_folders(self, bank_ids: Iterable[str]) -> None:
        """Make the folders of the banks."""
        for bank_id in bank_ids:
            _make_folder(self.bank(bank_id))

    # What the directory knows about itself

    @property
    def is_finished(self) -> bool:
        """Whether a run ended here: its summary is the last file that is written."""
        return self.summary.is_file()

    def stored_identity(self) -> RunIdentity | None:
        """Return the identity of the run that was here, None if none is recorded.

        Raises
        ------
        RunDirectoryError
            The record is damaged.
        """
        if not self.identity.is_file():
            return None
        return RunIdentity.from_dict(unseal(self.identity))

    def stored_seed(self) -> int | None:
        """Return the seed of the run that was here, for resuming a run given none."""
        identity = self.stored_identity()
        seed = identity.parameters.get("seed") if identity else None
        return seed if isinstance(seed, int) else None

    def record_sizes(self, sizes: Mapping[str, int]) -> dict[str, int]:
        """Fix the batch sizes of a run, before its first task.

        The sizes fix the arithmetic, so a run that is resumed goes on with those it
        began with.

        Returns
        -------
        dict
            The recorded sizes: ``sizes`` in a new run, the earlier ones in a resumed one.
        """
        if self.sizes.is_file():
            recorded = unseal(self.sizes)
            if not all(isinstance(recorded.get(name), int) for name in sizes):
                raise RunDirectoryError(f"{self.sizes} is damaged")
            for name, size in sizes.items():
                if recorded[name] != size:
                    logger.warning(
                        "%s: %s stays %s as when the run began (now asked for: %s)",
                        self.path, name, recorded[name], size,
                    )  # fmt: skip
            self._sizes = {name: recorded[name] for name in sizes}
        else:
            self._sizes = dict(sizes)
            write_json(self.sizes, seal(self._sizes))
        return dict(self._sizes)

    # Taking and leaving

    def prepare(
        self,
        identity: RunIdentity,
        *,
        resume: bool = False,
        overwrite: bool = False,
        keep: Iterable[str | os.PathLike] = (),
    ) -> RunState:
        """Take the directory for a run, before any work starts.

        Parameters
        ----------
        identity : RunIdentity
        resume : bool
            Go on with the run that is here; begin one if there is none.
        overwrite : bool
            Remove what an earlier run left here (known files only).
        keep : iterable of path
            Input files of this run, which are not removed even if they are here.

        Returns
        -------
        RunState
            ``FINISHED``: the same run ended here, nothing is left to do.

        Raises
        ------
        RunDirectoryError
            The directory cannot be written, is in use, holds results (and neither
            ``resume`` nor ``overwrite`` is given), or holds a different run.
        InputError
            Both ``resume`` and ``overwrite`` are given.
        """
        if resume and overwrite:
            raise InputError(
                "resume and overwrite exclude each other, expected one of them"
            )
        check_name("event", identity.event_name)
        for bank_id in identity.banks:
            check_name("bank id", bank_id)
        _make_folder(self.path)
        self._lock.acquire()
        try:
            self._refuse_folders_for_files()
            self._refuse_links_to_folders(identity.banks)
            state = self._take(identity, resume, overwrite, {_real(k) for k in keep})
        except BaseException:
            self.release()
            raise
        self._identity = identity
        return state

    def _take(
        self, identity: RunIdentity, resume: bool, overwrite: bool, keep: set[Path]
    ) -> RunState:
        if resume and (self.identity.is_file() or self._occupied()):
            self._refuse_another_run(identity)
            self._remove_temporaries()
            if self.is_finished and not self._damaged():
                Checkpoint(self.checkpoint_folder).remove()  # killed before it could
                return RunState.FINISHED
            _unlink(self.summary)
            self.make_bank_folders(identity.banks)  # a person may have tidied up
            return RunState.RESUMED
        if self._occupied() and not overwrite:
            raise RunDirectoryError(
                f"the run directory {self.path} holds {self._what_it_holds()}; give "
                "resume=True to go on with it, overwrite=True to replace it, or another "
                "rundir"
            )
        self._remove_temporaries()
        self._remove_earlier_run(keep)
        self.make_bank_folders(identity.banks)
        write_json(self.identity, seal(identity.to_dict()))
        return RunState.NEW

    def _refuse_folders_for_files(self) -> None:
        for path in self.everything():
            if path.is_dir():
                raise RunDirectoryError(
                    f"{path} is a folder, expected a file or nothing of that name"
                )

    def _refuse_links_to_folders(self, bank_ids: Iterable[str]) -> None:
        """What is behind a link belongs to others; overwriting would remove it."""
        banks = [*self.bank_folders(), *map(self.bank, bank_ids)]
        ours = [self.checkpoint_folder, self.adapting_folder, *banks]
        for folder in (*ours, *map(waveforms_of, banks)):
            for path in (folder.parent, folder):
                if path != self.path and path.is_symlink():
                    raise RunDirectoryError(
                        f"{path} is a symbolic link, expected a folder or nothing of that "
                        "name"
                    )

    def _remove_temporaries(self) -> None:
        banks = self.bank_folders()
        for folder in (self.path, *banks, *map(waveforms_of, banks)):
            remove_temporaries(folder)

    def _damaged(self) -> list[Path]:
        """Return damaged files of a finished run, with a warning that names them."""
        damaged = damaged_files(self.path)
        if damaged:
            logger.warning(
                "%s: the finished run is done again, because its files do not agree with "
                "their checksums any more: %s",
                self.path, ", ".join(str(path.relative_to(self.path)) for path in damaged),
            )  # fmt: skip
        return damaged

    def _refuse_another_run(self, identity: RunIdentity) -> None:
        stored = self.stored_identity()
        if stored is None:
            raise RunDirectoryError(
                f"the run directory {self.path} does not say which run it belongs to (it "
                "is not of this package, or incomplete), so it cannot be resumed"
            )
        if differences := stored.differences(identity):
            raise RunDirectoryError(
                f"the run directory {self.path} belongs to a different run and cannot be "
                f"resumed with these arguments; what differs: {'; '.join(differences)}"
            )

    def checkpoint(self) -> Checkpoint:
        """Open the results of finished tasks; :meth:`prepare` comes first.

        They belong to the run and to its batch sizes: should the record of these be lost,
        results of tasks that were cut otherwise are not taken.
        """
        if self._identity is None:
            raise RuntimeError("prepare() the run directory before its checkpoint")
        sizes = ",".join(f"{name}={size}" for name, size in sorted(self._sizes.items()))
        digest = text_digest(f"{self._identity.digest};{sizes}")
        return Checkpoint(self.checkpoint_folder, digest)

    def drop_checkpoint(self) -> None:
        """Forget the results of finished tasks."""
        Checkpoint(self.checkpoint_folder).remove()

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Write checksums of all that the run left, and its summary, the last file."""
        if self._identity is None:
            raise RuntimeError("prepare() the run directory before finishing it")
        record_checksums(
            self.path,
            self.lasting(self._identity.event_name),
            known={self.summary.name: text_digest(json_text(summary))},
        )
        write_json(self.summary, summary)

    def release(self) -> None:
        """Give the directory back to others."""
        self._lock.release()

    def _occupied(self) -> bool:
        checkpoint = self.checkpoint_folder
        return bool(self.results()) or (checkpoint.is_dir() and any(checkpoint.iterdir()))

    def _what_it_holds(self) -> str:
        if self.is_finished:
            return "the results of a run"
        return "an unfinished run"

    def _remove_earlier_run(self, keep: set[Path]) -> None:
        paths = self.everything()
        with contextlib.suppress(RunDirectoryError, InputError):  # damaged
            if stored := self.stored_identity():
                paths.append(self.event(stored.event_name))
        # The summary says that a run is complete: it goes first, the identity last.
        paths.sort(key=lambda path: (path != self.summary, path == self.identity))
        Checkpoint(self.checkpoint_folder).remove()
        for path in paths:
            if _real(path) not in keep:
                _unlink(path)
        banks = self.bank_folders()
        for folder in (*map(waveforms_of, banks), *banks, self.path / "banks"):
            with contextlib.suppress(OSError):
                folder.rmdir()


def _real(path: str | os.PathLike) -> Path:
    # Not Path.resolve(), which raises for a link that leads to itself.
    return Path(os.path.realpath(path))


def _unlink(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise RunDirectoryError(f"{path} cannot be removed: {error.strerror}") from error


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise RunDirectoryError(f"{path} is a file, expected a directory") from error
    except NotADirectoryError as error:
        raise RunDirectoryError(f"{path}: part of the path is a file") from error
    except OSError as error:
        raise RunDirectoryError(f"{path} cannot be made: {error.strerror}") from error


def choose(
    rundir: str | os.PathLike | None,
    event_dir: str | os.PathLike | None,
    *,
    resume: bool = False,
) -> RunDirectory:
    """Return the run directory that the arguments ask for.

    Parameters
    ----------
    rundir : path, optional
        The run directory itself; wins over ``event_dir``, with a warning.
    event_dir : path, optional
        Its parent, in which ``run_0``, ``run_1``, ... are made: the next one that does
        not exist. It is made here, so that no other process can get the same.
    resume : bool
        With ``event_dir``: take the last one that this package made, if there is any.

    Raises
    ------
    InputError
        Neither is given.
    RunDirectoryError
        The directory cannot be made.
    """
    if rundir is not None:
        if event_dir is not None:
            logger.warning(
                "both rundir and event_dir are given; rundir is used: %s", rundir
            )
        return RunDirectory(rundir)
    if event_dir is None:
        raise InputError(
            "neither rundir nor event_dir is given: give rundir (the run directory) or "
            "event_dir (its parent, in which run_0, run_1, ... are made)"
        )
    parent = Path(event_dir)
    _make_folder(parent)
    if resume:
        for number in sorted(_run_numbers(parent), reverse=True):
            directory = RunDirectory(parent / f"{_RUN_PREFIX}{number}")
            if directory.identity.is_file():
                return directory
    while True:
        path = parent / f"{_RUN_PREFIX}{max(_run_numbers(parent), default=-1) + 1}"
        try:
            path.mkdir()
        except FileExistsError:
            continue  # somebody was faster: the next number
        except OSError as error:
            raise RunDirectoryError(f"{path} cannot be made: {error.strerror}") from error
        return RunDirectory(path)


def _run_numbers(parent: Path) -> list[int]:
    names = (path.name for path in parent.iterdir())
    return [
        int(match.group(1))
        for name in names
        if (match := re.fullmatch(re.escape(_RUN_PREFIX) + r"(\d+)", name))
    ]
