"""Reading ahead: the disk works while the processor does.

A page of a memory map that is not in memory is read when it is first touched, and the
process waits. Told beforehand what will be needed, the system reads it meanwhile.
"""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np


def read_ahead(array: np.ndarray) -> None:
    """Ask the system to begin reading a memory-mapped array; do not wait for it.

    Does nothing for arrays that are not memory-mapped, and where the system has no such
    call.

    Parameters
    ----------
    array : array
        Contiguous; a view of a memory map.
    """
    memory: Any = array
    while isinstance(memory, np.ndarray):
        memory = memory.base
    if not isinstance(memory, mmap.mmap) or not hasattr(mmap, "MADV_WILLNEED"):
        return
    first = array.ctypes.data - np.frombuffer(memory, np.uint8).ctypes.data
    before = first % mmap.PAGESIZE
    memory.madvise(mmap.MADV_WILLNEED, first - before, array.nbytes + before)
