"""Campaigns: many events analysed in one folder, on one machine or on a cluster.

A campaign is a folder with one ``campaign.toml`` and one run directory per event; see
:class:`Campaign`. Importing this package is light.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import attributes_from

if TYPE_CHECKING:
    from .campaign import Campaign, make
    from .settings import Analysis, Injections, Settings

_PUBLIC = {
    "Analysis": "settings",
    "Campaign": "campaign",
    "Injections": "settings",
    "Settings": "settings",
    "make": "campaign",
}
__all__ = ["Analysis", "Campaign", "Injections", "Settings", "make"]

if not TYPE_CHECKING:
    __getattr__, __dir__ = attributes_from(__name__, _PUBLIC)
