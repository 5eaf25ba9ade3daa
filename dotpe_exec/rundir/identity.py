"""Which run a run directory belongs to.

An identity holds everything that shapes the results (content of the event, of the banks
and of other input files, parameters, version of this package) and nothing that does not
(number of processes, executor, paths), in a form that a person can compare.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .._version import __version__
from ..digests import array_digest, text_digest
from ..errors import RunDirectoryError

_LONGEST_VALUE = 60  # characters of a value in a message


@dataclass(frozen=True)
class RunIdentity:
    """What makes a run this run and no other.

    Parameters
    ----------
    event_name : str
    event : str
        Digest of the event's content.
    banks : dict of str
        Digest of each bank by bank id.
    parameters : dict
        The parameters that shape the results, through :func:`fingerprint`.
    version : str
        Version of this package.
    """

    event_name: str
    event: str
    banks: Mapping[str, str]
    parameters: Mapping[str, Any]
    version: str = field(default=__version__)

    def __post_init__(self) -> None:
        parameters = {str(k): fingerprint(v) for k, v in sorted(self.parameters.items())}
        object.__setattr__(self, "parameters", parameters)
        object.__setattr__(self, "banks", dict(self.banks))

    def to_dict(self) -> dict[str, Any]:
        """Return the identity in terms of JSON."""
        return {
            "version": self.version,
            "event_name": self.event_name,
            "event": self.event,
            "banks": dict(self.banks),
            "parameters": dict(self.parameters),
        }

    @classmethod
    def from_dict(cls, dic: Any) -> RunIdentity:
        """Return the identity that :meth:`to_dict` made a dictionary of.

        Raises
        ------
        RunDirectoryError
            The dictionary is something else.
        """
        try:
            return cls(
                event_name=str(dic["event_name"]),
                event=str(dic["event"]),
                banks={str(k): str(v) for k, v in dic["banks"].items()},
                parameters=dict(dic["parameters"]),
                version=str(dic["version"]),
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise RunDirectoryError(
                f"the record of a run's identity is damaged: {error!r}"
            ) from error

    @property
    def digest(self) -> str:
        """A hash of all of it, 32 hexadecimal digits."""
        return text_digest(json.dumps(self.to_dict(), sort_keys=True))

    def differences(self, other: RunIdentity) -> list[str]:
        """Return a phrase per difference: what it is here and what in ``other``."""
        found = []
        if self.version != other.version:
            found.append(f"the version of dotpe-exec ({self.version}, now {other.version})")
        if self.event_name != other.event_name:
            found.append(f"the event's name ({self.event_name}, now {other.event_name})")
        elif self.event != other.event:
            found.append(f"the content of the event {self.event_name}")
        if list(self.banks) != list(other.banks):
            found.append(
                f"the banks ({', '.join(self.banks)}, now {', '.join(other.banks)})"
            )
        else:
            found += [
                f"the content of {bank_id}"
                for bank_id, digest in self.banks.items()
                if digest != other.banks[bank_id]
            ]
        for name in sorted(self.parameters.keys() | other.parameters.keys()):
            before = self.parameters.get(name, "not set")
            now = other.parameters.get(name, "not set")
            if before != now:
                found.append(f"{name} ({_short(before)}, now {_short(now)})")
        return found


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 3] + "..."


def fingerprint(value: Any) -> Any:
    """Return ``value`` in terms of JSON, so that equal content gives equal results.

    Arrays, series and long lists of numbers become a string with their shape and a
    digest; ``5`` and ``5.0`` are the same number.

    Raises
    ------
    TypeError
        For objects whose content is not known.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int | float | np.generic):
        number = value.item() if isinstance(value, np.generic) else value
        if isinstance(number, float):
            # Not a number of standard JSON: nan, inf.
            return int(number) if number.is_integer() else _finite_or_text(number)
        return number
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return {str(k): fingerprint(v) for k, v in sorted(value.items(), key=_by_name)}
    if isinstance(value, range):
        value = np.arange(value.start, value.stop, value.step)
    if hasattr(value, "to_numpy"):
        value = value.to_numpy()
    if isinstance(value, list | tuple):
        if len(value) <= 16:
            return [fingerprint(item) for item in value]
        value = np.asarray(value)
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufcSU":
        return f"array {value.shape} {array_digest(value)}"
    raise TypeError(f"the identity of a {type(value).__name__} is not defined")


def _by_name(item: tuple[Any, Any]) -> str:
    return str(item[0])


def _finite_or_text(number: float) -> float | str:
    return number if np.isfinite(number) else str(number)


def event_digest(event_data: Any) -> str:
    """Return a hash of what an event (``cogwheel.data.EventData``) contains.

    The name is not part of it; an injection is, because it ends in the results.
    """
    details = {
        "detectors": list(event_data.detector_names),
        "tgps": float(event_data.tgps),
        "tcoarse": float(event_data.tcoarse),
        "injection": _plain(event_data.injection),
    }
    arrays = array_digest(event_data.frequencies, event_data.strain, event_data.wht_filter)
    return text_digest(arrays + json.dumps(details, sort_keys=True))


def _plain(value: Any) -> Any:
    """Return nested dictionaries and arrays as JSON terms, whatever their length."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return fingerprint(value)
