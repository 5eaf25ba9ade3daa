"""What cogwheel prints goes to a logger."""

from __future__ import annotations

import contextlib
import functools
import io
import logging
from collections.abc import Callable, Iterator

logger = logging.getLogger("dotpe_exec.cogwheel")


class _LogLines(io.TextIOBase):
    """Text stream that passes each line on to a logging function."""

    def __init__(self, log: Callable[[str], None]):
        self._log = log
        self._rest = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            if line.strip():
                self._log(line)
        return len(text)

    def flush_rest(self) -> None:
        """Log what came without a final newline."""
        if self._rest.strip():
            self._log(self._rest)
        self._rest = ""


@contextlib.contextmanager
def prints_logged(level: int = logging.DEBUG) -> Iterator[None]:
    """Turn what cogwheel prints into records of the logger ``dotpe_exec.cogwheel``."""
    stream = _LogLines(functools.partial(logger.log, level))
    with contextlib.redirect_stdout(stream):
        try:
            yield
        finally:
            stream.flush_rest()
