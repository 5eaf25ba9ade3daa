"""What all these tests start from."""

from __future__ import annotations

import pytest

from dotpe_exec.executors.threads import one_thread


@pytest.fixture(autouse=True, scope="module")
def threads_of_a_reference():
    """One, as it is found: several that wait for each other take four times as long."""
    with one_thread():
        yield
