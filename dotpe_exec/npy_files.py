"""Files of other people, read without trusting them.

``np.load`` reserves whatever memory a header asks for and reads a file that is too short
as far as it goes. Here shape, kind and length are compared with what is expected first.
Headers are read in any number of threads at the same time.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, Literal

import numpy as np

from .errors import BankError, DotpeExecError, MissingFileError

_PIECE = 1 << 23  # bytes

# Headers are Python literals, which NumPy evaluates. Threads that evaluate some at the same
# time now and then end in a SystemError of CPython 3.11 (its issue 106905); and what NumPy
# writes for arrays of numbers always has this form.
_HEADER = re.compile(
    r"\{'descr': '(?P<dtype>[^']*)', 'fortran_order': (?P<fortran>True|False), "
    r"'shape': \((?P<shape>(?:-?\d+(?:, -?\d+)*,?)?)\),? *\}\s*"
)
_LENGTH_BYTES = {(1, 0): 2, (2, 0): 4}
"""Of the number before the header, by version of the format."""
_LONGEST_HEADER = 1 << 16


@contextlib.contextmanager
def reading(path: Path, error_class: type[DotpeExecError] = BankError) -> Iterator[None]:
    """Turn what goes wrong while ``path`` is read into errors that name it.

    Raises
    ------
    MissingFileError
        The file does not exist.
    error_class
        It cannot be read, or whoever reads it raised a ``ValueError`` that says what was
        found.
    """
    try:
        yield
    except DotpeExecError:
        raise
    except FileNotFoundError as error:
        raise MissingFileError(f"the file {path} does not exist") from error
    except OSError as error:
        reason = error.strerror or error
        raise error_class(f"{path} cannot be read: {reason}") from error
    except ValueError as error:
        raise error_class(f"{path}: found {error}") from error


def read_json_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in ``path``; MissingFileError or BankError without one."""
    with reading(path):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise BankError(f"{path} is not a JSON file: {error}") from error
    if not isinstance(content, dict):
        raise BankError(f"{path} holds a {type(content).__name__}, expected a JSON object")
    return content


@dataclass(frozen=True)
class NpyHeader:
    """What the header of a ``.npy`` file says.

    Parameters
    ----------
    shape : tuple of int
    dtype : numpy.dtype
    fortran_order : bool
    offset : int
        Length of the header [bytes].
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    fortran_order: bool
    offset: int

    @property
    def nbytes(self) -> int:
        """Length of a complete file [bytes]."""
        return self.offset + math.prod(self.shape) * self.dtype.itemsize


def read_header(file: IO[bytes]) -> NpyHeader:
    """Return the header at the beginning of an open file.

    Raises
    ------
    ValueError
        It is not a ``.npy`` file of format 1 or 2, holds objects, or is damaged.
    """
    try:
        version = np.lib.format.read_magic(file)
        if version not in _LENGTH_BYTES:
            raise ValueError(f"format {version[0]}.{version[1]} of .npy files")
        length = int.from_bytes(file.read(_LENGTH_BYTES[version]), "little")
        text = file.read(min(length, _LONGEST_HEADER)).decode("latin-1")
        found = _HEADER.fullmatch(text) if len(text) == length else None
        if found is None:
            raise ValueError(f"header {text[:80]!r}")
        dtype = np.dtype(found["dtype"])
        shape = tuple(int(n) for n in found["shape"].split(",") if n.strip())
    except OSError:
        raise
    except Exception as error:
        # Of a damaged file; a dtype that is none raises errors of several classes.
        raise ValueError(f"not a NumPy array file ({error})") from error
    if dtype.hasobject or any(n < 0 for n in shape):
        raise ValueError(f"dtype {dtype} and shape {shape}")
    return NpyHeader(shape, dtype, found["fortran"] == "True", file.tell())


def check_array_file(path: Path, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Check that ``path`` is a complete C-ordered array of this shape and type.

    Raises
    ------
    FileNotFoundError
    ValueError
        What was found and what was expected.
    OSError
        The file cannot be read.
    """
    with path.open("rb") as file:
        check_header(file, shape, dtype)


def first_rows(path: Path, shape: tuple[int, ...], n: int) -> np.ndarray:
    """Return the first ``n`` rows of a float64 array file; see :func:`check_array_file`."""
    with path.open("rb") as file:
        check_header(file, shape, np.dtype(np.float64))
        data = file.read(n * math.prod(shape[1:]) * 8)
    return np.frombuffer(data).reshape(n, *shape[1:])


def check_header(file: IO[bytes], shape: tuple[int, ...], dtype: np.dtype) -> NpyHeader:
    """Return the header of an open file, checked as :func:`check_array_file` does."""
    header = read_header(file)
    size = os.fstat(file.fileno()).st_size
    if header.dtype != dtype:
        raise ValueError(f"dtype {header.dtype.str}, expected {dtype.str}")
    if header.shape != shape:
        raise ValueError(f"shape {header.shape}, expected {shape}")
    if header.fortran_order:
        raise ValueError("Fortran order, expected C order")
    if size != header.nbytes:
        cut = "truncated: " if size < header.nbytes else ""
        raise ValueError(f"{cut}{size} bytes, expected {header.nbytes}")
    return header


def mapped_array(path: str | os.PathLike) -> np.ndarray:
    """Return the array of a ``.npy`` file, read-only and memory-mapped.

    Raises
    ------
    FileNotFoundError
    ValueError
        It is damaged or truncated.
    """
    with open(path, "rb") as file:  # noqa: PTH123 (one call for each array of a task)
        header = read_header(file)
    order: Literal["C", "F"] = "F" if header.fortran_order else "C"
    mapped = np.memmap(
        path, header.dtype, mode="r", offset=header.offset, shape=header.shape, order=order
    )
    # A plain array: each part of one of this class, and each result, costs more.
    return mapped.view(np.ndarray)


def array_of_bytes(content: bytes) -> np.ndarray:
    """Return the array that a complete ``.npy`` file holds; ValueError as for maps."""
    header = read_header(io.BytesIO(content))
    values = np.frombuffer(content, header.dtype, offset=header.offset)
    return values.reshape(header.shape, order="F" if header.fortran_order else "C")


def array_rows(
    path: Path, shape: tuple[int, ...], watch: Callable[[bytes], None]
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield a float64 array file of this shape in pieces of a few megabytes.

    Parameters
    ----------
    path : pathlib.Path
    shape : tuple of int
    watch : callable
        Sees every byte of the file once, in order, the header included.

    Yields
    ------
    start : int
        Index of the first row.
    rows : (n, ...) float64

    Raises
    ------
    MissingFileError, BankError
        The file is missing, or not a complete array of this shape.
    """
    with reading(path):
        check_array_file(path, shape, np.dtype(np.float64))
        row_bytes = math.prod(shape[1:]) * 8
        n_rows = max(1, _PIECE // row_bytes)
        with path.open("rb") as file:
            offset = read_header(file).offset
            file.seek(0)
            watch(file.read(offset))
            for start in range(0, shape[0], n_rows):
                n = min(n_rows, shape[0] - start)
                data = file.read(n * row_bytes)
                if len(data) != n * row_bytes:
                    raise ValueError("truncated while it was read")
                watch(data)
                yield start, np.frombuffer(data).reshape(n, *shape[1:])


def load_vector(file: BinaryIO, size: int, longest: int) -> np.ndarray:
    """Return the one-dimensional array in an open ``.npy`` file of ``size`` bytes.

    Nothing is reserved for an array that is not there: ``longest`` bounds its length.

    Raises
    ------
    ValueError
        It is damaged, has another number of dimensions, or is longer than ``longest``.
    """
    header = read_header(file)
    if len(header.shape) != 1:
        raise ValueError(f"shape {header.shape}, expected one dimension")
    if header.shape[0] > longest:
        raise ValueError(f"{header.shape[0]} entries, expected at most {longest}")
    if size != header.nbytes:
        raise ValueError(f"{size} bytes, expected {header.nbytes}")
    data = file.read(header.nbytes - header.offset)
    if len(data) != header.nbytes - header.offset:
        raise ValueError("the file is truncated")
    return np.frombuffer(data, dtype=header.dtype)


def load_npy_vector(path: Path, longest: int) -> np.ndarray:
    """Return the one-dimensional array of a ``.npy`` file; see :func:`load_vector`."""
    with path.open("rb") as file:
        return load_vector(file, os.fstat(file.fileno()).st_size, longest)


def load_npz_vector(path: Path, name: str, longest: int) -> np.ndarray:
    """Return the one-dimensional array ``name`` of a ``.npz`` file.

    Raises
    ------
    ValueError
        The archive is damaged or has no such array, or as :func:`load_vector`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            member = archive.getinfo(f"{name}.npy")
            # The longest header that NumPy accepts, and the array.
            if member.file_size > 2**16 + 16 * longest:
                raise ValueError(f"{name} has {member.file_size} bytes")
            data = archive.read(member)
    except KeyError as error:
        raise ValueError(f"no array {name!r} in it") from error
    except (OSError, ValueError):
        raise
    except Exception as error:
        # zipfile and zlib raise errors of many classes on damaged archives.
        raise ValueError(f"not a .npz file ({error})") from error
    return load_vector(io.BytesIO(data), len(data), longest)
