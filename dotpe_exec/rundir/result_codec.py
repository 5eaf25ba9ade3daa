"""Results of tasks as bytes, without pickle.

What can be written: None, booleans, numbers, strings, NumPy arrays and scalars (no
objects), lists, tuples, dictionaries, and dataclasses of all these. Reading makes
nothing but those; dataclasses only from the packages that the caller names, so bytes
from a disk cannot run code.

Layout: length of the header (8 bytes, little endian), the header (JSON, describes the
tree), then the arrays' data, each at a multiple of 64 bytes.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import math
import struct
from typing import Any

import numpy as np

PACKAGES = ("dotpe_exec",)

_LENGTH = struct.Struct("<Q")
_ALIGNMENT = 64


class CodecError(ValueError):
    """Bytes are not what :func:`encode` makes, or of a class that may not be made."""


def encode(value: Any) -> list[bytes | memoryview]:
    """Return ``value`` as a list of buffers, whose concatenation :func:`decode` reads.

    Raises
    ------
    TypeError
        Something in it cannot be written.
    """
    arrays: list[np.ndarray] = []
    offsets: list[int] = []
    tree = _describe(value, arrays, offsets)
    header = json.dumps(tree, separators=(",", ":"), allow_nan=False).encode()
    header += b" " * (-(len(header) + _LENGTH.size) % _ALIGNMENT)
    buffers: list[bytes | memoryview] = [_LENGTH.pack(len(header)), header]
    for array in arrays:
        buffers.append(array.reshape(-1).view(np.uint8).data)
        if padding := -array.nbytes % _ALIGNMENT:
            buffers.append(bytes(padding))
    return buffers


def decode(data: bytes | bytearray, packages: tuple[str, ...] = PACKAGES) -> Any:
    """Return the value that :func:`encode` wrote.

    Parameters
    ----------
    data : bytes or bytearray
        Arrays are views of it: pass a bytearray to have them writable.
    packages : tuple of str
        Dataclasses of these packages may be made.

    Raises
    ------
    CodecError
    """
    try:
        (length,) = _LENGTH.unpack_from(data)
        start = _LENGTH.size + length
        tree = json.loads(bytes(memoryview(data)[_LENGTH.size : start]))
        return _build(tree, memoryview(data)[start:], packages)
    except CodecError:
        raise
    except Exception as error:
        raise CodecError(f"not a result written by this package: {error!r}") from error


def _describe(value: Any, arrays: list[np.ndarray], offsets: list[int]) -> Any:
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, np.ndarray | np.generic):
        return _describe_array(value, arrays, offsets)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": repr(value)}
    if isinstance(value, complex):
        return {
            "complex": [_describe(x, arrays, offsets) for x in (value.real, value.imag)]
        }
    if isinstance(value, list):
        return [_describe(item, arrays, offsets) for item in value]
    if isinstance(value, tuple):
        return {"tuple": [_describe(item, arrays, offsets) for item in value]}
    if isinstance(value, dict):
        items = [[_describe(x, arrays, offsets) for x in item] for item in value.items()]
        return {"dict": items}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        cls = type(value)
        fields = {
            f.name: _describe(getattr(value, f.name), arrays, offsets)
            for f in dataclasses.fields(value)
            if f.init
        }
        return {"class": f"{cls.__module__}:{cls.__qualname__}", "fields": fields}
    raise TypeError(f"a {type(value).__name__} cannot be written to a checkpoint")


def _describe_array(
    value: np.ndarray | np.generic, arrays: list[np.ndarray], offsets: list[int]
) -> dict[str, Any]:
    array = np.asarray(value)
    if array.dtype.hasobject:
        raise TypeError("an array of objects cannot be written to a checkpoint")
    # Pickle keeps Fortran order too; with it the arithmetic on the array stays the same.
    fortran = array.ndim > 1 and array.flags.f_contiguous and not array.flags.c_contiguous
    flat = np.ascontiguousarray(array.T if fortran else array)
    offset = offsets[-1] if offsets else 0
    offsets.append(offset + flat.nbytes + (-flat.nbytes % _ALIGNMENT))
    arrays.append(flat)
    kind = "scalar" if isinstance(value, np.generic) else "array"
    described = {
        kind: np.lib.format.dtype_to_descr(array.dtype),
        "shape": list(array.shape),
        "offset": offset,
    }
    return {**described, "fortran": True} if fortran else described


def _build(tree: Any, data: memoryview, packages: tuple[str, ...]) -> Any:
    if isinstance(tree, list):
        return [_build(item, data, packages) for item in tree]
    if not isinstance(tree, dict):
        return tree
    if "array" in tree or "scalar" in tree:
        return _build_array(tree, data)
    if "float" in tree:
        return float(tree["float"])
    if "complex" in tree:
        return complex(*(_build(x, data, packages) for x in tree["complex"]))
    if "tuple" in tree:
        return tuple(_build(item, data, packages) for item in tree["tuple"])
    if "dict" in tree:
        return {
            _build(key, data, packages): _build(item, data, packages)
            for key, item in tree["dict"]
        }
    cls = _find_class(tree["class"], packages)
    return cls(**{k: _build(item, data, packages) for k, item in tree["fields"].items()})


def _build_array(tree: dict[str, Any], data: memoryview) -> Any:
    descr = tree.get("array", tree.get("scalar"))
    dtype = np.lib.format.descr_to_dtype(_tuples(descr))
    if dtype.hasobject:
        raise CodecError("an array of objects is not read from a checkpoint")
    shape = tuple(tree["shape"])
    if tree.get("fortran"):
        shape = shape[::-1]
    size = math.prod(shape) * dtype.itemsize
    part = data[tree["offset"] : tree["offset"] + size]
    if len(part) != size:
        raise CodecError(f"an array has {len(part)} bytes, expected {size}")
    array = np.frombuffer(part, dtype=np.uint8).view(dtype).reshape(shape)
    if "scalar" in tree:
        return array[()]
    return array.T if tree.get("fortran") else array


def _tuples(descr: Any) -> Any:
    """Return the description of a structured type with the tuples that JSON made lists."""
    if isinstance(descr, list):
        return [
            tuple(tuple(x) if k == 2 else _tuples(x) for k, x in enumerate(part))
            for part in descr
        ]
    return descr


def _find_class(name: str, packages: tuple[str, ...]) -> type:
    module, _, qualname = name.partition(":")
    if module.partition(".")[0] not in packages:
        raise CodecError(f"{name} is not a class of {', '.join(packages)}")
    cls: Any = importlib.import_module(module)
    for part in qualname.split("."):
        cls = getattr(cls, part)
    if not (isinstance(cls, type) and dataclasses.is_dataclass(cls)):
        raise CodecError(f"{name} is not a dataclass")
    # Not a name that the module merely imports from elsewhere.
    if f"{cls.__module__}:{cls.__qualname__}" != name:
        raise CodecError(f"{name} is not defined there")
    return cls
