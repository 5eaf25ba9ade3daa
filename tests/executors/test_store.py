"""The array store: content, lifetime, place."""

from __future__ import annotations

import gc
import os
import signal
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from toy_tasks import results

from dotpe_exec.errors import ExecutorError
from dotpe_exec.executors import store as store_module
from dotpe_exec.executors.phases import PhaseRunner
from dotpe_exec.executors.store import ArrayStore


def files(store):
    return sorted(store.folder.glob("*.npy"))


@pytest.fixture(scope="module")
def shared_store(tmp_path_factory):
    with ArrayStore(tmp_path_factory.mktemp("scratch")) as made:
        yield made


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(
        st.sampled_from([np.float64, np.complex128, np.float32, np.int64, np.bool_]),
        hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
    )
)
def test_any_array_comes_back_as_it_was(shared_store, array):
    loaded = shared_store.put(array).load()
    assert loaded.dtype == array.dtype
    assert loaded.shape == array.shape
    assert np.ascontiguousarray(loaded).tobytes() == np.ascontiguousarray(array).tobytes()


def test_loaded_arrays_are_shared_maps_and_cannot_be_written(store):
    loaded = store.put(np.arange(10.0)).load()
    assert isinstance(loaded.base, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        loaded[0] = 1


def test_equal_arrays_are_stored_once_and_others_are_not(store):
    array = np.arange(12.0)
    same = [array, array.copy(), np.asfortranarray(array)]
    assert len({store.put(a).path for a in same}) == 1
    others = [array.reshape(3, 4), array.reshape(4, 3), array.view(np.int64), -array]
    assert len({store.put(a).path for a in [array, *others]}) == 5
    assert len(files(store)) == 5


@dataclass(frozen=True)
class Inner:
    values: np.ndarray


@dataclass(frozen=True)
class Outer:
    name: str
    inner: Inner
    weights: np.ndarray
    n: int = 3


def test_dataclasses_of_arrays_come_back_whole(store):
    loaded = store.put(Outer("x", Inner(np.arange(3)), np.ones((2, 2)))).load()
    assert isinstance(loaded, Outer)
    assert (loaded.name, loaded.n) == ("x", 3)
    np.testing.assert_array_equal(loaded.inner.values, np.arange(3))
    np.testing.assert_array_equal(loaded.weights, np.ones((2, 2)))


@pytest.mark.parametrize("bad", [[1, 2], "x", Inner, np.array([object()])])
def test_other_things_are_refused(store, bad):
    with pytest.raises(TypeError):
        store.put(bad)


def test_workers_share_one_copy(store, worker_pool):
    handle = store.put(np.ones(1000))
    runner = PhaseRunner(store, worker_pool)
    paths = results(runner, mapped_path, [handle] * 8, tasks_per_message=1)
    assert set(paths) == {handle.path}
    assert len(files(store)) == 1


def mapped_path(handle):
    """The file that the array is a map of, by the kernel's own account."""
    handle.load()
    maps = Path("/proc/self/maps").read_text()
    assert handle.path in maps
    return handle.path


def test_threads_may_load_while_others_load_and_stores_close(tmp_path):
    def churn(seed):
        for number in range(60):
            with ArrayStore(tmp_path) as made:
                handle = made.put(np.full(5, seed + number / 100))
                assert handle.load()[0] == seed + number / 100

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(churn, range(6)))


def test_calls_in_this_process_get_the_same_without_files(tmp_path):
    array = np.arange(7.0)[::-1]
    with ArrayStore(tmp_path) as store, ArrayStore(tmp_path, in_process=True) as held:
        expected = store.put(Outer("some", Inner(array), array[:3])).load()
        handle = held.put(Outer("some", Inner(array), array[:3]))
        assert files(held) == []
        array[:] = 0.0  # what was put is what it was
        found = handle.load()
        assert (found.name, found.n) == ("some", 3)
        for mapped, kept in (
            (expected.inner.values, found.inner.values),
            (expected.weights, found.weights),
        ):
            np.testing.assert_array_equal(kept, mapped)
            assert kept.flags.c_contiguous and not kept.flags.writeable
            assert kept.ctypes.data % 64 == mapped.ctypes.data % 64


def test_closing_deletes_everything_and_later_use_is_refused(tmp_path):
    store = ArrayStore(tmp_path)
    handle = store.put(np.ones(10))
    kept = handle.load()
    store.close()
    assert list(tmp_path.iterdir()) == []
    assert kept.sum() == 10
    with pytest.raises(ExecutorError, match="closed"):
        handle.load()
    with pytest.raises(ExecutorError, match="closed"):
        store.put(np.ones(3))
    store.close()


def test_forgotten_store_is_deleted(tmp_path):
    ArrayStore(tmp_path).put(np.ones(10))
    gc.collect()
    assert list(tmp_path.iterdir()) == []


CRASH = """
import os, signal, sys, numpy
from dotpe_exec.executors.store import ArrayStore
store = ArrayStore(sys.argv[1])
store.put(numpy.ones(1000))
print(store.folder, flush=True)
os.kill(os.getpid(), signal.SIGKILL) if sys.argv[2] == "die" else sys.stdin.read()
"""


def other_process(root, what):
    return subprocess.Popen(
        [sys.executable, "-c", CRASH, str(root), what],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_what_a_killed_run_left_is_deleted_by_the_next(tmp_path):
    process = other_process(tmp_path, "die")
    folder = Path(process.communicate()[0].strip())
    assert process.returncode == -signal.SIGKILL
    assert len(list(folder.glob("*.npy"))) == 1
    with ArrayStore(tmp_path):
        assert not folder.exists()


def test_what_was_never_finished_is_deleted_after_an_hour(tmp_path):
    old, young = tmp_path / "dotpe-exec-new-a", tmp_path / "dotpe-exec-new-b"
    for folder in (old, young):
        folder.mkdir()
    os.utime(old, (0, 0))
    with ArrayStore(tmp_path):
        assert young.exists() and not old.exists()


def test_what_a_living_run_uses_is_left_alone(tmp_path):
    process = other_process(tmp_path, "live")
    folder = Path(process.stdout.readline().strip())
    with ArrayStore(tmp_path):
        assert len(list(folder.glob("*.npy"))) == 1
    process.communicate("")
    assert not folder.exists()


def test_folders_of_other_hosts_are_left_alone(tmp_path):
    other = tmp_path / "dotpe-exec-arrays-anotherhost-abc"
    other.mkdir()
    (other / "in-use").touch()
    with ArrayStore(tmp_path):
        assert other.exists()


def test_place_is_chosen_by_argument_then_environment(tmp_path, monkeypatch):
    monkeypatch.setenv(store_module.SCRATCH_VARIABLE, str(tmp_path / "env"))
    with ArrayStore() as by_environment, ArrayStore(tmp_path / "argument") as by_argument:
        assert by_environment.folder.parent == tmp_path / "env"
        assert by_argument.folder.parent == tmp_path / "argument"


@pytest.fixture
def own_temporary_directory(tmp_path, monkeypatch):
    monkeypatch.delenv(store_module.SCRATCH_VARIABLE, raising=False)
    monkeypatch.setattr(store_module.tempfile, "gettempdir", lambda: str(tmp_path))
    return tmp_path


def test_default_place_is_private_and_cannot_be_guessed(own_temporary_directory):
    with ArrayStore() as store, ArrayStore() as other:
        assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700
        assert store.folder.parent == own_temporary_directory
        assert store.folder.name[-8:] != other.folder.name[-8:]


def test_what_others_put_under_the_name_of_a_store_is_left_alone(tmp_path):
    """A link to a folder of the user, and (as root, who can make one) another's folder."""
    with ArrayStore(tmp_path) as store:
        prefix = store.folder.name[:-8]
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "in-use").touch()
    (tmp_path / f"{prefix}linkedto").symlink_to(mine)
    theirs = tmp_path / f"{prefix}ofothers"
    theirs.mkdir()
    (theirs / "in-use").touch()
    if os.getuid() == 0:
        os.chown(theirs, 65534, 65534)
    with ArrayStore(tmp_path):
        assert (mine / "in-use").exists()
        assert theirs.exists() is (os.getuid() == 0)


def test_place_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ExecutorError, match="file/below"):
        ArrayStore(tmp_path / "file" / "below")


def test_full_disk_says_how_much_is_missing_and_what_to_do(store, monkeypatch):
    def no_space(file, array, **_):
        file.write(b"x" * 10)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store_module.np, "save", no_space)
    with pytest.raises(ExecutorError, match=r"8\.0 MB.*DOTPE_EXEC_SCRATCH"):
        store.put(np.ones(10**6))
    assert {path.name for path in store.folder.iterdir()} == {"in-use"}


@pytest.mark.skipif(not os.access("/dev/full", os.W_OK), reason="needs /dev/full")
def test_full_disk_for_real(store, monkeypatch):
    open_path = Path.open

    def open_on_a_full_disk(self, *arguments, **kwargs):
        # Only the store's: another thread that read from there would never end.
        inside = store.folder in self.parents
        return open_path(Path("/dev/full") if inside else self, *arguments, **kwargs)

    monkeypatch.setattr(store_module.Path, "open", open_on_a_full_disk)
    with pytest.raises(ExecutorError, match="DOTPE_EXEC_SCRATCH"):
        store.put(np.ones(10**6))
