"""Looking at processes that end, without assuming how fast the machine is."""

from __future__ import annotations

import time

import psutil


def wait_until(true, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def is_alive(pid):
    """Orphans that ended wait, as zombies, for process 1 to collect them."""
    try:
        return psutil.Process(pid).status() not in (
            psutil.STATUS_ZOMBIE,
            psutil.STATUS_DEAD,
        )
    except psutil.NoSuchProcess:
        return False


def wait_for_the_end_of(pids, seconds=60.0):
    wait_until(lambda: not any(is_alive(pid) for pid in pids), seconds)
