"""Garbage collection, where it only costs."""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Iterator

_guard = threading.Lock()
_n_inside = 0
_was_enabled = False


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """Collect no garbage inside, for imports that make very many objects and no garbage.

    Looking for some takes half a second of the three in which cogwheel is imported. Other
    threads collect none meanwhile either; of threads that are inside at once the last turns
    it on again, if it was on when the first came.
    """
    global _n_inside, _was_enabled
    with _guard:
        if not _n_inside:
            _was_enabled = gc.isenabled()
            gc.disable()
        _n_inside += 1
    try:
        yield
    finally:
        with _guard:
            _n_inside -= 1
            if not _n_inside and _was_enabled:
                gc.enable()
