"""Drawing extrinsic samples: right weights, many effective ones, the same everywhere."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from dotpe_exec.banks.waveforms import BankHandle
from dotpe_exec.errors import SelectionError
from dotpe_exec.executors.phases import PhaseRunner
from dotpe_exec.executors.store import ArrayStore
from dotpe_exec.kernels.coherent_dense import coherent_dense
from dotpe_exec.kernels.distance import lnlike_marginalized
from dotpe_exec.kernels.summary import LineFit, Summary, mode_pairs
from dotpe_exec.kernels.waveforms import linear_free_waveforms
from dotpe_exec.stages import extrinsic, extrinsic_refinement, extrinsic_scoring

TCOARSE = 2.0
T_GEOCENTER = 0.003


@pytest.fixture(scope="module")
def distance_table():
    from dotpe_exec.distance_table import load_distance_table

    return load_distance_table()


@pytest.fixture
def small(monkeypatch):
    """Smaller pools than in production: what is tested does not depend on size."""
    monkeypatch.setattr(extrinsic, "N_SKY", 2**16)
    monkeypatch.setattr(extrinsic, "POOL_SIZE", 2**14)
    monkeypatch.setattr(extrinsic, "CARRIED", 2**12)
    monkeypatch.setattr(extrinsic_scoring, "MAX_PROPOSAL_POINTS", 2**13)
    monkeypatch.setattr(extrinsic_refinement, "N_ROUND", 2**11)
    monkeypatch.setattr(extrinsic_refinement, "MAX_POOL", 2**14)


class Problem:
    """A bank of similar signals, and noise-free data that contain one of them."""

    def __init__(self, folder, detector_names="HL", m_arr=(2, 1), n_i=24, snr=9.0):
        rng = np.random.default_rng(4)
        n_m, n_b = len(m_arr), 60
        self.detector_names = detector_names
        fbin_b = np.linspace(20, 400, n_b)
        modes_m = np.array([1.0, 0.3, 0.2, 0.1])[:n_m]
        polarisation_p = np.array([1.0, 0.7])
        amplitude = np.einsum("m,p,b->mpb", modes_m, polarisation_p, (fbin_b / 100) ** -1.0)
        quarter_p = np.array([0.0, -np.pi / 2])[:, None]
        phase = quarter_p + np.array(m_arr)[:, None, None] * (fbin_b / 60) ** (-5 / 3)
        tilt_i = np.linspace(-1, 1, n_i)[:, None, None, None]
        amplitudes = amplitude * (fbin_b / 100) ** (0.3 * tilt_i)
        amplitudes = amplitudes * np.array([1, 0.3])[None, None, :, None] ** np.abs(tilt_i)
        phases = phase + 0.3 * tilt_i * ((fbin_b - 100) / 100) ** 2
        # The signal is at some 3000 Mpc: the distance prior is felt.
        norm = 2e4 / np.sqrt(np.sum(amplitudes[0] ** 2))
        (folder / "waveforms").mkdir(parents=True)
        np.save(folder / "waveforms" / "amplitudes_block_0.npy", norm * amplitudes)
        np.save(folder / "waveforms" / "phase_block_0.npy", phases)
        handle = BankHandle(str(folder), "bank_0", n_i, n_i, n_m, n_b)
        self.banks = {"bank_0": SimpleNamespace(handle=handle)}
        self.log_prior_weights = {"bank_0": rng.normal(size=n_i) * 0.3}

        h0_mpb = norm * amplitude * np.exp(1j * phase)
        self.truth = pd.DataFrame(
            {"lat": [0.4], "lon": [2.0], "psi": [0.8], "t_geocenter": [T_GEOCENTER]}
        )
        response_dpe, timeshift_dbe = extrinsic.antenna_and_shifts(
            self.truth, detector_names, fbin_b, TCOARSE
        )
        data_db = np.einsum("mpb,dpe,dbe->db", h0_mpb, response_dpe, timeshift_dbe)
        data_db *= snr / np.sqrt(np.sum(np.abs(data_db) ** 2))
        n_d = len(detector_names)
        m, mprime = mode_pairs(n_m)
        hh_weights = np.ones((n_d, len(m), 2, 2, n_b), dtype=complex)
        hh_weights[:, m != mprime] = 2
        self.summary = Summary(
            fbin_b=fbin_b,
            m_arr=np.array(m_arr),
            dh_weights_dmpb=np.broadcast_to(
                data_db[:, None, None], (n_d, n_m, 2, n_b)
            ).copy(),
            hh_weights_dmppb=hh_weights,
            asd_drift_d=np.ones(n_d),
            line_fit=LineFit(fbin_b, h0_mpb[0, 0], np.abs(h0_mpb[0, 0]), 0),
        )

    def draw(
        self, store, inds=None, executor="serial", n_ext=256, n_phi=16, seed=3, **kwargs
    ):
        n_i = self.banks["bank_0"].handle.n_waveforms
        inds = np.arange(n_i) if inds is None else np.asarray(inds)
        survivors = SimpleNamespace(
            inds=inds, incoherent_lnlikes=40 - 3.0 * np.abs(np.linspace(-1, 1, n_i))[inds]
        )
        empty = SimpleNamespace(inds=inds[:0], incoherent_lnlikes=np.empty(0))
        with PhaseRunner(ArrayStore(store), executor, n_procs=2) as runner:
            return extrinsic.draw_extrinsic_samples(
                runner,
                self.banks | {"bank_1": self.banks["bank_0"]},
                {"bank_0": survivors, "bank_1": empty},
                SimpleNamespace(
                    summary=self.summary, par_dic_0={"t_geocenter": T_GEOCENTER + 0.004}
                ),
                SimpleNamespace(detector_names=tuple(self.detector_names), tcoarse=TCOARSE),
                n_ext=n_ext,
                n_phi=n_phi,
                seed=seed,
                log_prior_weights=self.log_prior_weights
                | {"bank_1": self.log_prior_weights["bank_0"]},
                **kwargs,
            )

    def lnlike_ie(self, inds, response_dpe, timeshift_dbe, n_phi, table):
        """Likelihood averaged over phases, (n_i, n_e), by the dense sums."""
        handle = self.banks["bank_0"].handle
        h_impb, _ = linear_free_waveforms(
            *handle.read(np.asarray(inds)), self.summary.line_fit
        )
        dh_ieo, hh_ieo = coherent_dense(
            h_impb, self.summary, response_dpe, timeshift_dbe, n_phi
        )
        dh_ieo = np.maximum(dh_ieo, -10 * np.sqrt(hh_ieo))
        lnlike_ieo = lnlike_marginalized(dh_ieo, hh_ieo, table)
        return np.log(np.mean(np.exp(lnlike_ieo), axis=-1))

    def effective_sizes(self, samples, n_phi, table):
        """Effective number of samples: of all waveforms together, and of each."""
        inds = np.arange(self.banks["bank_0"].handle.n_waveforms)
        lnlike_ie = self.lnlike_ie(
            inds, samples.response_dpe, samples.timeshift_dbe, n_phi, table
        )
        weight_ie = np.exp(
            lnlike_ie
            - lnlike_ie.max()
            + self.log_prior_weights["bank_0"][:, None]
            + samples.table["log_prior_weights"].to_numpy()
        )
        total_e = weight_ie.sum(axis=0)
        share_i = weight_ie.sum(axis=1) / weight_ie.sum()
        sizes_i = weight_ie.sum(axis=1) ** 2 / np.sum(weight_ie**2, axis=1)
        return total_e.sum() ** 2 / np.sum(total_e**2), sizes_i[share_i > 0.01]


@pytest.mark.parametrize(
    ("detector_names", "m_arr", "n_pool_effective"),
    [
        ("H", (2,), None),
        ("H", (2,), 1e6),
        ("HL", (2, 1), None),
        ("HL", (2, 1), 1e6),
        pytest.param("HLV", (2,), None, marks=pytest.mark.slow),
        pytest.param("HLV", (2,), 1e6, marks=pytest.mark.slow),
    ],
)
def test_average_is_the_integral_over_the_prior(
    detector_names, m_arr, n_pool_effective, tmp_path, small, distance_table
):
    """Against plain Monte Carlo over the prior around the signal's arrival."""
    from cogwheel import gw_utils

    problem = Problem(tmp_path / "bank", detector_names, m_arr, snr=7.0)
    n_phi, inds, n_ext = 16, [11, 12], 512
    samples = problem.draw(
        tmp_path / "store", n_ext=n_ext, n_phi=n_phi, distance_table=distance_table,
        n_pool_effective=n_pool_effective, pool_size=2**14,
    )  # fmt: skip
    lnlike_ie = problem.lnlike_ie(
        inds, samples.response_dpe, samples.timeshift_dbe, n_phi, distance_table
    )
    ours = np.log(np.mean(samples.table["weights"].to_numpy() * np.exp(lnlike_ie), axis=1))

    # Almost all of the integral is within 8 ms of the arrival at the first detector.
    width, n_chunks = 0.016, {"H": 1, "HL": 4, "HLV": 40}[detector_names]
    rng = np.random.default_rng(0)
    delay_true = gw_utils.get_geocenter_delays(
        detector_names[0], problem.truth["lat"], problem.truth["lon"]
    )
    chunks = []
    for _ in range(n_chunks):
        prior = pd.DataFrame(
            {
                "lat": np.arcsin(rng.uniform(-1, 1, 20_000)),
                "lon": rng.uniform(0, 2 * np.pi, 20_000),
                "psi": rng.uniform(0, np.pi, 20_000),
                "t_geocenter": T_GEOCENTER + width * rng.uniform(-0.5, 0.5, 20_000),
            }
        )
        prior["t_geocenter"] += delay_true.item() - np.ravel(
            gw_utils.get_geocenter_delays(detector_names[0], prior["lat"], prior["lon"])
        )
        arrays = extrinsic.antenna_and_shifts(
            prior, detector_names, problem.summary.fbin_b, TCOARSE
        )
        chunks.append(np.exp(problem.lnlike_ie(inds, *arrays, n_phi, distance_table)))
    likelihood_iq = np.concatenate(chunks, axis=1)
    truth_i = np.mean(likelihood_iq, axis=1)
    error_i = np.std(likelihood_iq, axis=1) / truth_i / np.sqrt(likelihood_iq.shape[1])
    assert np.all(error_i < 0.12)
    np.testing.assert_allclose(
        ours, np.log(width * truth_i), atol=3 * np.hypot(error_i.max(), 0.05)
    )


@pytest.mark.parametrize("detector_names", ["H", "HL", "HLV"])
def test_samples_are_drawn_where_the_posterior_is(
    detector_names, tmp_path, small, distance_table
):
    problem = Problem(tmp_path / "bank", detector_names, (2, 1, 3), snr=12.0)
    samples = problem.draw(tmp_path / "store", distance_table=distance_table)
    assert len(samples.table) == 256
    n_effective, sizes = problem.effective_sizes(samples, 16, distance_table)
    assert n_effective > 100
    assert np.min(sizes) > 10


@pytest.mark.parametrize("chosen_again", [False, True])
@pytest.mark.parametrize("detector_names", ["H", "HLV"])
def test_refined_points_count(
    detector_names, chosen_again, tmp_path, small, distance_table, monkeypatch
):
    """Of a loud signal a pool of the same size has many times as many that count."""
    size = 2**13
    enough = np.inf if chosen_again else 0.0
    monkeypatch.setattr(extrinsic, "ENOUGH_TO_CHOOSE", enough)
    screened = []

    def screen(*args):
        screened.append(args[-1])
        return score_pool(*args)

    score_pool = extrinsic.score_pool
    monkeypatch.setattr(extrinsic, "score_pool", screen)
    monkeypatch.setattr(extrinsic_refinement, "MAX_POOL", size)
    problem = Problem(tmp_path / "bank", detector_names, (2, 1, 3), snr=30.0)
    errors = []
    for label, n_pool_effective in (("plain", None), ("refined", 1e6)):
        samples = problem.draw(
            tmp_path / label, distance_table=distance_table, pool_size=size,
            n_pool_effective=n_pool_effective,
        )  # fmt: skip
        lnlike_ie = problem.lnlike_ie(
            np.arange(24), samples.response_dpe, samples.timeshift_dbe, 16, distance_table
        )
        weight_i = np.exp(problem.log_prior_weights["bank_0"])
        y_e = weight_i @ np.exp(lnlike_ie - lnlike_ie.max()) * samples.table["weights"]
        # Of the pool: see dotpe_exec.stages.evidence.
        errors.append(np.sqrt(samples.table["expected_counts"] @ y_e**2) / y_e.sum())
    assert errors[1] < 0.4 * errors[0]
    assert screened == ["", ""] + ["refined-"] * chosen_again


def test_columns_are_within_their_ranges(tmp_path, small, distance_table):
    problem = Problem(tmp_path / "bank")
    samples = problem.draw(tmp_path / "store", distance_table=distance_table)
    table = samples.table
    assert tuple(table.columns) == extrinsic.COLUMNS
    assert table["lat"].abs().max() <= np.pi / 2
    assert table["lon"].between(0, 2 * np.pi).all()
    assert table["psi"].between(0, np.pi).all()
    assert (table["t_geocenter"] - T_GEOCENTER).abs().max() < 0.12
    np.testing.assert_allclose(np.exp(table["log_prior_weights"]), table["weights"])
    response_dpe, timeshift_dbe = extrinsic.antenna_and_shifts(
        table, "HL", problem.summary.fbin_b, TCOARSE
    )
    np.testing.assert_array_equal(samples.response_dpe, response_dpe)
    np.testing.assert_array_equal(samples.timeshift_dbe, timeshift_dbe)


def test_seed_alone_decides(tmp_path, small, distance_table):
    problem = Problem(tmp_path / "bank")
    first, again, other = (
        problem.draw(tmp_path / name, seed=seed, distance_table=distance_table).table
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    pd.testing.assert_frame_equal(first, again, check_exact=True)
    assert not np.allclose(first["lat"], other["lat"])


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["process", "loky"])
def test_every_executor_gives_the_same_bits(executor, tmp_path, small, distance_table):
    problem = Problem(tmp_path / "bank")
    serial = problem.draw(tmp_path / "a", distance_table=distance_table)
    parallel = problem.draw(
        tmp_path / "b", executor=executor, distance_table=distance_table
    )
    pd.testing.assert_frame_equal(serial.table, parallel.table, check_exact=True)


@pytest.mark.parametrize("n_survivors", [1, 3])
def test_a_handful_of_survivors_will_do(n_survivors, tmp_path, small, distance_table):
    problem = Problem(tmp_path / "bank")
    inds = np.arange(10, 10 + n_survivors)
    samples = problem.draw(tmp_path / "store", inds=inds, distance_table=distance_table)
    lnlike_ie = problem.lnlike_ie(
        inds, samples.response_dpe, samples.timeshift_dbe, 16, distance_table
    )
    weight_e = samples.table["weights"] * np.exp(lnlike_ie[0])
    assert weight_e.sum() ** 2 / np.sum(weight_e**2) > 50


def test_without_prior_weight_there_is_nothing_to_draw(tmp_path, small, distance_table):
    problem = Problem(tmp_path / "bank")
    problem.log_prior_weights["bank_0"][:] = -np.inf
    with pytest.raises(SelectionError, match="no surviving waveform has prior weight"):
        problem.draw(tmp_path / "store", distance_table=distance_table)


def test_error_says_that_no_proposal_is_of_use(
    tmp_path, small, distance_table, monkeypatch
):
    monkeypatch.setattr(extrinsic_scoring, "MIN_EFFECTIVE_PRIOR", 1e9)
    problem = Problem(tmp_path / "bank", n_i=20)
    with pytest.raises(SelectionError, match="none of 20 waveforms gave a proposal"):
        problem.draw(tmp_path / "store", distance_table=distance_table)


def test_useless_proposals_are_replaced_by_others(
    tmp_path, small, distance_table, monkeypatch
):
    """The next candidates are tried, in an order that the seed alone decides."""
    problem = Problem(tmp_path / "bank")
    tried = []
    propose = extrinsic_scoring.propose

    def propose_but_for_some(task):
        tried.append(task.index)
        proposal = propose(task)
        if len(tried) in (2, 5):
            return type(proposal)(**(vars(proposal) | {"n_effective_prior": 1.0}))
        return proposal

    monkeypatch.setattr(extrinsic_scoring, "propose", propose_but_for_some)
    problem.draw(tmp_path / "store", executor="serial", distance_table=distance_table)
    assert len(tried) >= extrinsic_scoring.N_PARENTS + 2
    assert len(set(tried)) == len(tried)


def test_tasks_are_small(tmp_path, small, distance_table, monkeypatch):
    sizes = []
    original = PhaseRunner.map

    def spy(self, phase, function, tasks, **kwargs):
        tasks = list(tasks)
        sizes.extend(len(pickle.dumps(task)) for task in tasks)
        return original(self, phase, function, tasks, **kwargs)

    monkeypatch.setattr(PhaseRunner, "map", spy)
    problem = Problem(tmp_path / "bank")
    problem.draw(tmp_path / "store", distance_table=distance_table)
    assert len(sizes) > extrinsic_scoring.N_PARENTS
    assert max(sizes) < 64 * 1024


def test_workers_stay_light():
    code = (
        "import sys, dotpe_exec.stages.extrinsic_tasks;"
        "heavy = {'cogwheel', 'lal', 'lalsimulation', 'pandas', 'matplotlib'};"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


@pytest.mark.slow
def test_golden_event_agrees_with_cogwheels_marginalised_likelihood(
    golden, tmp_path, distance_table
):
    """The oracle for the absolute value: its own extrinsic integral, twelve waveforms.

    The bins of this case are coarse; the mean difference that they make is known from
    exact likelihoods (0.33) and common to all waveforms.
    """
    from cogwheel.data import EventData
    from cogwheel.likelihood.marginalized_extrinsic import MarginalizedExtrinsicLikelihood
    from cogwheel.waveform import WaveformGenerator

    from dotpe_exec.cogwheel_bridge import make_likelihood, make_summary

    event_data = EventData.from_npz(filename=golden / "event.npz")
    par_dic_0 = json.loads((golden / "reference" / "par_dic_0.json").read_text())
    config = json.loads((golden / "bank_0" / "bank_config.json").read_text())
    fbin = np.array(config["fbin"])
    likelihood = make_likelihood(event_data, config["approximant"], par_dic_0, fbin)
    summary = make_summary(likelihood)
    arrays = np.load(golden / "reference" / "arrays.npz")
    lnlikes = {k: arrays[f"bank_{k}_lnlike_di"].sum(axis=0) for k in (0, 1)}
    floor = max(map(np.max, lnlikes.values())) - 20
    banks, survivors, log_prior_weights, tables = {}, {}, {}, {}
    for k in (0, 1):
        name = f"bank_{k}"
        handle = BankHandle(str(golden / name), name, 384, 128, 4, len(fbin))
        banks[name] = SimpleNamespace(handle=handle)
        inds = np.flatnonzero(lnlikes[k] > floor)
        survivors[name] = SimpleNamespace(inds=inds, incoherent_lnlikes=lnlikes[k][inds])
        tables[name] = pd.read_feather(golden / name / "intrinsic_sample_bank.feather")
        log_prior_weights[name] = tables[name]["log_prior_weights"].to_numpy()
    n_phi = 100
    with PhaseRunner(ArrayStore(tmp_path)) as runner:
        samples = extrinsic.draw_extrinsic_samples(
            runner,
            banks,
            survivors,
            SimpleNamespace(summary=summary, par_dic_0=par_dic_0),
            event_data,
            n_ext=2048,
            n_phi=n_phi,
            seed=0,
            distance_table=distance_table,
            log_prior_weights=log_prior_weights,
        )

    oracle = MarginalizedExtrinsicLikelihood(
        event_data,
        WaveformGenerator.from_event_data(event_data, config["approximant"]),
        par_dic_0,
        fbin=fbin,
        coherent_score={"n_qmc_sequences": 4, "min_n_effective": 200, "max_log2n_qmc": 16},
    )
    prob = pd.read_feather(golden / "reference" / "prob_samples_above_cut.feather")
    heaviest = prob.groupby(["bank_id", "i"])["weights"].sum().nlargest(12).index
    names = ["m1", "m2", "s1z", "s1x_n", "s1y_n", "s2z", "s2x_n", "s2y_n", "iota"]
    differences = []
    for bank_id, i in heaviest:
        h_impb, _ = linear_free_waveforms(
            *banks[bank_id].handle.read(np.array([i])), summary.line_fit
        )
        dh_eo, hh_eo = (
            values[0]
            for values in coherent_dense(
                h_impb, summary, samples.response_dpe, samples.timeshift_dbe, n_phi
            )
        )
        dh_eo = np.maximum(dh_eo, -10 * np.sqrt(hh_eo))
        like_e = np.mean(np.exp(lnlike_marginalized(dh_eo, hh_eo, distance_table)), axis=1)
        ours = np.log(np.mean(like_e * samples.table["weights"]))
        par_dic = tables[bank_id].loc[i, names].to_dict()
        par_dic |= {"f_ref": config["f_ref"], "l1": 0.0, "l2": 0.0}
        theirs = np.mean([np.exp(oracle.lnlike(par_dic) - ours) for _ in range(4)])
        differences.append(-np.log(theirs))
    assert abs(np.mean(differences) + 0.33) < 0.1
    assert np.std(differences) < 0.12
