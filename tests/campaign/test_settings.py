"""``campaign.toml``: written as it is read, refused where it makes no sense."""

from __future__ import annotations

import dataclasses

import pytest

from dotpe_exec.campaign.options import settings_from_options
from dotpe_exec.campaign.settings import (
    Analysis,
    Injections,
    Settings,
    read_settings,
    write_settings,
)
from dotpe_exec.errors import InputError, MissingFileError

RUN = {"bank_folder": "banks/bbh", "n_ext": 64}


def test_settings_survive_the_file(tmp_path):
    settings = Settings(
        "all of it", 7, Analysis("run", RUN),
        {"GW150914": {"source": "GW150914", "mchirp_guess": 30.0}},
        Injections(n=2, detectors=("HL", "HLV"), psds={"H1": "H1.txt"}),
    )  # fmt: skip
    write_settings(tmp_path / "campaign.toml", settings)
    again = read_settings(tmp_path / "campaign.toml")
    assert dataclasses.asdict(again) == dataclasses.asdict(settings)
    assert again.names() == ["GW150914", "injection_00000", "injection_00001"]
    assert again.event_analysis("GW150914").arguments["mchirp_guess"] == 30.0
    assert again.event_analysis("injection_00000").arguments == RUN


def test_relative_paths_are_seen_from_the_campaign(tmp_path):
    analysis = Analysis("run", {"bank_folder": "a,/b/c", "n_ext": 1})
    arguments = analysis.call_arguments(tmp_path)
    assert arguments["bank_folder"] == f"{tmp_path}/a,/b/c"
    assert arguments["n_phi"] == 100  # as on the command line


def test_adaptive_analysis_has_its_own_arguments():
    assert Analysis("infer", {"n_effective": 500.0}).method == "infer"
    with pytest.raises(InputError, match="n_int is no argument of infer"):
        Analysis("infer", {"n_int": 5})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[campaign", "is not TOML"),
        ("[campains]\nname='x'", r"\[campains\] is unknown: campaign is meant"),
        ("[campaign]\nnam='x'", "nam is unknown"),
        ("[analysis]\nmethod='guess'", "expected infer or run"),
        ("[analysis]\nmethod='run'", "bank_folder is missing"),
        ("[analysis]\nbank_folder='b'\nn_exd=3", "n_exd is no argument of run: n_ext"),
        ("[analysis]\nbank_folder='b'\nrundir='r'", "rundir is for the campaign"),
        ("[analysis]\nbank_folder='b'", "has no events"),
        ("[analysis]\nbank_folder='b'\n[events.a]\nfile='x'", "a has no source"),
        ("[analysis]\nbank_folder='b'\n[events.'../a']\nsource='x'", "name"),
        ("[analysis]\nbank_folder='b'\n[injections]\nn=-1", "n is -1"),
        ("[analysis]\nbank_folder='b'\n[injections]\nn=1\nsnr=3", "snr is unknown"),
        ("[analysis]\nbank_folder='b'\n[injections]\nn=1\nsnr_range=[9,8]", "snr_range"),
        ("[analysis]\nbank_folder='b'\n[injections]\nn=1\nq_min=2.0", "q_min is 2.0, exp"),
        ("[analysis]\nbank_folder='b'\n[injections]\nn=1\nmchirp_range=[5]", "two numbers"),
    ],
)
def test_nonsense_is_refused_in_a_sentence(tmp_path, text, message):
    (tmp_path / "campaign.toml").write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read_settings(tmp_path / "campaign.toml")
    assert str(tmp_path / "campaign.toml") in str(caught.value)


def test_folder_without_campaign_is_named(tmp_path):
    with pytest.raises(MissingFileError, match="holds no campaign"):
        read_settings(tmp_path / "campaign.toml")


class TestOptions:
    def test_injections_are_from_the_banks_prior(self, tmp_path, small_bank):
        settings = settings_from_options(
            tmp_path, (), 5, {"bank_folder": str(small_bank), "others": (("n_ext", 32),)}
        )
        assert settings.analysis.method == "run"
        assert settings.analysis.arguments["n_ext"] == 32
        assert settings.injections.mchirp_range == (28.0, 34.0)
        assert settings.injections.q_min == 0.5
        assert settings.injections.f_ref == 50.0

    def test_what_is_given_wins(self, tmp_path, small_bank):
        options = {"bank_folder": str(small_bank), "mchirp_range": (29.0, 31.0)}
        settings = settings_from_options(tmp_path, (), 1, options)
        assert settings.injections.mchirp_range == (29.0, 31.0)

    def test_files_are_named_after_themselves(self, tmp_path, small_bank):
        options = {"bank_folder": str(small_bank)}
        settings = settings_from_options(tmp_path, ("a/x.npz", "GW150914"), 0, options)
        assert settings.events["GW150914"] == {"source": "GW150914"}
        assert settings.events["x"]["source"].endswith("/a/x.npz")
        with pytest.raises(InputError, match="two events have the name x"):
            settings_from_options(tmp_path, ("a/x.npz", "b/x.npz"), 0, options)

    def test_curves_need_their_detector(self, tmp_path, small_bank):
        options = {"bank_folder": str(small_bank), "psds": ("H1.txt",)}
        with pytest.raises(InputError, match="DETECTOR=FILE"):
            settings_from_options(tmp_path, (), 1, options)
