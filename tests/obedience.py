"""Processes of root that heed the modes of files, as those of other users do."""

from __future__ import annotations

import ctypes
import os

_DROP_FROM_THE_BOUNDING_SET = 24  # prctl(2)
_OVERRIDE, _READ_SEARCH = 1, 2  # capabilities(7): CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH


def obey_modes() -> None:
    """Call before another program is executed: it may not write what is read-only."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        for capability in (_OVERRIDE, _READ_SEARCH):
            if libc.prctl(_DROP_FROM_THE_BOUNDING_SET, capability, 0, 0, 0):
                raise OSError(ctypes.get_errno(), "the capability cannot be dropped")
