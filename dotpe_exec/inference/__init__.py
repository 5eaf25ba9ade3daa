"""From event and banks to posterior samples: a run, its arguments, inputs and stages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import attributes_from

if TYPE_CHECKING:
    from .entry import run, run_and_profile, run_and_profile_multicore, run_multicore
    from .infer_entry import infer

__all__ = ["infer", "run", "run_and_profile", "run_and_profile_multicore", "run_multicore"]

if not TYPE_CHECKING:  # A checker would take it that every name exists.
    __getattr__, __dir__ = attributes_from(
        __name__, dict.fromkeys(__all__, "entry") | {"infer": "infer_entry"}
    )
