"""Whatever runs them and however they are grouped, tasks give the bits of a plain loop."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_tasks import Batch, product, results

from dotpe_exec.executors.phases import PhaseRunner
from dotpe_exec.executors.process import ProcessExecutor
from dotpe_exec.executors.resolve import resolve_executor
from dotpe_exec.executors.store import ArrayStore


@pytest.fixture(scope="module")
def executors():
    made = {
        "serial": resolve_executor("serial"),
        "process": ProcessExecutor(2),
        "one process": ProcessExecutor(1),
        "loky": resolve_executor("loky", 3),
        "threads": ThreadPoolExecutor(3),
    }
    yield made
    for executor in made.values():
        executor.shutdown()


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with ArrayStore(tmp_path_factory.mktemp("scratch")) as made:
        yield made


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(["process", "one process", "loky", "threads"]),
    n_rows=st.integers(1, 70),
    batch=st.integers(1, 90),
    tasks_per_message=st.one_of(st.none(), st.integers(1, 20)),
    seed=st.integers(0, 2**16),
)
def test_same_batches_same_bits(
    executors, store, name, n_rows, batch, tasks_per_message, seed
):
    matrix = np.random.default_rng(seed).normal(size=(n_rows, n_rows))
    handle = store.put(matrix)
    batches = [Batch(at, min(at + batch, n_rows), handle) for at in range(0, n_rows, batch)]
    found = results(
        PhaseRunner(store, executors[name]),
        product,
        batches,
        tasks_per_message=tasks_per_message,
    )
    expected = [product(payload) for payload in batches]
    serial = results(PhaseRunner(store, executors["serial"]), product, batches)
    for one, other, plain in zip(found, serial, expected, strict=True):
        assert one.values.tobytes() == other.values.tobytes()
        assert one.largest == other.largest
        np.testing.assert_allclose(one.values, plain.values, rtol=1e-10, atol=1e-13)
