"""Array files, read without NumPy's own reader of headers."""

import ast
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dotpe_exec.executors.store import ArrayStore
from dotpe_exec.npy_files import array_of_bytes, mapped_array, read_header

SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)
DTYPES = st.sampled_from(["f8", "f4", "c16", "c8", "i8", "u2", "?", ">f8", "U7"])


@given(shape=SHAPES, dtype=DTYPES, order=st.sampled_from("CF"))
def test_headers_are_those_that_numpy_reads(tmp_path_factory, shape, dtype, order):
    path = tmp_path_factory.mktemp("arrays") / "array.npy"
    np.save(path, np.zeros(shape, dtype, order=order))
    with path.open("rb") as file:
        header = read_header(file)
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        expected = np.lib.format.read_array_header_1_0(file)
        assert header.offset == file.tell()
    assert (header.shape, header.fortran_order, header.dtype) == expected


def test_maps_have_the_values(tmp_path):
    for order in "CF":
        array = np.asarray(np.arange(24.0).reshape(2, 3, 4), order=order)
        np.save(tmp_path / "array.npy", array)
        mapped = mapped_array(tmp_path / "array.npy")
        np.testing.assert_array_equal(mapped, array)
        content = (tmp_path / "array.npy").read_bytes()
        np.testing.assert_array_equal(array_of_bytes(content), array)
        assert not mapped.flags.writeable


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
def test_a_cut_header_is_no_header(tmp_path, version):
    path = tmp_path / "array.npy"
    with path.open("wb") as file:
        np.lib.format.write_array(file, np.zeros(3), version)
    content = path.read_bytes()
    assert mapped_array(path).shape == (3,)
    for n in range(len(content)):
        path.write_bytes(content[:n])
        with pytest.raises(ValueError):
            mapped_array(path)


def test_threads_do_not_evaluate_headers(monkeypatch):
    """CPython 3.11 cannot do that in several at the same time."""

    def refuse(*args, **kwargs):
        raise AssertionError("a header was evaluated")

    failures = []

    def load(handles):
        try:
            for number, handle in handles:
                np.testing.assert_array_equal(handle.load(), np.full(3, number))
        except BaseException as error:
            failures.append(error)

    with ArrayStore() as store:
        handles = [(number, store.put(np.full(3, number))) for number in range(20)]
        with monkeypatch.context() as patch:
            patch.setattr(ast, "parse", refuse)
            patch.setattr(ast, "literal_eval", refuse)
            threads = [threading.Thread(target=load, args=(handles,)) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    assert failures == []
