"""Results as PESummary reads them, ``pesummary.io.read(filename)``."""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .._version import __version__
from ..atomic import atomic_write, output_file
from ..derived import binary_parameters
from ..run_prior import prior_draws
from .data import analysed_data, reference_frequency
from .tables import export_table, ln_evidence

if TYPE_CHECKING:
    import h5py

    from ..loading import StoredRun

_N_PRIOR_SAMPLES = 5000
_LONGEST_LABEL = 100
# What a result depends on.
_PACKAGES = ("cogwheel-pe", "lalsuite", "numpy", "scipy", "numba", "pandas", "astropy")
_DESCRIPTION = (
    "Sampler-free parameter estimation (DOT-PE) by dotpe-exec. {calibration} Power "
    "spectral densities include asd_drift squared."
)
_EXACT = "No calibration: the calibration of the detectors is taken to be exact."


def to_pesummary(
    rundirs: str | os.PathLike | Sequence[str | os.PathLike], output: str | os.PathLike
) -> Path:
    """Write runs as analyses of one PESummary file.

    Samples of posterior and prior, approximant, power spectral densities (``asd_drift``
    included), evidence, frequencies, configuration and versions are stored; labels are the
    names of the run directories, with ``_`` for all but letters, digits and ``_.+-``.
    PESummary itself is not needed.

    Parameters
    ----------
    rundirs : path or sequence of path
        Of finished runs.
    output : path
        The ``.h5`` file.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InputError
        ``output`` is empty.
    MissingFileError, RunDirectoryError
        A run is not finished, its samples lack parameters or its event or posterior is not
        kept, or the file cannot be written.
    """
    import h5py

    from ..report.view import open_views

    output = output_file(output)
    views = open_views([rundirs] if isinstance(rundirs, str | os.PathLike) else rundirs)
    tables = [export_table(view.run) for view in views]
    with atomic_write(output) as temporary, h5py.File(temporary, "w") as file:
        # PESummary knows its files by a version that is not its first format's.
        _put(file, "version/pesummary", "1.0.0")
        file["version/packages"] = _packages()
        for view, table in zip(views, tables, strict=True):
            group = file.create_group(_label(view.label, file))
            group["posterior_samples"] = table.to_records(index=False)
            _write_about(group, view.run, len(table))
    return output


def _label(name: str, taken: Iterable[str]) -> str:
    """Return a run's name as a label: PESummary makes names of files and HTML of it."""
    label = re.sub(r"[^A-Za-z0-9_.+-]", "_", name)
    label = re.sub(r"\A[^A-Za-z0-9_]", "_", label)[:_LONGEST_LABEL]
    taken = set(taken)
    others = (f"{label}_{k}" for k in itertools.count(1))
    return next(each for each in itertools.chain([label], others) if each not in taken)


def _write_about(group: h5py.Group, run: StoredRun, n_samples: int) -> None:
    """Write what is known about a run apart from its samples."""
    _put(group, "version", f"dotpe-exec {__version__}")
    calibration = run.summary.get("calibration")
    said = _EXACT
    if calibration:
        names = ", ".join(calibration["envelopes"])
        said = f"Likelihoods are averaged over the calibration of {names}."
    _put(group, "description", _DESCRIPTION.format(calibration=said))
    approximant = run.approximant or "unknown"
    _put(group, "approximant", approximant)
    data = analysed_data(run)
    evidence, error = ln_evidence(run)
    sampler: dict[str, Any] = {
        "ln_bayes_factor": evidence,
        "ln_noise_evidence": data.noise_lnlike,
        "ln_evidence": None if evidence is None else evidence + data.noise_lnlike,
        "ln_evidence_error": error,
        "nsamples": n_samples,
        "pe_algorithm": "dotpe-exec",
        "seed": run.kwargs.get("seed"),
    }
    about: dict[str, Any] = {
        "approximant": approximant,
        "f_ref": reference_frequency(run),
        "f_low": data.f_low,
        "f_start": data.f_low,
        "f_final": data.f_final,
        "delta_f": 1 / data.duration,
        "duration": data.duration,
        "sampling_frequency": data.sampling_frequency,
        "start_time": data.start_time,
        "IFOs": " ".join(data.names),
        "calibration_marginalization": str(bool(calibration)),
        "cosmology": "Planck18",
    }
    about |= {
        f"asd_drift_{name}": float(drift)
        for name, drift in zip(data.names, data.asd_drift_d, strict=True)
    }
    for part, values in (("sampler", sampler), ("meta_data", about)):
        for key, value in values.items():
            if value is not None:
                _put(group, f"meta_data/{part}/{key}", value)
    for key, value in run.kwargs.items():
        name = key.replace("/", "_")  # which would be a group of its own
        _put(group, f"config_file/dotpe-exec/{name}", json.dumps(value, default=str))
    for name, psd_f in zip(data.names, data.psd_df, strict=True):
        used = np.isfinite(psd_f)
        density = np.column_stack([data.frequencies[used], psd_f[used]])
        group.create_dataset(f"psds/{name}", data=density, compression="gzip")
    draws = prior_draws(run, _N_PRIOR_SAMPLES)
    prior = binary_parameters(draws, float(run.event.tgps))
    for name, column in prior.drop(columns="log_likelihood").items():
        group[f"priors/samples/{name}"] = column.to_numpy()


def _packages() -> np.ndarray:
    """Return names and versions of the packages that results depend on."""
    rows = [("dotpe-exec", __version__)]
    for name in _PACKAGES:
        try:
            rows.append((name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            continue  # built into another environment, without its record
    encoded = [tuple(part.encode() for part in row) for row in rows]
    return np.array(encoded, dtype=[("package", "S64"), ("version", "S64")])


def _put(group: h5py.Group, name: str, value: str | float) -> None:
    """Write a single value as PESummary does: as an array of one."""
    group[name] = np.array([value.encode() if isinstance(value, str) else value])
