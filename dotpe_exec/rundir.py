"""The run directory: every file name, who may write there, and which run it belongs to.

No other module knows a file name of a run directory. :class:`RunDirectory` writes one;
:func:`load_run` reads one, ours or a published one.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Iterable, Mapping
from enum import Enum
from pathlib import Path

from .atomic import read_json, remove_temporaries, write_json
from .checkpoint import Checkpoint
from .errors import InputError, RunDirectoryError
from .identity import RunIdentity
from .lock import DirectoryLock

logger = logging.getLogger(__name__)

_RUN_PREFIX = "run_"  # cogwheel's get_rundir
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+\-]*")

# By what they are, because overwriting removes exactly these and nothing else.
_RESULTS = ("summary_results.json", "samples.feather", "prob_samples.feather")
_OTHERS = (
    "run_kwargs.json",
    "Posterior.json",
    "extrinsic_samples.feather",
    "response_dpe.npy",
    "timeshift_dbe.npy",
    "run_report.json",
    "tasks.feather",
    "run_identity.json",
    "run_sizes.json",
    "profile_output.prof",
    "profile_output.txt",
    "trace.json",
)
_BANK_FILES = (
    "intrinsic_samples.npz",
    "prob_samples.feather",
    "intrinsic_sample_processor_cache.json",
)


class RunState(Enum):
    """What :meth:`RunDirectory.prepare` found."""

    NEW = "new"
    RESUMED = "resumed"
    FINISHED = "finished"


class RunDirectory:
    """A directory of one run; as a context manager it gives the lock back at the end.

    Parameters
    ----------
    path : path
        Made by :meth:`prepare` if it does not exist.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self._lock = DirectoryLock(self.path / ".dotpe-exec.lock")
        self._identity: RunIdentity | None = None

    def __fspath__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f"RunDirectory({str(self.path)!r})"

    def __enter__(self) -> RunDirectory:
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()

    # Files

    @property
    def run_kwargs(self) -> Path:
        """Arguments of the run (JSON)."""
        return self.path / "run_kwargs.json"

    @property
    def posterior(self) -> Path:
        """Cogwheel's ``Posterior`` with the reference waveform (JSON)."""
        return self.path / "Posterior.json"

    def event(self, event_name: str) -> Path:
        """The event's data (``.npz``), under its own name."""
        return self.path / f"{check_name('event', event_name)}.npz"

    @property
    def extrinsic_samples(self) -> Path:
        """Table of extrinsic samples (feather)."""
        return self.path / "extrinsic_samples.feather"

    @property
    def response(self) -> Path:
        """Antenna response of the extrinsic samples, (n_d, 2, n_e) (``.npy``)."""
        return self.path / "response_dpe.npy"

    @property
    def timeshift(self) -> Path:
        """Time-shift factors of the extrinsic samples, (n_d, n_b, n_e) (``.npy``)."""
        return self.path / "timeshift_dbe.npy"

    @property
    def prob_samples(self) -> Path:
        """Likelihoods and weights of all accepted (i, e, o), all banks (feather)."""
        return self.path / "prob_samples.feather"

    @property
    def samples(self) -> Path:
        """The samples with all their parameters (feather)."""
        return self.path / "samples.feather"

    @property
    def summary(self) -> Path:
        """Summary of the results (JSON)."""
        return self.path / "summary_results.json"

    @property
    def report(self) -> Path:
        """Timings, sizes and machine (JSON)."""
        return self.path / "run_report.json"

    @property
    def tasks(self) -> Path:
        """One row per task (feather)."""
        return self.path / "tasks.feather"

    @property
    def profile(self) -> Path:
        """Merged profile of all processes, for :mod:`pstats`."""
        return self.path / "profile_output.prof"

    @property
    def profile_text(self) -> Path:
        """The same profile as text."""
        return self.path / "profile_output.txt"

    @property
    def trace(self) -> Path:
        """Timeline of the tasks in Chrome's trace format (JSON)."""
        return self.path / "trace.json"

    def bank(self, bank_id: str) -> Path:
        """The folder of one bank's files; made by :meth:`make_bank_folders`."""
        return self.path / "banks" / check_name("bank id", bank_id)

    def intrinsic_samples(self, bank_id: str) -> Path:
        """Survivors of the incoherent selection (``.npz``)."""
        return self.bank(bank_id) / "intrinsic_samples.npz"

    def bank_prob_samples(self, bank_id: str) -> Path:
        """Likelihoods of one bank's accepted (i, e, o) (feather)."""
        return self.bank(bank_id) / "prob_samples.feather"

    def linfree_timeshifts(self, bank_id: str) -> Path:
        """Linear-free time shifts [s] by waveform (JSON)."""
        return self.bank(bank_id) / "intrinsic_sample_processor_cache.json"

    def make_bank_folders(self, bank_ids: Iterable[str]) -> None:
        """Make the folders of the banks."""
        for bank_id in bank_ids:
            _make_folder(self.bank(bank_id))

    # What the directory knows about itself

    @property
    def checkpoint_folder(self) -> Path:
        """Results of finished tasks, while the run lasts."""
        return self.path / "checkpoint"

    @property
    def _identity_file(self) -> Path:
        return self.path / "run_identity.json"

    @property
    def _sizes_file(self) -> Path:
        return self.path / "run_sizes.json"

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
        if not self._identity_file.is_file():
            return None
        return RunIdentity.from_dict(read_json(self._identity_file))

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
        if self._sizes_file.is_file():
            recorded = read_json(self._sizes_file)
            if not isinstance(recorded, dict) or not all(
                isinstance(recorded.get(name), int) for name in sizes
            ):
                raise RunDirectoryError(f"{self._sizes_file} is damaged")
            for name, size in sizes.items():
                if recorded[name] != size:
                    logger.warning(
                        "%s: %s stays %s as when the run began (now asked for: %s)",
                        self.path, name, recorded[name], size,
                    )  # fmt: skip
            return {name: recorded[name] for name in sizes}
        write_json(self._sizes_file, dict(sizes))
        return dict(sizes)

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
            state = self._take(
                identity, resume, overwrite, {Path(k).resolve() for k in keep}
            )
        except BaseException:
            self.release()
            raise
        self._identity = identity
        return state

    def _take(
        self, identity: RunIdentity, resume: bool, overwrite: bool, keep: set[Path]
    ) -> RunState:
        if resume and (self._identity_file.is_file() or self._occupied()):
            self._refuse_another_run(identity)
            self._remove_temporaries()
            if not self.is_finished:
                return RunState.RESUMED
            Checkpoint(self.checkpoint_folder).remove()  # killed before it could
            return RunState.FINISHED
        if self._occupied() and not overwrite:
            raise RunDirectoryError(
                f"the run directory {self.path} holds {self._what_it_holds()}; give "
                "resume=True to go on with it, overwrite=True to replace it, or another "
                "rundir"
            )
        self._remove_temporaries()
        self._remove_earlier_run(keep)
        self.make_bank_folders(identity.banks)
        write_json(self._identity_file, identity.to_dict())
        return RunState.NEW

    def _remove_temporaries(self) -> None:
        for folder in (self.path, *self._bank_folders()):
            remove_temporaries(folder)

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
        """Open the results of finished tasks; :meth:`prepare` comes first."""
        if self._identity is None:
            raise RuntimeError("prepare() the run directory before its checkpoint")
        return Checkpoint(self.checkpoint_folder, self._identity.digest)

    def release(self) -> None:
        """Give the directory back to others."""
        self._lock.release()

    def _bank_folders(self) -> list[Path]:
        banks = self.path / "banks"
        return sorted(p for p in banks.iterdir() if p.is_dir()) if banks.is_dir() else []

    def _results(self) -> list[Path]:
        paths = [self.path / name for name in _RESULTS]
        paths += [folder / name for folder in self._bank_folders() for name in _BANK_FILES]
        return [path for path in paths if path.is_file()]

    def _occupied(self) -> bool:
        checkpoint = self.checkpoint_folder
        return bool(self._results()) or (checkpoint.is_dir() and any(checkpoint.iterdir()))

    def _what_it_holds(self) -> str:
        if self.is_finished:
            return "the results of a run"
        return "an unfinished run"

    def _remove_earlier_run(self, keep: set[Path]) -> None:
        paths = [self.path / name for name in (*_RESULTS, *_OTHERS)]
        with contextlib.suppress(RunDirectoryError):
            if stored := self.stored_identity():
                paths.append(self.event(stored.event_name))
        paths += [folder / name for folder in self._bank_folders() for name in _BANK_FILES]
        # The summary says that a run is complete: it goes first, the identity last.
        paths.sort(key=lambda path: (path != self.summary, path == self._identity_file))
        Checkpoint(self.checkpoint_folder).remove()
        for path in paths:
            if path.resolve() not in keep:
                _unlink(path)
        for folder in (*self._bank_folders(), self.path / "banks"):
            with contextlib.suppress(OSError):
                folder.rmdir()


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


def check_name(what: str, name: str) -> str:
    """Return a name that is to be part of a path, if it is safe.

    Raises
    ------
    InputError
        It holds anything but letters, digits and ``_ . + -``, or begins with other than a
        letter or digit.
    """
    if not isinstance(name, str) or not _SAFE_NAME.fullmatch(name):
        raise InputError(
            f"the {what} {name!r} cannot be part of a file name, expected letters, digits "
            "and _ . + -"
        )
    return name


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
            if directory._identity_file.is_file():
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
