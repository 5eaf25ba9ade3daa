"""Digests of what a run reads: files, arrays, texts."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np


def array_digest(*arrays: np.ndarray) -> str:
    """Return a hash of the arrays' values, shapes and kinds (not of their precision)."""
    digest = hashlib.blake2b(digest_size=16)
    wide = {"i": np.int64, "u": np.int64, "f": np.float64, "c": np.complex128}
    for array in arrays:
        array = np.asarray(array)
        # A list of ints is the same selection as an int32 array of them.
        array = np.ascontiguousarray(array, dtype=wide.get(array.dtype.kind, array.dtype))
        digest.update(repr((array.dtype.str, array.shape)).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def text_digest(text: str) -> str:
    """Return a hash of a text."""
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def file_digest(path: str | os.PathLike) -> str:
    """Return a hash of a file's content."""
    digest = hashlib.blake2b(digest_size=16)
    with Path(path).open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
