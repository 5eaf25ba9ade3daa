"""What cogwheel prints goes to a logger."""

from __future__ import annotations

import builtins
import contextlib
import contextvars
import io
import logging
import sys
from collections.abc import Iterator
from typing import Any

logger = logging.getLogger("dotpe_exec.cogwheel")

_level: contextvars.ContextVar[int | None] = contextvars.ContextVar("level", default=None)


@contextlib.contextmanager
def prints_logged(level: int = logging.DEBUG) -> Iterator[None]:
    """Turn what cogwheel prints into records of the logger ``dotpe_exec.cogwheel``.

    In this thread alone, and without a change of ``sys.stdout``, which would take the
    output of all others.
    """
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "cogwheel":
            vars(module).setdefault("print", _print)
    token = _level.set(level)
    try:
        yield
    finally:
        _level.reset(token)


def _print(*values: Any, **options: Any) -> None:
    """The name ``print`` in cogwheel's modules: as ever, but for who asked otherwise."""
    level = _level.get()
    if level is None or options.get("file") is not None:
        builtins.print(*values, **options)
        return
    text = io.StringIO()
    builtins.print(*values, **options | {"file": text, "flush": False})
    for line in text.getvalue().splitlines():
        if line.strip():
            logger.log(level, "%s", line)
