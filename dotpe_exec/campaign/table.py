"""The table of all events of a campaign."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from ..verdict import LIMITED, RELIABLE, UNUSABLE
from .evaluate import QUANTITIES, TESTED
from .tasks import FINISHED

if TYPE_CHECKING:
    import pandas as pd

    from .campaign import Campaign

_FIRST = ("name", "status", "verdict", "findings", "sentence", "ended", "seconds",
          "cpu_seconds", "memory_gb", "snr")  # fmt: skip
_RUN = ("ln_evidence", "ln_evidence_error", "n_effective", "n_effective_i",
        "n_effective_e", "bestfit_lnlike_max")  # fmt: skip
_SPANS = ("", "_low", "_high")


def events_table(campaign: Campaign) -> pd.DataFrame:
    """Return one row per event: failed ones first, then those that are not reliable.

    Columns: name, ``status`` (see :data:`~dotpe_exec.campaign.campaign.STATUSES`),
    ``verdict`` and ``findings`` of the run's diagnostics, ``sentence`` (why it failed),
    time of its end, seconds and processor seconds it took, memory of its worker, optimal
    signal-to-noise ratio (injections), evidence and effective numbers, medians and 90%
    intervals (``_low``, ``_high``) of parameters, redshift and source-frame chirp mass for
    the median distance; for injections ``true_*``, ``below_*`` (posterior probability below
    the true value) and ``bias_*`` (in standard deviations).
    """
    import pandas as pd

    rows = [_row(campaign, name) for name in campaign.names]
    columns = [*_FIRST, *_RUN, *(f"{q}{s}" for q in QUANTITIES for s in _SPANS)]
    columns += ["redshift", "mchirp_source", "share_within_limits"]
    columns += [f"{part}_{name}" for name in TESTED for part in ("true", "below", "bias")]
    table = pd.DataFrame(rows)
    for column in columns:
        if column not in table:
            table[column] = np.nan
    table = table[[*columns, "rundir"]]
    distance = pd.to_numeric(table["d_luminosity"]).to_numpy(dtype=float)
    table["redshift"] = _redshift(distance)
    table["mchirp_source"] = pd.to_numeric(table["mchirp"]) / (1 + table["redshift"])
    order = [_urgency(row) for row in rows]
    return table.iloc[np.argsort(order, kind="stable")].reset_index(drop=True)


def _row(campaign: Campaign, name: str) -> dict[str, Any]:
    outcome = campaign.outcome(name) or {}
    values = dict(outcome.get("values") or {})
    state = campaign.state(name)
    row: dict[str, Any] = {
        "name": name,
        "status": state,
        "sentence": outcome.get("sentence") or "",
        "seconds": outcome.get("seconds"),
        "cpu_seconds": outcome.get("cpu_seconds"),
        "memory_gb": outcome.get("memory_gb"),
        "ended": values.get("ended"),
        "verdict": values.get("verdict") or "",
        "findings": "; ".join([*values.get("findings", []), *values.get("warnings", [])]),
        "rundir": os.path.relpath(campaign.files.rundir(name), campaign.files.path),
    }
    if state != FINISHED:
        return row
    simple = {k: v for k, v in values.items() if isinstance(v, int | float)}
    row |= {key: value for key, value in simple.items() if key not in row}
    for name_, prefix in (("truth", "true"), ("below", "below"), ("bias", "bias")):
        for key, value in (values.get(name_) or {}).items():
            row[f"{prefix}_{key}"] = value
    return row


def _urgency(row: dict[str, Any]) -> int:
    """Return 0 for what one has to look at first."""
    if row["status"] == "failed":
        return 0
    if row["status"] != FINISHED:
        return 5
    return {UNUSABLE: 1, LIMITED: 2, RELIABLE: 4}.get(row["verdict"], 3)


def _redshift(d_luminosity: np.ndarray) -> np.ndarray:
    """Return redshifts of distances [Mpc], in cogwheel's cosmology (Planck 2018)."""
    if not np.isfinite(d_luminosity).any():
        return np.full(len(d_luminosity), np.nan)
    from cogwheel.cosmology import z_of_d_luminosity

    known = np.isfinite(d_luminosity)
    redshift = np.full(len(d_luminosity), np.nan)
    redshift[known] = z_of_d_luminosity(d_luminosity[known])
    return redshift
