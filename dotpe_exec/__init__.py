"""DOT-PE, sampler-free gravitational-wave parameter estimation, on any executor."""

from __future__ import annotations

__version__ = "0.1.0"

# Loaded when first used: importing the package must stay light, because every worker
# imports it (cogwheel, LAL, pandas and matplotlib take seconds).
_PUBLIC = {
    "run": "inference",
    "run_multicore": "inference",
    "run_and_profile": "inference",
    "run_and_profile_multicore": "inference",
    "MulticoreConfig": "config",
    "autotune_multicore_config": "autotune",
    "load_cached_config": "config",
}
__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str):
    if name in _PUBLIC:
        from importlib import import_module

        return getattr(import_module(f".{_PUBLIC[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
