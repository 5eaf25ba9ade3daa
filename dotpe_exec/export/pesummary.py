"""Results as PESummary reads them, ``pesummary.io.read(filename)``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .._version import __version__
from ..atomic import atomic_write, check_writable
from ..report.view import open_views
from ..validation import check_path
from .parameters import event_arrays, ln_evidence, run_parameters

if TYPE_CHECKING:
    import h5py

    from ..loading import Run


def to_pesummary(
    rundirs: str | os.PathLike | Sequence[str | os.PathLike], output: str | os.PathLike
) -> Path:
    """Write runs as analyses of one PESummary file.

    Samples, approximant, power spectral densities and the evidence are stored; labels are
    the names of the run directories. PESummary itself is not needed.

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
        A run is not finished, its samples lack parameters or its event is not kept, or the
        file cannot be written.
    """
    import h5py

    check_path("output", output)
    output = Path(output)
    check_writable(output)
    views = open_views([rundirs] if isinstance(rundirs, str | os.PathLike) else rundirs)
    tables = [run_parameters(view.run) for view in views]
    with atomic_write(output) as temporary, h5py.File(temporary, "w") as file:
        # PESummary knows its files by a version that is not its first format's.
        _put(file, "version/pesummary", "1.0.0")
        for view, table in zip(views, tables, strict=True):
            group = file.create_group(view.label.replace("/", "_"))
            group["posterior_samples"] = table.to_records(index=False)
            _write_about(group, view.run, len(table))
    return output


def _write_about(group: h5py.Group, run: Run, n_samples: int) -> None:
    """Write what is known about a run apart from its samples."""
    _put(group, "version", f"dotpe-exec {__version__}")
    name = run.approximant or "unknown"
    _put(group, "approximant", name)
    evidence, error = ln_evidence(run)
    values = {
        "log_evidence": evidence,
        "log_evidence_error": error,
        "log_bayes_factor": evidence,
        "nsamples": n_samples,
        "pe_algorithm": "dotpe-exec",
    }
    for key, value in values.items():
        if value is not None:
            _put(group, f"meta_data/sampler/{key}", value)
    _put(group, "meta_data/meta_data/approximant", name)
    f_ref = run.samples["f_ref"].iloc[0] if len(run.samples) else np.nan
    _put(group, "meta_data/meta_data/f_ref", float(f_ref))
    frequencies, whitening_df, names = event_arrays(
        run, "frequencies", "wht_filter", "detector_names"
    )
    for detector, whitening in zip(names, whitening_df, strict=True):
        used = whitening > 0
        density = np.column_stack([frequencies[used], whitening[used] ** -2.0])
        group.create_dataset(f"psds/{detector}1", data=density, compression="gzip")


def _put(group: h5py.Group, name: str, value: str | float) -> None:
    """Write a single value as PESummary does: as an array of one."""
    group[name] = np.array([value.encode() if isinstance(value, str) else value])
