"""Results of finished tasks, on disk as they arrive, so that a run can go on.

A folder of append-only segments. Each process that works on a run opens one new segment
per phase and never touches an older one, so whatever a killed process left at its end is
where it is. A segment is a header and records; a record is

    marker, length of key, length of content, digest of both; checksum of these and the
    key; key; content (see :mod:`dotpe_exec.rundir.result_codec`)

A record that is cut off at the end of its file was being written when the process was
killed, and is dropped. A record whose digest does not match is named in a warning, and
its task is run again; so is one whose lengths are damaged, beyond which the next marker
is searched.

Records gather in memory and go out together about once a second, less often where the
disk is slow: writing takes at most about one percent of the time.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import struct
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ..atomic import check_guards, sync_folder, writing
from ..errors import RunDirectoryError
from .result_codec import PACKAGES, CodecError, decode, encode

logger = logging.getLogger(__name__)

_MAGIC = b"dotpe-exec checkpoint 1\n"
_MARKER = b"\xd7\x9e\x01rec\xf5\xa3"
_HEAD = struct.Struct("<8sIQ16s")
_CRC = struct.Struct("<I")
_SUFFIX = ".ckpt"
_CUT_OFF = "%s is cut off at its end; what was there is computed again"

FLUSH_SECONDS = 1.0
SYNC_SECONDS = 15.0
BUFFER_BYTES = 32 << 20
# Time spent in writing times this is the least time until the next.
_FLUSH_SHARE = 100
_SYNC_SHARE = 200


@dataclass(frozen=True)
class _Place:
    """Where a record lies: its content begins at ``offset`` and has ``size`` bytes."""

    path: Path
    offset: int
    size: int
    digest: bytes


@dataclass
class _Segment:
    """The file to which this process writes the results of one phase."""

    path: Path
    file: BinaryIO
    size: int
    buffer: list[Any]
    buffered: int = 0
    next_flush: float = 0.0
    next_sync: float = 0.0


class Checkpoint:
    """The results of a run's finished tasks.

    Parameters
    ----------
    folder : path
        Made when the first result is saved.
    identity : str
        Digest of the run; segments of another run are not read.
    packages : tuple of str
        Packages whose dataclasses may be results.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        identity: str = "",
        packages: tuple[str, ...] = PACKAGES,
    ):
        self.folder = Path(folder)
        self.identity = identity
        self.packages = packages
        self.seconds = 0.0
        self._segments: dict[str, _Segment] = {}
        self._index: dict[str, dict[str, _Place]] = {}
        self._failed = False
        self._readers: dict[Path, BinaryIO] = {}
        self._scan()

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def load(self, phase: str, key: str) -> Any | None:
        """Return the result saved under this key by an earlier process, or None.

        A damaged one is named in a warning and None is returned.
        """
        place = self._index.get(phase, {}).get(key)
        if place is None:
            return None
        started = time.perf_counter()
        content, problem = bytearray(), None
        try:
            content = self._read(place)
            if _digest(key.encode(), [content]) != place.digest:
                problem = "its checksum does not match"
            else:
                return decode(content, self.packages)
        except OSError as error:
            problem = str(error)
        except CodecError as error:
            problem = str(error)
        finally:
            self.seconds += time.perf_counter() - started
        logger.warning(
            "%s: the result of %s task %s is damaged (%s); it is computed again",
            place.path,
            phase,
            key,
            problem,
        )
        del self._index[phase][key]
        return None

    def save(self, phase: str, key: str, result: Any) -> None:
        """Keep a result; it is on disk within about a second.

        Raises
        ------
        RunDirectoryError
            The disk is full or cannot be written.
        TypeError
            The result holds something other than arrays, numbers and strings.
        """
        started = time.perf_counter()
        segment = self._segments.get(phase) or self._open_segment(phase)
        content = encode(result)
        record = _record(key.encode(), content)
        segment.buffer += record
        segment.buffered += sum(_nbytes(part) for part in record)
        now = time.monotonic()
        if now >= segment.next_flush or segment.buffered >= BUFFER_BYTES:
            self._flush(segment, sync=now >= segment.next_sync)
        elif not all(isinstance(part, bytes) for part in record):
            # The caller may go on using the arrays that wait in the buffer.
            segment.buffer[-len(record) :] = [bytes(part) for part in record]
        self.seconds += time.perf_counter() - started

    def keys(self, phase: str) -> set[str]:
        """Return the keys of an earlier process's results, damaged ones included."""
        return set(self._index.get(phase, ()))

    def flush(self, phase: str | None = None) -> None:
        """Write out what waits, of one phase or of all, and wait until it is on disk."""
        started = time.perf_counter()
        for name, segment in self._segments.items():
            if phase in (None, name):
                self._flush(segment, sync=True)
        self.seconds += time.perf_counter() - started

    def close(self) -> None:
        """Write out what waits and close the files."""
        try:
            if not self._failed:
                self.flush()
        finally:
            for segment in self._segments.values():
                segment.file.close()
            self._segments = {}
            self._close_readers()

    def remove(self) -> None:
        """Delete all of it: the run is complete.

        What cannot be removed is named in a warning: it does no harm.
        """
        for segment in self._segments.values():
            segment.file.close()
        self._segments, self._index = {}, {}
        self._close_readers()
        try:
            for path in self._paths():
                path.unlink(missing_ok=True)
            if self.folder.is_dir() and not any(self.folder.iterdir()):
                self.folder.rmdir()
        except OSError as error:
            logger.warning("%s cannot be removed: %s", self.folder, error)

    def _paths(self) -> list[Path]:
        return sorted(self.folder.glob(f"*{_SUFFIX}"))

    def _open_segment(self, phase: str) -> _Segment:
        name = _file_name(phase)
        taken = [
            int(match.group(1))
            for path in self._paths()
            if (match := re.fullmatch(re.escape(name) + r"-(\d+)", path.stem))
        ]
        self.flush()  # nothing more comes to the phase before
        path = self.folder / f"{name}-{max(taken, default=0) + 1:04d}{_SUFFIX}"
        header = _header(self.identity, phase)
        check_guards(path)
        with writing(path):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = path.open("xb", buffering=0)
        segment = _Segment(path, file, 0, [header], len(header))
        segment.next_sync = time.monotonic() + SYNC_SECONDS
        self._segments[phase] = segment
        return segment

    def _flush(self, segment: _Segment, sync: bool) -> None:
        started = time.monotonic()
        try:
            with writing(segment.path):
                if segment.buffer:
                    data = b"".join(segment.buffer)
                    segment.buffer, segment.buffered = [], 0
                    _write_all(segment.file, data)
                    segment.size += len(data)
                written = time.monotonic()
                if sync:
                    os.fsync(segment.file.fileno())
                    sync_folder(self.folder)
        except RunDirectoryError:
            self._failed = True
            raise
        now = time.monotonic()
        segment.next_flush = now + max(FLUSH_SECONDS, _FLUSH_SHARE * (written - started))
        if sync:
            segment.next_sync = now + max(SYNC_SECONDS, _SYNC_SHARE * (now - written))

    def _read(self, place: _Place) -> bytearray:
        if place.path not in self._readers:
            self._readers[place.path] = place.path.open("rb")
        file = self._readers[place.path]
        file.seek(place.offset)
        content = bytearray(place.size)
        n_read = file.readinto(content)  # type: ignore[attr-defined]
        if n_read != place.size:
            raise OSError(f"{n_read} bytes are left of {place.size}")
        return content

    def _close_readers(self) -> None:
        for file in self._readers.values():
            file.close()
        self._readers = {}

    def _scan(self) -> None:
        """Find the records of earlier processes; later ones replace earlier ones."""
        for path in self._paths():
            try:
                with path.open("rb") as file:
                    header = _read_header(file)
                    if header is None:
                        logger.warning("%s is damaged at its beginning; not used", path)
                        continue
                    identity, phase = header
                    if identity != self.identity:
                        logger.warning("%s belongs to another run; it is not used", path)
                        continue
                    index = self._index.setdefault(phase, {})
                    for key, place in _scan_records(path, file):
                        index[key] = place
            except OSError as error:
                logger.warning("%s cannot be read (%s); it is not used", path, error)


def _file_name(phase: str) -> str:
    """Return the phase as a file name: distinct phases give distinct names."""
    name = re.sub(r"[^A-Za-z0-9_]", "_", phase)
    return name if name == phase else f"{name}_{zlib.crc32(phase.encode()):08x}"


def _header(identity: str, phase: str) -> bytes:
    names = [identity.encode(), phase.encode()]
    packed = b"".join(_CRC.pack(len(name)) + name for name in names)
    return _MAGIC + packed + _CRC.pack(zlib.crc32(packed))


def _read_header(file: BinaryIO) -> tuple[str, str] | None:
    if file.read(len(_MAGIC)) != _MAGIC:
        return None
    packed, names = b"", []
    for _ in range(2):
        length = file.read(_CRC.size)
        if len(length) < _CRC.size or _CRC.unpack(length)[0] > 4096:
            return None
        name = file.read(_CRC.unpack(length)[0])
        packed += length + name
        names.append(name)
    if file.read(_CRC.size) != _CRC.pack(zlib.crc32(packed)):
        return None
    return names[0].decode(), names[1].decode()


def _nbytes(part: bytes | memoryview) -> int:
    return part.nbytes if isinstance(part, memoryview) else len(part)


def _digest(key: bytes, content: list[Any]) -> bytes:
    digest = hashlib.blake2b(key, digest_size=16)
    for part in content:
        digest.update(part)
    return digest.digest()


def _record(key: bytes, content: list[bytes | memoryview]) -> list[bytes | memoryview]:
    size = sum(_nbytes(part) for part in content)
    head = _HEAD.pack(_MARKER, len(key), size, _digest(key, content))
    return [head + _CRC.pack(zlib.crc32(head + key)) + key, *content]


def _scan_records(path: Path, file: BinaryIO) -> Iterator[tuple[str, _Place]]:
    file_size = os.fstat(file.fileno()).st_size
    position = file.tell()
    while position < file_size:
        file.seek(position)
        head = file.read(_HEAD.size)
        crc = file.read(_CRC.size)
        if len(crc) < _CRC.size:
            logger.warning(_CUT_OFF, path)
            return
        marker, key_length, size, digest = _HEAD.unpack(head)
        key = file.read(key_length) if marker == _MARKER and key_length < 1 << 16 else b""
        if marker != _MARKER or _CRC.unpack(crc)[0] != zlib.crc32(head + key):
            found = _next_marker(file, position + 1)
            if found is None and position + len(head) + len(crc) + key_length > file_size:
                logger.warning(_CUT_OFF, path)
                return
            logger.warning(
                "%s is damaged at byte %d; what was there is computed again", path, position
            )
            if found is None:
                return
            position = found
            continue
        offset = file.tell()
        if offset + size > file_size:
            logger.warning(_CUT_OFF, path)
            return
        yield key.decode(errors="replace"), _Place(path, offset, size, digest)
        position = offset + size


def _next_marker(file: BinaryIO, position: int) -> int | None:
    """Return where the next marker begins, at or after ``position``."""
    overlap = len(_MARKER) - 1
    while True:
        file.seek(position)
        chunk = file.read(1 << 20)
        found = chunk.find(_MARKER)
        if found >= 0:
            return position + found
        if len(chunk) <= overlap:
            return None
        position += len(chunk) - overlap


def _write_all(file: BinaryIO, data: bytes) -> None:
    view = memoryview(data)
    while view.nbytes:
        view = view[file.write(view) :]
