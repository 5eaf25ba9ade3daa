"""The reference kernel against the formulas in plain loops and extended precision."""

import numpy as np
import pytest
from incoherent_cases import make_case

from dotpe_exec.kernels.incoherent import incoherent_lnlike, prepare_incoherent
from dotpe_exec.kernels.incoherent_dense import incoherent_lnlike_dense, symmetric_inverse
from dotpe_exec.kernels.summary import mode_pairs
from dotpe_exec.kernels.waveforms import linear_free_shift

RCOND = 1e-12


def extended_lnlike(amplitudes, phases, summary, n_phi, rcond):
    """The formulas in plain loops, with 80-bit numbers."""
    s = summary.summary
    dt_i = linear_free_shift(amplitudes, phases, s.line_fit)
    fbin_b = s.fbin_b.astype(np.longdouble)
    two_pi_i = 2j * np.arccos(np.longdouble(-1))
    pairs = list(zip(*mode_pairs(len(s.m_arr)), strict=True))
    lnlike_di = np.empty((len(s.asd_drift_d), len(amplitudes)))
    for i, dt in enumerate(dt_i):
        h_mpb = amplitudes[i] * np.exp(
            1j * phases[i].astype(np.longdouble) + two_pi_i * fbin_b * dt
        )
        for d, drift in enumerate(s.asd_drift_d):
            e_tb = np.exp(two_pi_i * fbin_b * summary.times_dt[d][:, None])
            z_mpt = (
                np.einsum("mpb,tb->mpt", s.dh_weights_dmpb[d] * h_mpb.conj(), e_tb)
                / drift**2
            )
            best = -np.inf
            for o in range(n_phi):
                phasor = np.exp(two_pi_i * o / n_phi)
                u_pt = sum(
                    z * phasor ** -int(m) for z, m in zip(z_mpt, s.m_arr, strict=True)
                ).real
                m_pp = np.zeros((2, 2), dtype=np.longdouble)
                for k, (m, mp) in enumerate(pairs):
                    x_pp = np.einsum(
                        "pqb,pb,qb->pq",
                        s.hh_weights_dmppb[d, k],
                        h_mpb[m],
                        h_mpb[mp].conj(),
                    )
                    m_pp += (phasor ** int(s.m_arr[m] - s.m_arr[mp]) * x_pp).real / drift**2
                inverse_pp = extended_pseudo_inverse(m_pp, rcond)
                best = max(
                    best, 0.5 * np.einsum("pt,pq,qt->t", u_pt, inverse_pp, u_pt).max()
                )
            lnlike_di[d, i] = best
    return lnlike_di


def extended_pseudo_inverse(m_pp, rcond):
    """By the singular value decomposition, from the eigenvectors of M^T M."""
    gram = m_pp.T @ m_pp
    if not gram.any():
        return gram
    angle = 0.5 * np.arctan2(2 * gram[0, 1], gram[0, 0] - gram[1, 1])
    v_pk = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    us_pk = m_pp @ v_pk
    sigma_k = np.sqrt((us_pk**2).sum(axis=0))
    keep = sigma_k > rcond * sigma_k.max()
    return (v_pk[:, keep] / sigma_k[keep] ** 2) @ us_pk[:, keep].T


@pytest.mark.parametrize("m_arr", [(2,), (2, 1, 3, 4), (3, 2)])
def test_dense_is_the_formula(m_arr):
    case = make_case(1, m_arr=m_arr, n_b=30, n_t=7, n_i=2)
    np.testing.assert_allclose(
        incoherent_lnlike_dense(*case, 6), extended_lnlike(*case, 6, RCOND), rtol=1e-10
    )


@pytest.mark.parametrize(
    "polarisation",
    ["no cross", "no plus", "rounding cross", "linear", "circular"],
)
def test_degenerate_polarisations(polarisation):
    """Edge-on, face-on and in between, also where M is singular."""
    amplitudes, phases, summary = make_case(2, n_b=40, n_t=9, n_i=3)
    if polarisation == "no cross":
        amplitudes[:, :, 1] = 0
    elif polarisation == "no plus":
        amplitudes[:, :, 0] = 0
    elif polarisation == "rounding cross":  # cos(iota) at pi/2 in floating point
        amplitudes[:, :, 1] *= 6e-17
    elif polarisation == "linear":
        amplitudes[:, :, 1] = 0.7 * amplitudes[:, :, 0]
        phases[:, :, 1] = phases[:, :, 0]
    else:
        amplitudes[:, :, 1] = amplitudes[:, :, 0]
        phases[:, :, 1] = phases[:, :, 0] + np.pi / 2
    if polarisation == "linear":
        # One constraint needs one response: weights that know plus from cross would not
        # see that both are the same waveform.
        summary.summary.dh_weights_dmpb[:] = summary.summary.dh_weights_dmpb[:, :, :1]
        summary.summary.hh_weights_dmppb[:] = summary.summary.hh_weights_dmppb[:, :, :1, :1]
    expected_di = extended_lnlike(amplitudes, phases, summary, 6, RCOND)
    assert (expected_di > 0).all()
    dense_di = incoherent_lnlike_dense(amplitudes, phases, summary, 6)
    np.testing.assert_allclose(dense_di, expected_di, rtol=1e-9)
    fast_di = incoherent_lnlike(amplitudes, phases, prepare_incoherent(summary, 6))
    np.testing.assert_allclose(fast_di, expected_di, rtol=1e-9)


@pytest.mark.parametrize("cross", [1e-2, 1e-4])
def test_weak_cross_polarisation_still_counts(cross):
    """Weak is not absent: what the data say about it is kept whatever its size."""
    amplitudes, phases, summary = make_case(3, n_b=40, n_t=9, n_i=3)
    amplitudes[:, :, 1] *= cross
    expected_di = extended_lnlike(amplitudes, phases, summary, 6, RCOND)
    fast_di = incoherent_lnlike(amplitudes, phases, prepare_incoherent(summary, 6))
    dense_di = incoherent_lnlike_dense(amplitudes, phases, summary, 6)
    np.testing.assert_allclose(dense_di, expected_di, rtol=1e-7)
    np.testing.assert_allclose(fast_di, expected_di, rtol=1e-7)
    amplitudes[:, :, 1] = 0
    without_di = incoherent_lnlike_dense(amplitudes, phases, summary, 6)
    assert (expected_di > without_di + 1e-3).all()


def test_nearly_linear_polarisation():
    """Two polarisations that hardly differ: right to what the condition number leaves."""
    amplitudes, phases, summary = make_case(4, n_b=40, n_t=9, n_i=3)
    amplitudes[:, :, 1] = 0.7 * amplitudes[:, :, 0]
    phases[:, :, 1] = phases[:, :, 0] + 1e-3 * np.sin(phases[:, :, 1])
    summary.summary.dh_weights_dmpb[:] = summary.summary.dh_weights_dmpb[:, :, :1]
    summary.summary.hh_weights_dmppb[:] = summary.summary.hh_weights_dmppb[:, :, :1, :1]
    expected_di = extended_lnlike(amplitudes, phases, summary, 6, RCOND)
    for lnlike_di in (
        incoherent_lnlike_dense(amplitudes, phases, summary, 6),
        incoherent_lnlike(amplitudes, phases, prepare_incoherent(summary, 6)),
    ):
        np.testing.assert_allclose(lnlike_di, expected_di, rtol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_symmetric_inverse_is_that_of_the_pseudo_inverse(seed):
    rng = np.random.default_rng(seed)
    m_pp = rng.normal(size=(2, 2))
    column, row = rng.normal(size=(2, 1)), rng.normal(size=(1, 2))
    for matrix in (m_pp, column * row, np.zeros((2, 2)), np.diag([3.0, 0.0])):
        inverse = np.linalg.pinv(matrix, rcond=1e-12)
        expected = [inverse[0, 0], inverse[1, 1], inverse[0, 1] + inverse[1, 0]]
        np.testing.assert_allclose(
            symmetric_inverse(matrix, 1e-12), expected, rtol=1e-9, atol=1e-12
        )
