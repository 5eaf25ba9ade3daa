"""Sky maps in a fraction of the time: few clusters, fitted once, and large pixels."""

from __future__ import annotations

import functools

import pytest


def roughen(patch: pytest.MonkeyPatch) -> None:
    """Make rough sky maps until ``patch`` is undone."""
    from ligo.skymap.kde import SkyKDE

    from dotpe_exec.report import sky_density, skymap

    patch.setattr(sky_density, "N_CLUSTERS", (1, 2))
    patch.setattr(skymap, "_MAX_CLUSTERS", 2)
    patch.setattr(skymap, "_TRIALS", 1)
    as_healpix = SkyKDE.as_healpix
    patch.setattr(
        SkyKDE,
        "as_healpix",
        functools.partialmethod(as_healpix, top_nside=4),
    )
