"""DOT-PE, sampler-free gravitational-wave parameter estimation, on any executor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._lazy import attributes_from
from ._version import __version__

if TYPE_CHECKING:
    from .config import MulticoreConfig, load_cached_config
    from .inference import (
        infer,
        run,
        run_and_profile,
        run_and_profile_multicore,
        run_multicore,
    )
    from .result import Run, load
    from .tuning.autotune import autotune_multicore_config

_PUBLIC = {
    "infer": "inference",
    "run": "inference",
    "run_multicore": "inference",
    "run_and_profile": "inference",
    "run_and_profile_multicore": "inference",
    "MulticoreConfig": "config",
    "autotune_multicore_config": "tuning.autotune",
    "load_cached_config": "config",
    "Run": "result",
    "load": "result",
}
__all__ = [
    "MulticoreConfig",
    "Run",
    "__version__",
    "autotune_multicore_config",
    "infer",
    "load",
    "load_cached_config",
    "run",
    "run_and_profile",
    "run_and_profile_multicore",
    "run_multicore",
]

if not TYPE_CHECKING:  # A checker would take it that every name exists.
    __getattr__, __dir__ = attributes_from(__name__, _PUBLIC)
