"""One process at a time in a run directory.

The lock is an open-file-description lock (``F_OFD_SETLK``, elsewhere a POSIX record lock):
the kernel gives it back when the process ends, however it ends, and NFS passes it on to
the server. A POSIX lock would be lost as soon as anything in the process, a backup say,
opened and closed the file. A forked child closes its copy of the description, so that
workers that outlive a killed parent do not hold the lock.

The file also says who holds it, and its holder touches it every :data:`HEARTBEAT` seconds.
That is for file systems that grant such locks to each host separately or not at all
(``nolock`` mounts of NFS, Lustre without ``flock``): a record of another host is believed
for as long as somebody keeps touching it, and of two that write theirs at the same moment
the one that finds the other's gives up.

While it is held, every file that :mod:`dotpe_exec.atomic` gives its name in the folder is
preceded by a look whether folder and lock are still those that were taken
(:meth:`DirectoryLock.check`).
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import socket
import stat
import struct
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from ..atomic import guard, unguard, writing
from ..errors import RunDirectoryError

try:
    import fcntl
except ImportError:  # not POSIX: only the record protects
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

HEARTBEAT = 10.0  # seconds
SETTLE = 1.0  # seconds; a record may need as long to reach other processes and hosts
_UNSUPPORTED = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL}

_LARGEST_RECORD = 4096  # bytes
_KEYS = {"host", "pid"}  # of every record

# Where locks are the process's own they do not exclude its threads, so those that this
# process holds are remembered here.
_held: set[tuple[int, int]] = set()
_held_guard = threading.Lock()
_acquiring = threading.Lock()


class DirectoryLock:
    """The lock of a run directory; ``acquire`` and ``release``, or a context manager.

    Parameters
    ----------
    path : path
        The lock file. It is removed on release.
    heartbeat : float
        Seconds between two signs of life.
    """

    def __init__(self, path: str | os.PathLike, heartbeat: float = HEARTBEAT):
        self.path = Path(path)
        self.heartbeat = heartbeat
        self._descriptor: int | None = None
        self._identity: tuple[int, int] | None = None
        self._folder: tuple[int, int] | None = None
        self._pid = 0
        self._stop = threading.Event()
        self._beating = threading.Lock()

    @property
    def held(self) -> bool:
        """Whether this object, in this process, holds the lock."""
        return self._descriptor is not None and self._pid == os.getpid()

    def acquire(self) -> None:
        """Take the lock.

        Raises
        ------
        RunDirectoryError
            Another process holds it, or the file cannot be written.
        """
        if self.held:
            return
        with _acquiring:  # a thread that finds the lock held here must not open the file
            descriptor, identity = self._acquire()
            with _held_guard:
                _held.add(identity)
        self._descriptor, self._pid, self._identity = descriptor, os.getpid(), identity
        self._folder = _identity(self.path.parent, follow=True)
        _locks.add(self)
        guard(self.path.parent, self.check)
        self._stop = threading.Event()
        threading.Thread(
            target=_beat,
            args=(descriptor, self._stop, self._beating, self.heartbeat),
            name="dotpe-exec-heartbeat",
            daemon=True,
        ).start()

    def _acquire(self) -> tuple[int, tuple[int, int]]:
        """Return the open, locked file and its identity."""
        while True:
            identity = self._identify()
            with _held_guard:
                if identity is not None and identity in _held:
                    raise self._refusal("by this process")
            descriptor = self._open()
            try:
                locks_work = self._lock(descriptor)
                status = os.fstat(descriptor)
                if self._identify() != (status.st_dev, status.st_ino):
                    # Released and removed between opening and locking.
                    os.close(descriptor)
                    continue
                self._check_record(descriptor, locks_work)
                with writing(self.path):
                    try:
                        record = _write_record(descriptor)
                    except OSError:  # a full disk; the lock is ours, so the file is too
                        self.path.unlink(missing_ok=True)
                        raise
                if not locks_work:
                    self._check_alone(record)
            except BaseException:
                os.close(descriptor)
                raise
            return descriptor, (status.st_dev, status.st_ino)

    def _open(self) -> int:
        """Open the lock file, and refuse what is not one: it is going to be overwritten."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            descriptor = os.open(self.path, flags | getattr(os, "O_NOFOLLOW", 0), 0o644)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise RunDirectoryError(
                    f"{self.path} is a symbolic link, expected a lock file or nothing of "
                    "that name"
                ) from error
            with writing(self.path):
                raise
        status = os.fstat(descriptor)
        regular = stat.S_ISREG(status.st_mode) and status.st_nlink <= 1
        # After a crash of the host it may be empty or hold zeros.
        if not regular or not (
            _is_blank(descriptor, status.st_size)
            or _read_record(descriptor).keys() >= _KEYS
        ):
            os.close(descriptor)
            raise RunDirectoryError(
                f"{self.path} is not a lock file of this package; remove it if it is "
                "not needed"
            )
        return descriptor

    def check(self) -> None:
        """Refuse to go on where the folder is not the one that was taken any more.

        Raises
        ------
        RunDirectoryError
            It was removed, moved or replaced, or another process took the lock.
        """
        if not self.held:
            return
        if _identity(self.path.parent, follow=True) != self._folder:
            raise RunDirectoryError(
                f"the run directory {self.path.parent} was removed, moved or replaced "
                "while a run worked there: the run ends, nothing is written to that place"
            )
        if self._identify() != self._identity:
            raise RunDirectoryError(
                f"the lock {self.path} was removed or replaced while a run worked in its "
                "folder, which may belong to another run by now: the run ends, nothing "
                "more is written there"
            )

    def release(self) -> None:
        """Give the lock back; a no-op in a process that does not hold it."""
        if not self.held:
            return
        assert self._descriptor is not None and self._identity is not None
        with self._beating:
            self._stop.set()
        unguard(self.path.parent, self.check)
        if self._identify() == self._identity:  # not another process's, see check()
            with contextlib.suppress(OSError):
                self.path.unlink()
        with _held_guard:
            _held.discard(self._identity)
        os.close(self._descriptor)
        self._descriptor = None

    def _forked(self) -> None:
        """Close a child's copy of the lock: it must not outlive the parent's."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> DirectoryLock:
        self.acquire()
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()

    def _identify(self) -> tuple[int, int] | None:
        return _identity(self.path)

    def _lock(self, descriptor: int) -> bool:
        """Lock the file; return whether the file system has locks at all."""
        if fcntl is None:
            return False
        try:
            self._take(descriptor)
        except OSError as error:
            if error.errno in _UNSUPPORTED:
                logger.warning(
                    "the file system of %s has no locks (%s): only the content of %s shows "
                    "whether another process works there",
                    self.path.parent, error.strerror, self.path.name,
                )  # fmt: skip
                return False
            if error.errno in (errno.EACCES, errno.EAGAIN):
                raise self._refusal(_describe(_read_record(descriptor))) from None
            raise RunDirectoryError(
                f"{self.path} cannot be locked: {error.strerror}"
            ) from error
        return True

    def _take(self, descriptor: int) -> None:
        """Take the lock; wait a moment for what a process that ended leaves behind.

        A child that it forked last may not have closed its copy of the file yet.
        """
        deadline = time.monotonic() + SETTLE
        while True:
            try:
                return _take_lock(descriptor)
            except OSError as error:
                if error.errno not in (errno.EACCES, errno.EAGAIN):
                    raise
                record = _read_record(descriptor)
                ours = record.get("host") == socket.gethostname()
                if not ours or _alive(record) or time.monotonic() > deadline:
                    raise
            time.sleep(0.02)

    def _check_record(self, descriptor: int, locks_work: bool) -> None:
        """Refuse where the record names somebody who is alive."""
        record = _read_record(descriptor)
        if not record:
            return
        if record.get("host") == socket.gethostname():
            # With working locks, having got it proves that the last holder is gone.
            if not locks_work and (
                _alive(record) or (_has_process(record) and self._beats(descriptor, False))
            ):
                raise self._refusal(_describe(record))
        elif self._beats(descriptor, locks_work):
            raise self._refusal(_describe(record))
        logger.info("%s was left behind in use %s", self.path, _describe(record))

    def _check_alone(self, record: dict[str, Any]) -> None:
        """Refuse where another process wrote its record at the same moment."""
        time.sleep(SETTLE)
        with writing(self.path), _opened(self.path) as descriptor:
            found = _read_record(descriptor)
        if found != record:
            raise self._refusal(_describe(found))

    def _beats(self, descriptor: int, locks_work: bool) -> bool:
        """Watch a record of another host until it moves or is certainly abandoned."""
        patience = 3 * self.heartbeat
        last = self._touched(descriptor, locks_work)
        # Clocks of hosts differ, so an old file is believed to be old only when it is
        # older than any difference that occurs.
        if time.time() - last > patience + 3600:
            return False
        logger.info("%s: waiting %.0f s to see whether it is in use", self.path, patience)
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            time.sleep(min(0.5, self.heartbeat / 5))
            if self._touched(descriptor, locks_work) != last:
                return True
        return False

    def _touched(self, descriptor: int, locks_work: bool) -> float:
        """Return when the file was last touched, as its server knows it.

        NFS answers from memory for up to a minute, unless a file is opened or locked.
        """
        if locks_work:  # opening and closing it again would give a POSIX lock up
            with contextlib.suppress(OSError):
                _take_lock(descriptor)
            return os.fstat(descriptor).st_mtime
        with writing(self.path), _opened(self.path) as fresh:
            return os.fstat(fresh).st_mtime

    def _refusal(self, holder: str) -> RunDirectoryError:
        return RunDirectoryError(
            f"the run directory {self.path.parent} is in use {holder}; wait for it to end "
            "or choose another directory"
        )


# Of this process; weak, since a lock that nobody refers to is released by nobody.
_locks: weakref.WeakSet[DirectoryLock] = weakref.WeakSet()


def _after_fork() -> None:
    global _locks
    for lock in list(_locks):
        lock._forked()
    _locks = weakref.WeakSet()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _take_lock(descriptor: int) -> None:
    """Lock a file for this descriptor alone, or raise OSError."""
    command = getattr(fcntl, "F_OFD_SETLK", None)
    if command is None:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return
    # struct flock: type, whence, start, length (0: all of it), pid (0 is demanded).
    fcntl.fcntl(
        descriptor, command, struct.pack("hhlli", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    )


def _identity(path: Path, *, follow: bool = False) -> tuple[int, int] | None:
    try:
        status = path.stat(follow_symlinks=follow)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _is_blank(descriptor: int, size: int) -> bool:
    return size <= _LARGEST_RECORD and not os.pread(descriptor, size, 0).strip(b"\0")


def _beat(
    descriptor: int, stop: threading.Event, beating: threading.Lock, heartbeat: float
) -> None:
    while not stop.wait(heartbeat):
        # The number may belong to another file as soon as the lock is given back.
        with beating:
            if stop.is_set():
                return
            try:
                os.utime(descriptor)
            except OSError:
                return


def _read_record(descriptor: int) -> dict[str, Any]:
    try:
        record = json.loads(os.pread(descriptor, _LARGEST_RECORD, 0))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _write_record(descriptor: int) -> dict[str, Any]:
    process = psutil.Process()
    record = {
        "host": socket.gethostname(),
        "pid": process.pid,
        "process_started": process.create_time(),
    }
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(record).encode(), 0)
    os.fsync(descriptor)
    return record


def _alive(record: dict[str, Any]) -> bool:
    """Whether the process of a record of this host still runs (pids are used again)."""
    try:
        started = psutil.Process(int(record["pid"])).create_time()
        return abs(started - float(record["process_started"])) < 2
    except (psutil.Error, KeyError, TypeError, ValueError):
        return False


def _has_process(record: dict[str, Any]) -> bool:
    """Whether some process has that number; times of start move where a clock is set."""
    pid = record.get("pid")
    return isinstance(pid, int) and pid > 0 and psutil.pid_exists(pid)


def _describe(record: dict[str, Any]) -> str:
    if not record:
        return "by another process"
    return f"by process {record.get('pid')} on {record.get('host')}"
