"""Arrays reach workers that do not see the store's folder, and nobody else."""

from __future__ import annotations

from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from clusters import assert_same, payloads
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from toy_tasks import product, results

from dotpe_exec.errors import ExecutorError
from dotpe_exec.executors import delivery
from dotpe_exec.executors import store as store_module
from dotpe_exec.executors.phases import PhaseRunner
from dotpe_exec.executors.store import ArrayStore


@pytest.fixture(autouse=True)
def nothing_accepted_before(monkeypatch):
    monkeypatch.setattr(store_module, "_accepted", {})


def hide(folder):
    """Make this process one that finds nothing in the folder."""
    load = store_module.mapped_array

    def load_elsewhere(path):
        if str(path).startswith(folder):
            raise FileNotFoundError(path)
        return load(path)

    store_module.mapped_array = load_elsewhere


@dataclass(frozen=True)
class Pair:
    left: np.ndarray
    right: np.ndarray
    n: int


def combined(handle):
    pair = handle.load()
    return pair.left @ pair.right * pair.n


def test_workers_of_any_executor_are_given_what_they_do_not_see(store, monkeypatch):
    sent = []
    read = delivery.read

    def counting(paths):
        sent.append(tuple(paths))
        return read(paths)

    monkeypatch.setattr(delivery, "read", counting)
    rng = np.random.default_rng(3)
    pair = Pair(rng.normal(size=(50, 50)), rng.normal(size=(50, 50)), 3)
    handle, batches = store.put(pair), payloads(store)
    folder = str(store.folder)
    with ProcessPoolExecutor(1, get_context("spawn"), hide, (folder,)) as pool:
        runner = PhaseRunner(store, pool)
        found = results(runner, product, batches, tasks_per_message=1)
        pairs = results(runner, combined, [handle] * 8, tasks_per_message=1)
        files = [paths for paths in sent if paths]
        results(runner, product, batches)
    assert_same(found, results(PhaseRunner(store), product, batches))
    for one in pairs:
        assert one.tobytes() == (pair.left @ pair.right * 3).tobytes()
    # One message runs and one waits when the worker first misses something.
    assert 2 <= len(files) <= 4
    assert {len(paths) for paths in files} == {1, 2}, "a bundle's arrays come together"
    assert [paths for paths in sent if paths] == files, "it keeps what it was given"


def test_workers_that_see_the_folder_are_sent_nothing(store, monkeypatch):
    monkeypatch.setattr(delivery, "read", lambda paths: {} if not paths else 1 / 0)
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        found = results(PhaseRunner(store, pool), product, payloads(store))
    assert_same(found, results(PhaseRunner(store), product, payloads(store)))


@given(
    hnp.arrays(
        st.sampled_from([np.float64, np.complex128, np.float32, np.int64, np.bool_]),
        hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
    )
)
def test_what_arrives_is_what_was_stored_and_lies_as_a_map_does(tmp_path_factory, array):
    with ArrayStore(tmp_path_factory.mktemp("scratch")) as store:
        handle = store.put(array)
        files = delivery.read([handle.path])
    store_module.accept(files)  # the store is gone: only this can be found
    loaded = handle.load()
    assert (loaded.dtype, loaded.shape) == (array.dtype, array.shape)
    assert loaded.tobytes() == array.tobytes()
    assert loaded.ctypes.data % 64 == 0 or not loaded.size
    assert not loaded.flags.writeable


def test_workers_keep_what_the_last_runs_sent_and_forget_older_ones(tmp_path):
    handles = []
    for number in range(4):
        with ArrayStore(tmp_path) as store:
            handles.append([store.put(np.full(3, number + k / 10)) for k in range(2)])
            for handle in handles[-1]:
                store_module.accept(delivery.read([handle.path]))
    for old in handles[:-2]:
        for handle in old:
            with pytest.raises(ExecutorError, match="closed"):
                handle.load()
    assert [[h.load()[0] for h in recent] for recent in handles[-2:]] == [
        [2, 2.1],
        [3, 3.1],
    ]


class Engine:
    """Answers each attempt as the test says; keeps what was sent."""

    def __init__(self, *answers):
        self.answers, self.sent = list(answers), []

    def send(self, function, args, paths, worker):
        self.sent.append((paths, worker))
        attempt, answer = Future(), self.answers.pop(0)
        if answer == "cancel":
            attempt.cancel()
            attempt.set_running_or_notify_cancel()
        elif isinstance(answer, Exception):
            attempt.set_exception(answer)
        elif answer is not None:
            attempt.set_result(answer)
        return attempt


def test_what_several_workers_miss_adds_up():
    engine = Engine(delivery.Absent(("a",), "w1"), delivery.Absent(("b",), "w2"), "done")
    future = delivery.Delivery(engine.send).submit(abs, 1)
    assert future.result(timeout=10) == "done"
    assert engine.sent == [((), ""), (("a",), "w1"), (("a", "b"), "w2")]


def test_a_worker_that_forgets_at_once_is_an_error_and_no_loop():
    engine = Engine(delivery.Absent(("a",)), delivery.Absent(("a",)))
    with pytest.raises(ExecutorError, match="does not keep"):
        delivery.Delivery(engine.send).submit(abs, 1).result(timeout=10)


def test_errors_of_the_engine_arrive():
    future = delivery.Delivery(Engine(ValueError("engine")).send).submit(abs, 1)
    with pytest.raises(ValueError, match="engine"):
        future.result(timeout=10)


@pytest.mark.parametrize("again", [True, False])
def test_the_engine_says_whether_what_it_gave_up_is_sent_again(again):
    engine = Engine(delivery.Absent(("a",), "w"), "cancel", "done")
    asked = []
    future = delivery.Delivery(
        engine.send, lambda paths: asked.append(paths) or again
    ).submit(abs, 1)
    if again:
        assert future.result(timeout=10) == "done"
        assert engine.sent[1:] == [(("a",), "w"), (("a",), "")]
    else:
        with pytest.raises(Exception) as caught:
            future.result(timeout=10)
        assert type(caught.value).__name__ == "CancelledError"
    assert asked == [("a",)]


def test_cancelling_reaches_the_engine():
    attempts = []

    def send(function, args, paths, worker):
        attempts.append(Future())
        return attempts[-1]

    future = delivery.Delivery(send).submit(abs, 1)
    assert future.cancel()
    assert attempts[0].cancelled()


def test_files_of_a_closed_store_are_an_error(store):
    path = store.put(np.ones(3)).path
    Path(path).unlink()
    with pytest.raises(ExecutorError, match="cannot send"):
        delivery.read([path])
