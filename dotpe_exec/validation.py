"""Checks of single arguments, shared by all public functions."""

from __future__ import annotations

import json
import math
import numbers
import os
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import InputError, MissingFileError

# Beyond it NumPy has no integers; no count of anything comes near.
_LARGEST = 2**63


def integer(name: str, value: Any, minimum: int) -> int:
    """Return ``value`` as an int of at least ``minimum``, or raise InputError."""
    whole = isinstance(value, numbers.Integral) or (
        isinstance(value, numbers.Real) and float(value).is_integer()
    )
    if isinstance(value, bool) or not whole or not minimum <= value < _LARGEST:
        raise InputError(
            f"{name} is {reprlib.repr(value)}, expected an integer of at least {minimum}"
        )
    return int(value)


def short(value: Any) -> str:
    """Return what a message quotes of a value: one line, not long."""
    return " ".join(reprlib.repr(value).split())


def flag(name: str, value: Any) -> bool:
    """Return ``value`` if it is True or False, or raise InputError."""
    if not isinstance(value, bool):
        raise InputError(f"{name} is {short(value)}, expected True or False")
    return value


def check_path(name: str, value: Any) -> None:
    """Refuse what cannot be a path."""
    if not isinstance(value, str | os.PathLike):
        raise InputError(f"{name} is a {type(value).__name__}, expected a path")
    text = os.fspath(value)
    if not text or "\0" in text:
        raise InputError(f"{name} is {text!r}, expected a path")
    try:
        os.fsdecode(text).encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"{name} is {text!r}, expected a path that is UTF-8 text"
        ) from error


def positive_integer(name: str, value: Any) -> int:
    """Return ``value`` as a positive int, or raise InputError."""
    return integer(name, value, minimum=1)


def number(name: str, value: Any, minimum: float) -> float:
    """Return ``value`` as a float of at least ``minimum``; NaN is an InputError."""
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not real or not value >= minimum or (isinstance(value, int) and value >= _LARGEST):
        raise InputError(
            f"{name} is {reprlib.repr(value)}, expected a number of at least {minimum:g}"
        )
    return float(value)


def positive_number(name: str, value: Any) -> float:
    """Return ``value`` as a float above zero and below infinity, or raise InputError."""
    result = number(name, value, minimum=0.0)
    if not 0 < result < math.inf:
        raise InputError(f"{name} is {short(value)}, expected a positive number")
    return result


def load_par_dic(par_dic_0: Any, name: str = "par_dic_0") -> dict[str, float]:
    """Return parameters of a waveform given as a dictionary or as a JSON file of one.

    ``name`` is what messages call them.

    Raises
    ------
    MissingFileError, InputError
    """
    source = name
    if isinstance(par_dic_0, str | os.PathLike):
        path = Path(par_dic_0)
        source = f"{name} file {path}"
        if not path.is_file():
            raise MissingFileError(f"{source} does not exist")
        try:
            par_dic_0 = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, ValueError, RecursionError) as error:
            raise InputError(f"{source} is not a JSON file: {error}") from error
    if not isinstance(par_dic_0, Mapping):
        raise InputError(f"{source} is a {type(par_dic_0).__name__}, expected a dictionary")
    par_dic = {}
    for key, value in par_dic_0.items():
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise InputError(f"{source}: {key} is {value!r}, expected a finite number")
        try:
            par_dic[str(key)] = float(value)
        except OverflowError:  # an integer beyond the range of float
            par_dic[str(key)] = math.inf
        if not math.isfinite(par_dic[str(key)]):
            raise InputError(
                f"{source}: {key} is {reprlib.repr(value)}, expected a finite number"
            )
    return par_dic


def jsonable(value: Any) -> Any:
    """Return ``value`` in terms that JSON knows; arrays become lists, objects names."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    if isinstance(value, os.PathLike):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if hasattr(value, "tolist"):
        return jsonable(value.tolist())
    if isinstance(value, list | tuple | range | set):
        return [jsonable(item) for item in value]
    if hasattr(value, "eventname"):
        return value.eventname
    return repr(value)
