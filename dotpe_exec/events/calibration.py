"""Calibration uncertainty: envelope files, and curves drawn from them.

An envelope is a text file as bilby reads it and as the LVK publishes them: columns

    frequency [Hz], median amplitude, median phase [rad], -1 sigma amplitude,
    -1 sigma phase, +1 sigma amplitude, +1 sigma phase.

A curve is C(f) = (1 + dA(f)) (2 + i dphi(f)) / (2 - i dphi(f)), with dA and dphi cubic
splines in ln f whose values at equally spaced nodes are normal, independent, with the
envelope's median and width there (Farr, Farr & Littenberg, LIGO-T1400682).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..digests import array_digest
from ..errors import InputError, MissingFileError
from ..validation import check_path, short
from .strain import detector_letters

N_NODES = 10
CORRECTIONS = ("data", "template")
_FEWEST_ROWS = 4


@dataclass(frozen=True)
class Envelope:
    """Median and one-sigma width of amplitude and phase corrections at frequencies.

    Parameters
    ----------
    path : str
    frequencies_f : (n_f,) float
        [Hz], ascending.
    median_xf, sigma_xf : (2, n_f) float
        Of relative amplitude and of phase [rad]; of what the *signal* is multiplied with.
    """

    path: str
    frequencies_f: np.ndarray
    median_xf: np.ndarray
    sigma_xf: np.ndarray

    @property
    def digest(self) -> str:
        """What it contains, in short."""
        return array_digest(np.vstack([self.frequencies_f, self.median_xf, self.sigma_xf]))


def analysed_band(event: Any) -> tuple[float, float]:
    """Return the lowest and the highest frequency of an event that count [Hz]."""
    used = event.frequencies[(event.wht_filter > 0).any(axis=0)]
    return float(used[0]), float(used[-1])


def event_envelopes(
    event: Any, envelopes: Mapping[str, str | os.PathLike], correction: str = "data"
) -> dict[str, Envelope]:
    """Read envelope files for an event: :func:`read_envelopes`.

    Raises
    ------
    InputError, MissingFileError
        Also where one does not cover the frequencies that are analysed.
    """
    read = read_envelopes(envelopes, tuple(event.detector_names), correction)
    low, high = analysed_band(event)
    for envelope in read.values():
        first, last = envelope.frequencies_f[[0, -1]]
        if first > low * (1 + 1e-6) or last < high * (1 - 1e-6):
            raise InputError(
                f"the calibration envelope {envelope.path} covers {first:g} to {last:g} "
                f"Hz, expected the analysed {low:g} to {high:g} Hz"
            )
    return read


def read_envelopes(
    envelopes: Mapping[str, str | os.PathLike],
    detectors: tuple[str, ...],
    correction: str = "data",
) -> dict[str, Envelope]:
    """Read envelope files by detector, named as the event names its detectors.

    Parameters
    ----------
    envelopes : dict of path
        By detector, ``"H1"`` or ``"H"``; detectors without one are taken as exact.
    detectors : tuple of str
        The event's.
    correction : {"data", "template"}
        Whether the file's factor takes calibrated data to what they should be (files of
        the LVK) or waveforms to what they look like in the data; as in bilby.

    Raises
    ------
    InputError, MissingFileError
    """
    if correction not in CORRECTIONS:
        raise InputError(
            f"calibration_correction is {short(correction)}, expected 'data' or 'template'"
        )
    if not isinstance(envelopes, Mapping) or not envelopes:
        raise InputError(
            "calibration is a dictionary from detectors to envelope files, "
            f"found {short(envelopes)}"
        )
    read = {}
    for name, path in envelopes.items():
        letters = detector_letters(name)
        if len(letters) != 1 or letters[0] not in detectors:
            raise InputError(
                f"calibration has the detector {short(name)}, expected some of "
                f"{', '.join(detectors)}"
            )
        check_path(f"calibration of {name}", path)
        read[letters[0]] = _read(Path(path), correction)
    return read


def _read(path: Path, correction: str) -> Envelope:
    if not path.is_file():
        raise MissingFileError(f"the calibration envelope {path} does not exist")
    try:
        table = np.loadtxt(path, ndmin=2, dtype=float)
    except (ValueError, OSError) as error:
        raise InputError(
            f"the calibration envelope {path} is not text of seven columns: {error}"
        ) from error
    if table.shape[1] < 7 or len(table) < _FEWEST_ROWS:
        raise InputError(
            f"the calibration envelope {path} has {len(table)} rows of {table.shape[1]} "
            f"columns, expected at least {_FEWEST_ROWS} rows of seven: frequency, median "
            "amplitude and phase, the same at -1 sigma, the same at +1 sigma"
        )
    frequencies, amplitude, phase, low_a, low_p, high_a, high_p = table[:, :7].T
    if (
        not np.isfinite(table[:, :7]).all()
        or frequencies[0] <= 0
        or (np.diff(frequencies) <= 0).any()
    ):
        raise InputError(
            f"the calibration envelope {path} must have finite numbers and ascending "
            "frequencies above zero"
        )
    if (np.abs(table[:, [1, 3, 5]] - 1) > 0.9).any():
        raise InputError(
            f"the calibration envelope {path} has amplitudes from "
            f"{table[:, [1, 3, 5]].min():g} to {table[:, [1, 3, 5]].max():g}, expected "
            "factors near 1"
        )
    if correction == "data":
        median_xf = np.stack([1 / amplitude - 1, -phase])
        sigma_a = np.abs(1 / low_a - 1 / high_a) / 2
    else:
        median_xf = np.stack([amplitude - 1, phase])
        sigma_a = np.abs(high_a - low_a) / 2
    sigma_xf = np.stack([sigma_a, np.abs(high_p - low_p) / 2])
    return Envelope(os.fspath(path), frequencies, median_xf, sigma_xf)


def draw_nodes(
    envelope: Envelope, f_low: float, f_high: float, n_curves: int, rng: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Return the nodes' frequencies (n_n,) [Hz] and values of curves there, (n_k, 2, n_n).

    Parameters
    ----------
    envelope : Envelope
    f_low, f_high : float
        First and last node [Hz].
    n_curves : int
    rng : numpy.random.Generator
    """
    from scipy.interpolate import InterpolatedUnivariateSpline

    ln_nodes = np.linspace(np.log(f_low), np.log(f_high), N_NODES)
    ln_f = np.log(envelope.frequencies_f)

    def at_nodes(values_f: np.ndarray) -> np.ndarray:
        return InterpolatedUnivariateSpline(ln_f, values_f)(ln_nodes)

    median_xn = np.stack([at_nodes(row) for row in envelope.median_xf])
    sigma_xn = np.stack([at_nodes(row) for row in envelope.sigma_xf])
    normal_kxn = rng.standard_normal((n_curves, 2, N_NODES))
    return np.exp(ln_nodes), median_xn + sigma_xn * normal_kxn


def calibration_factors(
    frequencies_f: np.ndarray, nodes_n: np.ndarray, values_kxn: np.ndarray
) -> np.ndarray:
    """Return the curves through values at nodes, (n_k, n_f) complex.

    Parameters
    ----------
    frequencies_f : (n_f,) float
        [Hz]
    nodes_n : (n_n,) float
        Equally spaced in ln f [Hz].
    values_kxn : (n_k, 2, n_n) float
        Relative amplitudes and phases [rad].
    """
    from scipy.interpolate import CubicSpline

    spline = CubicSpline(np.log(nodes_n), values_kxn, axis=2, bc_type="not-a-knot")
    amplitude_kf, phase_kf = np.moveaxis(spline(np.log(frequencies_f)), 1, 0)
    return (1 + amplitude_kf) * (2 + 1j * phase_kf) / (2 - 1j * phase_kf)
