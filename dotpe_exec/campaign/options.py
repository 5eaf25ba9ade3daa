"""Settings of a campaign from what a user gives on the command line."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError
from .settings import Analysis, Settings, make_injections

_SHARED = ("mchirp_range", "q_min", "approximant")  # by signals and prior


def settings_from_options(
    folder: Path, events: Sequence[str], n_injections: int, options: Mapping[str, Any]
) -> Settings:
    """Return the settings of ``dotpe-exec campaign make``.

    Paths become absolute. Injections have the range of masses, the approximant and the
    reference frequency of the bank, as far as nothing else is asked for: a P-P test needs
    signals from the analysis' prior.
    """
    given = {key: value for key, value in options.items() if value not in (None, ())}
    arguments: dict[str, Any] = dict(given.get("others", ()))
    method = "infer"
    shared = {key: given[key] for key in _SHARED if key in given}
    from_bank: dict[str, Any] = {}
    if "bank_folder" in given:
        method = "run"
        paths = [_absolute(part) for part in given["bank_folder"].split(",")]
        arguments["bank_folder"] = ",".join(paths)
        from_bank = _of_bank(Path(paths[0]))
        for name in ("n_effective", "max_waveforms"):
            if name in given:
                raise InputError(f"{name} is for analyses without bank_folder")
    else:
        for name in ("n_effective", "max_waveforms"):
            if name in given:
                arguments[name] = given[name]
    injections = None
    if n_injections:
        content = {**from_bank, **shared, "n": n_injections}
        for name in ("detectors", "duration", "fmin", "fmax", "snr_range",
                     "d_luminosity_max"):  # fmt: skip
            if name in given:
                content[name] = given[name]
        if "injection_seed" in given:
            content["seed"] = given["injection_seed"]
        for name in ("asds", "psds"):
            content[name] = _by_detector(name, given.get(name, ()))
        injections = make_injections(content)
        if method == "infer":
            shared = {key: getattr(injections, key) for key in _SHARED}
    if method == "infer":
        arguments = {**shared, **arguments}
    return Settings(
        name=given.get("name") or folder.resolve().name,
        seed=given.get("seed", 0),
        analysis=Analysis(method, arguments),
        events=_named(events),
        injections=injections,
    )


def _of_bank(folder: Path) -> dict[str, Any]:
    """Return what injections have in common with a bank."""
    from ..banks.format import open_bank

    config = open_bank(folder).config
    found: dict[str, Any] = {"approximant": config.approximant, "f_ref": config.f_ref}
    info = config.info
    low = info.get("mchirp_min", info.get("min_mchirp"))
    high = info.get("mchirp_max", info.get("max_mchirp"))
    if isinstance(low, int | float) and isinstance(high, int | float):
        found["mchirp_range"] = (float(low), float(high))
    if isinstance(info.get("q_min"), int | float):
        found["q_min"] = float(info["q_min"])
    return found


def _by_detector(name: str, given: Sequence[str]) -> dict[str, str]:
    if bad := [text for text in given if "=" not in text]:
        raise InputError(f"{name}: {bad[0]!r} is no DETECTOR=FILE, as in H1=H1.txt")
    pairs = (text.split("=", 1) for text in given)
    return {
        detector: _absolute(path) if Path(path).is_file() else path
        for detector, path in pairs
    }


def _named(events: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return the sources of events by name: of files, the file's."""
    named: dict[str, dict[str, str]] = {}
    for source in events:
        is_path = source.endswith(".npz") or os.sep in source or Path(source).is_file()
        name = Path(source).stem if is_path else source
        if name in named:
            raise InputError(f"two events have the name {name}: rename a file")
        named[name] = {"source": _absolute(source) if is_path else source}
    return named


def _absolute(path: str) -> str:
    return os.path.abspath(path)  # noqa: PTH100 - resolve() follows links
