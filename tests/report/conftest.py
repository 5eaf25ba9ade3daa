"""Run directories and task tables for tests of the report."""

from __future__ import annotations

import pandas as pd
import pytest
from report_runs import write_run


@pytest.fixture
def make_run(tmp_path):
    """Return a function that writes a run directory with the given name."""

    def make(name="run", **options):
        return write_run(tmp_path / name, **options)

    return make


@pytest.fixture(scope="session")
def tasks():
    """Tasks of two workers in two phases."""
    return pd.DataFrame(
        {
            "phase": pd.Categorical(["incoherent", "incoherent", "coherent"]),
            "key": ["bank_0/0", "bank_0/1", "0"],
            "worker": pd.Categorical(["a:1", "b:1", "a:1"]),
            "start": [100.0, 100.5, 102.0],
            "end": [101.0, 101.0, 104.0],
            "work": [512, 512, 7],
            "peak_memory_bytes": [10**8] * 3,
            "message_bytes": [1, 2, 3],
            "result_bytes": [4, 5, 6],
            "crashes": [0, 0, 1],
        }
    )
