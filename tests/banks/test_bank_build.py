"""Building banks: content, executors, bins, several at once, refusals."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from builds import ARGUMENTS, FBIN, build, content

from dotpe_exec.banks.build import build_bank_command, build_banks
from dotpe_exec.banks.check import check_bank
from dotpe_exec.banks.format import check_agreement, open_bank, open_banks
from dotpe_exec.events import load_event, matched_filter
from dotpe_exec.events.matched_filter import HIGHEST, LOWEST, BestTemplate, search_template


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A bank built without interruption, with real waveforms."""
    return build(tmp_path_factory.mktemp("built") / "bank")


def test_built_bank_opens_and_passes_its_check(built):
    bank = open_bank(built)
    assert bank.n_waveforms == 150
    assert [bank.handle.block_shape(k)[0] for k in range(3)] == [64, 64, 22]
    assert bank.config.mchirp_range == (20.0, 25.0)
    assert bank.config.harmonic_modes == ((2, 2), (2, 1), (3, 3), (3, 2), (4, 4))
    np.testing.assert_array_equal(bank.config.fbin, FBIN)
    report = check_bank(built)
    assert report.ok
    assert report.has_checksums
    table = bank.table()
    mchirp = (table["m1"] * table["m2"]) ** 0.6 / (table["m1"] + table["m2"]) ** 0.2
    expected = np.log(
        mchirp / ((25**2 - 20**2) / 2) / (mchirp**-1.7 * 0.7 / (20**-0.7 - 25**-0.7))
    )
    np.testing.assert_allclose(table["log_prior_weights"], expected, atol=1e-12)


def test_waveforms_belong_to_their_rows(built):
    from cogwheel.waveform import WaveformGenerator

    bank = open_bank(built)
    generator = WaveformGenerator((), 0.0, 0.0, "IMRPhenomXPHM")
    inds = np.array([149, 64, 31, 32])
    amplitudes, phases = bank.handle.read(inds)
    for i, a_mpb, phase_mpb in zip(inds, amplitudes, phases, strict=True):
        par_dic = bank.table().drop(columns="log_prior_weights").iloc[i].to_dict()
        par_dic |= {"l1": 0, "l2": 0, "f_ref": 50.0, "d_luminosity": 1, "phi_ref": 0}
        expected = generator.get_hplus_hcross(FBIN, par_dic, by_m=True)
        np.testing.assert_allclose(
            a_mpb * np.exp(1j * phase_mpb), expected, atol=1e-12 * np.abs(expected).max()
        )


def test_finished_bank_holds_only_files_of_a_bank(built):
    names = {name.split("_block_")[0] for name in content(built)}
    assert names == {
        "bank_config.json",
        "build.json",
        "checksums.json",
        "intrinsic_sample_bank.feather",
        "waveform_digests.npy",
        "waveforms/amplitudes",
        "waveforms/phase",
    }


def test_loky_builds_the_same_bytes(built, tmp_path):
    folder = build(tmp_path / "bank", executor="loky", n_procs=2)
    assert content(folder) == content(built)


def test_same_seed_gives_the_same_bank_and_another_another(stand_in, tmp_path):
    first = content(build(tmp_path / "a"))
    assert content(build(tmp_path / "b")) == first
    assert (
        open_bank(build(tmp_path / "c", seed=4)).identity()
        != open_bank(tmp_path / "a").identity()
    )


def test_unusable_parameters_lower_all_weights(stand_in, tmp_path):
    stand_in(lambda par_dic: par_dic["s1z"] > 0)
    with pytest.warns(UserWarning, match=r"no waveform for \d+ of \d+ draws"):
        folder = build(tmp_path / "bank", bank_size=2000, blocksize=2048)
    bank = open_bank(folder)
    assert bank.table()["s1z"].max() <= 0
    # The evidence of a likelihood that is 1 where there are waveforms: half the prior.
    mean = np.exp(bank.log_prior_weights()).mean()
    assert mean == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(2000))
    n_redrawn = bank.config.info["n_redrawn"]
    assert mean == pytest.approx(2000 / (2000 + n_redrawn), rel=0.02)
    # Each row is that of its waveform.
    amplitudes, _ = bank.handle.read(np.arange(2000))
    np.testing.assert_allclose(amplitudes[:, 0, 0, 0], bank.table()["m1"])


def test_aligned_approximant_gets_aligned_spins(tmp_path):
    bank = open_bank(build(tmp_path / "bank", approximant="IMRPhenomXAS", bank_size=10))
    assert not bank.table()[["s1x_n", "s1y_n", "s2x_n", "s2y_n"]].to_numpy().any()
    assert bank.config.m_arr.tolist() == [2]
    assert np.all(bank.handle.read(np.arange(10))[0] > 0)


def test_bins_come_from_an_event(golden, tmp_path, stand_in):
    folder = build(
        tmp_path / "bank", fbin=None, event=str(golden / "event.npz"), pn_phase_tol=0.2
    )
    expected = open_bank(golden / "bank_0").config.fbin
    np.testing.assert_array_equal(open_bank(folder).config.fbin, expected)


def test_a_loud_event_gets_finer_bins(golden, tmp_path, stand_in, monkeypatch):
    """Chosen once for all that is built; what is given is used as it is."""
    found = []

    def search(event_data, approximant, f_ref, mchirp_range):
        found.append(mchirp_range)
        return BestTemplate(20.0, lnlike)

    monkeypatch.setattr(matched_filter, "search_template", search)
    event = {"fbin": None, "event": str(golden / "event.npz")}
    n_b = []
    for lnlike, pn_phase_tol in ((100.0, 0.05), (1900.0, 0.025)):
        folder = build(tmp_path / f"bank_{lnlike}", **event)
        config = json.loads((folder / "bank_config.json").read_text())
        assert config["pn_phase_tol"] == pn_phase_tol
        n_b.append(len(config["fbin"]))
    assert n_b[1] > 1.5 * n_b[0]
    assert found == [(LOWEST, HIGHEST)] * 2
    folder = build(tmp_path / "bank", **event, pn_phase_tol=0.3)
    assert json.loads((folder / "bank_config.json").read_text())["pn_phase_tol"] == 0.3
    assert len(found) == 2


def test_the_quick_search_finds_a_signal_and_how_loud_it_is():
    best = search_template(load_event("GW150914"), "IMRPhenomXPHM", 50.0)
    assert best.mchirp == pytest.approx(31, abs=2)
    assert 200 < best.lnlike < 300


def test_several_banks_share_one_prior(stand_in, tmp_path):
    arguments = {k: v for k, v in ARGUMENTS.items() if k != "mchirp_range"}
    arguments |= {"mchirp_range": (15.0, 40.0), "bank_size": 2000, "blocksize": 2048}
    folders = build_banks(tmp_path, n_banks=3, **arguments)
    banks = open_banks(folders)
    assert list(banks) == ["bank_0", "bank_1", "bank_2"]
    check_agreement(banks)
    ranges = [bank.config.mchirp_range for bank in banks.values()]
    assert ranges[0][0] == 15.0
    assert ranges[2][1] == 40.0
    assert ranges[0][1] == ranges[1][0]
    # Equal shares of the proposal, unequal ones of the prior, which add up.
    integral = [low**-0.7 - high**-0.7 for low, high in ranges]
    np.testing.assert_allclose(integral, integral[0], rtol=1e-10)
    shares = [np.exp(bank.log_prior_weights()).mean() for bank in banks.values()]
    exact = [(high**2 - low**2) / (40.0**2 - 15.0**2) for low, high in ranges]
    np.testing.assert_allclose(shares, exact, rtol=0.02)
    assert sum(shares) == pytest.approx(1, rel=0.01)
    # Waveforms of different banks are independent.
    assert len({bank.config.info["seed"] for bank in banks.values()}) == 3


def test_evidence_of_split_banks_adds_up_to_that_of_one(stand_in, tmp_path):
    def evidence_and_variance(folder):
        bank = open_bank(folder)
        table = bank.table()
        likelihood = np.exp(-0.5 * ((table["m1"] + table["m2"] - 60) / 8) ** 2)
        terms = np.exp(bank.log_prior_weights()) * likelihood
        return np.array([np.mean(terms), np.var(terms) / len(terms)])

    arguments = {k: v for k, v in ARGUMENTS.items() if k != "mchirp_range"}
    arguments |= {"mchirp_range": (15.0, 40.0), "bank_size": 2000, "blocksize": 2048}
    one = build_bank_command(tmp_path / "one", n_banks=1, **arguments)
    three = build_bank_command(tmp_path / "three", n_banks=3, **arguments)
    assert one == [tmp_path / "one"]
    whole, variance = evidence_and_variance(one[0])
    parts, variance_of_parts = sum(map(evidence_and_variance, three))
    error = np.sqrt(variance + variance_of_parts)
    assert error < 0.05 * whole
    assert abs(parts - whole) < 3 * error


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"bank_size": 0}, "bank_size is 0"),
        ({"blocksize": -1}, "blocksize is -1"),
        ({"mchirp_range": (25.0, 20.0)}, "mchirp_range is 25.0 to 20.0"),
        ({"mchirp_range": 20.0}, "mchirp_range is 20.0, expected two"),
        ({"prior_mchirp_range": (22.0, 30.0)}, "prior_mchirp_range is .* around"),
        ({"q_min": 1.5}, "q_min is 1.5"),
        ({"f_ref": 0}, "f_ref is 0"),
        ({"approximant": "IMRNope"}, "approximant is 'IMRNope'"),
        ({"harmonic_modes": [(5, 5), (2, 2)]}, "harmonic_modes is "),
        ({"harmonic_modes": [(3, 3)]}, "with one of m = 2"),
        ({"harmonic_modes": [(2, 2), (2, 2)]}, "each mode once"),
        ({"harmonic_modes": 3}, "harmonic_modes is 3"),
        ({"fbin": None}, "exactly one of fbin and event"),
        ({"event": "x.npz"}, "exactly one of fbin and event"),
        ({"fbin": [30.0, 20.0, 50.0, 60.0]}, "fbin has shape"),
        ({"fbin": "abc"}, "fbin is not an array"),
        ({"seed": -1}, "seed is -1"),
        ({"alpha": float("nan")}, "alpha"),
        ({"executor": "nope"}, "executor="),
    ],
)
def test_bad_arguments_are_refused_before_any_work(tmp_path, change, sentence):
    with pytest.raises(ValueError, match=sentence):
        build(tmp_path / "bank", **change)
    assert not (tmp_path / "bank").exists()


def test_table_is_readable_by_pandas_alone(built):
    table = pd.read_feather(built / "intrinsic_sample_bank.feather")
    assert list(table.columns) == [
        "m1", "m2", "s1z", "s1x_n", "s1y_n", "s2z", "s2x_n", "s2y_n", "iota",
        "log_prior_weights",
    ]  # fmt: skip
    assert np.all(table.dtypes == np.float64)
