"""Selection by incoherent likelihood, over all banks."""

import numpy as np
import pytest

from dotpe_exec.banks.waveforms import BankHandle
from dotpe_exec.errors import SelectionError
from dotpe_exec.stages.incoherent import Candidates
from dotpe_exec.stages.selection import select


def candidates(bank_id, inds):
    return Candidates(BankHandle("nowhere", bank_id, 1000, 100, 1, 3), inds)


SOME = {
    "a": candidates("a", range(10, 15)),
    "b": candidates("b", np.array([7, 3, 5])),
}
LNLIKES = {
    "a": np.array([[1.0, 9.0, 4.0, 30.0, 11.0], [1.0, 1.0, 6.0, 10.0, 9.0]]),
    "b": np.array([[20.0, 0.0, 19.0], [1.0, 0.0, 1.0]]),
}


def test_threshold_is_below_the_best_of_all_banks():
    survivors = select(SOME, LNLIKES, 20.0)
    np.testing.assert_array_equal(survivors["a"].inds, [13, 14])
    np.testing.assert_array_equal(survivors["b"].inds, [7, 5])  # order of the candidates
    np.testing.assert_array_equal(survivors["a"].incoherent_lnlikes, [40, 20])
    np.testing.assert_array_equal(survivors["b"].lnlikes_di, [[20, 19], [1, 1]])


def test_waveform_at_the_threshold_stays():
    assert 14 in select(SOME, LNLIKES, 20.0)["a"].inds
    assert 14 not in select(SOME, LNLIKES, 20.0 - 1e-12)["a"].inds


def test_bank_that_loses_all_keeps_an_empty_entry():
    survivors = select(SOME, LNLIKES, 5.0)
    assert survivors["b"].inds.shape == (0,)
    assert survivors["b"].lnlikes_di.shape == (2, 0)
    assert survivors["b"].incoherent_lnlikes.shape == (0,)
    np.testing.assert_array_equal(survivors["a"].inds, [13])


def test_bank_without_candidates_is_no_obstacle():
    some = {**SOME, "c": candidates("c", range(0))}
    survivors = select(some, {**LNLIKES, "c": np.empty((2, 0))}, 5.0)
    assert len(survivors["c"].inds) == 0


@pytest.mark.parametrize("drop", [-1.0, np.nan])
def test_nothing_left_says_what_to_do(drop):
    with pytest.raises(SelectionError, match="raise max_incoherent_lnlike_drop"):
        select(SOME, LNLIKES, drop)


def test_no_candidates_at_all_says_what_to_check():
    with pytest.raises(ValueError, match="n_int"):
        select({"c": candidates("c", range(0))}, {"c": np.empty((2, 0))}, 20.0)
