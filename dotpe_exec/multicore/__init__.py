"""The names of the published multiprocessing version, at its import paths.

``from dot_pe.multicore import run_multicore`` becomes
``from dotpe_exec.multicore import run_multicore``. Everything lives elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import attributes_from

if TYPE_CHECKING:
    from ..config import MulticoreConfig
    from ..inference import run_and_profile_multicore, run_multicore
    from ..tuning.autotune import autotune_multicore_config

__all__ = [
    "MulticoreConfig",
    "autotune_multicore_config",
    "run_and_profile_multicore",
    "run_multicore",
]

if not TYPE_CHECKING:  # A checker would take it that every name exists.
    __getattr__, __dir__ = attributes_from(
        "dotpe_exec",
        {
            "MulticoreConfig": "config",
            "autotune_multicore_config": "tuning.autotune",
            "run_and_profile_multicore": "inference",
            "run_multicore": "inference",
        },
    )
