"""Garbage collection is paused for imports, and as before afterwards."""

from __future__ import annotations

import gc
import threading

import pytest

from dotpe_exec.gc_pause import no_collection


@pytest.fixture
def collecting():
    gc.enable()
    yield
    gc.enable()


@pytest.mark.parametrize("before", [True, False])
def test_collection_is_paused_and_then_as_before(collecting, before):
    if not before:
        gc.disable()
    with no_collection():
        assert not gc.isenabled()
    assert gc.isenabled() is before


def test_collection_goes_on_after_an_error(collecting):
    with pytest.raises(ImportError), no_collection():
        raise ImportError
    assert gc.isenabled()


def test_last_thread_inside_turns_collection_on_again(collecting):
    inside, leave = threading.Event(), threading.Event()

    def stay():
        with no_collection():
            inside.set()
            leave.wait(10)

    other = threading.Thread(target=stay)
    with no_collection():
        other.start()
        assert inside.wait(10)
    assert not gc.isenabled()
    leave.set()
    other.join()
    assert gc.isenabled()
