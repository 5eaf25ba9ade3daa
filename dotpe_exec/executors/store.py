"""Large arrays by content: written once, memory-mapped by every process of a node.

``store.put(obj)`` takes an array, or a dataclass of arrays (nested ones too), and
returns a small picklable handle; ``handle.load()`` gives it back, read-only and shared
through the page cache.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class ArrayHandle:
    """Where an array of the store lies."""

    path: str

    def load(self) -> np.ndarray:
        """Return the array, memory-mapped read-only."""
        return _open(self.path)


@dataclass(frozen=True)
class BundleHandle:
    """A dataclass whose arrays are handles."""

    cls: type
    fields: tuple[tuple[str, Any], ...]

    def load(self) -> Any:
        """Return the dataclass with its arrays memory-mapped."""
        return self.cls(
            **{
                name: value.load() if isinstance(value, ArrayHandle | BundleHandle) else value
                for name, value in self.fields
            }
        )


@functools.lru_cache(maxsize=512)
def _open(path: str) -> np.ndarray:
    return np.load(path, mmap_mode="r", allow_pickle=False)


class ArrayStore:
    """A folder of arrays, named by their content."""

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)

    def put(self, obj: Any) -> Any:
        """Store an array or a dataclass of arrays and return its handle."""
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

    def _put_array(self, array: np.ndarray) -> ArrayHandle:
        array = np.ascontiguousarray(array)
        digest = hashlib.blake2b(digest_size=16)
        digest.update(repr((array.dtype.str, array.shape)).encode())
        digest.update(array.data if array.size else b"")
        path = self.folder / f"{digest.hexdigest()}.npy"
        if not path.exists():
            temporary = path.with_suffix(f".{os.getpid()}.tmp")
            with temporary.open("wb") as file:
                np.save(file, array, allow_pickle=False)
            temporary.replace(path)
        return ArrayHandle(str(path))
