"""Load an event and refuse what cannot be analysed."""

from __future__ import annotations

import copy
import json
import numbers
import os
import zipfile
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..errors import EventError, InputError, MissingFileError
from ..gc_pause import no_collection
from ..lean_cogwheel import lean_cogwheel
from ..npy_files import read_header

if TYPE_CHECKING:
    from cogwheel.data import EventData

_KEYS = ("eventname", "frequencies", "strain", "wht_filter", "detector_names", "tgps",
         "tcoarse")  # fmt: skip

# Injection, and what early versions of cogwheel had in place of the filter.
_OPTIONAL_KEYS = ("injection", "fd_filter", "psd")

# Of an injection: cogwheel's waveform parameters.
_POSITIVE = {"m1", "m2", "d_luminosity", "f_ref"}
_PARAMETERS = {"s1z", "s1x_n", "s1y_n", "s2z", "s2x_n", "s2y_n", "l1", "l2", "iota",
               "phi_ref", "ra", "dec", "psi", "t_geocenter"}  # fmt: skip

# Mean squared whitened data that are not taken for a mistake.
_NOISE_LEVELS = (1e-4, 1e4)

# Of noise there is none; a file that promises more is a trap.
_LARGEST_COMPRESSION = 100

_RESOURCES = resources.files("dotpe_exec") / "resources"


def bundled_events() -> tuple[str, ...]:
    """Return the names of the events that come with this package."""
    names = (entry.name for entry in _RESOURCES.iterdir())
    return tuple(
        sorted(name.removesuffix(".npz") for name in names if name.endswith(".npz"))
    )


def load_event(event: str | os.PathLike | EventData) -> EventData:
    """Return an event, checked.

    Parameters
    ----------
    event : path, str or cogwheel.data.EventData
        An ``.npz`` file as cogwheel writes it, the name of a bundled event (a file of that
        name wins), or an object, of which a copy is made.

    Returns
    -------
    cogwheel.data.EventData

    Raises
    ------
    MissingFileError
        There is neither such a file nor such a bundled event.
    EventError
        The file is not an event, or its content cannot be used. Pickled objects are never
        read.
    InputError
        ``event`` is of another type.
    """
    if not isinstance(event, str | os.PathLike):
        from cogwheel.data import EventData

        if not isinstance(event, EventData):
            raise InputError(
                f"event is a {type(event).__name__}, expected a path, the name of a "
                "bundled event, or a cogwheel EventData"
            )
        source = f"the event {event.eventname!r}"
        content = {key: getattr(event, key) for key in _KEYS}
        _check_content(content, source)
        _check_injection(event.injection, len(event.detector_names), source)
        return _made_event(content, copy.deepcopy(event.injection))

    path = Path(event)
    if path.is_file():
        return _read_event(path)
    if str(event) in bundled_events():
        with resources.as_file(_RESOURCES / f"{event}.npz") as file:
            return _read_event(file)
    raise MissingFileError(
        f"event: there is no file {path} and no bundled event of that name (bundled: "
        f"{', '.join(bundled_events())})"
    )


def _read_event(path: Path) -> EventData:
    source = f"the event file {path}"
    try:
        content = _read_arrays(path)
    except Exception as error:
        # A pickle, a single array, a truncated or foreign file: the errors of zipfile, zlib
        # and NumPy are of many classes.
        # Some quote what they found, however long.
        reason = str(error)[:200]
        raise EventError(f"{source} is not a cogwheel event (.npz): {reason}") from error
    if "wht_filter" not in content and {"fd_filter", "psd"} <= content.keys():
        # Early versions of cogwheel kept filter and spectral density apart.
        shapes = {key: content[key].shape for key in ("fd_filter", "psd", "strain")
                  if key in content}  # fmt: skip
        if len(set(shapes.values())) > 1 or content["psd"].dtype.kind not in "fiu":
            raise EventError(f"{source}: shapes differ: {shapes}, expected the same")
        if not np.all(content["psd"] > 0):
            raise EventError(f"{source}: its psd is not positive everywhere")
        if np.any(np.isinf(content["psd"]) & (content["fd_filter"] != 0)):
            raise EventError(
                f"{source}: its psd is infinite where its fd_filter is not zero"
            )
        content["wht_filter"] = content["fd_filter"] / np.sqrt(content["psd"])
    if missing := [key for key in _KEYS if key not in content]:
        raise EventError(f"{source} lacks {', '.join(missing)}")
    arrays = {"frequencies", "strain", "wht_filter", "detector_names"}
    kwargs = {key: content[key] if key in arrays else content[key][()] for key in _KEYS}
    _check_content(kwargs, source)
    try:
        injection = (
            json.loads(str(content["injection"][()])) if "injection" in content else None
        )
    except (ValueError, RecursionError) as error:
        raise EventError(f"{source}: its injection is not JSON: {error}") from error
    _check_injection(injection, len(kwargs["strain"]), source)

    return _made_event(kwargs, injection)


def _made_event(content: Mapping[str, Any], injection: Any) -> EventData:
    """Return an event of checked content, which nobody else can change.

    Whoever assigns to ``strain`` or ``wht_filter`` of an object leaves what cogwheel
    derived from them, and computes with, as it was.
    """
    lean_cogwheel()
    with no_collection():
        from cogwheel.data import EventData

    return EventData(
        eventname=str(content["eventname"]),
        frequencies=np.array(content["frequencies"], dtype=float),
        strain=np.array(content["strain"], dtype=complex),
        wht_filter=np.array(content["wht_filter"], dtype=float),
        detector_names=tuple(str(name) for name in content["detector_names"]),
        tgps=float(content["tgps"]),
        tcoarse=float(content["tcoarse"]),
        injection=injection,
    )


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of an ``.npz`` file that an event may have.

    Nothing is reserved for arrays that are not there, and nothing is unpickled.

    Raises
    ------
    Exception
        Of many classes, where the file is damaged.
    """
    content = {}
    with zipfile.ZipFile(path) as archive:
        for key in (*_KEYS, *_OPTIONAL_KEYS):
            if f"{key}.npy" not in archive.namelist():
                continue
            if archive.namelist().count(f"{key}.npy") > 1:
                raise ValueError(f"it has {key} twice")
            member = archive.getinfo(f"{key}.npy")
            if member.file_size > _LARGEST_COMPRESSION * max(member.compress_size, 1000):
                raise ValueError(
                    f"{key} has {member.file_size} bytes, compressed to "
                    f"{member.compress_size}"
                )
            with archive.open(member) as file:
                header = read_header(file)
                if header.nbytes != member.file_size:
                    raise ValueError(
                        f"{key} has {member.file_size} bytes, expected {header.nbytes}"
                    )
                data = file.read()
            array = np.frombuffer(data, dtype=header.dtype)
            order: Literal["F", "C"] = "F" if header.fortran_order else "C"
            content[key] = array.reshape(header.shape, order=order)
    return content


def check_event_name(name: str, source: str = "the event") -> str:
    """Return a name that is safe as part of a file name, or refuse it.

    Raises
    ------
    EventError
    """
    name = str(name)
    if (
        not name
        or len(name) > 200
        or name.startswith(".")
        or any(char in "/\\:" or not char.isprintable() for char in name)
    ):
        raise EventError(
            f"{source}: its name {name!r} cannot be part of a file name (expected 1 to 200 "
            "printable characters without '/', '\\' or ':', the first not a dot)"
        )
    return name


def _check_content(content: Mapping[str, Any], source: str) -> None:
    """Refuse what cannot be analysed, in the order in which a reader would look."""
    check_event_name(content["eventname"], source)
    if np.ndim(content["detector_names"]) != 1:
        raise EventError(
            f"{source}: detector_names is {content['detector_names']!r}, expected a list"
        )
    check_detectors([str(name) for name in content["detector_names"]], source)

    for name in ("frequencies", "strain", "wht_filter"):
        if np.ma.isMaskedArray(content[name]):
            raise EventError(
                f"{source}: {name} is a masked array, expected numbers everywhere; where "
                "data are not to count, wht_filter is zero"
            )
    frequencies = np.asarray(content["frequencies"])
    if frequencies.ndim != 1 or len(frequencies) < 3 or frequencies.dtype.kind not in "fiu":
        raise EventError(
            f"{source}: frequencies have shape {frequencies.shape} and type "
            f"{frequencies.dtype}, expected one dimension of real numbers"
        )
    df = frequencies[1] - frequencies[0]
    regular = np.arange(len(frequencies)) * df
    if not (df > 0 and np.allclose(frequencies, regular, rtol=1e-7, atol=1e-7 * df)):
        raise EventError(f"{source}: frequencies must start at 0 and be evenly spaced")

    shape = (len(content["detector_names"]), len(frequencies))
    for name, kinds in (("strain", "c"), ("wht_filter", "f")):
        array = np.asarray(content[name])
        if array.shape != shape or array.dtype.kind not in kinds:
            raise EventError(
                f"{source}: {name} has shape {array.shape} and type {array.dtype}, "
                f"expected {'complex' if 'c' in kinds else 'real'} numbers of shape "
                f"{shape} (detectors, frequencies)"
            )
        if not np.isfinite(array).all():
            i_det = int(np.argmax(~np.isfinite(array).all(axis=1)))
            raise EventError(
                f"{source}: {name} of detector {content['detector_names'][i_det]} contains "
                "NaN or infinity"
            )
    _check_noise(content, float(df), source)

    for name in ("tgps", "tcoarse"):
        value = content[name]
        if (
            np.ndim(value)
            or np.asarray(value).dtype.kind not in "fiu"
            or not np.isfinite(value)
        ):
            raise EventError(f"{source}: {name} is {value!r}, expected a finite number")
    if not 0 <= content["tgps"] < 2**31:
        raise EventError(
            f"{source}: tgps is {content['tgps']}, expected GPS seconds (of 1980 or later)"
        )
    if not 0 <= content["tcoarse"] <= 1 / df:
        raise EventError(
            f"{source}: tcoarse is {content['tcoarse']} s, outside the {1 / df} s of data"
        )


def _check_noise(content: Mapping[str, Any], df: float, source: str) -> None:
    """Refuse strain and whitening filters that do not belong together."""
    filters = np.asarray(content["wht_filter"])
    data = np.asarray(content["strain"]) * filters
    for name, filter_f, whitened_f in zip(
        content["detector_names"], filters, data, strict=True
    ):
        if not np.any(whitened_f):
            raise EventError(f"{source}: the whitened data of detector {name} are all zero")
        if filter_f[0] != 0:
            raise EventError(
                f"{source}: wht_filter of detector {name} is {filter_f[0]:g} at 0 Hz, "
                "expected zero there and below the lowest frequency of the analysis"
            )
        # White noise has |data|^2 = 1 / (2 df); a signal alone, without noise, less.
        level = 2 * df * np.mean(np.abs(whitened_f[filter_f != 0]) ** 2)
        if not _NOISE_LEVELS[0] < level < _NOISE_LEVELS[1]:
            raise EventError(
                f"{source}: the data of detector {name} are {np.sqrt(level):.2g} times as "
                "loud as its wht_filter says, expected about 1 (is the strain, or the "
                "noise level, in other units or of another detector?)"
            )


def check_detectors(names: Sequence[str], source: str) -> None:
    from cogwheel.gw_utils import DETECTORS

    if not names:
        raise EventError(f"{source} has no detectors")
    if unknown := [name for name in names if name not in DETECTORS]:
        raise EventError(
            f"{source} has the detector {unknown[0]!r}, expected some of "
            f"{', '.join(DETECTORS)}"
        )
    if len(set(names)) < len(names):
        raise EventError(f"{source} has a detector twice: {', '.join(names)}")


def _check_injection(injection: Any, n_det: int, source: str) -> None:
    """Refuse an injection of which later stages could make no sense (None is none)."""
    if injection is None:
        return
    if not isinstance(injection, Mapping) or not isinstance(
        injection.get("par_dic"), Mapping
    ):
        raise EventError(f"{source}: its injection has no dictionary par_dic")
    for name, value in injection["par_dic"].items():
        number = isinstance(value, numbers.Real) and not isinstance(value, bool)
        if name in _POSITIVE and not (number and 0 < value < np.inf):
            raise EventError(
                f"{source}: {name} of its injection is {value!r}, expected a positive "
                "number"
            )
        if name in _PARAMETERS and not (number and np.isfinite(value)):
            raise EventError(
                f"{source}: {name} of its injection is {value!r}, expected a finite number"
            )
    if {"d_h", "h_h"} & injection.keys() and "d_luminosity" not in injection["par_dic"]:
        raise EventError(
            f"{source}: its injection has d_h or h_h, but no d_luminosity in par_dic"
        )
    for name in {"d_h", "h_h"} & injection.keys():
        try:
            values = np.asarray(injection[name], dtype=float)
        except (TypeError, ValueError):
            values = np.array(np.nan)
        if values.shape != (n_det,) or not np.isfinite(values).all():
            raise EventError(
                f"{source}: {name} of its injection is {injection[name]!r}, expected one "
                f"finite number for each of {n_det} detectors"
            )
