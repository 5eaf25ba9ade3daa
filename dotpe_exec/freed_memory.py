"""Memory that was freed, and that the C library keeps for itself."""

from __future__ import annotations

import ctypes

_M_MMAP_THRESHOLD = -3  # of mallopt in glibc's malloc.h
_LARGE = 2**22  # bytes


def return_large_arrays() -> None:
    """Have the memory of each large array back in the system when the array is gone.

    By itself glibc keeps ever larger ones for itself once some were freed, between others
    that are in use: a tenth of the most that an event holds. For a process of one's own.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc's alone
    if set_option is not None:
        set_option(_M_MMAP_THRESHOLD, _LARGE)


def return_freed_memory() -> None:
    """Return to the system what is free: a third of what many small arrays had left."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's alone
    if trim is not None:
        trim(0)
