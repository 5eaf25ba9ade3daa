"""Warnings, kept for whoever asks for those of his own work.

``warnings.catch_warnings`` exchanges the filters of the whole process, which its other
threads would see.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from contextvars import ContextVar

_kept: ContextVar[list[str] | None] = ContextVar("kept", default=None)


def warn(message: str, stacklevel: int = 1) -> None:
    """Warn as :func:`warnings.warn` does, or keep the message for who collects it."""
    kept = _kept.get()
    if kept is None:
        warnings.warn(message, stacklevel=stacklevel + 1)
    else:
        kept.append(message)


@contextlib.contextmanager
def collected_warnings() -> Iterator[list[str]]:
    """Collect this thread's warnings of this package, which are not shown then."""
    messages: list[str] = []
    token = _kept.set(messages)
    try:
        yield messages
    finally:
        _kept.reset(token)
