"""Random numbers that depend on what they are for, never on who draws them.

Every random draw of a run comes from a generator made of the run's seed and a path of
labels (stage, bank, index ...). Neither the executor nor the order of tasks can change
it.
"""

from __future__ import annotations

import secrets
import zlib

import numpy as np


def draw_seed() -> int:
    """Return a fresh seed, for runs that were given none (it is recorded)."""
    return secrets.randbits(31)


def generator(seed: int, *path: int | str) -> np.random.Generator:
    """Return the generator for one purpose.

    Parameters
    ----------
    seed : int
        The run's seed.
    *path : int or str
        Labels of the purpose, for example ``("extrinsic", "bank_0", 17)``.

    Returns
    -------
    numpy.random.Generator
        Independent of the generators of all other paths.
    """
    labels = [zlib.crc32(p.encode()) if isinstance(p, str) else int(p) for p in path]
    return np.random.default_rng(np.random.SeedSequence(int(seed), spawn_key=tuple(labels)))
