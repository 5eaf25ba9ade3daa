"""Files that appear whole or not at all.

Everything is written to a temporary file in the same folder, private to the user, synced
to disk and then renamed over the final name, which POSIX makes atomic. Whatever goes
wrong in between leaves the old file as it was and no temporary one behind (one left by a
killed process starts with :data:`TEMPORARY_PREFIX` and is removed by the next run in that
directory, or by the next export or report of that name, an hour later).
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import glob
import json
import math
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import InputError, RunDirectoryError
from .validation import check_path

if TYPE_CHECKING:
    import pandas as pd

TEMPORARY_PREFIX = ".dotpe-exec-tmp-"

# Who is asked before a file below a folder gets its name: whoever holds the folder.
_guards: dict[str, list[Callable[[], None]]] = {}

_ABANDONED_AFTER = 3600.0  # seconds without a write to a temporary file

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike, *, sync: bool = True) -> Iterator[Path]:
    """Give a temporary path to write to; it becomes ``path`` when the block ends well.

    Parameters
    ----------
    path : path
        Where the file shall appear; its folder must exist.
    sync : bool
        Whether to wait until the data are on disk before renaming.

    Yields
    ------
    pathlib.Path
        An empty file in the same folder, with the same suffix (``np.savez`` appends its
        own to names that lack it), readable by the user alone until it is renamed.

    Raises
    ------
    RunDirectoryError
        The disk is full or the folder cannot be written; nothing is left behind.
    """
    path = Path(path)
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(4)}-{path.name}")
    check_guards(path)
    with writing(path):
        try:
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            yield temporary
            temporary.chmod(0o666 & ~_umask())
            if sync:
                sync_file(temporary)
            check_guards(path)
            temporary.replace(path)
            if sync:
                sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def guard(folder: str | os.PathLike, check: Callable[[], None]) -> None:
    """Have ``check`` called before a file in ``folder``, or below, gets its name.

    It raises where the folder is not to be written to any more.
    """
    _guards.setdefault(os.path.abspath(folder), []).append(check)  # noqa: PTH100


def unguard(folder: str | os.PathLike, check: Callable[[], None]) -> None:
    """Undo :func:`guard`."""
    key = os.path.abspath(folder)  # noqa: PTH100
    left = [each for each in _guards.get(key, []) if each != check]
    if left:
        _guards[key] = left
    else:
        _guards.pop(key, None)


def check_guards(path: str | os.PathLike) -> None:
    """Ask whoever holds a folder that ``path`` is in; an error of theirs passes through."""
    if not _guards:
        return
    path = Path(os.path.abspath(path))  # noqa: PTH100
    for folder in path.parents:
        for check in _guards.get(str(folder), ()):
            check()


def make_folder_of(path: str | os.PathLike) -> None:
    """Make the folder that a file is going to be in.

    Raises
    ------
    RunDirectoryError
        It cannot be made, or must not be (see :func:`guard`).
    """
    check_guards(path)
    with writing(path):
        Path(path).parent.mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def writing(path: str | os.PathLike) -> Iterator[None]:
    """Turn the ``OSError`` of whoever writes ``path`` into a RunDirectoryError."""
    try:
        yield
    except OSError as error:
        raise _explain(Path(path), error) from error


def check_writable(path: str | os.PathLike) -> None:
    """Refuse a file that could not be written, before the work whose result it shall be.

    Raises
    ------
    RunDirectoryError
        Its folder does not exist or cannot be written, or a folder has its name.
    """
    path = Path(path)
    if path.is_dir():
        raise RunDirectoryError(f"{path} is a folder, expected a file or nothing there")
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(4)}")
    with writing(path):
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        temporary.unlink()


def output_file(output: str | os.PathLike, *endings: str) -> Path:
    """Return the path of a file to be written, checked before any work is done for it.

    Raises
    ------
    InputError
        It is no path, or its name ends in none of ``endings``.
    RunDirectoryError
        As :func:`check_writable`.
    """
    check_path("output", output)
    path = Path(output)
    if endings and not path.name.lower().endswith(endings):
        raise InputError(f"{path} must end in {' or '.join(endings)}")
    check_writable(path)
    _remove_left_behind(path)
    return path


def _remove_left_behind(path: Path) -> None:
    """Remove what killed processes left of a file, but nothing that one still writes."""
    for left in path.parent.glob(f"{TEMPORARY_PREFIX}????????-{glob.escape(path.name)}"):
        with contextlib.suppress(OSError):
            if time.time() - left.lstat().st_mtime > _ABANDONED_AFTER:
                left.unlink()


def _explain(path: Path, error: OSError) -> RunDirectoryError:
    # NumPy reports a short write of fwrite() without an error number.
    short_write = error.errno is None and "requested and" in str(error)
    if error.errno in _FULL or short_write:
        return RunDirectoryError(
            f"{path} could not be written because the disk or the quota is full; make "
            "space and start again with resume=True"
        )
    if isinstance(error.filename2, str | os.PathLike):
        path = Path(error.filename2)  # of renaming: whose place is taken
    reason = error.strerror or str(error)
    return RunDirectoryError(f"{path} cannot be written: {reason}")


def sync_file(path: Path) -> None:
    """Wait until the data of ``path`` are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Wait until the names in ``folder`` are on disk, where the file system can."""
    with contextlib.suppress(OSError):
        sync_file(folder)


def _umask() -> int:
    # os.umask() can only be read by setting it, for all threads at once.
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.split("Umask:", 1)[1].split(None, 1)[0], 8)
    except (OSError, IndexError, ValueError):
        mask = os.umask(0o022)
        os.umask(mask)
        return mask


def remove_temporaries(folder: Path) -> None:
    """Remove what killed processes left half-written in ``folder``."""
    for path in folder.glob(f"{TEMPORARY_PREFIX}*"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                path.unlink()


def to_json(value: Any) -> Any:
    """Return ``value`` in terms of standard JSON.

    NumPy numbers and arrays become numbers and lists, paths strings, dataclasses
    dictionaries, and what standard JSON has no number for (NaN, infinities) null.

    Raises
    ------
    TypeError
        For anything else.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, np.generic | np.ndarray):
        return to_json(value.tolist())
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple | range):
        return [to_json(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Write ``value`` as standard JSON (see :func:`to_json`), atomically."""
    text = json_text(value)
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def json_text(value: Any) -> str:
    """Return what :func:`write_json` writes."""
    return json.dumps(to_json(value), indent=2, allow_nan=False) + "\n"


def read_json(path: str | os.PathLike) -> Any:
    """Return the content of a JSON file.

    Raises
    ------
    RunDirectoryError
        It is missing or damaged.
    """
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RunDirectoryError(f"{path} is missing") from error
    except OSError as error:
        raise RunDirectoryError(f"{path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise RunDirectoryError(f"{path} is damaged, expected JSON: {error}") from error


def write_feather(path: str | os.PathLike, frame: pd.DataFrame) -> None:
    """Write a data frame atomically; its index is not kept."""
    with atomic_write(path) as temporary:
        frame.reset_index(drop=True).to_feather(temporary)


def write_npy(path: str | os.PathLike, array: np.ndarray) -> None:
    """Write one array as ``.npy``, atomically."""
    _write_arrays(path, lambda file: np.save(file, array, allow_pickle=False))


def write_npz(path: str | os.PathLike, **arrays: np.ndarray) -> None:
    """Write named arrays as ``.npz``, atomically."""
    _write_arrays(path, lambda file: np.savez(file, **arrays))  # type: ignore[arg-type]


def _write_arrays(path: str | os.PathLike, save: Callable[[Any], None]) -> None:
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        save(file)
