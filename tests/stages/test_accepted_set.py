"""Collecting the accepted set: the top of an order, whatever arrives when."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dotpe_exec.stages import accepted_set as accepted_module
from dotpe_exec.stages.accepted_set import AcceptedSet
from dotpe_exec.stages.discarded_probes import PROBES_PER_WAVEFORM, probe_points


def expected(lnlike_s, drop, size_limit):
    """Codes by the definition, ascending in lnlike, then in code."""
    order = sorted(
        (-x, code) for code, x in enumerate(lnlike_s) if x > max(lnlike_s) - drop
    )
    return [code for _, code in sorted((-x, code) for x, code in order[:size_limit])]


@pytest.fixture(autouse=True)
def small_buffers(monkeypatch):
    monkeypatch.setattr(accepted_module, "_SMALLEST_BUFFER", 4)


@given(
    # Few different values, so that ties are the rule.
    st.lists(
        st.sampled_from([0.0, 0.0, 1.0, 5.0, 5.0, 9.5, 10.0]), min_size=1, max_size=200
    ),
    st.sampled_from([0.25, 5.0, 1e3]),
    st.integers(1, 50),
    st.integers(1, 20),
    st.randoms(use_true_random=False),
)
@settings(max_examples=300, deadline=None)
def test_top_of_the_order_is_kept(lnlikes, drop, size_limit, chunk, random):
    lnlike_s = np.array(lnlikes)
    code_s = np.arange(len(lnlike_s))
    random.shuffle(code_s)
    collected = AcceptedSet(drop, size_limit)
    for start in range(0, len(code_s), chunk):
        part = code_s[start : start + chunk]
        part = part[lnlike_s[part] > collected.floor]  # as tasks prune by the floor
        collected.add(lnlike_s[part], part, 2.0 * part, 3.0 * part)
    found, codes, dh_s, hh_s = collected.finish()
    assert codes.tolist() == expected(lnlikes, drop, size_limit)
    np.testing.assert_array_equal(found, lnlike_s[codes])
    np.testing.assert_array_equal(dh_s, 2.0 * codes)
    np.testing.assert_array_equal(hh_s, 3.0 * codes)


def test_size_limit_raises_the_floor():
    collected = AcceptedSet(1e3, 10)
    values = np.arange(100.0)
    collected.add(values, np.arange(100), values, values)
    assert 88 < collected.floor < 90


def test_hint_prunes_but_never_decides():
    collected = AcceptedSet(5.0, 10)
    collected.hint(20.0)
    assert 14.9 < collected.floor < 15.0
    # The hint came from a value a rounding above what arrives: a member just above the
    # threshold of the true best stays.
    values = np.array([14.9999999, 19.9999998])
    collected.add(values, np.arange(2), values, values)
    assert collected.finish()[1].tolist() == [0, 1]


def test_nothing_collected_is_empty():
    assert [len(column) for column in AcceptedSet(20.0, 10).finish()] == [0, 0, 0, 0]


def test_probes_depend_on_seed_bank_and_waveform_alone():
    e_ik, o_ik = probe_points(1, "bank_0", np.arange(50), 512, 100)
    some = np.array([17, 3])
    np.testing.assert_array_equal(probe_points(1, "bank_0", some, 512, 100)[0], e_ik[some])
    np.testing.assert_array_equal(probe_points(1, "bank_0", some, 512, 100)[1], o_ik[some])
    assert (probe_points(2, "bank_0", np.arange(50), 512, 100)[0] != e_ik).any()
    assert (probe_points(1, "bank_1", np.arange(50), 512, 100)[0] != e_ik).any()


def test_probes_are_uniform():
    n_e, n_phi = 6, 5
    e_ik, o_ik = probe_points(7, "bank_0", np.arange(30_000), n_e, n_phi)
    counts = np.bincount((e_ik * n_phi + o_ik).ravel(), minlength=n_e * n_phi)
    mean = 30_000 * PROBES_PER_WAVEFORM / (n_e * n_phi)
    assert len(counts) == n_e * n_phi
    # Chi squared with 29 degrees of freedom: above 60 once in a thousand.
    assert ((counts - mean) ** 2 / mean).sum() < 60
