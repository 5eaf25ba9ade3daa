"""Ranges worked on by threads add up to the whole, in place and in order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dotpe_exec.stages import threaded_columns

N = st.integers(0, 60)


@pytest.fixture(autouse=True, scope="module")
def small_ranges():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threaded_columns, "ROWS_AT_A_TIME", 7)
        patch.setattr(threaded_columns, "_SAMPLED", 5)
        yield


@given(n=N, n_threads=st.integers(1, 4))
def test_ranges_cover_everything_once(n, n_threads):
    times = np.zeros(n, dtype=int)

    def count(some):
        times[some] += 1

    threaded_columns.for_ranges(count, n, n_threads)
    assert (times == 1).all()


@pytest.mark.parametrize("n_threads", [1, 3])
def test_error_of_the_first_range_is_raised(n_threads):
    def fail(some):
        if some.start in (14, 28):
            raise ValueError(f"range from {some.start}")

    with pytest.raises(ValueError, match="range from 14"):
        threaded_columns.for_ranges(fail, 40, n_threads)


@given(
    numbers=N.flatmap(lambda n: arrays(np.int64, n, elements=st.integers(-9, 9))),
    n_threads=st.integers(1, 4),
)
def test_sorting_with_threads_is_sorting(numbers, n_threads):
    expected = np.sort(numbers)
    threaded_columns.sort(numbers, n_threads)
    np.testing.assert_array_equal(numbers, expected)


@given(
    rows=N.flatmap(lambda n: arrays(np.int64, n, elements=st.integers(0, 19))),
    n_threads=st.integers(1, 4),
)
def test_rows_are_taken_in_their_order(rows, n_threads):
    column = np.linspace(0, 1, 20)
    taken = threaded_columns.take(column, rows, n_threads)
    np.testing.assert_array_equal(taken, column[rows])
    assert taken.dtype == column.dtype
