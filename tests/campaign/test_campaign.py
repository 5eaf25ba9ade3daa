"""Campaigns from beginning to end: as single runs, resumable, no event stops others."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from rough_reports import roughen_reports

from dotpe_exec import run
from dotpe_exec.campaign import Analysis, Campaign, Settings, make
from dotpe_exec.campaign.injections import Network, simulate
from dotpe_exec.cli import main
from dotpe_exec.errors import InputError
from dotpe_exec.events import load_event, simulate_event


def samples(campaign, name):
    return (campaign.files.rundir(name) / "samples.feather").read_bytes()


@pytest.fixture
def copied(analysed, tmp_path):
    """The finished campaign, to be changed."""
    shutil.copytree(analysed.files.path, tmp_path / "copy")
    return Campaign(tmp_path / "copy")


class TestInjections:
    def test_each_depends_on_its_number_alone(self, injections, tmp_path):
        few = dataclasses.replace(injections, n=1)
        one, same = simulate(injections, 1, tmp_path), simulate(few, 1, tmp_path)
        np.testing.assert_array_equal(one.strain, same.strain)
        assert one.injection["par_dic"] == same.injection["par_dic"]
        other = simulate(injections, 2, tmp_path)
        assert other.injection["par_dic"] != one.injection["par_dic"]

    def test_signals_are_within_their_limits(self, analysed, injections):
        for k, name in enumerate(analysed.names):
            event = load_event(analysed.files.event(name))
            par_dic = event.injection["par_dic"]
            snr = np.sqrt(np.sum(event.injection["h_h"]))
            assert injections.snr_range[0] <= snr <= injections.snr_range[1]
            assert par_dic["d_luminosity"] <= injections.d_luminosity_max
            assert abs(par_dic["t_geocenter"]) <= injections.time_half_range
            assert event.detector_names == tuple(injections.detectors[k % 2])

    def test_ratio_agrees_with_that_of_the_injected_signal(self, injections, tmp_path):
        event = simulate(injections, 0, tmp_path)
        par_dic = event.injection["par_dic"]
        snr = Network(event, injections.approximant).snr_at_one_mpc(par_dic)
        expected = np.sqrt(np.sum(event.injection["h_h"]))
        assert snr / par_dic["d_luminosity"] == pytest.approx(expected, rel=1e-6)

    def test_own_psd_makes_the_noise(self, injections, tmp_path):
        frequencies = np.linspace(1, 300, 300)
        density = np.full(300, 1e-46)
        np.savetxt(tmp_path / "H1.txt", np.column_stack([frequencies, density]))
        quiet = dataclasses.replace(
            injections, detectors=("H",), psds={"H1": "H1.txt"}, snr_range=(0.0, 1e9)
        )
        event = simulate(quiet, 0, tmp_path)
        inner = slice(*np.searchsorted(event.frequencies, [50, 200]))
        np.testing.assert_allclose(event.wht_filter[0, inner], 1e23, rtol=1e-6)

    def test_impossible_loudness_is_refused(self, injections, tmp_path, monkeypatch):
        monkeypatch.setattr("dotpe_exec.campaign.injections._MOST_DRAWS", 3)
        loud = dataclasses.replace(injections, snr_range=(1e8, 2e8))
        with pytest.raises(InputError, match="of 3 signals"):
            simulate(loud, 0, tmp_path)


class TestResults:
    def test_event_is_analysed_as_by_a_single_run(self, analysed, tmp_path):
        job = analysed.job(analysed.names[0])
        alone = run(job.event_file, rundir=tmp_path / "alone", progress=False,
                    **job.arguments)  # fmt: skip
        assert (alone / "samples.feather").read_bytes() == samples(analysed, job.name)
        summary = json.loads((alone / "summary_results.json").read_text())
        row = analysed.table().set_index("name").loc[job.name]
        assert row["ln_evidence"] == summary["ln_evidence"]
        found = pd.read_feather(alone / "samples.feather")
        assert found["mchirp"].min() <= row["mchirp"] <= found["mchirp"].max()

    def test_workers_and_order_change_no_bit(self, analysed, settings, tmp_path):
        other = make(tmp_path / "other", settings, executor="serial", progress=False)
        names = other.names[:0:-1][:1]  # of one, the worker's, because it imports all anew
        other.run(names, executor="process", n_procs=2, progress=False)
        for name in names:
            assert samples(other, name) == samples(analysed, name)
            ours, theirs = analysed.outcome(name)["values"], other.outcome(name)["values"]
            assert {**ours, "ended": 0} == {**theirs, "ended": 0}

    def test_probabilities_are_of_samples_within_the_limits(self, analysed, injections):
        for name in analysed.names:
            values = analysed.outcome(name)["values"]
            found = pd.read_feather(analysed.files.rundir(name) / "samples.feather")
            inside = found["d_luminosity"] <= injections.d_luminosity_max
            assert values["share_within_limits"] <= inside.mean() + 1e-12
            assert all(0 <= below <= 1 for below in values["below"].values())

    def test_table_and_page_hold_all_events(self, copied):
        for name in copied.names:
            outcome = copied.outcome(name)
            verdict = "limited" if name == "injection_00001" else "reliable"
            outcome["values"] |= {"verdict": verdict, "findings": [f"{verdict} indeed"]}
            copied.files.outcome(name).write_text(json.dumps(outcome))
        path = copied.report(pages=False, progress=False)
        table = pd.read_csv(copied.files.table_csv)
        assert table["name"].tolist()[0] == "injection_00001"  # not reliable: first
        assert set(table["name"]) == set(copied.names)
        parquet = pd.read_parquet(copied.files.table_parquet)
        assert parquet["ln_evidence"].tolist() == pytest.approx(table["ln_evidence"])
        assert (table["redshift"] > 0).all()
        page = path.read_text()
        assert "limited indeed" in page and "http" not in page.replace("http-equiv", "")
        assert all(name in page for name in copied.names)

    def test_pages_of_events_are_linked(self, copied, rough_skymaps, monkeypatch):
        roughen_reports(monkeypatch)
        (name, *_) = copied.names
        for other in copied.names[1:]:
            copied.files.outcome(other).unlink()
        page = copied.report(executor="serial", progress=False).read_text()
        assert f'href="report/{name}.html"' in page
        assert copied.files.page(name).is_file()


class TestFolder:
    def test_finished_campaign_has_nothing_to_do(self, copied):
        before = {name: copied.files.outcome(name).read_bytes() for name in copied.names}
        assert copied.run(executor="serial", progress=False) == {"finished": 3}
        after = {name: copied.files.outcome(name).read_bytes() for name in copied.names}
        assert after == before

    def test_same_settings_make_the_same_campaign_again(self, copied, settings):
        again = make(copied.files.path, settings, progress=False)
        assert again.counts() == {"finished": 3}

    def test_second_campaign_in_a_folder_is_refused(self, copied, settings):
        other = dataclasses.replace(settings, name="another", seed=3)
        with pytest.raises(InputError, match=r"holds the campaign 'small' already.*seed"):
            make(copied.files.path, other, progress=False)
        assert copied.counts() == {"finished": 3}

    def test_changed_settings_say_what_changed_and_for_whom(self, copied):
        text = copied.files.settings.read_text()
        entry = "\n[events.extra]\nsource = 'GW150914'\n"
        copied.files.settings.write_text(text.replace("n_ext = 32", "n_ext = 48") + entry)
        changed = Campaign(copied.files.path)
        with pytest.raises(InputError, match="n_ext from 32 to 48") as caught:
            changed.run(executor="serial", progress=False)
        assert "injection_00000, injection_00001, injection_00002" in str(caught.value)
        assert "extra" not in str(caught.value).split("undo")[0]

    def test_changed_injections_are_noticed(self, copied):
        text = copied.files.settings.read_text()
        copied.files.settings.write_text(text.replace("duration = 4.0", "duration = 8.0"))
        with pytest.raises(InputError, match=r"injections\.duration from 4\.0 to 8\.0"):
            Campaign(copied.files.path).run(executor="serial", progress=False)

    def test_redo_analyses_again_only_what_is_asked_for(self, copied):
        text = copied.files.settings.read_text()
        copied.files.settings.write_text(text.replace("n_ext = 32", "n_ext = 48"))
        changed = Campaign(copied.files.path)
        before = [samples(copied, name) for name in copied.names]
        changed.run(["injection_00001"], redo=True, executor="serial", progress=False)
        after = [samples(copied, name) for name in copied.names]
        assert [a == b for a, b in zip(after, before, strict=True)] == [True, False, True]

    def test_bad_events_fail_alone(self, small_bank, tmp_path):
        event = simulate_event("other", "HL", duration=2.0, fmax=256.0)
        event.to_npz(filename=tmp_path / "off_grid.npz")
        (tmp_path / "noise.npz").write_bytes(b"no event")
        events = {name: {"source": str(tmp_path / f"{name}.npz")}
                  for name in ("off_grid", "noise", "missing")}  # fmt: skip
        analysis = Analysis("run", {"bank_folder": str(small_bank)})
        settings = Settings("bad", analysis=analysis, events=events)
        campaign = make(tmp_path / "c", settings, executor="serial", progress=False)
        assert campaign.run(executor="serial", progress=False) == {"failed": 3}
        sentences = campaign.table().set_index("name")["sentence"]
        assert "are not frequencies of" in sentences["off_grid"]
        assert "not a cogwheel event" in sentences["noise"]
        assert "there is no file" in sentences["missing"]
        event.reinstantiate(eventname="noise").to_npz(filename=tmp_path / "missing.npz")
        campaign.run(["missing"], executor="serial", progress=False)
        assert "frequencies" in campaign.outcome("missing")["sentence"]  # tried again

    def test_event_in_use_is_left_alone(self, copied):
        from dotpe_exec.rundir.directory import RunDirectory
        from dotpe_exec.rundir.lock import DirectoryLock

        name = "injection_00002"
        copied.files.outcome(name).unlink()
        directory = RunDirectory(copied.files.rundir(name))
        directory.summary.unlink()
        with DirectoryLock(directory.lock):
            counts = copied.run(executor="serial", progress=False)
        assert counts == {"started": 1, "finished": 2}


class TestCommands:
    def test_from_nothing_to_a_report(self, small_bank, tmp_path):
        folder = tmp_path / "pp"
        make_it = ["make", folder, "--injections", 1, "--bank-folder", small_bank,
                   "--duration", 4, "--fmax", 256, "--d-luminosity-max", 2000]  # fmt: skip
        for name, value in {"n_ext": 32, "n_phi": 16, "n_t": 32}.items():
            make_it += ["--set", name, value]
        commands = (
            make_it,
            ["run", folder, "--executor", "serial"],
            ["status", folder, "--all"],
            ["report", folder, "--no-pages", "--executor", "serial"],
        )
        for command in commands:
            arguments = ["campaign", *map(str, command)]
            done = CliRunner().invoke(main, arguments, catch_exceptions=False)
            assert done.exit_code == 0, done.output
        assert (folder / "report.html").is_file()

    def test_parts_are_all_events_together(self, copied):
        for chunk in range(2):
            arguments = [str(copied.files.path), "--chunk", str(chunk), "--of", "2"]
            done = CliRunner().invoke(main, ["campaign", "run", *arguments])
            assert done.exit_code == 0, done.output
        done = CliRunner().invoke(
            main, ["campaign", "run", str(copied.files.path), "--chunk", "2", "--of", "2"]
        )
        assert done.exit_code == 2 and "expected 0 to 1" in done.output

    def test_failed_events_are_the_exit_status(self, small_bank, tmp_path):
        folder = str(tmp_path / "c")
        runner = CliRunner()
        command = ["make", folder, "no.npz", "--bank-folder", str(small_bank)]
        assert runner.invoke(main, ["campaign", *command]).exit_code == 0
        done = runner.invoke(main, ["campaign", "run", folder, "--executor", "serial"])
        assert done.exit_code == 1 and "1 failed" in done.output
