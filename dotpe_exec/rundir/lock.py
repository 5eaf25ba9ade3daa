"""One process at a time in a run directory.

The lock is a POSIX record lock (``fcntl``): the kernel gives it back when the process
ends, however it ends; NFS passes it on to the server; and unlike ``flock`` it is not
inherited by forked workers, which may outlive a killed parent. The file also says who
holds it, and its holder touches it every :data:`HEARTBEAT` seconds. That is for file
systems that grant such locks to each host separately or not at all (``nolock`` mounts of
NFS, Lustre without ``flock``): a record of another host is believed for as long as
somebody keeps touching it, and of two that write theirs at the same moment the one that
finds the other's gives up.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from ..atomic import writing
from ..errors import RunDirectoryError

try:
    import fcntl
except ImportError:  # not POSIX: only the record protects
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

HEARTBEAT = 10.0  # seconds
SETTLE = 1.0  # seconds; a record may need as long to reach other processes and hosts
_UNSUPPORTED = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL}

# A POSIX lock does not exclude its own process (and closing any descriptor of the file
# gives it up), so those that this process holds are remembered here.
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
        self._pid = 0
        self._stop = threading.Event()

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
        self._stop = threading.Event()
        threading.Thread(
            target=_beat,
            args=(descriptor, self._stop, self.heartbeat),
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
            with writing(self.path):
                descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                locks_work = self._lock(descriptor)
                stat = os.fstat(descriptor)
                if self._identify() != (stat.st_dev, stat.st_ino):
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
            return descriptor, (stat.st_dev, stat.st_ino)

    def release(self) -> None:
        """Give the lock back; a no-op in a process that does not hold it."""
        if not self.held:
            return
        assert self._descriptor is not None and self._identity is not None
        self._stop.set()
        with contextlib.suppress(OSError):
            self.path.unlink()
        with _held_guard:
            _held.discard(self._identity)
        os.close(self._descriptor)
        self._descriptor = None

    def __enter__(self) -> DirectoryLock:
        self.acquire()
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()

    def _identify(self) -> tuple[int, int] | None:
        try:
            stat = self.path.stat()
        except OSError:
            return None
        return stat.st_dev, stat.st_ino

    def _lock(self, descriptor: int) -> bool:
        """Lock the file; return whether the file system has locks at all."""
        if fcntl is None:
            return False
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _UNSUPPORTED:
                logger.warning(
                    "the file system of %s has no locks (%s): that no other process works "
                    "there is only certain as far as %s tells",
                    self.path.parent, error.strerror, self.path.name,
                )  # fmt: skip
                return False
            if error.errno in (errno.EACCES, errno.EAGAIN):
                raise self._refusal(_describe(_read_record(descriptor))) from None
            raise RunDirectoryError(
                f"{self.path} cannot be locked: {error.strerror}"
            ) from error
        return True

    def _check_record(self, descriptor: int, locks_work: bool) -> None:
        """Refuse where the record names somebody who is alive."""
        record = _read_record(descriptor)
        if not record:
            return
        if record.get("host") == socket.gethostname():
            # With working locks, having got it proves that the last holder is gone.
            if not locks_work and _alive(record):
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
        if locks_work:  # opening and closing it again would give our lock up
            with contextlib.suppress(OSError):
                fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return os.fstat(descriptor).st_mtime
        with writing(self.path), _opened(self.path) as fresh:
            return os.fstat(fresh).st_mtime

    def _refusal(self, holder: str) -> RunDirectoryError:
        return RunDirectoryError(
            f"the run directory {self.path.parent} is in use {holder}; wait for it to end "
            "or choose another directory"
        )


def _beat(descriptor: int, stop: threading.Event, heartbeat: float) -> None:
    while not stop.wait(heartbeat):
        try:
            os.utime(descriptor)
        except OSError:
            return


def _read_record(descriptor: int) -> dict[str, Any]:
    try:
        record = json.loads(os.pread(descriptor, 4096, 0))
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


def _describe(record: dict[str, Any]) -> str:
    if not record:
        return "by another process"
    return f"by process {record.get('pid')} on {record.get('host')}"
