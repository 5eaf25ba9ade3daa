"""Extrinsic samples: the table, what the likelihood needs of it, and how to load one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError, MissingFileError
from ..kernels.proposals import rotate_response
from ..npy_files import read_header
from ..warned import warn

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "lat",
    "lon",
    "psi",
    "t_geocenter",
    "_phi_ref",
    "weights",
    "log_prior_weights",
    "expected_counts",
)


@dataclass(frozen=True)
class ExtrinsicSamples:
    """Weighted extrinsic samples, and what the likelihood needs of them.

    Parameters
    ----------
    table : pandas.DataFrame
        ``lat, lon, psi`` [rad], ``t_geocenter`` [s] (that of linear-free waveforms,
        relative to the event's time), ``_phi_ref`` [rad] (informative),  ``weights`` [s],
        ``log_prior_weights``: mean(weights L) estimates the integral of prior times L.
        ``expected_counts`` (missing in files of other origin): how often each was to be
        drawn from the pool of points, on average; tells the evidence's error.
    response_dpe : (n_d, 2, n_e) float
        Antenna responses.
    timeshift_dbe : (n_d, n_b, n_e) complex
        exp(-2 pi i f_b (t_geocenter + delay_d + tcoarse)).
    n_proposals, n_proposals_tried : int, optional
        Number of proposals that points were drawn from, and of waveforms that were asked
        for one; unknown for samples from a file.
    """

    table: pd.DataFrame
    response_dpe: np.ndarray
    timeshift_dbe: np.ndarray
    n_proposals: int | None = None
    n_proposals_tried: int | None = None

    @property
    def log_prior_weights_e(self) -> np.ndarray:
        """ln of the prior weights, (n_e,)."""
        return self.table["log_prior_weights"].to_numpy()

    @property
    def expected_counts_e(self) -> np.ndarray | None:
        """How often each was to be drawn from the pool, (n_e,); None where not known."""
        column = "expected_counts"
        return self.table[column].to_numpy() if column in self.table else None


def antenna_and_shifts(
    table: pd.DataFrame,
    detector_names: Sequence[str],
    fbin: np.ndarray,
    tcoarse: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Return what the likelihood needs of extrinsic samples.

    Parameters
    ----------
    table : pandas.DataFrame
        With columns ``lat, lon, psi`` [rad] and ``t_geocenter`` [s].
    detector_names : sequence of str
    fbin : (n_b,) float
        Frequencies [Hz].
    tcoarse : float
        Time of the event from the beginning of the data [s].

    Returns
    -------
    response_dpe : (n_d, 2, n_e) float
        [[cos 2psi, sin 2psi], [-sin 2psi, cos 2psi]] applied to (F+, Fx) at psi = 0.
    timeshift_dbe : (n_d, n_b, n_e) complex
        exp(-2 pi i f_b (t_geocenter + delay_d + tcoarse)).
    """
    from cogwheel import gw_utils

    lat, lon, psi, t_geocenter = (
        table[name].to_numpy(float) for name in ("lat", "lon", "psi", "t_geocenter")
    )
    response_edp = gw_utils.get_fplus_fcross_0(tuple(detector_names), lat, lon)
    response_dpe = np.moveaxis(rotate_response(response_edp, psi), 0, -1)
    delays_de = gw_utils.get_geocenter_delays(tuple(detector_names), lat, lon)
    cycles_dbe = np.asarray(fbin)[:, None] * (t_geocenter + delays_de + tcoarse)[:, None, :]
    return np.ascontiguousarray(response_dpe), np.exp(-2j * np.pi * cycles_dbe)


def arrival_times(table: pd.DataFrame, detector_names: Sequence[str]) -> np.ndarray:
    """Return when a signal arrives at each detector, (n_e, n_d) [s, from the event's time].

    Parameters are those of :func:`antenna_and_shifts`.
    """
    from cogwheel import gw_utils

    lat, lon, t_geocenter = (
        table[name].to_numpy(float) for name in ("lat", "lon", "t_geocenter")
    )
    delays_de = gw_utils.get_geocenter_delays(tuple(detector_names), lat, lon)
    return (t_geocenter + delays_de).T


def load_extrinsic_samples(
    path: Any,
    n_ext: int,
    *,
    fbin: np.ndarray,
    detector_names: Sequence[str],
    tcoarse: float,
) -> ExtrinsicSamples:
    """Load extrinsic samples of an earlier run, or of another program.

    ``response_dpe.npy`` and ``timeshift_dbe.npy`` beside the file are used if they fit
    it, these detectors and bins; else they are computed. Missing ``log_prior_weights``
    are ln of ``weights``; if both are missing, 0.

    Parameters
    ----------
    path : path
        Feather file with columns ``lat, lon, psi, t_geocenter`` at least.
    n_ext : int
        The first ``n_ext`` rows are taken.
    fbin, detector_names, tcoarse
        As in :func:`antenna_and_shifts`.

    Raises
    ------
    MissingFileError
        There is no such file.
    InputError
        It cannot be read, has fewer rows, lacks columns, or holds values that are not
        finite or weights that are negative.
    """
    path = Path(path)
    table, n_rows = read_extrinsic_table(path, n_ext)
    computed = antenna_and_shifts(table, detector_names, fbin, tcoarse)
    response_dpe, timeshift_dbe = (
        _load_beside(path.with_name(name), array, n_rows)
        for name, array in zip(
            ("response_dpe.npy", "timeshift_dbe.npy"), computed, strict=True
        )
    )
    return ExtrinsicSamples(table, response_dpe, timeshift_dbe)


def read_extrinsic_table(path: Any, n_ext: int) -> tuple[pd.DataFrame, int]:
    """Return the first ``n_ext`` rows of a table, checked, and how many rows it has.

    Raises
    ------
    MissingFileError, InputError
        As :func:`load_extrinsic_samples`.
    """
    from pyarrow import feather

    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"extrinsic_samples: the file {path} does not exist")
    try:
        with path.open("rb") as file:
            content = feather.read_table(file, memory_map=False)
        # Arrow trusts the lengths of its buffers until asked to check them.
        content.validate(full=True)
        if len(set(content.column_names)) < len(content.column_names):
            raise ValueError("it has a column twice")
        table = content.to_pandas()
    except Exception as error:  # pyarrow raises many kinds
        raise InputError(
            f"extrinsic_samples: {path} is not a feather file: {error}"
        ) from error
    n_rows = len(table)
    if n_rows < n_ext:
        raise InputError(f"extrinsic_samples: {path} has {n_rows} rows, n_ext is {n_ext}")
    table = _check_table(table.iloc[:n_ext].reset_index(drop=True), path)
    if "expected_counts" in table:
        table["expected_counts"] *= n_ext / n_rows
    return table, n_rows


def _check_table(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Return the table with weights filled in, or refuse it."""
    missing = [name for name in ("lat", "lon", "psi", "t_geocenter") if name not in table]
    if missing:
        raise InputError(
            f"extrinsic_samples: {path} lacks the columns {', '.join(missing)}"
        )
    table = table.copy()
    for name in (name for name in COLUMNS if name in table):
        # Dates and truths could be converted, and would be taken for numbers.
        if table[name].dtype.kind not in "fiu":
            raise InputError(
                f"extrinsic_samples: {path} has {table[name].dtype} in column {name}, "
                "expected numbers"
            )
        table[name] = table[name].to_numpy(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        if "log_prior_weights" not in table:
            table["log_prior_weights"] = (
                np.log(table["weights"]) if "weights" in table else 0.0
            )
        if "weights" not in table:
            table["weights"] = np.exp(table["log_prior_weights"])
    if "_phi_ref" not in table:
        table["_phi_ref"] = 0.0
    counts = [name for name in ("expected_counts",) if name in table]
    for name in ("lat", "lon", "psi", "t_geocenter", "weights", *counts):
        bad = np.flatnonzero(~np.isfinite(table[name].to_numpy(float)))
        if len(bad):
            raise InputError(
                f"extrinsic_samples: {path} has {table[name].iloc[bad[0]]} in column "
                f"{name}, row {bad[0]}, expected finite numbers"
            )
    bad = np.flatnonzero(np.abs(table["lat"].to_numpy(float)) > np.pi / 2 + 1e-6)
    if len(bad):
        raise InputError(
            f"extrinsic_samples: {path} has {table['lat'].iloc[bad[0]]} in column lat, row "
            f"{bad[0]}, expected -pi/2 to pi/2 [rad]"
        )
    log_weights = table["log_prior_weights"].to_numpy(float)
    bad = np.flatnonzero(np.isnan(log_weights) | (log_weights == np.inf))
    if len(bad) or (table[["weights", *counts]] < 0).any(axis=None):
        raise InputError(
            f"extrinsic_samples: {path} has weights that are negative or not finite"
        )
    if np.all(log_weights == -np.inf):
        raise InputError(f"extrinsic_samples: {path} has weights that are all zero")
    return table


def _load_beside(path: Path, computed: np.ndarray, n_rows: int) -> np.ndarray:
    """Return the array of an .npy file where it fits what was computed, else that."""
    if not path.is_file():
        return computed
    expected = (*computed.shape[:-1], n_rows)
    n_ext = computed.shape[-1]
    try:
        with path.open("rb") as file:
            header = read_header(file)
        # Nothing is reserved for what another header promises.
        fits = header.shape == expected and header.dtype.kind in "fc"
        array = np.load(path, allow_pickle=False) if fits else np.empty(0)
    except (OSError, ValueError) as error:
        warn(f"{path} cannot be read ({error}); it is computed anew", stacklevel=3)
        return computed
    if not fits or not np.allclose(array[..., :n_ext], computed, rtol=0, atol=1e-7):
        warn(
            f"{path} does not fit these samples, detectors and frequency bins; it is "
            "computed anew",
            stacklevel=3,
        )
        return computed
    return np.ascontiguousarray(array[..., :n_ext])
