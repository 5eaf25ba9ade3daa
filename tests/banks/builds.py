"""A small bank to build, and builds that end too soon."""

from __future__ import annotations

import numpy as np

from dotpe_exec.banks.build import build_bank
from dotpe_exec.executors.phases import PhaseRunner
from dotpe_exec.executors.store import ArrayStore

FBIN = np.array([20.0, 30.0, 45.0, 70.0, 120.0, 250.0])
ARGUMENTS = {
    "bank_size": 150,
    "mchirp_range": (20.0, 25.0),
    "fbin": FBIN,
    "seed": 3,
    "blocksize": 64,
    "executor": "serial",
    "progress": False,
}


def build(folder, **changes):
    return build_bank(folder, **(ARGUMENTS | changes))


def content(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


class InterruptedRunner(PhaseRunner):
    """Is interrupted after a number of results."""

    def __init__(self, folder, n_results):
        super().__init__(ArrayStore(folder), "serial")
        self.n_results = n_results

    def map(self, *args, **kwargs):
        for n_done, result in enumerate(super().map(*args, **kwargs)):
            if n_done == self.n_results:
                raise KeyboardInterrupt
            yield result
