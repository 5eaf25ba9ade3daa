"""From an analysis in asimov's ledger to a configuration, and from that to a campaign.

asimov keeps the configuration of an analysis under version control and lets people edit it
before anything runs; so it holds all that the analysis depends on, as TOML. What the ledger
says and this package cannot do is refused, or listed in it where it is a prior.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import InputError
from ...validation import jsonable
from ..settings import Analysis, Settings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_POST_TRIGGER = 2.0  # [s], asimov's default
_OWN_PRIORS = {"chirp mass", "mass ratio", "default"}
_METHOD_KEYS = {"event", "method"}
_SITE = {"accounting group": "account", "accounting group user": "user"} | {
    name: name for name in ("queue", "container", "time", "setup", "python")
}


@dataclass(frozen=True)
class Configuration:
    """What an analysis is made of.

    Parameters
    ----------
    event : dict
        ``name``, and either ``source`` (an event file, a bundled or published name) or the
        arguments of :func:`dotpe_exec.events.event_from_strain`.
    analysis : dict
        Of ``campaign.toml``.
    site : dict
        Of :class:`~dotpe_exec.campaign.submit.Site`.
    unused_priors : tuple of str
        Of the ledger: those of this package's analyses take their place.
    """

    event: Mapping[str, Any]
    analysis: Mapping[str, Any]
    site: Mapping[str, Any] = field(default_factory=dict)
    unused_priors: tuple[str, ...] = ()

    def to_toml(self) -> str:
        """Return the configuration as text."""
        import tomli_w

        content: dict[str, Any] = {"event": self.event, "analysis": self.analysis}
        if self.site:
            content["site"] = self.site
        if self.unused_priors:
            content["ledger"] = {"unused_priors": list(self.unused_priors)}
        return tomli_w.dumps(jsonable(content))

    @classmethod
    def read(cls, path: Path) -> Configuration:
        """Read a configuration.

        Raises
        ------
        InputError
            It cannot be read, or parts are missing or unknown.
        """
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(
                f"{path} is no configuration of dotpe-exec: {error}"
            ) from error
        known = {"event", "analysis", "site", "ledger"}
        wrong = [name for name, part in content.items()
                 if name not in known or not isinstance(part, dict)]  # fmt: skip
        if wrong:
            raise InputError(f"{path}: [{wrong[0]}] is unknown")
        for name in ("event", "analysis"):
            if not content.get(name):
                raise InputError(f"{path}: [{name}] is missing")
        unused = content.get("ledger", {}).get("unused_priors", [])
        return cls(
            content["event"], content["analysis"], content.get("site", {}), tuple(unused)
        )

    def settings(self, event_file: Path) -> Settings:
        """Return the campaign of this analysis.

        Parameters
        ----------
        event_file : Path
            Where the event is, unless the configuration has a source for it.
        """
        arguments = dict(self.analysis)
        method = str(arguments.pop("method", "infer"))
        name = str(self.event.get("name", ""))
        source = str(self.event.get("source", event_file))
        return Settings(
            name, analysis=Analysis(method, arguments), events={name: {"source": source}}
        )

    def make_event(self, event_file: Path) -> None:
        """Write the event's data, unless the configuration has a source for it.

        Raises
        ------
        DotpeExecError
            As :func:`~dotpe_exec.events.event_from_strain` does.
        """
        if "source" in self.event:
            return
        from ...events import event_from_strain, save_event

        arguments = dict(self.event)
        files, name = arguments.pop("files", ()), str(arguments.pop("name", ""))
        try:
            event = event_from_strain(files, name, **arguments)
        except TypeError as error:
            raise InputError(f"[event]: {error}") from error
        event_file.parent.mkdir(parents=True, exist_ok=True)
        save_event(event, event_file)


def configuration_of(
    name: str,
    meta: Mapping[str, Any],
    psds: Mapping[str, str],
    repository: str | os.PathLike = ".",
) -> Configuration:
    """Return the configuration of an analysis in the ledger.

    Parameters
    ----------
    name : str
        The event's.
    meta : dict
        The analysis', with the event's merged into it.
    psds : dict
        Files of power spectral densities by detector.
    repository : path
        The event's, where relative paths of calibration envelopes begin.

    Raises
    ------
    InputError
        Something is missing, or cannot be done; the message says what.
    """
    sampler = dict(meta.get("sampler") or {})
    analysis: dict[str, Any] = {"method": sampler.get("method", "infer")}
    analysis |= {
        key.replace(" ", "_"): value
        for key, value in sampler.items()
        if key not in _METHOD_KEYS
    }
    if "bank_folder" in analysis:
        analysis["method"] = "run"
    else:
        analysis |= _waveform(meta) | _prior(meta.get("priors") or {})
    if _wants_calibration(meta) and "calibration" not in analysis:
        analysis["calibration"] = _envelopes(name, meta, Path(repository))
    event: dict[str, Any] = {"name": name}
    if "event" in sampler:
        event["source"] = sampler["event"]
    else:
        event |= _strain(name, meta, psds)
    unused = sorted(set(meta.get("priors") or {}) - _OWN_PRIORS)
    return Configuration(event, analysis, _site(meta), tuple(map(str, unused)))


def _waveform(meta: Mapping[str, Any]) -> dict[str, Any]:
    waveform = meta.get("waveform") or {}
    found = {}
    for key, argument in (("approximant", "approximant"), ("reference frequency", "f_ref")):
        if key in waveform:
            found[argument] = waveform[key]
    return found


def _prior(priors: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    mchirp = priors.get("chirp mass") or {}
    if {"minimum", "maximum"} <= mchirp.keys():
        found["mchirp_range"] = [float(mchirp["minimum"]), float(mchirp["maximum"])]
    if "minimum" in (ratio := priors.get("mass ratio") or {}):
        found["q_min"] = float(ratio["minimum"])
    return found


def _wants_calibration(meta: Mapping[str, Any]) -> bool:
    """Whether the likelihood is to account for it; how, the sampler knows."""
    likelihood = meta.get("likelihood") or {}
    marginalised = likelihood.get("marginalization") or {}
    sampled = likelihood.get("calibration") or {}
    return bool(
        sampled.get("sample")
        or marginalised.get("calibration")
        or marginalised.get("Calibration")
    )


def _envelopes(name: str, meta: Mapping[str, Any], repository: Path) -> dict[str, str]:
    """Return the calibration envelope of each detector."""
    files = (meta.get("data") or {}).get("calibration") or {}
    if not files:
        raise InputError(
            f"{name}: the ledger asks for calibration uncertainty and has no data: "
            "calibration (envelope files by detector)"
        )
    detectors = list(meta.get("interferometers") or files)
    if without := [detector for detector in detectors if detector not in files]:
        raise InputError(f"{name}: the ledger has no calibration envelope of {without[0]}")
    return {
        detector: str((repository / _only(files[detector], detector)).absolute())
        for detector in detectors
    }


def _strain(name: str, meta: Mapping[str, Any], psds: Mapping[str, str]) -> dict[str, Any]:
    """Return the arguments of :func:`event_from_strain`."""
    data, likelihood = meta.get("data") or {}, meta.get("likelihood") or {}
    detectors = list(meta.get("interferometers") or ())
    files = data.get("data files") or {}
    for what, there in (
        ("interferometers", detectors),
        ("event time", meta.get("event time")),
        ("data: data files (or sampler: event)", files),
    ):
        if not there:
            raise InputError(f"{name}: the ledger has no {what}")
    if without := [detector for detector in detectors if detector not in files]:
        raise InputError(f"{name}: the ledger has no data file of {without[0]}")
    found: dict[str, Any] = {
        "files": [_only(files[detector], detector) for detector in detectors],
        "detectors": detectors,
        "tgps": float(meta["event time"]),
    }
    if channels := data.get("channels"):
        found["channels"] = [channels[detector] for detector in detectors]
    if psds:
        if without := [detector for detector in detectors if detector not in psds]:
            raise InputError(f"{name}: the ledger has no PSD of {without[0]}")
        found["psds"] = {detector: str(psds[detector]) for detector in detectors}
    if "segment length" in data:
        after = float(likelihood.get("post trigger time", _POST_TRIGGER))
        found |= {"t_after": after, "t_before": float(data["segment length"]) - after}
    for key, argument, choose in (("minimum frequency", "fmin", max),
                                  ("maximum frequency", "fmax", min)):  # fmt: skip
        limits = likelihood.get(key) or {}
        if any(detector in limits for detector in detectors):
            # One range for all detectors: the part that all have.
            found[argument] = float(
                choose(limits[detector] for detector in detectors if detector in limits)
            )
    return found


def _only(files: Any, detector: str) -> str:
    if isinstance(files, str):
        return files
    if len(files) != 1:
        raise InputError(f"{detector} has {len(files)} files, expected one")
    return str(files[0])


def _site(meta: Mapping[str, Any]) -> dict[str, Any]:
    scheduler = meta.get("scheduler") or {}
    found: dict[str, Any] = {}
    for key, argument in _SITE.items():
        if scheduler.get(key):
            found[argument] = str(scheduler[key])
    for key, argument in (("request memory", "memory_gb"), ("request disk", "disk_gb")):
        if key in scheduler:
            found[argument] = _gigabytes(key, scheduler[key])
    return found


def _gigabytes(key: str, value: Any) -> float:
    """Return an amount as asimov's other pipelines take it: a number is of GB."""
    text = str(value).strip().upper().removesuffix("B").strip()
    factor = {"M": 1 / 1024, "G": 1.0}.get(text[-1:], 0.0)
    try:
        return float(text[:-1]) * factor if factor else float(text)
    except ValueError:
        raise InputError(f"{key} is {value!r}, expected a number of GB") from None
