"""Checksums of a finished run's files, so that damage on the disk does not go unnoticed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..atomic import read_json, write_json
from ..digests import file_digest, text_digest
from ..errors import InputError, RunDirectoryError

CHECKSUMS_NAME = "run_checksums.json"


def seal(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return small JSON content with a checksum of its own.

    Parameters
    ----------
    content : mapping
        Of terms of JSON, without a key ``checksum``.
    """
    return {**content, "checksum": _seal_of(content)}


def unseal(path: Path) -> dict[str, Any]:
    """Return what :func:`seal` made, from a file.

    Raises
    ------
    RunDirectoryError
        It is missing, damaged, or was changed.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise RunDirectoryError(
            f"{path} is damaged: it holds a {type(content).__name__}, expected an object"
        )
    checksum = content.pop("checksum", None)
    if checksum != _seal_of(content):
        raise RunDirectoryError(
            f"{path} is damaged or was changed: its content does not agree with its "
            "checksum"
        )
    return content


def _seal_of(content: Mapping[str, Any]) -> str:
    return text_digest(json.dumps(content, sort_keys=True))


def record_checksums(
    folder: Path, paths: Iterable[Path], known: Mapping[str, str] | None = None
) -> None:
    """Write the checksums of those files that are there.

    Parameters
    ----------
    folder : pathlib.Path
        Where the record goes; the files are in it or below.
    paths : iterable of pathlib.Path
    known : mapping, optional
        Digests of files that are yet to be written, by name relative to ``folder``.
    """
    found = {
        path.relative_to(folder).as_posix(): file_digest(path)
        for path in paths
        if path.is_file()
    }
    write_json(folder / CHECKSUMS_NAME, seal({"files": {**found, **(known or {})}}))


def damaged_files(folder: Path) -> list[Path]:
    """Return the files in ``folder`` that disagree with their checksums.

    Files that are not there any more do not count: a person removed them. Where there is
    no record, nothing can be told. A damaged record is itself one of the files.
    """
    path = folder / CHECKSUMS_NAME
    if not path.is_file():
        return []
    try:
        files = unseal(path)["files"]
    except RunDirectoryError:
        return [path]
    return [
        folder / name
        for name, digest in sorted(files.items())
        if (folder / name).exists() and not _agrees(folder / name, digest)
    ]


def refuse_damaged_input(what: str, path: str | os.PathLike) -> None:
    """Refuse a file of an earlier run that disagrees with the checksum beside it.

    Parameters
    ----------
    what : str
        The argument that names the file, for the message.
    path : path
        Files that do not exist, or have no checksum, are not looked at.

    Raises
    ------
    InputError
    RunDirectoryError
        The record of checksums is itself damaged.
    """
    path = Path(path)
    record = path.with_name(CHECKSUMS_NAME)
    if not (path.is_file() and record.is_file()):
        return
    digest = unseal(record)["files"].get(path.name)
    if digest is not None and not _agrees(path, digest):
        raise InputError(
            f"{what}: {path} is damaged or was changed: it does not agree with its "
            f"checksum in {CHECKSUMS_NAME} (remove that file if the change is meant)"
        )


def _agrees(path: Path, digest: str) -> bool:
    try:
        return file_digest(path) == digest
    except OSError:
        return False
