"""Building banks: content, executors, interruptions, refusals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic_banks import FailingGenerator

from dotpe_exec.banks import recipe
from dotpe_exec.banks.blocks import BlockWriter
from dotpe_exec.banks.build import build_bank, build_bank_command, build_banks
from dotpe_exec.banks.check import check_bank
from dotpe_exec.banks.format import check_agreement, open_bank, open_banks
from dotpe_exec.errors import BankError, MissingFileError, RunDirectoryError
from dotpe_exec.events import load_event, matched_filter
from dotpe_exec.events.matched_filter import HIGHEST, LOWEST, BestTemplate, search_template
from dotpe_exec.executors.phases import PhaseRunner
from dotpe_exec.executors.store import ArrayStore
from dotpe_exec.waveforms import generator as generator_module

FBIN = np.array([20.0, 30.0, 45.0, 70.0, 120.0, 250.0])
ARGUMENTS = {
    "bank_size": 150,
    "mchirp_range": (20.0, 25.0),
    "fbin": FBIN,
    "seed": 3,
    "blocksize": 64,
    "executor": "serial",
    "progress": False,
}


def build(folder, **changes):
    return build_bank(folder, **(ARGUMENTS | changes))


def content(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def stand_in(monkeypatch):
    """Replace LAL by a generator that fails where told to; returns how to tell it."""

    def use(fails=lambda par_dic: False, **kwargs):
        generator = FailingGenerator(fails, **kwargs)
        monkeypatch.setattr(recipe, "generation_way", lambda *_: "direct")
        monkeypatch.setattr(generator_module, "generate_modes", generator)

    use()
    return use


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A bank built without interruption, with real waveforms."""
    return build(tmp_path_factory.mktemp("built") / "bank")


class InterruptedRunner(PhaseRunner):
    """Is interrupted after a number of results."""

    def __init__(self, folder, n_results):
        super().__init__(ArrayStore(folder), "serial")
        self.n_results = n_results

    def map(self, *args, **kwargs):
        for n_done, result in enumerate(super().map(*args, **kwargs)):
            if n_done == self.n_results:
                raise KeyboardInterrupt
            yield result


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


def test_finished_bank_is_left_as_it_is(stand_in, tmp_path):
    folder = build(tmp_path / "bank")
    before = content(folder)
    stand_in(lambda par_dic: True)  # would fail if anything were generated
    assert build(folder) == folder
    assert content(folder) == before


@pytest.mark.parametrize("n_results", [0, 1, 2, 3, 4])
def test_interrupted_build_goes_on(stand_in, tmp_path, n_results):
    expected = content(build(tmp_path / "whole"))
    folder = tmp_path / "bank"
    with pytest.raises(KeyboardInterrupt):
        build(folder, runner=InterruptedRunner(tmp_path, n_results))
    assert not list(folder.rglob("*tmp*"))
    with pytest.raises(MissingFileError, match="was not built to its end"):
        open_bank(folder)
    done = sorted(path.name for path in (folder / "waveforms").iterdir())
    assert len(done) == 2 * (n_results // 2)
    times = [(folder / "waveforms" / name).stat().st_mtime_ns for name in done]
    build(folder)
    assert content(folder) == expected
    assert [(folder / "waveforms" / name).stat().st_mtime_ns for name in done] == times


def test_damaged_block_of_a_partial_build_is_made_again(stand_in, tmp_path):
    expected = content(build(tmp_path / "whole"))
    folder = tmp_path / "bank"
    with pytest.raises(KeyboardInterrupt):
        build(folder, runner=InterruptedRunner(tmp_path, 4))
    block = folder / "waveforms/phase_block_0.npy"
    block.write_bytes(block.read_bytes()[:-1])
    (folder / ".build/block_1.json").write_text("{")
    build(folder)
    assert content(folder) == expected


def test_build_killed_before_its_first_file_starts_again(stand_in, tmp_path):
    folder = tmp_path / "bank"
    for name in ("waveforms", ".build"):
        (folder / name).mkdir(parents=True)
    (folder / ".build.lock").touch()
    (folder / ".dotpe-exec-tmp-0123-build.json").write_text("{")
    assert content(build(folder)) == content(build(tmp_path / "whole"))


def test_partial_build_keeps_the_seed_that_it_drew(stand_in, tmp_path):
    folder = tmp_path / "bank"
    with pytest.raises(KeyboardInterrupt):
        build(folder, seed=None, runner=InterruptedRunner(tmp_path, 3))
    drawn = json.loads((folder / "build.json").read_text())["recipe"]["seed"]
    build(folder, seed=None)
    assert open_bank(folder).config.info["seed"] == drawn
    assert content(build(tmp_path / "again", seed=drawn)) == content(folder)


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"seed": 4}, "its seed is 3"),
        ({"q_min": 0.3}, "its q_min is 0.2"),
        ({"mchirp_range": (20.0, 26.0)}, r"its mchirp_range is \[20.0, 25.0\]"),
        ({"fbin": FBIN + 1}, "its fbin is"),
        ({"bank_size": 151}, "its bank_size is 150"),
    ],
)
def test_folder_of_another_bank_is_refused(stand_in, tmp_path, finished, change, sentence):
    folder = tmp_path / "bank"
    if finished:
        build(folder)
    else:
        with pytest.raises(KeyboardInterrupt):
            build(folder, runner=InterruptedRunner(tmp_path, 2))
    before = content(folder)
    with pytest.raises(BankError, match=f"holds another bank: {sentence}"):
        build(folder, **change)
    assert content(folder) == before
    build(folder, **change, overwrite=True)
    assert content(folder) == content(build(tmp_path / "fresh", **change))


def test_foreign_files_are_never_touched(stand_in, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(BankError, match=r"holds notes\.txt, which is of no build"):
        build(tmp_path)
    assert list(content(tmp_path)) == ["notes.txt"]
    build(tmp_path, overwrite=True)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_partial_build_is_refused_without_resume(stand_in, tmp_path):
    folder = tmp_path / "bank"
    with pytest.raises(KeyboardInterrupt):
        build(folder, runner=InterruptedRunner(tmp_path, 2))
    with pytest.raises(BankError, match="a part of this bank, expected resume=True"):
        build(folder, resume=False)


def test_partial_build_of_other_versions_is_refused(stand_in, tmp_path):
    folder = tmp_path / "bank"
    with pytest.raises(KeyboardInterrupt):
        build(folder, runner=InterruptedRunner(tmp_path, 2))
    record = json.loads((folder / "build.json").read_text())
    record["versions"]["lalsimulation"] = "0.1"
    (folder / "build.json").write_text(json.dumps(record))
    with pytest.raises(BankError, match="expected the same versions of cogwheel and LAL"):
        build(folder)


@pytest.mark.parametrize("seed", [3, None])
def test_damaged_record_of_a_build_is_refused_or_overwritten(stand_in, tmp_path, seed):
    folder = tmp_path / "bank"
    with pytest.raises(KeyboardInterrupt):
        build(folder, runner=InterruptedRunner(tmp_path, 2))
    (folder / "build.json").write_text("{")
    with pytest.raises(BankError, match=r"build\.json is not a JSON file"):
        build(folder, seed=seed)
    built = build(folder, seed=seed, overwrite=True)
    assert check_bank(built, n_new=0).ok  # its waveforms are made up


def test_second_process_is_refused(stand_in, tmp_path):
    code = f"""
import filelock, sys
lock = filelock.FileLock({str(tmp_path / ".build.lock")!r})
lock.acquire()
print("locked", flush=True)
sys.stdin.read()
"""
    other = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert other.stdout.readline() == b"locked\n"
        with pytest.raises(BankError, match="another process is building"):
            build(tmp_path)
    finally:
        other.communicate()
    build(tmp_path)


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


def test_redrawn_rows_survive_an_interruption(stand_in, tmp_path):
    stand_in(lambda par_dic: par_dic["s1z"] > 0)
    with pytest.warns(UserWarning):
        expected = content(build(tmp_path / "whole"))
    folder = tmp_path / "bank"
    with pytest.raises(KeyboardInterrupt):
        build(folder, runner=InterruptedRunner(tmp_path, 3))
    with pytest.warns(UserWarning):
        build(folder)
    assert content(folder) == expected


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


def test_unwritable_folder_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(BankError, match="bank cannot be written: Not a directory"):
        build(tmp_path / "file" / "bank")


def test_full_disk_is_an_error_that_can_go_on(stand_in, tmp_path, monkeypatch):
    expected = content(build(tmp_path / "whole"))
    folder = tmp_path / "bank"
    write, full = BlockWriter.write, Path("/dev/full")

    def write_to_a_full_disk(self, start, *arrays):
        if start >= 64:
            for kind, file in self._files.items():
                file.close()
                self._files[kind] = full.open("wb", buffering=0)
        write(self, start, *arrays)

    with monkeypatch.context() as patch:
        patch.setattr(BlockWriter, "write", write_to_a_full_disk)
        with pytest.raises(RunDirectoryError, match="disk or the quota is full"):
            build(folder)
    assert not list(folder.rglob("*tmp*"))
    assert len(list((folder / "waveforms").iterdir())) == 2
    build(folder)
    assert content(folder) == expected


@pytest.mark.slow
@pytest.mark.parametrize("n_procs", [1, 2])
def test_killed_build_goes_on_to_the_same_bytes(tmp_path, n_procs):
    executor = "serial" if n_procs == 1 else "loky"
    arguments = ARGUMENTS | {"bank_size": 2000, "fbin": np.linspace(20, 500, 200)}
    arguments |= {"executor": executor, "n_procs": n_procs}
    expected = content(build_bank(tmp_path / "whole", **arguments))
    code = f"""
import numpy as np
from numpy import array
from dotpe_exec.banks.blocks import BlockWriter
from dotpe_exec.banks.build import build_bank
if __name__ == "__main__":
    arguments = {arguments | {"fbin": None}!r}
    arguments["fbin"] = np.linspace(20, 500, 200)
    build_bank({str(tmp_path / "bank")!r}, **arguments)
"""
    script = tmp_path / "script.py"
    script.write_text(code)
    rng = np.random.default_rng(n_procs)
    for _ in range(8):
        process = subprocess.Popen([sys.executable, str(script)], start_new_session=True)
        deadline = time.monotonic() + 120
        waveforms = tmp_path / "bank/waveforms"
        n_before = len(list(waveforms.glob("*.npy")))
        while process.poll() is None and time.monotonic() < deadline:
            if len(list(waveforms.glob("*.npy"))) > n_before:
                break
            time.sleep(0.02)
        time.sleep(rng.uniform(0, 0.5))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    build_bank(tmp_path / "bank", **arguments)
    assert content(tmp_path / "bank") == expected


def test_table_is_readable_by_pandas_alone(built):
    table = pd.read_feather(built / "intrinsic_sample_bank.feather")
    assert list(table.columns) == [
        "m1", "m2", "s1z", "s1x_n", "s1y_n", "s2z", "s2x_n", "s2y_n", "iota",
        "log_prior_weights",
    ]  # fmt: skip
    assert np.all(table.dtypes == np.float64)
