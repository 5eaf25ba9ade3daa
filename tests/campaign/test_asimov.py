"""asimov's analyses: from its ledger to a configuration, and through its own commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from envelopes import write_envelope
from small_runs import PAR_DIC

from dotpe_exec.campaign.asimov.ledger import Configuration, configuration_of
from dotpe_exec.errors import InputError
from dotpe_exec.events import save_event, simulate_event

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

REPOSITORY = Path(__file__).resolve().parents[2]
GROUP = "asimov.pipelines"


@pytest.fixture
def meta():
    """What asimov's ledger says of an analysis, the event's part merged into it."""
    return {
        "event time": 1187008882.4,
        "interferometers": ["H1", "L1"],
        "data": {
            "data files": {"H1": ["H.gwf"], "L1": ["L.gwf"], "V1": ["V.gwf"]},
            "channels": {"H1": "H1:STRAIN", "L1": "L1:STRAIN"},
            "segment length": 8,
        },
        "likelihood": {
            "minimum frequency": {"H1": 20, "L1": 25},
            "maximum frequency": {"H1": 1024, "L1": 896},
        },
        "waveform": {"approximant": "IMRPhenomXPHM", "reference frequency": 20},
        "priors": {
            "chirp mass": {"minimum": 20, "maximum": 40},
            "mass ratio": {"minimum": 0.125, "maximum": 1.0},
            "luminosity distance": {"minimum": 10, "maximum": 5000},
        },
        "sampler": {"n effective": 2000},
        "scheduler": {"accounting group": "ligo.x", "request memory": "4096 MB"},
    }


class TestLedger:
    def test_settings_become_arguments(self, meta):
        psds = {"H1": "H.txt", "L1": "L.txt"}
        found = configuration_of("GW1", meta, psds)
        assert found.event == {
            "name": "GW1", "files": ["H.gwf", "L.gwf"], "detectors": ["H1", "L1"],
            "tgps": 1187008882.4, "channels": ["H1:STRAIN", "L1:STRAIN"], "psds": psds,
            "t_before": 6.0, "t_after": 2.0, "fmin": 25.0, "fmax": 896.0,
        }  # fmt: skip
        assert found.analysis == {
            "method": "infer", "n_effective": 2000, "approximant": "IMRPhenomXPHM",
            "f_ref": 20, "mchirp_range": [20.0, 40.0], "q_min": 0.125,
        }  # fmt: skip
        assert found.site == {"account": "ligo.x", "memory_gb": 4.0}
        assert found.unused_priors == ("luminosity distance",)

    def test_configuration_is_read_as_it_was_written(self, meta, tmp_path):
        found = configuration_of("GW1", meta, {})
        (tmp_path / "Prod0.ini").write_text("# asimov\n" + found.to_toml())
        assert Configuration.read(tmp_path / "Prod0.ini") == found

    def test_arguments_are_those_of_the_analysis(self, meta):
        settings = configuration_of("GW1", meta, {}).settings(Path("/x/GW1.npz"))
        assert settings.events == {"GW1": {"source": "/x/GW1.npz"}}
        assert settings.analysis.arguments["n_effective"] == 2000
        meta["sampler"]["n efective"] = 1
        with pytest.raises(InputError, match="n_effective is meant"):
            configuration_of("GW1", meta, {}).settings(Path("GW1.npz"))

    def test_bank_brings_its_own_prior(self, meta):
        meta["sampler"] = {"bank_folder": "/banks/bbh", "n_ext": 64}
        analysis = configuration_of("GW1", meta, {}).analysis
        assert analysis == {"method": "run", "bank_folder": "/banks/bbh", "n_ext": 64}

    @pytest.mark.parametrize(
        "asked",
        [
            {"calibration": {"sample": True}},
            {"marginalization": {"calibration": True}},
            {"marginalization": {"Calibration": True}},
        ],
    )
    def test_calibration_envelopes_are_those_of_the_ledger(self, meta, asked):
        meta["data"]["calibration"] = {"H1": "C01/H1.txt", "L1": "/cal/L1.txt", "V1": "V"}
        assert "calibration" not in configuration_of("GW1", meta, {}).analysis
        meta["likelihood"] |= asked
        found = configuration_of("GW1", meta, {}, "/repository").analysis["calibration"]
        assert found == {"H1": "/repository/C01/H1.txt", "L1": "/cal/L1.txt"}
        del meta["data"]["calibration"]["L1"]
        with pytest.raises(InputError, match="no calibration envelope of L1"):
            configuration_of("GW1", meta, {})
        meta["sampler"] = {"calibration": {"H1": "own.txt"}}
        assert configuration_of("GW1", meta, {}).analysis["calibration"] == {
            "H1": "own.txt"
        }

    @pytest.mark.parametrize(
        ("part", "content", "message"),
        [
            ("likelihood", {"calibration": {"sample": True}}, "no data: calibration"),
            ("likelihood", {"marginalization": {"calibration": True}}, "no data: calib"),
            ("interferometers", [], "no interferometers"),
            ("event time", None, "no event time"),
            ("data", {}, "no data: data files"),
            ("data", {"data files": {"H1": "H.gwf"}}, "no data file of L1"),
            ("data", {"data files": {"H1": ["a", "b"], "L1": "c"}}, "H1 has 2 files"),
            ("scheduler", {"request memory": "lots"}, "request memory is 'lots'"),
        ],
    )
    def test_what_cannot_be_done_is_refused(self, meta, part, content, message):
        meta[part] = content
        with pytest.raises(InputError, match=message):
            configuration_of("GW1", meta, {})

    def test_missing_psd_is_refused(self, meta):
        with pytest.raises(InputError, match="no PSD of L1"):
            configuration_of("GW1", meta, {"H1": "H.txt"})

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("not toml", "no configuration"),
            ("[event]\nname = 'x'", r"\[analysis\] is missing"),
            ("[evnt]\nname = 'x'", r"\[evnt\] is unknown"),
        ],
    )
    def test_damaged_configuration_is_refused(self, tmp_path, text, message):
        (tmp_path / "c.ini").write_text(text)
        with pytest.raises(InputError, match=message):
            Configuration.read(tmp_path / "c.ini")


BLUEPRINTS = {
    "event": "kind: event\nname: SIM1\nevent time: 1200000000\ninterferometers: [H1, L1]\n",
    "Prod0": """\
kind: analysis
name: Prod0
pipeline: dotpe-exec
status: ready
sampler: {{event: {event}, bank_folder: {bank}, par_dic_0: {par_dic_0}, n_ext: 32,
  n_phi: 16, n_t: 32, seed: 1}}
scheduler: {{accounting group: my.group}}
likelihood: {{calibration: {{sample: true}}}}
data: {{calibration: {{H1: {envelope}, L1: {envelope}}}}}
""",
    "Prod1": """\
kind: analysis
name: Prod1
pipeline: dotpe-exec
status: ready
sampler: {{event: {missing}, bank_folder: {bank}}}
""",
}


def entry_point():
    """Return the plug-in as pyproject.toml declares it."""
    content = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    return content["project"]["entry-points"][GROUP]


@pytest.fixture
def environment(tmp_path):
    """Of asimov, which sees the plug-in whether or not this version is installed."""
    about = tmp_path / "plugin" / "declared-0.dist-info"
    about.mkdir(parents=True)
    about.joinpath("METADATA").write_text(
        "Metadata-Version: 2.1\nName: declared\nVersion: 0\n"
    )
    lines = [f"[{GROUP}]", *(f"{name} = {value}" for name, value in entry_point().items())]
    about.joinpath("entry_points.txt").write_text("\n".join(lines) + "\n")
    people = {f"GIT_{who}_{what}": "a@b.c" for who in ("AUTHOR", "COMMITTER")
              for what in ("NAME", "EMAIL")}  # fmt: skip
    path = os.pathsep.join([str(REPOSITORY), str(tmp_path / "plugin")])
    return {**os.environ, **people, "PYTHONPATH": path}


def test_entry_point_names_the_plug_in(environment):
    (name, value), *others = entry_point().items()
    assert EntryPoint(name, value, GROUP).attr == "DotpeExec" and not others
    code = "from asimov.pipelines import known_pipelines as k; print(k['dotpe-exec'].name)"
    done = subprocess.run([sys.executable, "-W", "error::ImportWarning", "-c", code],
                          env=environment, capture_output=True, text=True)  # fmt: skip
    assert done.stdout.strip().splitlines()[-1:] == ["dotpe-exec"], done.stderr


@pytest.mark.slow
def test_project_from_blueprints_to_samples(small_bank, environment, tmp_path):
    event = simulate_event(
        "SIM1", "HL", duration=4.0, fmax=256.0, injection=PAR_DIC, seed=3
    )
    (tmp_path / "par_dic_0.json").write_text(json.dumps(PAR_DIC))
    save_event(event, tmp_path / "SIM1.npz")
    paths = []
    for name, text in BLUEPRINTS.items():
        paths.append(tmp_path / f"{name}.yaml")
        paths[-1].write_text(
            text if name == "event" else text.format(
                event=tmp_path / "SIM1.npz", missing=tmp_path / "no.npz", bank=small_bank,
                par_dic_0=tmp_path / "par_dic_0.json",
                envelope=write_envelope(tmp_path / "envelope.txt"),
            )
        )  # fmt: skip
    project = tmp_path / "project"
    project.mkdir()
    program = "from asimov.olivaw import olivaw; olivaw()"
    subprocess.run([sys.executable, "-c", program, "init", "A project"], check=True,
                   cwd=project, env=environment, capture_output=True)  # fmt: skip
    configuration = project / ".asimov" / "asimov.conf"
    text = configuration.read_text()
    configuration.write_text(text.replace("type = htcondor", "type = local"))
    driver = Path(__file__).with_name("asimov_project.py")
    done = subprocess.run([sys.executable, driver, *paths], cwd=project, env=environment,
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    answer = json.loads(done.stdout.splitlines()[-1])
    found = answer["found"]["Prod0"]
    assert found["status"] == "uploaded" and found["complete"], answer["said"]
    rundir = project / "working" / "SIM1" / "Prod0"
    assert found["samples"] == [str(rundir / "results" / "Prod0_result.json")]
    posterior = json.loads(Path(found["samples"][0]).read_text())["posterior"]
    assert len(posterior["content"]["chirp_mass"]) > 10
    assert set(found["assets"]) == {"samples", "pesummary", "report", "config"}
    assert all(Path(found["assets"][kind]).is_file() for kind in ("pesummary", "report"))
    ((_, page),) = found["pages"]
    assert (project / "pages" / page).is_file()
    assert "event_0.out" in found["logs"]
    assert "accounting_group = my.group" in (rundir / "submit" / "event.sub").read_text()
    versioned = project / "checkouts" / "SIM1" / "analyses" / "Prod0.ini"
    assert Configuration.read(versioned).event["source"] == str(tmp_path / "SIM1.npz")
    assert '"calibration_marginalization": true' in Path(found["samples"][0]).read_text()
    # One that cannot be built is said to be so, and does not stop the other.
    assert "Unable to submit Prod1" in answer["said"]
    assert not answer["found"]["Prod1"]["complete"]
