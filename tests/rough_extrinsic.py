"""Extrinsic samples in a fraction of the time: from smaller pools, in fewer rounds.

For tests in which it does not matter how good they are, and which run in one process.
"""

from __future__ import annotations

import pytest


def roughen_extrinsic(patch: pytest.MonkeyPatch) -> None:
    """Draw extrinsic samples from small pools until ``patch`` is undone."""
    from dotpe_exec.adaptive import carriers, likelihood
    from dotpe_exec.stages import extrinsic, extrinsic_refinement, extrinsic_scoring

    patch.setattr(likelihood, "FIRST_POOL", 2**12)
    patch.setattr(carriers, "N_CARRIERS", 128)
    patch.setattr(extrinsic, "N_SKY", 2**17)
    patch.setattr(extrinsic_refinement, "N_ROUND", 1024)
    patch.setattr(extrinsic_refinement, "MAX_ROUNDS", 3)
    patch.setattr(extrinsic_refinement, "MAX_POOL", 2**12)
    patch.setattr(extrinsic_scoring, "N_CARRIERS", 32)
