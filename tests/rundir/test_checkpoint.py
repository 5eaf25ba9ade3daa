"""Checkpoints: nothing lost, nothing damaged used, nothing but data read."""

from __future__ import annotations

import dataclasses
import errno
import json
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dotpe_exec.errors import RunDirectoryError
from dotpe_exec.kernels.summary import LineFit
from dotpe_exec.rundir import checkpoint as module
from dotpe_exec.rundir.checkpoint import Checkpoint
from dotpe_exec.rundir.result_codec import CodecError, decode, encode

PACKAGES = ("dotpe_exec", __name__.partition(".")[0])


@dataclass(frozen=True)
class Result:
    value: Any
    extra: Any = None


def to_bytes(value):
    return b"".join(encode(value))


def round_trip(value):
    return decode(bytearray(to_bytes(value)), PACKAGES)


def assert_same(a, b):
    assert type(a) is type(b)
    if isinstance(a, np.ndarray):
        assert a.dtype == b.dtype and a.shape == b.shape
        assert a.tobytes() == b.tobytes()
        assert a.flags.f_contiguous == b.flags.f_contiguous
    elif dataclasses.is_dataclass(a):
        for field in dataclasses.fields(a):
            assert_same(getattr(a, field.name), getattr(b, field.name))
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    elif isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, np.generic):
        assert a.tobytes() == b.tobytes() and a.dtype == b.dtype
    elif isinstance(a, float):
        assert np.float64(a).tobytes() == np.float64(b).tobytes() or a != a
    else:
        assert a == b


# The bytes

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.complex_numbers(allow_nan=False)
    | st.text()
)
arrays = hnp.arrays(
    dtype=hnp.scalar_dtypes().filter(lambda d: d.kind in "biufcM"),
    shape=hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)
trees = st.recursive(
    scalars | arrays,
    lambda children: (
        st.lists(children, max_size=3)
        | st.tuples(children, children)
        | st.dictionaries(st.text() | st.integers(), children, max_size=3)
        | st.builds(Result, children, children)
    ),
    max_leaves=8,
)


@given(trees)
def test_results_come_back_bit_for_bit(value):
    assert_same(round_trip(value), value)


@pytest.mark.parametrize(
    "value",
    [
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(12.0).reshape(3, 4)[:, ::2].copy(),
        np.array([(1, 2.5)], dtype=[("i", "<i4"), ("w", "<f8")]),
        np.array([(1, [2.0, 3.0])], dtype=[("i", "<i4"), ("w", "<f8", (2,))]),
        np.float32(0.1),
        np.array(["a", "bc"]),
    ],
    ids=["fortran", "strided", "structured", "subarray", "scalar", "text"],
)
def test_layouts_and_types_are_kept(value):
    assert_same(round_trip(value), value)


def test_views_are_written_by_their_values():
    x = np.arange(20.0).reshape(4, 5)
    assert np.array_equal(round_trip(x[::2, ::-1]), x[::2, ::-1])


def test_read_arrays_can_be_written_to():
    array = round_trip(Result(np.zeros(3))).value
    array[0] = 1.0
    assert array.flags.aligned


@pytest.mark.parametrize("value", [object(), {1, 2}, np.array([{}], object), Result(b"x")])
def test_what_is_not_data_is_refused(value):
    with pytest.raises(TypeError, match="cannot be written"):
        encode(value)


def forge(tree) -> bytes:
    header = json.dumps(tree).encode()
    return len(header).to_bytes(8, "little") + header


@pytest.mark.parametrize(
    "name",
    [
        "os:system",
        "subprocess:Popen",
        "collections:OrderedDict",
        "dotpe_exec_evil:X",
        "dotpe_exec.errors:InputError",
        "dotpe_exec.rundir.checkpoint:Checkpoint",
        "dotpe_exec.rundir.checkpoint:Path",
        "dotpe_exec.rundir.checkpoint:os.system",
        "dotpe_exec.nowhere:X",
    ],
)
def test_bytes_make_no_class_but_dataclasses_of_this_package(name):
    with pytest.raises(CodecError):
        decode(forge({"class": name, "fields": {}}))


def test_arrays_of_objects_are_not_read():
    forged = forge({"array": "|O", "shape": [1], "offset": 0}) + bytes(8)
    with pytest.raises(CodecError, match="objects"):
        decode(forged)


@settings(max_examples=300)
@given(st.binary(max_size=200), st.integers(0, 400), st.integers(0, 255))
def test_damaged_bytes_give_an_error_of_ours_or_a_value(garbage, position, byte):
    data = bytearray(to_bytes(Result(np.arange(5), {"a": (1, np.ones((2, 2)))})))
    data[position % len(data)] = byte
    for damaged in (garbage, data, data[: position % len(data)]):
        try:
            value = decode(damaged, PACKAGES)
        except CodecError as error:
            assert str(error)
        else:
            to_bytes(value)  # one of the kinds that are written


# The folder


def results(n):
    return {f"bank_0/{k:06d}": Result(np.full((3, 4), float(k)), f"r{k}") for k in range(n)}


def write(folder, saved, phase="incoherent", identity="run"):
    with Checkpoint(folder, identity, PACKAGES) as checkpoint:
        for key, result in saved.items():
            checkpoint.save(phase, key, result)


def read(folder, saved, phase="incoherent", identity="run"):
    with Checkpoint(folder, identity, PACKAGES) as checkpoint:
        return {key: checkpoint.load(phase, key) for key in saved}


def only_file(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def test_results_of_an_earlier_process_are_loaded(tmp_path):
    saved = results(20)
    write(tmp_path / "c", saved)
    assert_same(read(tmp_path / "c", saved), saved)
    assert read(tmp_path / "c", ["bank_0/x"]) == {"bank_0/x": None}


def test_results_of_this_package_need_no_registration(tmp_path):
    fit = LineFit(np.arange(3.0), np.ones(3, complex), np.ones(3), 1)
    with Checkpoint(tmp_path) as checkpoint:
        checkpoint.save("stages", "fit", fit)
    assert_same(Checkpoint(tmp_path).load("stages", "fit"), fit)


def test_phases_are_kept_apart_whatever_their_names(tmp_path):
    phases = ["coherent", "a/b", "a_b", "a b", "../a"]
    with Checkpoint(tmp_path / "c", packages=PACKAGES) as checkpoint:
        for k, phase in enumerate(phases):
            checkpoint.save(phase, "0", k + 1)
    with Checkpoint(tmp_path / "c", packages=PACKAGES) as checkpoint:
        assert [checkpoint.load(phase, "0") for phase in phases] == [1, 2, 3, 4, 5]
        assert checkpoint.keys("coherent") == {"0"}
    assert [p.name for p in tmp_path.iterdir()] == ["c"]


def test_many_small_results_make_one_file(tmp_path):
    saved = results(3000)
    write(tmp_path / "c", saved)
    path = only_file(tmp_path / "c")
    assert path.stat().st_size < 3000 * 700
    assert_same(read(tmp_path / "c", saved), saved)


def test_a_changed_array_does_not_change_what_was_saved(tmp_path):
    array = np.zeros(4)
    with Checkpoint(tmp_path) as checkpoint:
        checkpoint.save("p", "0", 0)  # the first goes out at once, the next waits
        checkpoint.save("p", "1", array)
        array[:] = 7
    assert np.array_equal(Checkpoint(tmp_path).load("p", "1"), np.zeros(4))


def test_checkpoint_of_another_run_is_not_used(tmp_path, caplog):
    saved = results(3)
    write(tmp_path, saved)
    assert set(read(tmp_path, saved, identity="other").values()) == {None}
    assert "belongs to another run" in caplog.text


def test_removing_leaves_nothing(tmp_path):
    write(tmp_path / "c", results(3))
    with Checkpoint(tmp_path / "c", "run", PACKAGES) as checkpoint:
        checkpoint.save("coherent", "0", 1.0)
        checkpoint.remove()
    assert list(tmp_path.iterdir()) == []


def test_removing_keeps_what_is_not_ours(tmp_path):
    write(tmp_path / "c", results(3))
    (tmp_path / "c" / "notes.txt").write_text("x")
    Checkpoint(tmp_path / "c").remove()
    assert only_file(tmp_path / "c").name == "notes.txt"


def test_folder_is_private(tmp_path):
    write(tmp_path / "c", results(1))
    assert (tmp_path / "c").stat().st_mode & 0o077 == 0


# Damage


def test_torn_tail_is_dropped_at_every_length(tmp_path):
    saved = results(3)
    write(tmp_path / "a", saved)
    path = only_file(tmp_path / "a")
    whole = path.read_bytes()
    complete = {}
    for length in range(0, len(whole) + 1, 7):
        path.write_bytes(whole[:length])
        found = read(tmp_path / "a", saved)
        n_found = sum(result is not None for result in found.values())
        complete[length] = n_found
        for key, result in found.items():
            if result is not None:
                assert_same(result, saved[key])
    counts = list(complete.values())
    assert counts == sorted(counts)
    assert set(counts) == {0, 1, 2} or counts[-1] == 3
    path.write_bytes(whole)
    assert None not in read(tmp_path / "a", saved).values()


def test_work_goes_on_behind_a_torn_tail(tmp_path):
    saved = results(6)
    first = dict(list(saved.items())[:4])
    write(tmp_path / "a", first)
    path = only_file(tmp_path / "a")
    path.write_bytes(path.read_bytes()[:-10])
    found = read(tmp_path / "a", saved)
    missing = [key for key, result in found.items() if result is None]
    assert missing == list(saved)[3:]
    write(tmp_path / "a", {key: saved[key] for key in missing})
    assert_same(read(tmp_path / "a", saved), saved)


@settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    deadline=None,
)
@given(position=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_flipped_bit_is_never_used(tmp_path, caplog, position, bit):
    saved = results(5)
    folder = tmp_path / "flip"
    if not folder.exists():
        write(folder, saved)
        (tmp_path / "good").write_bytes(only_file(folder).read_bytes())
    data = bytearray((tmp_path / "good").read_bytes())
    data[int(position * len(data))] ^= 1 << bit
    only_file(folder).write_bytes(data)
    caplog.clear()
    found = read(folder, saved)
    lost = [key for key, result in found.items() if result is None]
    for key, result in found.items():
        if result is not None:
            assert_same(result, saved[key])
    in_header = int(position * len(data)) < len(module._header("run", "incoherent"))
    assert len(lost) == (5 if in_header else 1)
    assert only_file(folder).name in caplog.text


def test_damaged_result_is_named_and_can_be_saved_again(tmp_path, caplog):
    saved = results(3)
    write(tmp_path, saved)
    path = only_file(tmp_path)
    data = path.read_bytes()
    position = data.index(np.full((3, 4), 1.0).tobytes())
    path.write_bytes(data[:position] + b"\x55" + data[position + 1 :])
    with Checkpoint(tmp_path, "run", PACKAGES) as checkpoint:
        assert checkpoint.load("incoherent", "bank_0/000001") is None
        checkpoint.save("incoherent", "bank_0/000001", saved["bank_0/000001"])
    assert "incoherent task bank_0/000001 is damaged" in caplog.text
    assert_same(read(tmp_path, saved), saved)


def test_full_disk_ends_with_a_clear_error_and_can_be_resumed(tmp_path, monkeypatch):
    saved = results(8)
    checkpoint = Checkpoint(tmp_path, "run", PACKAGES)
    for key in list(saved)[:4]:
        checkpoint.save("incoherent", key, saved[key])
    checkpoint.flush()

    def full(file, data):
        file.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "_write_all", full)
    with pytest.raises(RunDirectoryError, match=r"incoherent-0001\.ckpt .* resume=True"):
        for key in list(saved)[4:]:
            checkpoint.save("incoherent", key, saved[key])
        checkpoint.flush()
    checkpoint.close()
    monkeypatch.undo()
    found = read(tmp_path, saved)
    assert all(found[key] is not None for key in list(saved)[:4])
    write(tmp_path, {key: saved[key] for key, result in found.items() if result is None})
    assert_same(read(tmp_path, saved), saved)


WRITER = textwrap.dedent("""
    import sys
    import numpy as np
    from dotpe_exec.rundir.checkpoint import Checkpoint
    checkpoint = Checkpoint(sys.argv[1], "run")
    k = 0
    while True:
        checkpoint.save("p", str(k), (k, np.full(20000, float(k))))
        if k == 20:
            print("going", flush=True)
        k += 1
""")


@pytest.mark.parametrize("delay", [0.0, 0.05, 0.2])
def test_killed_process_leaves_only_whole_results(tmp_path, delay):
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE
    )
    process.stdout.readline()
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.wait()
    checkpoint = Checkpoint(tmp_path, "run")
    keys = sorted(checkpoint.keys("p"), key=int)
    assert keys == [str(k) for k in range(len(keys))] and keys
    for key in keys:
        k, array = checkpoint.load("p", key)
        assert k == int(key) and np.all(array == k) and len(array) == 20000


def test_results_reach_the_disk_within_about_a_second(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    checkpoint = Checkpoint(tmp_path, "run", PACKAGES)
    checkpoint.save("p", "0", 0)
    checkpoint.save("p", "1", 1)
    assert Checkpoint(tmp_path, "run").keys("p") == {"0"}
    now[0] += 1.1
    checkpoint.save("p", "2", 2)
    assert Checkpoint(tmp_path, "run").keys("p") == {"0", "1", "2"}


def test_slow_disk_is_written_to_less_often(tmp_path, monkeypatch):
    now, writes = [100.0], []
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])

    def slow(file, data):
        now[0] += 0.5
        writes.append(now[0])

    monkeypatch.setattr(module, "_write_all", slow)
    checkpoint = Checkpoint(tmp_path, "run", PACKAGES)
    for k in range(1000):
        now[0] += 0.3
        checkpoint.save("p", str(k), k)
    assert 0.5 * len(writes) < 0.02 * (now[0] - 100)


@pytest.mark.slow
def test_full_file_system_gives_the_error_and_resumes(tmp_path):
    """On a real small file system; needs the right to mount one."""
    mount = tmp_path / "small"
    mount.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(mount)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount: {mounted.stderr.decode()}")
    try:
        filler = mount / "filler"
        filler.write_bytes(bytes(500_000))
        checkpoint = Checkpoint(mount / "c", "run", PACKAGES)
        array = np.random.default_rng(0).standard_normal(10_000)
        with pytest.raises(RunDirectoryError, match="full; make space"):
            for k in range(20):
                checkpoint.save("p", str(k), array + k)
                checkpoint.flush()
        checkpoint.close()
        filler.unlink()
        with Checkpoint(mount / "c", "run", PACKAGES) as checkpoint:
            kept = checkpoint.keys("p")
            assert kept
            for key in kept:
                assert np.array_equal(checkpoint.load("p", key), array + int(key))
            checkpoint.save("p", "new", 1)
        assert (mount / "c" / "p-0001.ckpt").stat().st_size > 80_000
    finally:
        subprocess.run(["umount", str(mount)], check=True)
