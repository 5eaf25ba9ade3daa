"""Published events from the Gravitational Wave Open Science Center."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..atomic import read_json, write_json
from ..cache_folder import user_cache_folder
from ..errors import EventError, InputError, RunDirectoryError
from ..rundir.files import check_name
from .downloads import DownloadCache, short_reason
from .load import check_event_name
from .make import event_from_strain
from .strain import detector_letters

if TYPE_CHECKING:
    from cogwheel.data import EventData

DURATIONS = (32, 4096)
"""Lengths of the files of single events [s]; newer releases have files of 4096 s only."""

_HOST = "https://gwosc.org"
_HOST_VARIABLE = "GWOSC_SERVER_URL"  # the one that the package gwosc reads
_DETECTOR = re.compile(r"[A-Z]+-([A-Z]\d)_")
_KNOWN = "HLV"


@dataclass(frozen=True)
class PublishedStrain:
    """Strain files of a published event.

    Parameters
    ----------
    name : str
    tgps : float
        GPS time of the event [s].
    files : dict
        Local file of each detector, by its letter.
    """

    name: str
    tgps: float
    files: dict[str, Path]


def fetch_event(
    name: str,
    detectors: str | Sequence[str] | None = None,
    *,
    duration: int = 4096,
    cache_folder: str | os.PathLike | None = None,
    refresh: bool = False,
    progress: bool = False,
    **data: Any,
) -> EventData:
    """Return a published event, made from its strain at https://gwosc.org.

    Strain comes from the cache where it was fetched before; then no network is needed.

    Parameters
    ----------
    name : str
        As in the catalogues, for example ``"GW190412"``.
    detectors : str or sequence of str, optional
        Default: all that have valid data at the event.
    duration : {4096, 32}
        Of the files [s]; the other is taken where this one is not published.
    cache_folder : path, optional
        Default: ``dotpe/gwosc`` in the user's cache folder.
    refresh : bool
        Ask again which files there are, instead of taking what was found before.
    progress : bool
        Show a progress bar.
    **data
        ``t_before, t_after, wht_filter_duration, fmin, fmax, psds`` of
        :func:`event_from_strain`.

    Returns
    -------
    cogwheel.data.EventData

    Raises
    ------
    EventError
        There is no such event or no network, or its data cannot be used.
    InputError
    """
    published = fetch_strain(
        name, detectors, duration=duration, cache_folder=cache_folder, refresh=refresh,
        progress=progress,
    )  # fmt: skip
    return event_from_strain(
        list(published.files.values()), name, list(published.files), published.tgps, **data
    )


def fetch_strain(
    name: str,
    detectors: str | Sequence[str] | None = None,
    *,
    duration: int = 4096,
    cache_folder: str | os.PathLike | None = None,
    refresh: bool = False,
    progress: bool = False,
) -> PublishedStrain:
    """Fetch the strain files of a published event; arguments as :func:`fetch_event`."""
    check_event_name(name)
    check_name("event's name", name)
    if duration not in DURATIONS:
        raise InputError(f"duration is {duration}, expected 32 or 4096 [s]")
    folder = default_cache_folder() if cache_folder is None else Path(cache_folder)
    listing = _listing(name, duration, folder, refresh)
    urls = {_letter(url): url for url in listing["urls"]}
    wanted = list(urls) if detectors is None else list(detector_letters(detectors))
    if missing := [letter for letter in wanted if letter not in urls]:
        raise EventError(
            f"{name} has no public strain of detector {missing[0]} (there is some of "
            f"{', '.join(urls)})"
        )
    cache = DownloadCache(folder)
    files = {}
    for letter in sorted(wanted):
        with _bar(f"{name} {letter}", progress) as on_bytes:
            files[letter] = cache.fetch(urls[letter], on_bytes)
    if detectors is None:
        files = _with_data(name, files, listing["tgps"])
    return PublishedStrain(name, float(listing["tgps"]), files)


def default_cache_folder() -> Path:
    """Return the folder of what was fetched: ``dotpe/gwosc`` in the user's cache folder."""
    return user_cache_folder() / "gwosc"


def _listing(name: str, duration: int, folder: Path, refresh: bool) -> dict[str, Any]:
    """Return GPS time and addresses of an event, remembered from one time to the next."""
    path = folder / "events" / f"{name}-{duration}.json"
    if not refresh:
        with contextlib.suppress(RunDirectoryError, KeyError, TypeError):
            known = read_json(path)
            return {"tgps": float(known["tgps"]), "urls": list(known["urls"])}
    found = _ask(name, duration)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EventError(
            f"the cache folder {folder} cannot be made: {error.strerror}"
        ) from error
    write_json(path, found)
    return found


def _ask(name: str, duration: int) -> dict[str, Any]:
    """Ask the server where an event's strain is."""
    import requests
    from gwosc.datasets import event_gps
    from gwosc.locate import get_event_urls

    host = os.environ.get(_HOST_VARIABLE, _HOST).rstrip("/")
    try:
        tgps = float(event_gps(name, host=host))
        for length in (duration, *(other for other in DURATIONS if other != duration)):
            urls = list(get_event_urls(name, duration=length, sample_rate=4096, host=host))
            urls = [url for url in urls if _letter(url) in _KNOWN]
            if urls:
                return {"tgps": tgps, "urls": urls}
    except requests.HTTPError as error:
        status = 0 if error.response is None else error.response.status_code
        if status in (400, 404):
            raise EventError(f"{host} knows no event {name!r}") from error
        raise EventError(f"{host} answers with HTTP status {status}") from error
    except requests.RequestException as error:
        raise EventError(
            f"{host} cannot be reached to fetch {name} ({short_reason(error)}): "
            "go on-line, or use `dotpe-exec event from-strain` with files fetched elsewhere"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise EventError(f"{host} has no usable answer on {name!r}: {error}") from error
    raise EventError(f"{host} has no strain of {name} of detectors {', '.join(_KNOWN)}")


def _letter(url: str) -> str:
    match = _DETECTOR.match(Path(urlsplit(url).path).name)
    return match[1][0] if match else ""


def _with_data(name: str, files: dict[str, Path], tgps: float) -> dict[str, Path]:
    """Return the files of the detectors that observed at the event."""
    from .strain import read_strain, valid_around

    observing = {}
    for letter, path in files.items():
        with contextlib.suppress(EventError):
            valid_around(read_strain(path), tgps)
            observing[letter] = path
    if not observing:
        raise EventError(f"no detector has valid data at {name}, GPS time {tgps}")
    return observing


@contextlib.contextmanager
def _bar(what: str, progress: bool) -> Iterator[Callable[[int, int | None], None]]:
    if not progress:
        yield lambda n, total: None
        return
    from tqdm import tqdm

    with tqdm(desc=what, unit="B", unit_scale=True, leave=False) as bar:

        def show(n: int, total: int | None) -> None:
            bar.total = total
            bar.update(n - bar.n)

        yield show
