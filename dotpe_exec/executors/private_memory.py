"""Peak private memory of this process: anonymous and shared-memory pages.

Mapped files (the bank) are left out: they are the page cache's, shared by all processes
and dropped when memory is short. The kernel keeps no peak of that, so a thread samples.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path

_STATUS = Path("/proc/self/status")


def private_bytes() -> int:
    """Return the private memory of this process now [bytes]; 0 where unknown."""
    try:
        text = _STATUS.read_bytes()
    except OSError:
        return _resident_bytes()
    total = 0
    for field in (b"RssAnon:", b"RssShmem:"):
        at = text.find(field)
        if at >= 0:
            total += int(text[at + len(field) :].split(None, 1)[0]) * 1024
    return total


def _resident_bytes() -> int:
    try:
        import psutil

        return psutil.Process().memory_info().rss
    except Exception:  # no such platform: an unknown peak must not end a run
        return 0


class PeakSampler:
    """Largest private memory since the last reset, sampled by a daemon thread."""

    interval = 0.05  # s; 40 microseconds of work each

    def __init__(self) -> None:
        self._peak = 0
        self._latest = 0
        self._sampled = 0.0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start sampling (again); does nothing if it is running."""
        if self._thread is None or not self._thread.is_alive():
            self._stop.clear()
            self._thread = threading.Thread(
                target=self._run, name="dotpe-exec-memory", daemon=True
            )
            self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()

    def reset(self) -> None:
        """Forget the peak, but for what was in use at the last sample."""
        self._peak = self._latest

    def peak(self) -> int:
        """Return the largest value since the last reset, and sample if that is due."""
        now = time.monotonic()
        if not self._peak or now - self._sampled > self.interval / 2:
            self._latest = private_bytes()
            self._peak = max(self._peak, self._latest)
            self._sampled = now
        return self._peak

    def _run(self) -> None:
        while not self._stop.wait(self.interval):
            self.peak()
