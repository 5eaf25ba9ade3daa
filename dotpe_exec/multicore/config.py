"""Names of the published ``multicore.config``; they live in :mod:`dotpe_exec.config`."""

from __future__ import annotations

from ..config import (
    MulticoreConfig,
    get_shared_config_cache_path,
    load_cached_config,
    save_config,
)

__all__ = [
    "MulticoreConfig",
    "get_shared_config_cache_path",
    "load_cached_config",
    "save_config",
]
