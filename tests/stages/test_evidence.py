"""Weighted sums: evidence error, effective numbers."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special
from golden_runs import arguments_of_run
from hypothesis import given
from hypothesis import strategies as st

from dotpe_exec.kernels.draws import draw_from_pool
from dotpe_exec.kernels.importance import logsumexp, relative_weights
from dotpe_exec.stages.evidence import (
    EvidenceTerms,
    combined_terms,
    effective_number,
    effective_number_of,
    ln_evidence_error,
)

finite = st.floats(-1e4, 1e4)


@given(st.lists(finite, min_size=1, max_size=20))
def test_logsumexp_is_scipys(terms):
    expected = scipy.special.logsumexp(terms)
    assert logsumexp(np.array(terms)) == pytest.approx(expected, abs=1e-10)


def test_sums_of_nothing_are_defined():
    nothing = np.full(3, -np.inf)
    for terms in (np.empty(0), nothing):
        assert logsumexp(terms) == -np.inf
        assert effective_number(relative_weights(terms)) == 0
    assert effective_number_of(np.array([1, 2, 2]), relative_weights(nothing)) == 0
    assert logsumexp(np.array([-np.inf, 2.0])) == 2


@given(st.lists(st.floats(1e-3, 1), min_size=1, max_size=20), st.floats(1e-300, 1e300))
def test_effective_number_knows_no_scale(weights, scale):
    weights = np.array(weights)
    expected = weights.sum() ** 2 / (weights**2).sum()
    assert effective_number(weights * scale) == pytest.approx(expected, rel=1e-9)


def make_terms(y_ie, n_phi, rng):
    """Split Y_ie (a mean over phases) over phases; drop what is zero; shuffle."""
    share_ieo = rng.dirichlet(np.ones(n_phi), size=y_ie.shape)
    i, e, o = np.nonzero(np.broadcast_to(y_ie[..., None] > 0, share_ieo.shape))
    order = rng.permutation(len(i))
    i, e, o = i[order], e[order], o[order]
    ln_terms = np.log(y_ie[i, e] * share_ieo[i, e, o] * n_phi)
    return EvidenceTerms(i, e.astype(np.int32), ln_terms, len(y_ie))


def simulate(rng, n_int=14, n_ext=10):
    """Draw waveforms and extrinsic samples anew: smooth in i and in e, plus a band."""
    e, i = rng.random(n_ext), rng.random(n_int)
    band = np.abs((i[:, None] - e + 0.5) % 1 - 0.5) < 0.2
    y_ie = (1 + i[:, None]) * (1 + e) + 10 * band
    return np.where(i[:, None] > 0.1, y_ie, 0)  # some do not survive


def test_error_is_unbiased_for_crossed_draws():
    rng = np.random.default_rng(1)
    n_phi, n_ext = 3, 10
    z, variances = [], []
    for _ in range(2500):
        y_ie = simulate(rng, n_ext=n_ext)
        error = ln_evidence_error(make_terms(y_ie, n_phi, rng), n_ext=n_ext, n_phi=n_phi)
        z.append(y_ie.mean())
        variances.append((error.total * z[-1]) ** 2)
    standard_error = np.std(variances) / np.sqrt(len(variances)) + np.var(z) * 0.03
    assert np.mean(variances) == pytest.approx(np.var(z), abs=3 * standard_error)


def test_error_is_that_of_a_mean_when_only_waveforms_matter():
    rng = np.random.default_rng(2)
    y_i = rng.random(40)
    y_ie = np.repeat(y_i[:, None], 6, axis=1)
    error = ln_evidence_error(make_terms(y_ie, 2, rng), n_ext=6, n_phi=2)
    expected = y_i.std(ddof=1) / np.sqrt(40) / y_i.mean()
    assert error.total == pytest.approx(expected, rel=1e-9)
    assert error.intrinsic == pytest.approx(expected, rel=1e-9)
    assert error.extrinsic == pytest.approx(0, abs=1e-9)


def test_error_is_that_of_a_mean_when_only_extrinsic_samples_matter():
    rng = np.random.default_rng(3)
    y_e = rng.random(30)
    terms = make_terms(np.repeat(y_e[None], 5, axis=0), 2, rng)
    error = ln_evidence_error(terms, n_ext=30, n_phi=2)
    expected = y_e.std(ddof=1) / np.sqrt(30) / y_e.mean()
    assert error.total == pytest.approx(expected, rel=1e-9)
    assert error.extrinsic == pytest.approx(expected, rel=1e-9)
    assert error.intrinsic == pytest.approx(0, abs=1e-7)


def test_error_knows_no_scale():
    rng = np.random.default_rng(4)
    terms = make_terms(rng.random((6, 5)), 2, rng)
    shifted = EvidenceTerms(terms.i, terms.e, terms.ln_posterior - 5000, terms.n_int)
    errors = [ln_evidence_error(t, n_ext=5, n_phi=2).total for t in (terms, shifted)]
    assert errors[0] == pytest.approx(errors[1], rel=1e-9)


def test_error_is_the_same_however_terms_are_split():
    """Few terms are sorted, many summed in a table of all pairs."""
    rng, n_ext, n_split = np.random.default_rng(8), 40, 20
    i, e = 7 * np.arange(12), rng.integers(n_ext, size=12)
    y = rng.random(12)
    order = rng.permutation(12 * n_split)
    split = np.log(rng.dirichlet(np.ones(n_split), size=12) * y[:, None]).ravel()[order]
    few = EvidenceTerms(i, e, np.log(y), 100)
    many = EvidenceTerms(
        np.repeat(i, n_split)[order], np.repeat(e, n_split)[order], split, 100
    )
    expected, found = (
        ln_evidence_error(terms, n_ext=n_ext, n_phi=1) for terms in (few, many)
    )
    assert expected is not None and found is not None
    for name in ("total", "intrinsic", "extrinsic"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-12)


def test_error_is_undefined_without_weight_or_replication():
    i = np.array([0, 1])
    weightless = EvidenceTerms(i, i, np.full(2, -np.inf), 5)
    assert ln_evidence_error(weightless, n_ext=5, n_phi=1) is None
    assert ln_evidence_error(combined_terms([]), n_ext=5, n_phi=1) is None
    single = EvidenceTerms(i[:1], i[:1], np.zeros(1), 1)
    assert ln_evidence_error(single, n_ext=5, n_phi=1) is None
    assert ln_evidence_error(EvidenceTerms(i, 0 * i, 0.0 * i, 5), n_ext=1, n_phi=1) is None


def test_several_banks_count_as_one_that_holds_all_waveforms():
    rng = np.random.default_rng(5)
    y_ie, n_first = rng.random((9, 5)), 3
    n_int = len(y_ie)
    whole = make_terms(y_ie, 2, rng)
    # Each bank's weights average to its share of the prior.
    parts = [make_terms(part, 2, rng) for part in (y_ie[:n_first], y_ie[n_first:])]
    shared = [
        EvidenceTerms(t.i, t.e, t.ln_posterior + np.log(t.n_int / n_int), t.n_int)
        for t in parts
    ]
    none = np.empty(0, int)
    combined = combined_terms(shared)
    errors = [ln_evidence_error(t, n_ext=5, n_phi=2) for t in (combined, whole)]
    assert vars(errors[0]) == pytest.approx(vars(errors[1]), rel=1e-12)
    # A bank that lost all its waveforms still counts them.
    wider = combined_terms([whole, EvidenceTerms(none, none, np.empty(0), 7)])
    padded = make_terms(np.concatenate([y_ie, np.zeros((7, 5))]), 2, rng)
    errors = [ln_evidence_error(t, n_ext=5, n_phi=2) for t in (wider, padded)]
    assert vars(errors[0]) == pytest.approx(vars(errors[1]), rel=1e-12)


def two_phase_draw(rng, n_pool=300, n=60):
    """Draw a pool, then samples from it by a good score; integrand known to be F."""
    u_q = rng.random(n_pool)
    f_q = np.exp(-((u_q - 0.4) ** 2) / 0.02)
    ln_ratio_q = np.full(n_pool, -np.log(n_pool))
    ln_score_q = np.log(f_q) + rng.normal(scale=0.3, size=n_pool)
    drawn, weights = draw_from_pool(ln_score_q, ln_ratio_q, n, rng)
    counts = n * np.exp(ln_ratio_q[drawn]) / weights
    return weights * f_q[drawn], counts


def test_error_includes_that_of_the_pool_of_extrinsic_samples():
    rng = np.random.default_rng(6)
    z, with_pool, without = [], [], []
    for _ in range(400):
        y_e, counts_e = two_phase_draw(rng)
        terms = make_terms(np.repeat(y_e[None], 2, axis=0), 1, rng)
        z.append(y_e.mean())
        for errors, counts in ((with_pool, counts_e), (without, None)):
            error = ln_evidence_error(
                terms, n_ext=len(y_e), n_phi=1, expected_counts_e=counts
            )
            errors.append(error.extrinsic * y_e.mean())
            assert error.total == pytest.approx(error.extrinsic, rel=1e-6)
    actual = np.std(z)
    assert np.sqrt(np.mean(np.square(without))) < 0.7 * actual
    # Independent draws are assumed, systematic ones are better.
    assert 0.95 < np.sqrt(np.mean(np.square(with_pool))) / actual < 1.4


@pytest.mark.slow
def test_extrinsic_error_is_the_scatter_over_seeds_on_the_golden_case(golden, tmp_path):
    from dotpe_exec import run
    from dotpe_exec.loading import load_run

    ln_evidences, errors = [], []
    for seed in range(30):
        rundir = run(
            **arguments_of_run(golden, n_ext=512, seed=seed, extrinsic_samples=None),
            rundir=tmp_path / str(seed),
        )
        summary = load_run(rundir).summary
        ln_evidences.append(summary["ln_evidence"])
        errors.append(summary["ln_evidence_error_parts"]["extrinsic"])
    # The scatter is itself known to 13%, and the estimate errs on the safe side.
    assert 0.7 < np.mean(errors) / np.std(ln_evidences, ddof=1) < 1.8
