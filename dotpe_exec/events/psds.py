"""Power spectral densities given by the user, for events made from strain."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError, MissingFileError
from .strain import detector_letters

if TYPE_CHECKING:
    from cogwheel.data import EventData

# Power spectral densities of ground-based detectors in band; amplitude spectral densities,
# the usual mix-up, are near 1e-23.
_LARGEST = 1e-30  # [1/Hz]

Table = tuple[np.ndarray, np.ndarray]


def read_psds(
    psds: Sequence[str | os.PathLike] | Mapping[str, str | os.PathLike] | None,
    detectors: Sequence[str],
) -> list[tuple[str, Table]]:
    """Return file and table (frequency [Hz], density [1/Hz]) for each detector.

    Raises
    ------
    MissingFileError, InputError
    """
    if not psds:
        return []
    if isinstance(psds, Mapping):
        by_letter = {detector_letters(name)[0]: path for name, path in psds.items()}
        if by_letter.keys() != set(detectors):
            raise InputError(
                f"psds are given for {', '.join(by_letter)}, expected one for each of "
                f"{', '.join(detectors)}"
            )
        paths = [by_letter[name] for name in detectors]
    else:
        paths = list(psds)
    if len(paths) != len(detectors):
        raise InputError(
            f"{len(paths)} power spectral densities given, expected one for each of "
            f"{', '.join(detectors)}"
        )
    return [(os.fspath(path), _read(Path(path))) for path in paths]


def _read(path: Path) -> Table:
    if not path.is_file():
        raise MissingFileError(f"the power spectral density {path} does not exist")
    try:
        frequencies, density = np.loadtxt(path, unpack=True)
    except (ValueError, OSError) as error:
        raise InputError(
            f"the power spectral density {path} is not text of two columns: {error}"
        ) from error
    finite = np.isfinite(density) & (density > 0)  # other programs write inf out of band
    frequencies, density = (
        np.atleast_1d(frequencies)[finite],
        np.atleast_1d(density)[finite],
    )
    if len(density) < 2 or not np.all(np.diff(frequencies) > 0):
        raise InputError(
            f"the power spectral density {path} must have ascending frequencies and "
            "positive densities"
        )
    if np.median(density) > _LARGEST:
        raise InputError(
            f"the power spectral density {path} has values near {np.median(density):.2g}: "
            "these are amplitude spectral densities; give their squares [1/Hz]"
        )
    return frequencies, density


def with_psds(
    event: EventData,
    tables: Sequence[tuple[str, Table]],
    fmin: float,
    wht_filter_duration: float,
) -> EventData:
    """Return the event with whitening filters made of power spectral densities.

    Between the table's frequencies the density is interpolated in its logarithm.

    Raises
    ------
    InputError
        One does not cover the frequencies that are analysed.
    """
    from cogwheel.data import EventData

    from ..cogwheel_bridge import whitening_filter

    filters = []
    for path, (frequencies, density) in tables:
        fmax = event.frequencies[-1]
        # The last frequency is never analysed alone; files often end one step before it.
        if frequencies[0] > fmin or frequencies[-1] < fmax - 1.0:
            raise InputError(
                f"the power spectral density {path} covers {frequencies[0]:g} to "
                f"{frequencies[-1]:g} Hz, expected {fmin:g} to {fmax:g} Hz"
            )
        ln_density = np.interp(event.frequencies, frequencies, np.log(density))
        asd_f = np.exp(0.5 * ln_density)
        filters.append(
            whitening_filter(event.frequencies, asd_f, fmin, wht_filter_duration)
        )
    return EventData(
        event.eventname, event.frequencies, event.strain, np.array(filters),
        event.detector_names, event.tgps, event.tcoarse,
    )  # fmt: skip
