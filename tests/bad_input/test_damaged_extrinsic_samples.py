"""Damaged extrinsic samples are named before work starts, and nothing changes."""

from __future__ import annotations

import numpy as np
from damaged_files import Damage, each, named, remove, rewrite_table, truncate, write

from dotpe_exec.errors import InputError, MissingFileError

EXTRINSIC = "extrinsic_samples.feather"
SAMPLES = [
    Damage("missing", remove(EXTRINSIC), MissingFileError, EXTRINSIC),
    Damage("empty", write(EXTRINSIC, b""), InputError, EXTRINSIC),
    Damage("text", write(EXTRINSIC, b"lat,lon\n"), InputError, EXTRINSIC),
    Damage("truncated", truncate(EXTRINSIC, -50), InputError, EXTRINSIC),
    Damage("few rows", rewrite_table(EXTRINSIC, lambda t: t[:5]), InputError, "has 5 rows"),
    *(
        Damage(
            f"without {name}",
            rewrite_table(EXTRINSIC, lambda t, n=name: t.drop(columns=n)),
            InputError,
            f"lacks the columns {name}",
        )
        for name in ("lat", "lon", "psi", "t_geocenter")
    ),
    *(
        Damage(
            f"{value} in {name}",
            rewrite_table(EXTRINSIC, lambda t, n=name, v=value: t.assign(**{n: v})),
            InputError,
            name,
        )
        for name in ("lat", "t_geocenter", "weights")
        for value in (np.nan, np.inf)
    ),
    Damage(
        "NaN log weight",
        rewrite_table(EXTRINSIC, lambda t: t.assign(log_prior_weights=np.nan)),
        InputError,
        "weights that are negative or not finite",
    ),
    Damage(
        "negative weight",
        rewrite_table(EXTRINSIC, lambda t: t.assign(weights=-1.0)),
        InputError,
        "weights that are negative",
    ),
    Damage(
        "weights all zero",
        rewrite_table(
            EXTRINSIC, lambda t: t.assign(weights=0.0, log_prior_weights=-np.inf)
        ),
        InputError,
        "weights that are all zero",
    ),
    Damage(
        "lat in degrees",
        rewrite_table(EXTRINSIC, lambda t: t.assign(lat=45.0)),
        InputError,
        "has 45.0 in column lat, row 0",
    ),
    Damage(
        "text in lat",
        rewrite_table(EXTRINSIC, lambda t: t.assign(lat="north")),
        InputError,
        "column lat",
    ),
]


@each(SAMPLES)
def test_damaged_extrinsic_samples_are_named(folder, monkeypatch, damage):
    monkeypatch.chdir(folder)
    named(folder, damage)
