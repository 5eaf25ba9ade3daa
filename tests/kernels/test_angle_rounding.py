"""Which angles are compared, which are taken, and what is made of them."""

from __future__ import annotations

import numpy as np
import pytest

from dotpe_exec.kernels.angle_rounding import (
    choose_frequencies,
    compare_angles,
    put_angles,
)

N_U, N_B, N_USED = 2, 40, 30
ORDER = np.argsort(np.add.outer([0.0, 0.5], np.arange(N_B)).ravel())


def rounding(*large):
    rounding_f = np.full(N_U * N_B, 1e-14)
    rounding_f[list(large)] = 1.0
    return rounding_f


def test_large_rounding_is_taken_and_the_ends_of_the_rest_are_compared():
    large = 0, 7, 45, N_USED + 2  # the last one does not count
    inds, n = choose_frequencies(rounding(*large), ORDER, N_B, N_USED, 1e-12, 6)
    assert n == 6
    assert set(inds[n:].tolist()) == {0, 7, 45}
    compared = inds[:n].tolist()
    assert not set(compared) & set(large)
    assert all(f % N_B < N_USED for f in compared)
    assert compared[0] == N_B and compared[-1] == N_B + N_USED - 1
    assert np.all(np.diff(np.argsort(ORDER)[compared]) > 0)


@pytest.mark.parametrize("values", [np.nan, np.inf, 1.0])
def test_all_that_count_are_taken_where_too_few_can_be_compared(values):
    inds, n = choose_frequencies(np.full(N_U * N_B, values), ORDER, N_B, N_USED, 1e-12, 6)
    assert n == 0
    assert sorted(inds.tolist()) == [f for f in range(N_U * N_B) if f % N_B < N_USED]


def test_difference_that_is_not_the_same_everywhere_is_the_error():
    rng = np.random.default_rng(0)
    own = rng.uniform(0.1, 0.9, (4, N_U * N_B))
    inds = np.arange(0, 60, 5)
    given = own[:3, inds].copy()
    given[0] += 0.3
    given[1] = -given[1] - 0.2
    alpha, epsilon, error = compare_angles(own, given, inds, len(inds))
    assert (alpha, epsilon) == pytest.approx((0.3, 0.2))
    assert error < 1e-14
    for change in ([1e-6, 0, 0], [0, 1e-6, 0], [0, 0, 1e-6]):
        changed = given.copy()
        changed[:, 4] += change
        assert 2e-7 < compare_angles(own, changed, inds, len(inds))[2] < 5e-6
    given[0, 2] = np.nan
    assert not compare_angles(own, given, inds, len(inds))[2] < 1.0


def test_given_angles_replace_and_others_are_shifted():
    own = np.random.default_rng(0).uniform(0.1, 0.9, (4, N_U * N_B))
    given = np.array([[1.0, 2.0], [3.0, 4.0], [0.5, 0.6]])
    inds, out = np.array([3, 50]), np.empty((3, N_U * N_B))
    put_angles(own, 0.1, 0.2, given, inds, N_B, N_USED, out)
    np.testing.assert_array_equal(out[:, inds], given * [[1], [-1], [1]])
    used = np.arange(N_U * N_B) % N_B < N_USED
    assert not out[:, ~used].any()
    used[inds] = False
    np.testing.assert_allclose(
        out[:, used] - own[:3, used],
        [[0.1], [0.2], [0.0]] * np.ones(used.sum()),
        atol=1e-15,
    )
