"""Samples for ArviZ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._version import __version__
from ..optional import needs
from .tables import export_table, ln_evidence

if TYPE_CHECKING:
    from ..loading import StoredRun


def to_arviz(run: StoredRun) -> Any:
    """Return an ArviZ ``InferenceData``: one chain of equal-weight samples.

    Raises
    ------
    InputError
        ``arviz`` is not installed.
    MissingFileError, RunDirectoryError
        As :func:`dotpe_exec.export.to_bilby`.
    """
    with needs("arviz", "interop"):
        import arviz
    table = export_table(run)
    columns = {name: column.to_numpy()[None] for name, column in table.items()}
    lnlike = columns.pop("log_likelihood")
    evidence, error = ln_evidence(run)
    attributes = {
        "inference_library": "dotpe-exec",
        "inference_library_version": __version__,
        "ln_evidence": evidence,
        "ln_evidence_error": error,
    }
    return arviz.from_dict(
        posterior=columns,
        sample_stats={"lp": lnlike},
        attrs={key: value for key, value in attributes.items() if value is not None},
    )
