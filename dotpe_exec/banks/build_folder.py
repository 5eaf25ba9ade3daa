"""The folder of a bank that is being built: whose it is, how far it got.

``build.json`` holds the recipe; while the build goes on, ``.build/`` has a record of every
complete block, and a lock keeps other processes out.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import seeds
from ..atomic import TEMPORARY_PREFIX, remove_temporaries, write_json
from ..errors import BankError
from ..npy_files import read_json_object
from .format import (
    BUILD_NAME,
    CHECKSUMS_NAME,
    CONFIG_NAME,
    TABLE_NAME,
)
from .recipe import BankRecipe
from .waveforms import DIGESTS_NAME, KINDS, WAVEFORMS_NAME, block_name

_PROGRESS_FOLDER = ".build"
_FINISHED_FOLDER = ".build.finished"
_LOCK_NAME = ".build.lock"


@dataclass(frozen=True)
class BlockRecord:
    """A complete block.

    Parameters
    ----------
    checksums : dict of str
        By file name.
    attempts : dict of int
        Draws needed, by row, where more than one.
    n_direct : int
        Waveforms made the direct way.
    digests : list of int
        One for each waveform.
    """

    checksums: dict[str, str]
    attempts: dict[int, int]
    n_direct: int
    digests: list[int]


def _record_path(folder: Path, k: int) -> Path:
    return folder / _PROGRESS_FOLDER / f"block_{k}.json"


def write_record(folder: Path, k: int, record: BlockRecord) -> None:
    """Note that block ``k`` is complete."""
    write_json(
        _record_path(folder, k),
        {
            "checksums": record.checksums,
            "attempts": record.attempts,
            "n_direct": record.n_direct,
            "digests": record.digests,
        },
    )


def read_record(folder: Path, recipe: BankRecipe, k: int) -> BlockRecord | None:
    """Return the record of block ``k``, or None unless the block is there and complete."""
    bank = recipe.handle(folder)
    try:
        bank.check_block(k)
        content = read_json_object(_record_path(folder, k))
        checksums = {
            str(name): str(digest) for name, digest in content["checksums"].items()
        }
        attempts = {int(index): int(n) for index, n in content["attempts"].items()}
        n_direct = int(content["n_direct"])
        digests = [int(digest) for digest in content["digests"]]
    except (BankError, FileNotFoundError, KeyError, AttributeError, ValueError, TypeError):
        return None
    if set(checksums) != {bank.block_path(kind, k).name for kind in KINDS}:
        return None
    if len(digests) != bank.block_shape(k)[0]:
        return None
    return BlockRecord(checksums, attempts, n_direct, digests)


def remove_records(folder: Path) -> None:
    """Mark the build in ``folder`` as finished."""
    # At once: a build that is killed in between is either finished or has all records.
    (folder / _PROGRESS_FOLDER).rename(folder / _FINISHED_FOLDER)
    shutil.rmtree(folder / _FINISHED_FOLDER, ignore_errors=True)


def recorded_seed(folder: Path, resume: bool) -> int:
    """Return the seed of the build in ``folder`` if it is to go on, else a new one."""
    if resume and (folder / BUILD_NAME).exists():
        # A damaged record is refused, or overwritten, when the folder is prepared.
        with contextlib.suppress(BankError):
            seed = _read_build(folder)["recipe"].get("seed")
            if isinstance(seed, int):
                return seed
    return seeds.draw_seed()


def is_finished(folder: Path) -> bool:
    """Return whether a build was brought to its end in ``folder``."""
    return (folder / BUILD_NAME).exists() and not (folder / _PROGRESS_FOLDER).exists()


def _read_build(folder: Path) -> dict[str, Any]:
    build = read_json_object(folder / BUILD_NAME)
    if not isinstance(build.get("recipe"), dict):
        raise BankError(f"{folder / BUILD_NAME} is not the record of a bank's build")
    return build


def _difference(folder: Path, recipe: BankRecipe) -> str | None:
    """Return in what the build in ``folder`` differs from ``recipe``, or None."""
    found = _read_build(folder)["recipe"]
    for name, value in recipe.to_json().items():
        if found.get(name) != value:
            long = isinstance(value, list) and len(value) > 9
            return f"its {name} differs" if long else f"its {name} is {found.get(name)}"
    return None


def check_space(folder: Path, n_values: int) -> None:
    """Refuse waveforms that do not fit on the disk, before the first is made.

    Parameters
    ----------
    folder : pathlib.Path
        Of the bank, or of several; what is in it counts as space, for it is gone on with
        or replaced.
    n_values : int
        Amplitudes of all waveforms; there are as many phases.

    Raises
    ------
    BankError
    """
    needed = 2 * 8 * n_values
    there = next((path for path in (folder, *folder.parents) if path.is_dir()), None)
    if there is None:
        return
    free = shutil.disk_usage(there).free
    for path in folder.glob(f"**/{WAVEFORMS_NAME}/*.npy") if folder.is_dir() else ():
        free += path.stat().st_size
    if needed > free:
        raise BankError(
            f"the waveforms take {needed / 1e9:.4g} GB, but there are {free / 1e9:.4g} GB "
            f"on the disk of {folder}: expected a smaller bank_size or fewer bins "
            "(a larger pn_phase_tol)"
        )


def refuse_other(folder: Path, recipe: BankRecipe) -> None:
    """Raise BankError if ``folder`` is of the build of another bank."""
    difference = _difference(folder, recipe)
    if difference:
        raise BankError(
            f"{folder} holds another bank: {difference}; expected this one, an empty "
            "folder or overwrite=True"
        )


def prepare_folder(folder: Path, recipe: BankRecipe, resume: bool, overwrite: bool) -> None:
    """Make ``folder`` ready: empty, or holding complete blocks of this very bank."""
    versions = _versions(recipe)
    is_build = (folder / BUILD_NAME).exists()
    if is_build and resume and _can_go_on(folder, recipe, versions):
        remove_temporaries(folder)
        remove_temporaries(folder / WAVEFORMS_NAME)
        return
    if not overwrite:
        if is_build:
            refuse_other(folder, recipe)
            raise BankError(
                f"{folder} holds a part of this bank, expected "
                + ("the same versions of cogwheel and LAL" if resume else "resume=True")
                + " to go on with it or overwrite=True to start again"
            )
        found = sorted(path.name for path in folder.iterdir() if not _is_leftover(path))
        if found:
            raise BankError(
                f"{folder} holds {found[0]}, which is of no build, expected an empty "
                "folder or overwrite=True"
            )
    _remove_bank(folder)
    (folder / WAVEFORMS_NAME).mkdir(exist_ok=True)
    (folder / _PROGRESS_FOLDER).mkdir(exist_ok=True)
    write_json(folder / BUILD_NAME, {"recipe": recipe.to_json(), "versions": versions})


def _is_leftover(path: Path) -> bool:
    """Return whether a build that was killed at its very beginning left ``path``."""
    if path.name in (WAVEFORMS_NAME, _PROGRESS_FOLDER):
        return path.is_dir() and not any(path.iterdir())
    return path.name == _LOCK_NAME or path.name.startswith(TEMPORARY_PREFIX)


def _can_go_on(folder: Path, recipe: BankRecipe, versions: dict[str, str]) -> bool:
    if is_finished(folder):
        return False
    try:
        same = _difference(folder, recipe) is None
        return same and _read_build(folder).get("versions") == versions
    except BankError:
        return False


def _remove_bank(folder: Path) -> None:
    """Remove the files of a bank, and no others."""
    for name in (CONFIG_NAME, TABLE_NAME, DIGESTS_NAME, CHECKSUMS_NAME, BUILD_NAME):
        (folder / name).unlink(missing_ok=True)
    for kind in KINDS:
        for path in folder.glob(block_name(kind, "*")):
            path.unlink()
    for name in (_PROGRESS_FOLDER, _FINISHED_FOLDER):
        shutil.rmtree(folder / name, ignore_errors=True)
    remove_temporaries(folder)
    remove_temporaries(folder / WAVEFORMS_NAME)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep a second process from building in ``folder``."""
    import filelock

    lock = filelock.FileLock(folder / _LOCK_NAME)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise BankError(f"another process is building a bank in {folder}") from error
    except OSError as error:
        raise BankError(f"{folder} cannot be written: {error.strerror or error}") from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            (folder / _LOCK_NAME).unlink()
        lock.release()


def _versions(recipe: BankRecipe) -> dict[str, str]:
    """Return what the last bits of waveforms depend on beside the recipe."""
    import cogwheel
    import lalsimulation

    return {
        "cogwheel": cogwheel.__version__,
        "lalsimulation": lalsimulation.__version__,
        "waveform_generation": recipe.way,
    }
