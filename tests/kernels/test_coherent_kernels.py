"""The fast coherent likelihood against the dense one, on random problems."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from coherent_cases import CoherentCase, make_case
from hypothesis import given, settings
from hypothesis import strategies as st

from dotpe_exec.kernels.coherent import prepare_coherent, project, with_all_bins
from dotpe_exec.kernels.coherent_basis import factor_shifts
from dotpe_exec.kernels.coherent_dense import bestfit_lnlike, coherent_dense
from dotpe_exec.kernels.coherent_norms import phase_orders
from dotpe_exec.kernels.coherent_pairs import expand_pairs, pair_modes
from dotpe_exec.kernels.coherent_screen import CoherentPairs, search_block


def dense(case: CoherentCase, n_phi: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    dh_ieo, hh_ieo = coherent_dense(
        case.h_impb, case.summary, case.response_dpe, case.timeshift_dbe, n_phi
    )
    return dh_ieo, hh_ieo, bestfit_lnlike(dh_ieo, hh_ieo)


def search(
    case: CoherentCase, n_phi: int, max_drop: float, floor: float = -np.inf, **options
) -> tuple[dict[tuple[int, int, int], tuple[float, float, float]], CoherentPairs]:
    """Return {(i, e, o): (dh, hh, lnlike)} above the best minus max_drop."""
    prepared = prepare_coherent(
        case.summary, case.response_dpe, case.timeshift_dbe, n_phi, **options
    )
    projected = project(case.h_impb, prepared)
    n_e = case.response_dpe.shape[2]
    pairs = search_block(
        case.h_impb, projected, prepared, 0, n_e, max_drop=max_drop, floor=floor
    )
    if not len(pairs.i_p):
        return {}, pairs
    threshold = max(pairs.maxima_p.max() - max_drop, floor)
    pair_s, o_s, dh_s, hh_s, lnlike_s = expand_pairs(
        pairs.dh_pmc, pairs.hh_pr, prepared.phases_cno, threshold
    )
    keys = zip(
        pairs.i_p[pair_s].tolist(), pairs.e_p[pair_s].tolist(), o_s.tolist(), strict=True
    )
    return dict(zip(keys, zip(dh_s, hh_s, lnlike_s, strict=True), strict=True)), pairs


def assert_same_set(found: dict, lnlike_ieo: np.ndarray, threshold: float) -> None:
    """The found keys are those above the threshold, but for members close to it."""
    margin = 1e-9 * (1 + abs(threshold))
    surely = set(map(tuple, np.argwhere(lnlike_ieo > threshold + margin).tolist()))
    possibly = set(map(tuple, np.argwhere(lnlike_ieo > threshold - margin).tolist()))
    assert surely <= set(found) <= possibly


cases = st.builds(
    make_case,
    st.integers(0, 10**6),
    n_i=st.integers(1, 20),
    m_arr=st.sampled_from(
        [(2,), (2, 1), (1, 2), (2, 1, 3, 4), (4, 3, 2, 1), (3, 2, 0, -2)]
    ),
    n_d=st.integers(1, 4),
    n_b=st.integers(2, 40),
    n_e=st.integers(1, 30),
    snr=st.sampled_from([0.0, 3.0, 12.0, 100.0]),
    time_spread=st.sampled_from([0.0, 1e-3, 0.02, 1.0]),
    linear_polarisation=st.booleans(),
)


def test_dense_is_the_formula():
    case = make_case(3, n_i=2, m_arr=(2, 1, 3), n_b=5, n_e=3)
    n_phi = 4
    dh_ieo, hh_ieo, _ = dense(case, n_phi)
    s, h = case.summary, case.h_impb
    pairs = list(itertools.combinations_with_replacement(range(3), 2))
    for i, e, o in itertools.product(range(2), range(3), range(n_phi)):
        phi = 2 * np.pi * o / n_phi
        dh = hh = 0.0
        for d, p in itertools.product(range(2), range(2)):
            r = case.response_dpe[d, :, e]
            for m in range(3):
                shifted = h[i, m, p] * case.timeshift_dbe[d, :, e]
                dh += (
                    np.exp(-1j * s.m_arr[m] * phi)
                    * np.sum(s.dh_weights_dmpb[d, m, p] * shifted.conj())
                    * r[p]
                    / s.asd_drift_d[d] ** 2
                )
            for k, (m, mp) in enumerate(pairs):
                for q in range(2):
                    hh += (
                        np.exp(1j * (s.m_arr[m] - s.m_arr[mp]) * phi)
                        * r[p]
                        * r[q]
                        * np.sum(
                            s.hh_weights_dmppb[d, k, p, q] * h[i, m, p] * h[i, mp, q].conj()
                        )
                        / s.asd_drift_d[d] ** 2
                    )
        assert dh_ieo[i, e, o] == pytest.approx(dh.real, rel=1e-10, abs=1e-12 * abs(dh))
        assert hh_ieo[i, e, o] == pytest.approx(hh.real, rel=1e-10)


@given(cases, st.integers(1, 33), st.sampled_from([0.5, 5.0, 20.0, 1e4]))
@settings(max_examples=50, deadline=None)
def test_search_finds_the_set_of_the_dense_kernel(case, n_phi, max_drop):
    dh_ieo, hh_ieo, lnlike_ieo = dense(case, n_phi)
    found, _ = search(case, n_phi, max_drop)
    assert_same_set(found, lnlike_ieo, lnlike_ieo.max() - max_drop)
    for key, (dh, hh, _) in found.items():
        assert abs(dh - dh_ieo[key]) <= 1e-8 * np.abs(dh_ieo).max()
        assert abs(hh - hh_ieo[key]) <= 1e-8 * np.abs(hh_ieo).max()


@given(cases, st.floats(0, 80))
@settings(max_examples=60, deadline=None)
def test_floor_prunes_what_lies_below_it_and_nothing_else(case, floor):
    n_phi = 8
    lnlike_ieo = dense(case, n_phi)[2]
    found, pairs = search(case, n_phi, 20.0, floor=floor)
    assert_same_set(found, lnlike_ieo, max(floor, lnlike_ieo.max() - 20.0))
    assert (pairs.maxima_p > floor).all()


def test_most_pairs_are_rejected_unevaluated():
    case = make_case(1, n_i=64, n_e=64, n_b=96, snr=20.0)
    _, pairs = search(case, 16, 20.0, floor=100.0)
    assert pairs.n_evaluated < 0.5 * 64 * 64


def test_everything_is_found_where_the_signal_is_weak():
    case = make_case(5, snr=0.0, n_i=7, n_e=11)
    found, _ = search(case, 6, 1e6)
    assert len(found) == 7 * 11 * 6


def test_value_of_a_pair_does_not_depend_on_its_batch():
    case = make_case(2, n_i=33, n_e=40)
    whole, _ = search(case, 8, 20.0)
    prepared = prepare_coherent(case.summary, case.response_dpe, case.timeshift_dbe, 8)
    for part in (slice(0, 1), slice(5, 18)):
        h_impb = case.h_impb[part]
        pairs = search_block(
            h_impb, project(h_impb, prepared), prepared, 7, 29, max_drop=1e9
        )
        pair_s, o_s, dh_s, hh_s, _ = expand_pairs(
            pairs.dh_pmc, pairs.hh_pr, prepared.phases_cno, -1.0
        )
        n_compared = 0
        for s, o, dh, hh in zip(pair_s, o_s, dh_s, hh_s, strict=True):
            key = (int(pairs.i_p[s]) + part.start, int(pairs.e_p[s]), int(o))
            if key in whole:
                assert whole[key][:2] == pytest.approx((dh, hh), rel=1e-12)
                n_compared += 1
        assert n_compared == sum(
            part.start <= i < part.stop and 7 <= e < 29 for i, e, _ in whole
        )


def test_same_call_gives_the_same_bits():
    case = make_case(8, n_i=20, n_e=50)
    assert search(case, 8, 20.0)[0] == search(case, 8, 20.0)[0]


@pytest.mark.parametrize("exponent", [-140, 0, 140])
def test_units_of_the_waveforms_do_not_matter(exponent):
    case = make_case(4, n_i=20, n_e=20)
    expected, _ = search(case, 8, 20.0)
    scaled = CoherentCase(
        case.amplitudes_impb * 2.0**exponent,
        case.phases_impb,
        case.summary,
        case.response_dpe,
        case.timeshift_dbe,
    )
    amplitude_mpb = scaled.amplitudes_impb.max(axis=0)
    found, _ = search(scaled, 8, 20.0, amplitude_mpb=amplitude_mpb)
    assert set(found) == set(expected)
    for key, (_, _, lnlike) in found.items():
        assert lnlike == pytest.approx(expected[key][2], rel=1e-9)


@given(cases)
@settings(max_examples=60, deadline=None)
def test_error_of_the_factorisation_is_within_its_bound(case):
    prepared = prepare_coherent(
        case.summary, case.response_dpe, case.timeshift_dbe, 1, tolerance=1e-3
    )
    projected = project(case.h_impb, prepared)
    n_i, n_e = len(case.h_impb), prepared.n_e
    i_p, e_p = (x.ravel() for x in np.indices((n_i, n_e)))
    dh_pmc = pair_modes(projected.a_cimq, prepared.b_ceq, i_p, e_p)
    dh_iem = (dh_pmc[..., 0] + 1j * dh_pmc[..., 1]).reshape(n_i, n_e, -1)
    exact_iem = np.stack([with_all_bins(h, prepared).T for h in case.h_impb])
    error_im = np.abs(dh_iem - exact_iem).max(axis=1)
    rounding = 1e-12 * np.abs(exact_iem).max()
    assert (error_im <= projected.error_im + rounding).all()


def test_ranks_are_low_where_arrival_times_are_close():
    case = make_case(0, n_b=200, n_e=300, time_spread=0.005)
    prepared = prepare_coherent(case.summary, case.response_dpe, case.timeshift_dbe, 4)
    assert np.bincount(prepared.detector_k).max() < 40
    assert project(case.h_impb, prepared).within_i.all()


def test_waveforms_that_the_bases_do_not_fit_use_all_bins():
    case = make_case(6, n_i=12, n_b=40, n_e=25)
    # Bases for a signal that ends at the lowest frequencies miss everything above.
    amplitude_mpb = case.amplitudes_impb.max(axis=0)
    amplitude_mpb[..., 5:] *= 1e-12
    prepared = prepare_coherent(
        case.summary, case.response_dpe, case.timeshift_dbe, 8, amplitude_mpb=amplitude_mpb
    )
    assert not project(case.h_impb, prepared).within_i.any()
    dh_ieo, _, lnlike_ieo = dense(case, 8)
    found, _ = search(case, 8, 20.0, amplitude_mpb=amplitude_mpb)
    assert_same_set(found, lnlike_ieo, lnlike_ieo.max() - 20.0)
    for key, (dh, _, _) in found.items():
        assert dh == pytest.approx(dh_ieo[key], rel=1e-12)


@given(
    st.integers(1, 40),
    st.integers(1, 90),
    st.floats(1e-4, 3.0),
    st.sampled_from([1e-12, 1e-3]),
)
@settings(max_examples=60, deadline=None)
def test_factorisation_reproduces_the_shifts_within_its_residual(
    n_b, n_e, spread, tolerance
):
    rng = np.random.default_rng(n_b)
    fbin_b = np.linspace(20, 500, n_b)
    shift_be = np.exp(2j * np.pi * np.outer(fbin_b, rng.uniform(0, spread, n_e)))
    scale_b = rng.uniform(0.1, 2.0, n_b)
    basis = factor_shifts(shift_be, scale_b, tolerance)
    rebuilt_be = scale_b[:, None] * (basis.basis_br @ basis.coefficients_re)
    error_e = np.linalg.norm(scale_b[:, None] * shift_be - rebuilt_be, axis=0)
    assert (error_e <= basis.residual_e + 1e-12 * np.linalg.norm(scale_b)).all()
    rounding = 1e-14 * np.linalg.norm(scale_b) * np.sqrt(n_e)
    assert basis.residual_e.max() <= max(tolerance, rounding)


def test_blind_detectors_give_zero_not_infinity():
    """A linearly polarised wave at the angle to which the detectors are blind."""
    case = make_case(7, n_d=2, n_e=6, m_arr=(2,), linear_polarisation=True)
    case.response_dpe[:, 0, 2:] = -0.5 * case.response_dpe[:, 1, 2:]
    # Nearly, and within rounding of, blind.
    case.response_dpe[:, 0, 3] *= 1 + 1e-15
    case.response_dpe[:, 0, 4] *= 1 + 1e-4
    found, _ = search(case, 4, 1e9)
    extended = extended_lnlike(case, 4)
    assert len(found) == extended.size
    for key, (_, _, lnlike) in found.items():
        assert np.isfinite(lnlike)
        # Where (h|h) is rounding alone, so is (d|h): what is left of lnlike is tiny.
        if key[1] in (2, 3, 5):
            assert lnlike < 1e-3
        else:
            assert lnlike == pytest.approx(float(extended[key]), rel=1e-6, abs=1e-6)


def extended_lnlike(case: CoherentCase, n_phi: int) -> np.ndarray:
    """The likelihood in extended precision, for one mode."""
    (m,) = case.summary.m_arr
    shape = case.h_impb.shape[0], case.response_dpe.shape[2], n_phi
    dh_ieo = np.zeros(shape, dtype=np.longdouble)
    hh_ieo = np.zeros(shape, dtype=np.longdouble)
    phi_o = 2 * np.pi * np.arange(n_phi) / n_phi
    h_ipb = case.h_impb[:, 0].astype(np.clongdouble)
    for d, asd_drift in enumerate(case.summary.asd_drift_d):
        response_pe = case.response_dpe[d].astype(np.longdouble)
        g_ieb = np.einsum("ipb,pe->ieb", h_ipb, response_pe)
        weights_b = case.summary.dh_weights_dmpb[d, 0, 0].astype(np.clongdouble)
        shifted_ieb = (g_ieb * case.timeshift_dbe[d].T).conj()
        z_ie = (shifted_ieb * weights_b).sum(axis=-1) / asd_drift**2
        dh_ieo += (z_ie[..., None] * np.exp(-1j * int(m) * phi_o)).real
        norm_b = case.summary.hh_weights_dmppb[d, 0, 0, 0].real
        hh_ieo += ((np.abs(g_ieb) ** 2 * norm_b).sum(axis=-1) / asd_drift**2)[..., None]
    return bestfit_lnlike(dh_ieo, hh_ieo)


def test_waveforms_of_zero_amplitude_have_zero_likelihood():
    case = make_case(9, n_i=3)
    case.amplitudes_impb[1] = 0.0
    found, _ = search(case, 4, 1e9)
    values = [value for (i, _, _), value in found.items() if i == 1]
    assert len(values) == 9 * 4
    assert all(value == (0.0, 0.0, 0.0) for value in values)


def test_nan_in_a_waveform_reaches_its_projection_alone():
    case = make_case(10, n_i=3)
    prepared = prepare_coherent(case.summary, case.response_dpe, case.timeshift_dbe, 4)
    h_impb = case.h_impb
    h_impb[1, 2, 1, 3] = np.nan
    projected = project(h_impb, prepared)
    assert np.isfinite(projected.a_cimq).all(axis=(0, 2, 3)).tolist() == [True, False, True]


def test_mode_pairs_merge_by_difference():
    assert phase_orders(np.array([2, 1, 3, 4])).tolist() == [0, 1, 2, 3]
    assert phase_orders(np.array([2])).tolist() == [0]
    assert phase_orders(np.array([4, 2])).tolist() == [0, 2]
