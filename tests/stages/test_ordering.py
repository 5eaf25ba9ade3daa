"""The orders are those of NumPy, whatever the keys are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dotpe_exec.stages.ordering import order_with_ties, stable_order

N = st.integers(0, 60)
FLOATS = st.floats(allow_nan=False)
NEARBY = st.sampled_from([60.0, np.nextafter(60.0, 61), 60.0 + 1e-9, -0.0, 0.0, -1e300])


@given(N.flatmap(lambda n: arrays(np.int64, n, elements=st.integers(0, 2**63 - 1))))
def test_integers_of_any_size(keys):
    np.testing.assert_array_equal(stable_order(keys), np.argsort(keys, kind="stable"))


@given(N.flatmap(lambda n: arrays(np.int64, n, elements=st.integers(0, 5))))
def test_equal_integers_keep_their_order(keys):
    np.testing.assert_array_equal(stable_order(keys), np.argsort(keys, kind="stable"))


@given(
    N.flatmap(
        lambda n: st.tuples(
            arrays(np.float64, n, elements=st.one_of(FLOATS, NEARBY)),
            st.permutations(range(n)),
        )
    )
)
def test_floats_that_are_equal_or_nearly_so(drawn):
    values, codes = drawn[0], np.array(drawn[1], dtype=np.int64)
    expected = np.lexsort((codes, values))
    np.testing.assert_array_equal(order_with_ties(values, codes), expected)


@pytest.mark.parametrize("n_threads", [1, 3])
def test_many_likelihoods(n_threads):
    rng = np.random.default_rng(0)
    values = np.round(rng.uniform(40, 60, 300_000), 6)
    codes = rng.permutation(len(values))
    expected = np.lexsort((codes, values))
    np.testing.assert_array_equal(order_with_ties(values, codes, n_threads), expected)
