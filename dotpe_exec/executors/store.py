"""Large arrays by content: written once, memory-mapped by every process of a node.

``store.put(obj)`` takes an array, or a dataclass of arrays (nested ones too), and
returns a small picklable handle; ``handle.load()`` gives it back, read-only and shared
through the page cache. A worker that does not see the store's folder, because it is on
another host, says so to whoever called it (:func:`absent_paths`) and is given the content
once (:func:`accept`); :mod:`delivery` does both.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import glob
import hashlib
import math
import os
import shutil
import socket
import stat
import tempfile
import threading
import time
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ExecutorError
from ..npy_files import array_of_bytes, mapped_array

SCRATCH_VARIABLE = "DOTPE_EXEC_SCRATCH"
"""Environment variable that names the folder under which stores are made."""

_NEW, _NEW_SECONDS = "dotpe-exec-new-", 3600.0
_LOCK = "in-use"
_ALIGNMENT = 64  # bytes, of the data in an .npy file


@dataclass(frozen=True)
class ArrayHandle:
    """Where an array of the store lies."""

    path: str

    def load(self) -> np.ndarray:
        """Return the array, read-only: memory-mapped, or what :func:`accept` was given.

        Raises
        ------
        ExecutorError
            If the file is not there: the store was closed, or this process runs on a
            host that does not see its folder.
        """
        array = _loaded.get(self.path)
        if array is None:
            array = _accepted.get(self.path)
        if array is None:
            _forget_deleted()
            array = _loaded[self.path] = _open(self.path)
        return array


@dataclass(frozen=True, eq=False)
class HeldArray:
    """An array for calls in this process: read-only, aligned as a file's map would be."""

    array: np.ndarray

    def load(self) -> np.ndarray:
        """Return the array."""
        return self.array


@dataclass(frozen=True)
class BundleHandle:
    """A dataclass whose arrays are handles."""

    cls: type
    fields: tuple[tuple[str, Any], ...]

    def load(self) -> Any:
        """Return the dataclass with its arrays loaded; errors as for one array."""
        values: dict[str, Any] = {}
        absent: ExecutorError | None = None
        for name, value in self.fields:
            if isinstance(value, ArrayHandle | HeldArray | BundleHandle):
                try:
                    value = value.load()
                except ExecutorError as error:  # go on: all that is absent is noted
                    absent = error
            values[name] = value
        if absent is not None:
            raise absent
        return self.cls(**values)


_loaded: dict[str, np.ndarray] = {}  # by path, maps of files
_accepted: dict[str, np.ndarray] = {}  # by path on the host where the store is
_call = threading.local()  # .absent: what the call that runs in this thread did not find

KEPT_STORES = 2
"""Of how many stores a worker keeps what it was given: as many runs may share it."""


def _open(path: str) -> np.ndarray:
    try:
        return mapped_array(path)
    except FileNotFoundError as error:
        absent = getattr(_call, "absent", None)
        if absent is not None:
            absent.add(path)
        raise ExecutorError(
            f"the array store has no file {path} on host {socket.gethostname()}: it was "
            f"closed, or it lies in a folder that this host does not share (set "
            f"{SCRATCH_VARIABLE} to one that all hosts see)"
        ) from error


def _forget_deleted() -> None:
    """Unmap arrays of closed stores; their disk space is free only then."""
    for path in list(_loaded):  # a copy: other threads load at the same time
        if not os.path.exists(path):  # noqa: PTH110
            _loaded.pop(path, None)


@contextlib.contextmanager
def absent_paths() -> Iterator[set[str]]:
    """Yield a set that fills with the files that loads in this thread do not find."""
    absent: set[str] = set()
    _call.absent = absent
    try:
        yield absent
    finally:
        _call.absent = None


def accept(files: Mapping[str, bytes]) -> None:
    """Keep arrays of a store that this process does not see, until newer ones come.

    Parameters
    ----------
    files : mapping
        Contents of files of the store, by path there.
    """
    for path, content in files.items():
        array = _accepted.pop(path, None)
        if array is None:
            array = _aligned(array_of_bytes(content))
        _accepted[path] = array  # last: the latest
    stores = dict.fromkeys(os.path.dirname(path) for path in reversed(_accepted))  # noqa: PTH120
    for path in list(_accepted):
        if os.path.dirname(path) not in list(stores)[:KEPT_STORES]:  # noqa: PTH120
            _accepted.pop(path, None)


def _aligned(array: np.ndarray) -> np.ndarray:
    """Return a read-only copy that lies in memory as the map of a file would.

    Vector instructions may take other paths, and sums other orders, where data is not
    aligned; the bits of a result must not depend on how an array came.
    """
    copy = aligned_empty(array.shape, array.dtype)
    copy[...] = array
    copy.flags.writeable = False
    return copy


def aligned_empty(
    shape: tuple[int, ...], dtype: np.dtype | type[np.generic] = np.float64
) -> np.ndarray:
    """Return an array whose data begin where those of a memory map could."""
    dtype = np.dtype(dtype)
    n_bytes = math.prod(shape) * dtype.itemsize
    room = np.empty(n_bytes + _ALIGNMENT, dtype=np.uint8)
    start = -room.ctypes.data % _ALIGNMENT
    return room[start : start + n_bytes].view(dtype).reshape(shape)


class ArrayStore:
    """A folder of arrays, named by their content; deleted when closed.

    Parameters
    ----------
    scratch : path, optional
        Folder in which the store makes its own. Local disk or memory is fastest; workers
        on other hosts need a shared one. Default: the environment variable
        ``DOTPE_EXEC_SCRATCH``, else the temporary directory.
    in_process : bool
        All calls are made in this process: handles hold copies of the arrays, and no file
        is written.

    Attributes
    ----------
    folder : Path
        This store's own folder, for this user alone, with a name that nobody can guess.

    Raises
    ------
    ExecutorError
        If the folder cannot be made, or (from ``put``) is full.

    Folders that processes of this host left behind when they were killed are deleted
    when the next store is made in the same place.
    """

    def __init__(
        self, scratch: str | os.PathLike | None = None, *, in_process: bool = False
    ):
        self._in_process = in_process
        root = _scratch_root(scratch)
        _delete_abandoned(root)
        # Locked under a name that nobody cleans up, then renamed: there is no moment at
        # which another process could take the folder for an abandoned one.
        try:
            fresh = Path(tempfile.mkdtemp(prefix=_NEW, dir=root))
            self._lock = os.open(fresh / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
            with contextlib.suppress(OSError):  # file systems without locks: no clean-up
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.folder = fresh.rename(root / f"{_host_prefix()}{fresh.name[len(_NEW) :]}")
        except OSError as error:
            raise ExecutorError(
                f"the array store cannot be made in {root}: {error.strerror or error}"
            ) from error
        self._finalizer = weakref.finalize(
            self, _delete, self.folder, self._lock, os.getpid()
        )

    def put(self, obj: Any) -> Any:
        """Store an array or a dataclass of arrays and return its handle.

        Raises
        ------
        TypeError
            For anything else, and for arrays of Python objects.
        ExecutorError
            If there is no room, or the store was closed.
        """
        if isinstance(obj, np.ndarray):
            return self._put_array(obj)
        if dataclasses.is_dataclass(obj) and not isinstance(obj, type):
            fields = []
            for field in dataclasses.fields(obj):
                value = getattr(obj, field.name)
                if isinstance(value, np.ndarray) or dataclasses.is_dataclass(value):
                    value = self.put(value)
                fields.append((field.name, value))
            return BundleHandle(type(obj), tuple(fields))
        raise TypeError(f"the store takes arrays and dataclasses, not {type(obj).__name__}")

    def _put_array(self, array: np.ndarray) -> ArrayHandle | HeldArray:
        if array.dtype.hasobject:
            raise TypeError("the store takes no arrays of Python objects")
        # Not ascontiguousarray, which turns a scalar array into one of length one.
        array = np.asarray(array, order="C")
        if self._in_process:
            return HeldArray(_aligned(array))
        digest = hashlib.blake2b(digest_size=16)
        digest.update(repr((array.dtype.descr, array.shape)).encode())
        if array.size:
            digest.update(array.reshape(-1).view(np.uint8).data)
        path = self.folder / f"{digest.hexdigest()}.npy"
        if not path.exists():
            temporary = path.with_suffix(".tmp")
            try:
                with temporary.open("wb") as file:
                    np.save(file, array, allow_pickle=False)
                temporary.replace(path)
            except OSError as error:
                temporary.unlink(missing_ok=True)
                raise self._no_room(array.nbytes, error) from error
        return ArrayHandle(str(path))

    def _no_room(self, needed: int, error: OSError) -> ExecutorError:
        if not self.folder.exists():
            return ExecutorError(f"the array store in {self.folder} was closed")
        free = shutil.disk_usage(self.folder).free
        return ExecutorError(
            f"the array store in {self.folder} cannot take {needed / 1e6:.1f} MB "
            f"({error}; {free / 1e6:.1f} MB are free): set {SCRATCH_VARIABLE} to a folder "
            "with more room"
        )

    def close(self) -> None:
        """Delete the folder. Handles load no more; arrays already loaded stay valid."""
        self._finalizer()
        _forget_deleted()

    def __enter__(self) -> ArrayStore:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def _scratch_root(scratch: str | os.PathLike | None) -> Path:
    """Return the folder in which stores are made."""
    try:
        root = Path(scratch or os.environ.get(SCRATCH_VARIABLE) or tempfile.gettempdir())
    except FileNotFoundError as error:
        raise ExecutorError(
            f"{error.strerror or error}: set {SCRATCH_VARIABLE} to a folder for scratch "
            "files"
        ) from error
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ExecutorError(
            f"the scratch folder {root} cannot be made: {error.strerror}"
        ) from error
    return root.resolve()


def _host_prefix() -> str:
    return f"dotpe-exec-arrays-{socket.gethostname()}-"


def _delete_abandoned(root: Path) -> None:
    """Delete stores of this host and user whose processes are gone: no lock is held.

    Others may write in the same place, so what they put there under such a name is left
    alone, and no link is followed.
    """
    for folder in root.glob(f"{_NEW}*"):  # which nobody had the time to lock and rename
        with contextlib.suppress(OSError):
            status = folder.lstat()
            if (
                status.st_uid == os.getuid()
                and time.time() - status.st_mtime > _NEW_SECONDS
            ):
                shutil.rmtree(folder, ignore_errors=True)
    for folder in root.glob(f"{glob.escape(_host_prefix())}*"):
        try:
            status = folder.lstat()
            if status.st_uid != os.getuid() or not stat.S_ISDIR(status.st_mode):
                continue
            lock = os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            pass
        finally:
            os.close(lock)


def _delete(folder: Path, lock: int, pid: int) -> None:
    if os.getpid() == pid:  # not in a forked child of the owner
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)
