"""``campaign.toml``: which events, and how they are analysed."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import math
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..atomic import atomic_write
from ..errors import InputError, MissingFileError
from ..rundir.files import check_name
from ..validation import (
    integer,
    jsonable,
    number,
    positive_integer,
    positive_number,
    short,
)

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

METHODS = ("infer", "run")
# What a campaign decides itself, for all its events.
_RESERVED = {
    "event", "rundir", "event_dir", "executor", "n_procs", "resume", "overwrite",
    "progress", "profile", "multicore_config",
}  # fmt: skip
# As on the command line; draws enough for P-P tests where little is effective.
_RUN_DEFAULTS = {"n_ext": 512, "n_phi": 100, "n_t": 128, "n_draws": 2000}
# Arguments that are paths: relative ones are taken from the campaign's folder.
_PATHS = ("bank_folder", "inds_path", "extrinsic_samples", "par_dic_0", "calibration")


@dataclass(frozen=True)
class Analysis:
    """How an event is analysed.

    Parameters
    ----------
    method : {"infer", "run"}
        :func:`dotpe_exec.infer`, or :func:`dotpe_exec.run` with given banks.
    arguments : dict
        Keywords of that function.
    """

    method: str = "infer"
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.method, str) or self.method not in METHODS:
            raise InputError(
                f"the method of analysis is {short(self.method)}, expected infer or run"
            )
        known = set(inspect.signature(analysis_function(self.method)).parameters)
        for name in self.arguments:
            if name in _RESERVED:
                raise InputError(f"analysis: {name} is for the campaign to decide")
            if name not in known:
                raise InputError(
                    f"analysis: {name} is no argument of {self.method}{_close(name, known)}"
                )
        if self.method == "run" and not self.arguments.get("bank_folder"):
            raise InputError("analysis: bank_folder is missing, which run needs")

    def with_overrides(self, overrides: Mapping[str, Any]) -> Analysis:
        """Return this analysis with some arguments of one event."""
        changed = {key: value for key, value in overrides.items() if key != "method"}
        return Analysis(
            str(overrides.get("method", self.method)), {**self.arguments, **changed}
        )

    def call_arguments(self, folder: Path) -> dict[str, Any]:
        """Return the keywords with defaults, relative paths from ``folder``."""
        defaults = _RUN_DEFAULTS if self.method == "run" else {}
        arguments = {**defaults, **self.arguments}
        for name in _PATHS:
            if name in arguments:
                arguments[name] = _from_folder(arguments[name], folder)
        return arguments


def _from_folder(value: Any, folder: Path) -> Any:
    """Return a path, or several in any form that runs take, seen from a folder."""
    if isinstance(value, str):
        return ",".join(os.path.normpath(folder / part) for part in value.split(","))
    if isinstance(value, Mapping) and not all(
        isinstance(item, int | float) for item in value.values()
    ):
        return {key: _from_folder(item, folder) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_from_folder(item, folder) for item in value]
    return value


def analysis_function(method: str) -> Callable[..., Path]:
    """Return the public function of a method."""
    from ..inference import infer, run

    functions: dict[str, Callable[..., Path]] = {"infer": infer, "run": run}
    return functions[method]


@dataclass(frozen=True)
class Injections:
    """Simulated signals drawn from the prior, in Gaussian noise.

    Masses are uniform in the detector frame, spins and inclination as in a bank's prior,
    sky and orientation isotropic, distances uniform in volume; of these signals those are
    kept whose optimal signal-to-noise ratio is in range.

    Parameters
    ----------
    n : int
    seed : int
        Injection k depends on it and on k alone.
    detectors : list of str
        Networks, taken in turn.
    asds, psds : dict
        Noise of detectors: names of cogwheel's curves or files of amplitude spectral
        densities, or files of power spectral densities; default: O3 curves.
    duration, fmin, fmax : float
        [s, Hz, Hz]
    approximant : str
    f_ref : float
        Reference frequency of the spins [Hz].
    mchirp_range : (float, float)
        Detector-frame chirp mass [solar masses].
    q_min : float
    snr_range : (float, float)
        Of the network's optimal signal-to-noise ratio.
    d_luminosity_max : float
        [Mpc]; 0 is chosen by ``make``, so that nearly no louder signal is left out.
    time_half_range : float
        Arrival times at the centre of the Earth are uniform within it [s].
    first_tgps, tgps_step : float
        GPS times of the events [s].
    """

    n: int = 0
    seed: int = 0
    detectors: tuple[str, ...] = ("HL",)
    asds: Mapping[str, str] = field(default_factory=dict)
    psds: Mapping[str, str] = field(default_factory=dict)
    duration: float = 8.0
    fmin: float = 20.0
    fmax: float = 1024.0
    approximant: str = "IMRPhenomXPHM"
    f_ref: float = 50.0
    mchirp_range: tuple[float, float] = (20.0, 40.0)
    q_min: float = 0.2
    snr_range: tuple[float, float] = (8.0, 25.0)
    d_luminosity_max: float = 0.0
    time_half_range: float = 0.01
    first_tgps: float = 1.2e9
    tgps_step: float = 1e4

    def __post_init__(self) -> None:
        from ..banks.prior import check_f_ref, check_mchirp_range, check_q_min

        integer("injections: n", self.n, minimum=0)
        integer("injections: seed", self.seed, minimum=0)
        networks = isinstance(self.detectors, list | tuple) and self.detectors
        if not networks or not all(isinstance(one, str) and one for one in self.detectors):
            raise InputError(
                f"injections: detectors is {short(self.detectors)}, expected a list of "
                "networks such as 'HL'"
            )
        for name in ("asds", "psds"):
            value = getattr(self, name)
            if not isinstance(value, Mapping) or not all(
                isinstance(one, str) for one in value.values()
            ):
                raise InputError(
                    f"injections: {name} is {short(value)}, expected a name or file for "
                    "each detector"
                )
        for name in ("duration", "fmax", "tgps_step"):
            positive_number(f"injections: {name}", getattr(self, name))
        for name in ("fmin", "time_half_range", "d_luminosity_max", "first_tgps"):
            if number(f"injections: {name}", getattr(self, name), minimum=0.0) == math.inf:
                raise InputError(f"injections: {name} is infinite")
        for name in ("mchirp_range", "snr_range"):
            value = getattr(self, name)
            two = isinstance(value, list | tuple) and len(value) == 2
            if not two or not all(
                isinstance(one, int | float) and abs(one) < math.inf for one in value
            ):
                raise InputError(
                    f"injections: {name} is {short(value)}, expected two numbers"
                )
        if not isinstance(self.approximant, str):
            raise InputError(
                f"injections: approximant is {short(self.approximant)}, expected a name"
            )
        check_f_ref("injections: f_ref", self.f_ref)
        number("injections: q_min", self.q_min, minimum=0.0)
        check_mchirp_range("injections: mchirp_range", self.mchirp_range)
        check_q_min("injections: q_min", self.q_min)
        low, high = self.snr_range
        if not 0 <= low < high:
            raise InputError(
                f"injections: snr_range is {low} to {high}, expected ascending numbers"
            )
        for detector in {**self.asds, **self.psds}:
            if self.asds.get(detector) and self.psds.get(detector):
                raise InputError(f"injections: {detector} has both an ASD and a PSD")


@dataclass(frozen=True)
class Settings:
    """Content of ``campaign.toml``.

    Parameters
    ----------
    name : str
    seed : int
        Of the analyses; each event's own follows from it and the event's name.
    analysis : Analysis
    events : dict
        By name, ``source`` (event file, name of a bundled or published event) and
        arguments of the analysis that this event has of its own.
    injections : Injections or None
    """

    name: str
    seed: int = 0
    analysis: Analysis = field(default_factory=Analysis)
    events: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    injections: Injections | None = None

    def __post_init__(self) -> None:
        integer("seed", self.seed, minimum=0)
        for name, entry in self.events.items():
            check_name("event's name", name)
            if not isinstance(entry.get("source"), str):
                raise InputError(f"events: {name} has no source")
            self.event_analysis(name)
        if not self.names():
            raise InputError("the campaign has no events: give some, or injections")

    def names(self) -> list[str]:
        """Return the names of all events, injections last."""
        n = self.injections.n if self.injections else 0
        injected = [injection_name(k) for k in range(n)]
        if both := set(injected) & self.events.keys():
            raise InputError(f"events: {min(both)} is the name of an injection")
        return [*self.events, *injected]

    def event_analysis(self, name: str) -> Analysis:
        """Return how one event is analysed."""
        own = {k: v for k, v in self.events.get(name, {}).items() if k != "source"}
        return self.analysis.with_overrides(own) if own else self.analysis


def injection_name(k: int) -> str:
    """Return the name of injection ``k``."""
    return f"injection_{k:05d}"


def injection_number(name: str) -> int:
    """Return ``k`` of an injection's name."""
    return positive_integer("injection", int(name.rsplit("_", 1)[1]) + 1) - 1


def read_settings(path: Path) -> Settings:
    """Read ``campaign.toml``.

    Raises
    ------
    MissingFileError
        It does not exist: there is no campaign.
    InputError
        It cannot be read, or something in it is wrong; the message names the file.
    """
    if not path.is_file():
        raise MissingFileError(f"{path.parent} holds no campaign: there is no {path.name}")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not TOML: {error}") from error
    try:
        return _settings(content)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _settings(content: dict[str, Any]) -> Settings:
    known = {"campaign", "analysis", "events", "injections"}
    for name, part in content.items():
        if name not in known or not isinstance(part, dict):
            raise InputError(f"[{name}] is unknown{_close(name, known)}")
    campaign = content.get("campaign", {})
    if unknown := campaign.keys() - {"name", "seed"}:
        raise InputError(f"[campaign]: {min(unknown)} is unknown, expected name and seed")
    analysis = dict(content.get("analysis", {}))
    method = analysis.pop("method", "run" if "bank_folder" in analysis else "infer")
    events = content.get("events", {})
    if not all(isinstance(entry, dict) for entry in events.values()):
        raise InputError("[events]: expected a table with a source for each event")
    injections = content.get("injections")
    return Settings(
        name=str(campaign.get("name", "campaign")),
        seed=campaign.get("seed", 0),
        analysis=Analysis(str(method), analysis),
        events=events,
        injections=None if injections is None else make_injections(injections),
    )


def make_injections(content: Mapping[str, Any]) -> Injections:
    """Return injections with these settings; lists become tuples.

    Raises
    ------
    InputError
        A setting is unknown, or of the wrong type.
    """
    known = {field.name for field in dataclasses.fields(Injections)}
    for name in content:
        if name not in known:
            raise InputError(f"[injections]: {name} is unknown{_close(name, known)}")
    values: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in content.items()
    }
    if isinstance(detectors := values.get("detectors"), str):
        values["detectors"] = tuple(detectors.split(","))
    try:
        return Injections(**values)
    except TypeError as error:
        raise InputError(f"[injections]: {error}") from error


def _close(name: str, known: set[str]) -> str:
    close = difflib.get_close_matches(name, known, 1)
    return f": {close[0]} is meant?" if close else ""


def write_settings(path: Path, settings: Settings) -> None:
    """Write ``campaign.toml``."""
    import tomli_w

    content: dict[str, Any] = {
        "campaign": {"name": settings.name, "seed": settings.seed},
        "analysis": {"method": settings.analysis.method, **settings.analysis.arguments},
    }
    if settings.events:
        content["events"] = settings.events
    if settings.injections is not None:
        content["injections"] = dataclasses.asdict(settings.injections)
    text = tomli_w.dumps(_without_none(jsonable(content)))
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _without_none(value: Any) -> Any:
    """Leave out what TOML has no word for."""
    if isinstance(value, dict):
        return {k: _without_none(v) for k, v in value.items() if v is not None}
    return value
