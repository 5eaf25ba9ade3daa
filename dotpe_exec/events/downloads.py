"""Files from the network, kept by their content.

In the cache folder, ``content`` holds files named by the SHA-256 of what is in them,
``index`` says which of them an address gave, and ``partial`` what has come so far of the
others. A file whose content is no longer what its name says is fetched again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..atomic import read_json, sync_file, write_json
from ..digests import text_digest
from ..errors import EventError, RunDirectoryError

_CHUNK = 2**20  # bytes
_PIECE = 2**14  # bytes, of which one is lost when a connection breaks
_ATTEMPTS = 5  # in a row that brought nothing
_TIMEOUT = 30.0  # [s]


class DownloadCache:
    """Files by their address; see the module.

    Parameters
    ----------
    folder : path
        Made if it does not exist.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder)

    def fetch(self, url: str, on_bytes: Callable[[int, int | None], None]) -> Path:
        """Return a local file with what is at an address.

        Parameters
        ----------
        url : str
        on_bytes : callable
            Called with the number of bytes that are there, and of all if that is known.

        Raises
        ------
        EventError
            It cannot be fetched. What came is kept for the next attempt.
        """
        import filelock

        key = text_digest(url)
        for name in ("content", "index", "partial"):
            try:
                (self.folder / name).mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise EventError(
                    f"the cache folder {self.folder} cannot be made: {error.strerror}"
                ) from error
        with filelock.FileLock(self.folder / "partial" / f"{key}.lock"):
            if (path := self._kept(key)) is not None:
                return path
            partial = self.folder / "partial" / key
            _download(url, partial, on_bytes)
            digest = _sha256(partial)
            suffix = Path(urlsplit(url).path).suffix
            path = self.folder / "content" / f"{digest}{suffix}"
            sync_file(partial)
            partial.replace(path)
            write_json(self._index(key), {"url": url, "file": path.name, "sha256": digest})
            partial.with_suffix(".etag").unlink(missing_ok=True)
            return path

    def _index(self, key: str) -> Path:
        return self.folder / "index" / f"{key}.json"

    def _kept(self, key: str) -> Path | None:
        """Return the file of an address, if it is here and whole."""
        try:
            record = read_json(self._index(key))
            path = self.folder / "content" / Path(record["file"]).name
            return path if _sha256(path) == record["sha256"] else None
        except (RunDirectoryError, OSError, KeyError, TypeError):
            return None


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _download(url: str, partial: Path, on_bytes: Callable[[int, int | None], None]) -> None:
    """Fetch an address into a file, going on where it ends."""
    import requests

    failures = 0
    while True:
        before = partial.stat().st_size if partial.exists() else 0
        try:
            if _fetch_rest(url, partial, on_bytes):
                return
            reason: Any = "the connection ended early"
        except (requests.RequestException, OSError) as error:
            response = getattr(error, "response", None)
            if response is not None and response.status_code < 500:
                raise EventError(
                    f"{url} cannot be fetched: HTTP status {response.status_code}"
                ) from error
            reason = error
        came = partial.stat().st_size if partial.exists() else 0
        failures = 0 if came > before else failures + 1
        if failures == _ATTEMPTS or _no_connection(reason):
            raise EventError(
                f"{url} cannot be fetched ({came} bytes are kept; the same command goes on "
                f"from there): {short_reason(reason)}"
            )


def _no_connection(reason: Any) -> bool:
    """Whether there is no network, which another attempt a moment later will not change."""
    return "NameResolution" in repr(reason) or "Connection refused" in repr(reason)


def short_reason(error: Any) -> str:
    """Return an error of the network in a few words."""
    text = str(error)
    for words in ("Name or service not known", "Temporary failure in name resolution",
                  "Connection refused", "Network is unreachable", "timed out"):  # fmt: skip
        if words.lower() in text.lower():
            return words[0].lower() + words[1:]
    return text.splitlines()[0][:200] if text else type(error).__name__


def _fetch_rest(
    url: str, partial: Path, on_bytes: Callable[[int, int | None], None]
) -> bool:
    """Fetch what is missing; return whether all has come."""
    import requests

    note = partial.with_suffix(".etag")
    start = partial.stat().st_size if partial.exists() else 0
    etag = note.read_text() if note.exists() else ""
    headers = {}
    if start and etag:
        # The rest of the same file only; of another one, all of it.
        headers = {"Range": f"bytes={start}-", "If-Range": etag}
    with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as response:
        if response.status_code == 416:  # nothing is left, or it is another file
            partial.unlink()
            return False
        response.raise_for_status()
        continues = response.status_code == 206
        start = start if continues else 0
        note.write_text(response.headers.get("ETag", ""))
        length = response.headers.get("Content-Length")
        total = start + int(length) if length is not None else None
        with partial.open("ab" if continues else "wb") as file:
            for chunk in _chunks(response):
                file.write(chunk)
                on_bytes(file.tell(), total)
    return total is None or partial.stat().st_size == total


def _chunks(response: Any) -> Iterator[bytes]:
    with contextlib.closing(response.iter_content(_PIECE)) as chunks:
        yield from chunks
