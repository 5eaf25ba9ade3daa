"""Sky maps in a fraction of the time: few clusters, fitted once, and large pixels."""

from __future__ import annotations

import functools

import pytest


def roughen(patch: pytest.MonkeyPatch) -> None:
    """Make rough sky maps until ``patch`` is undone."""
    from ligo.skymap.kde import Clustered2Plus1DSkyKDE

    from dotpe_exec.report import skymap

    patch.setattr(skymap, "_MAX_CLUSTERS", 2)
    patch.setattr(skymap, "_TRIALS", 1)
    as_healpix = Clustered2Plus1DSkyKDE.as_healpix
    patch.setattr(
        Clustered2Plus1DSkyKDE,
        "as_healpix",
        functools.partialmethod(as_healpix, top_nside=4),
    )
