"""Likelihood tasks against the coherent likelihood written out, on real data."""

from dataclasses import fields

import numpy as np
import pytest
from rough_extrinsic import roughen_extrinsic

from dotpe_exec.adaptive import kept as kept_module
from dotpe_exec.adaptive import likelihood as adaptive_likelihood
from dotpe_exec.adaptive.coordinates import PriorCoordinates
from dotpe_exec.adaptive.draws import mirrored
from dotpe_exec.adaptive.kept import KeptProducts
from dotpe_exec.adaptive.likelihood import EventLikelihood
from dotpe_exec.adaptive.results import (
    bank_posterior,
    carrying,
    effective_thinned,
    evidence_sums,
    thin,
)
from dotpe_exec.adaptive.tasks import (
    LikelihoodTask,
    WaveformModel,
    likelihoods,
    waveform_products,
)
from dotpe_exec.banks.config import BankConfig, approximant_modes, first_appearance
from dotpe_exec.distance_table import load_distance_table
from dotpe_exec.events import load_event
from dotpe_exec.events.bins import pn_bins
from dotpe_exec.executors.phases import PhaseRunner
from dotpe_exec.executors.store import ArrayStore
from dotpe_exec.kernels.coherent_dense import coherent_dense
from dotpe_exec.kernels.distance import lnlike_marginalized
from dotpe_exec.kernels.importance import logsumexp
from dotpe_exec.kernels.waveforms import linear_free_waveforms
from dotpe_exec.stages.evidence import (
    EvidenceTerms,
    evidence_error,
    ln_evidence_error,
)
from dotpe_exec.stages.reference import find_reference
from dotpe_exec.waveforms.parameters import PARAMETERS

PAR_DIC_0 = {
    "m1": 42.3, "m2": 28.2, "s1x_n": 0.0, "s1y_n": 0.0, "s1z": -0.1, "s2x_n": 0.0,
    "s2y_n": 0.0, "s2z": -0.1, "l1": 0.0, "l2": 0.0, "iota": 2.1416, "d_luminosity": 327.4,
    "phi_ref": 3.95, "psi": 0.0, "ra": 1.6933, "dec": -1.2897, "t_geocenter": 0.00939,
    "f_ref": 50.0,
}  # fmt: skip
N_PHI, N_EXT = 16, 48


@pytest.fixture(scope="module")
def problem(tmp_path_factory):
    """The event's likelihood, waveforms near the peak, and the final result for them."""
    event = load_event("GW150914")
    modes = approximant_modes("IMRPhenomXPHM", "test")
    config = BankConfig(
        "IMRPhenomXPHM", 50.0, pn_bins(event.frequencies, event.fbounds, 0.5),
        np.array(first_appearance(modes)), tuple(modes), 64, {},
    )  # fmt: skip
    reference = find_reference(event, config, n_t=16, par_dic_0=PAR_DIC_0)
    coordinates = PriorCoordinates((29.0, 31.5), 0.5, 50.0)
    table = load_distance_table()
    with (
        pytest.MonkeyPatch.context() as patch,
        PhaseRunner(ArrayStore(), "serial") as runner,
    ):
        roughen_extrinsic(patch)
        patch.setattr(adaptive_likelihood, "BATCH", 8)
        model = WaveformModel(
            "IMRPhenomXPHM", config.harmonic_modes, 50.0, "direct",
            runner.store.put(config.fbin),
        )  # fmt: skip
        likelihood = EventLikelihood(
            runner, coordinates, reference, event, model, table, n_phi=N_PHI, seed=1,
            folder=tmp_path_factory.mktemp("carriers"),
        )  # fmt: skip
        z_ik = coordinates.draw(40, np.random.default_rng(1))
        z_ik[:, 2] *= 0.2  # effective spins that fit
        rough_i = likelihood.rough(z_ik)
        zero_i = np.zeros(len(z_ik))
        likelihood.adapt(z_ik, rough_i, zero_i)
        likelihood(z_ik[:-8])  # of the others nothing is kept
        extrinsic, result, ln_scale = likelihood.final(
            z_ik, rough_i, zero_i, n_ext=N_EXT, n_draws=3
        )
        yield likelihood, z_ik, rough_i, extrinsic, result, ln_scale


class Stop(Exception):
    """What was looked for has been seen."""


def test_extrinsic_samples_are_drawn_for_the_reference_waveform_too(problem, monkeypatch):
    likelihood, z_ik, rough_i, *_ = problem
    chosen = []

    def draw(_, banks, *args, **kwargs):
        (bank,) = banks.values()
        chosen.append(np.load(bank.handle.block_path("phase", 0))[-1])
        raise Stop

    monkeypatch.setattr(adaptive_likelihood, "draw_extrinsic_samples", draw)
    monkeypatch.setattr(likelihood, "_n_placed", likelihood._n_placed)
    with pytest.raises(Stop):
        likelihood._place(z_ik, rough_i, np.zeros(len(z_ik)), N_EXT, 0.5)
    reference_ik = [[PAR_DIC_0[name] for name in PARAMETERS]]
    _, phases = likelihood.waveforms("test", np.array(reference_ik))
    np.testing.assert_allclose(chosen[0], phases[0], atol=1e-2)


def dense(problem):
    """Return dh, hh (i, e, o), and ln of weight times likelihood."""
    likelihood, z_ik, _, extrinsic, *_ = problem
    summary = likelihood.reference.summary
    amplitudes, phases = likelihood.waveforms(
        "test", likelihood.coordinates.parameters(z_ik)
    )
    h_impb, _ = linear_free_waveforms(amplitudes, phases, summary.line_fit)
    dh_ieo, hh_ieo = coherent_dense(
        h_impb, summary, extrinsic.response_dpe, extrinsic.timeshift_dbe, N_PHI
    )
    lnlike_ieo = lnlike_marginalized(
        np.maximum(dh_ieo, -10 * np.sqrt(hh_ieo)), hh_ieo, likelihood.table
    )
    ln_weight_e = extrinsic.table["log_prior_weights"].to_numpy()
    return dh_ieo, hh_ieo, lnlike_ieo + ln_weight_e[:, None]


def test_likelihoods_are_those_of_the_formula(problem):
    result = problem[4]
    *_, ln_terms_ieo = dense(problem)
    expected_i = np.array([logsumexp(terms.ravel()) for terms in ln_terms_ieo])
    expected_i -= np.log(N_EXT * N_PHI)
    near = expected_i > expected_i.max() - 15
    assert near.sum() > 5
    np.testing.assert_allclose(result.lnlike_i[near], expected_i[near], atol=5e-3)


def test_draws_carry_the_exact_inner_products(problem):
    result = problem[4]
    dh_ieo, hh_ieo, _ = dense(problem)
    i = np.arange(len(result.e_ij))[:, None]
    np.testing.assert_allclose(
        result.dh_ij,
        dh_ieo[i, result.e_ij, result.o_ij],
        rtol=1e-5,
        atol=1e-5 * np.abs(dh_ieo).max(),
    )
    np.testing.assert_allclose(result.hh_ij, hh_ieo[i, result.e_ij, result.o_ij], rtol=1e-9)


def test_exploring_and_final_likelihoods_agree(problem):
    """Over the same extrinsic samples; what they leave out is negligible."""
    likelihood, z_ik, _, extrinsic, result, _ = problem
    placed = likelihood._placing.place(extrinsic, None)
    explored = likelihoods(
        LikelihoodTask(
            likelihood.model, likelihood.coordinates.parameters(z_ik),
            placed.filter.handle, placed.points,
        )
    )  # fmt: skip
    np.testing.assert_allclose(explored.lnlike_i, result.lnlike_i, atol=2e-2)


def test_kept_products_are_as_good_as_waveforms_made_anew(problem, monkeypatch):
    """To the bit, also where they are lost, as after an interruption, or only some are."""
    likelihood, z_ik, rough_i, extrinsic, result, _ = problem
    parameters_ik = likelihood.coordinates.parameters(z_ik)
    kept = likelihood._kept
    assert len(kept) == len(z_ik) - 8
    assert kept.of(parameters_ik[:20]) is not None and kept.of(parameters_ik) is None
    explored_i = likelihood(z_ik[:-8])
    for lost, n_made in ((True, 0), (False, len(z_ik) - 8)):
        others = [KeptProducts(likelihood.placed.filter.data) for _ in range(2)]
        if lost:
            for other in others:
                other.add(parameters_ik[:-8], None)
        monkeypatch.setattr(likelihood, "_kept", others[0])
        before = likelihood.n_waveforms
        np.testing.assert_array_equal(likelihood(z_ik[:-8]), explored_i)
        assert likelihood.n_waveforms == before + n_made
        assert others[0].of(parameters_ik[5:9]) is not None  # it was made, so it was kept
        monkeypatch.setattr(likelihood, "_kept", others[1])
        monkeypatch.setattr(likelihood, "_n_placed", likelihood._n_placed - 1)
        again, made_anew, _ = likelihood.final(
            z_ik, rough_i, np.zeros(len(z_ik)), n_ext=N_EXT, n_draws=3
        )
        np.testing.assert_array_equal(again.response_dpe, extrinsic.response_dpe)
        np.testing.assert_array_equal(made_anew.lnlike_i, result.lnlike_i)
        np.testing.assert_array_equal(made_anew.dt_i, result.dt_i)
        np.testing.assert_array_equal(made_anew.dh_ij, result.dh_ij)


def test_products_are_the_same_bits_in_any_company(problem):
    """Whether products are kept, and with which others they are made, must not show."""
    likelihood, z_ik, *_ = problem
    parameters_ik = likelihood.coordinates.parameters(z_ik)
    data = likelihood.placed.filter.data
    together = waveform_products(likelihood.model, parameters_ik, data)
    for some in (slice(0, 1), slice(3, 5), slice(7, 30)):
        alone = waveform_products(likelihood.model, parameters_ik[some], data)
        for item in fields(alone):
            np.testing.assert_array_equal(
                getattr(alone, item.name), getattr(together, item.name)[some]
            )


def test_few_are_kept_where_there_is_little_room(problem, monkeypatch):
    likelihood, z_ik, *_ = problem
    monkeypatch.setattr(kept_module, "MAX_BYTES", 1e5)
    monkeypatch.setattr(likelihood, "_kept", KeptProducts(likelihood.placed.filter.data))
    for start in range(0, len(z_ik), 4):
        likelihood(z_ik[start : start + 4])
    products = likelihood._kept.of(likelihood.coordinates.parameters(z_ik[:4]))
    assert 4 <= len(likelihood._kept) <= 4 + 1e5 / (products.n_bytes / 4) < len(z_ik)


def test_rough_likelihoods_bound_the_others(problem):
    _, _, rough_i, _, result, _ = problem
    assert np.all(rough_i > result.lnlike_i)


def test_sums_give_evidence_and_its_error(problem):
    *_, result, ln_scale = problem
    inds = np.arange(100, 100 + len(result.lnlike_i))
    ln_weight_i = np.linspace(-1, 1, len(inds))
    bank = bank_posterior(
        "adapted", inds, result, ln_weight_i=ln_weight_i, n_int=1000, n_phi=N_PHI,
        ln_discarded=-np.inf,
    )  # fmt: skip
    expected = logsumexp(ln_weight_i + result.lnlike_i) - np.log(1000)
    assert bank.ln_evidence == pytest.approx(expected)
    assert logsumexp(bank.ln_posterior) - np.log(bank.n_total) == pytest.approx(expected)
    assert np.all(np.diff(bank.coherent_set.bestfit_lnlike) >= 0)
    assert set(bank.coherent_set.i) <= set(inds)
    # With the weights that the sums were made with, they are the evidence.
    sums = evidence_sums(
        result, ln_weight_i=np.zeros(len(inds)), ln_scale=ln_scale, n_int=1000
    )
    mean = np.log(sums.columns_e.sum() / N_EXT) + ln_scale
    assert mean == pytest.approx(logsumexp(result.lnlike_i), abs=1e-9)
    error = evidence_error(sums)
    *_, ln_terms_ieo = dense(problem)
    i, e, _ = np.indices(ln_terms_ieo.shape)
    terms = EvidenceTerms(i.ravel(), e.ravel(), ln_terms_ieo.ravel(), 1000)
    expected = ln_evidence_error(terms, n_ext=N_EXT, n_phi=N_PHI)
    for name in ("total", "intrinsic", "extrinsic"):
        assert getattr(error, name) == pytest.approx(getattr(expected, name), rel=0.02)


def test_parameters_without_a_waveform_are_told(problem):
    likelihood, z_ik, *_ = problem
    placed = likelihood._placed
    parameters_ik = likelihood.coordinates.parameters(z_ik[:3])
    parameters_ik[1, 2] = 1.5  # a spin beyond the extremal
    result = likelihoods(
        LikelihoodTask(likelihood.model, parameters_ik, placed.filter.handle, placed.points)
    )
    np.testing.assert_array_equal(result.ok_i, [True, False, True])
    assert result.lnlike_i[1] == -np.inf


def test_carrying_leaves_out_the_lightest():
    shares = np.array([0.5, 1e-4, 0.3, 2e-4, 0.1997])
    np.testing.assert_array_equal(carrying(np.log(shares), 5e-4), [0, 2, 4])
    np.testing.assert_array_equal(carrying(np.log(shares), 0.0), np.arange(5))


def test_one_far_too_heavy_point_does_not_decide_about_all_others():
    ln_i = np.random.default_rng(2).normal(0, 1.0, 4000)
    spiked_i = np.append(ln_i, 30.0)
    alone = carrying(ln_i, 1e-3)
    assert len(alone) <= len(carrying(spiked_i, 1e-3)) <= 1.05 * len(alone) + 1
    assert effective_thinned(spiked_i) == pytest.approx(effective_thinned(ln_i), rel=0.8)
    kept, ln_stand_in = thin(spiked_i, np.random.default_rng(3))
    assert 4000 in kept and ln_stand_in[kept == 4000] == 0.0
    assert len(kept) > 0.8 * len(thin(ln_i, np.random.default_rng(3))[0])


def test_thinning_keeps_sums_and_most_of_the_effective_number():
    """Also sums of likelihoods that are not those by which it was thinned."""
    rng = np.random.default_rng(1)
    ln_i = rng.normal(0, 1.2, 4000)
    other_i = np.exp(ln_i + rng.normal(0, 0.3, 4000))
    expected = effective_thinned(ln_i)
    sums, sizes = [], []
    for _ in range(200):
        kept, ln_stand_in = thin(ln_i, rng)
        assert len(np.unique(kept)) == len(kept)
        assert np.all(ln_stand_in >= 0)
        sums.append(np.sum(other_i[kept] * np.exp(ln_stand_in)))
        sizes.append(len(kept))
        weight = np.exp(ln_i[kept] + ln_stand_in)
        assert weight.sum() ** 2 / (weight**2).sum() == pytest.approx(expected, rel=0.1)
    error = np.std(sums) / np.sqrt(200)
    assert np.mean(sums) == pytest.approx(other_i.sum(), abs=4 * error)
    assert np.mean(sizes) < 0.7 * 4000
    assert expected > 0.85 * np.exp(ln_i).sum() ** 2 / np.exp(2 * ln_i).sum()


def test_samples_are_drawn_for_both_sides_of_the_orbit(problem):
    """The likelier one is not overlooked while only the other is known."""
    likelihood = problem[0]
    coordinates, other = (
        likelihood.coordinates,
        likelihood.around(likelihood.reference, "b"),
    )
    reference_k = np.array([PAR_DIC_0[name] for name in PARAMETERS])
    z_k = coordinates.of_parameters(reference_k[None])[0]
    wide_k = np.where(np.arange(9) == 4, 0.3, 0.1)
    right_ik = z_k + wide_k * np.random.default_rng(2).normal(size=(24, 9))
    wrong_ik, zero_i = mirrored(right_ik, coordinates.mirrors[0]), np.zeros(24)
    other.adapt(right_ik, zero_i, zero_i)
    known = logsumexp(other(right_ik))
    other.adapt(wrong_ik, zero_i, zero_i)
    assert known > logsumexp(other(wrong_ik)) + 1
    assert logsumexp(other(right_ik)) == pytest.approx(known, abs=0.6)
