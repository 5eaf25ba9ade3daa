"""Bad input to every command: exit code 2, one sentence, no traceback, nothing written.

Good input on odd paths, with spaces and letters of other alphabets, has to work.
"""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from banks.synthetic_banks import write_bank
from click.testing import CliRunner

from dotpe_exec.cli import main
from dotpe_exec.events import simulate_event
from dotpe_exec.inference import entry

EXPORTED = ("m1", "m2", "s1z", "s2z", "iota", "f_ref", "d_luminosity", "ra", "dec", "psi",
            "phi_ref", "t_geocenter", "lnl", "weights")  # fmt: skip


@pytest.fixture(scope="module")
def event():
    return simulate_event("tiny", "HL", duration=4.0, fmax=128.0, seed=1)


@pytest.fixture
def folder(event, tmp_path, monkeypatch):
    """Good inputs, and everything that can be in their place; the current folder."""

    def work_starts(*args, **kwargs):
        raise AssertionError("work starts")

    monkeypatch.setattr(entry, "run_stages", work_starts)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    event.to_npz(filename=folder / "event.npz")
    write_bank(folder / "bank", seed=0)
    (folder / "empty").write_bytes(b"")
    (folder / "empty.npz").write_bytes(b"")
    (folder / "text").write_text("text")
    (folder / "list.json").write_text("[1]")
    (folder / "bad.json").write_text("{")
    (folder / "folder").mkdir()
    (folder / "loop").symlink_to("loop")
    (folder / "foreign").mkdir()
    (folder / "foreign" / "notes.txt").write_text("mine")
    for name in ("done", "unfinished", "damaged", "eventless"):
        (folder / name).mkdir()
        (folder / name / "run_kwargs.json").write_text("{}")
        if name != "unfinished":
            columns = EXPORTED if name == "eventless" else ("m1", "lnl")
            (folder / name / "summary_results.json").write_text('{"ln_evidence": 40.0}')
            samples = pd.DataFrame(dict.fromkeys(columns, np.ones(3)))
            samples.to_feather(folder / name / "samples.feather")
    damaged = folder / "damaged" / "samples.feather"
    damaged.write_bytes(damaged.read_bytes()[:-20])
    return folder


def contents(folder):
    """Names and content; the time of a folder changes when its lock comes and goes."""
    return {
        path.relative_to(folder): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


INPUTS = "--bank-folder bank --event event.npz"
RUN = f"run {INPUTS} --executor serial --no-progress --rundir new"
BUILD = "bank build new --event event.npz --bank-size 8 --mchirp-range 20 30 --no-progress"
SIMULATE = "event simulate new.npz --duration 4 --fmax 128"
STRAIN = "event from-strain new.npz text text --detectors HL --tgps 0"

CASES = {
    "report": "Missing argument",
    "report nowhere": "the run directory nowhere does not exist",
    "report text": "the run directory text does not exist",
    "report loop": "the run directory loop does not exist",
    "report folder": "folder is not a run directory",
    "report unfinished": "unfinished/summary_results.json does not exist",
    "report damaged -o new.html": "damaged/samples.feather is damaged",
    "report done nowhere -o new.html": "nowhere does not exist",
    "report done -o new.pdf": "new.pdf must end in .html",
    "report done -o no/such/folder.html": "no/such/folder.html cannot be written",
    "report done -o text/new.html": "text/new.html cannot be written",
    "report done -o folder": "folder is a folder, expected a file",
    "report a\nb": r"a\nb does not exist",
    "report done --quickly": "No such option",
    "plot done": "Missing option '--what'",
    "plot done --what pie": "'pie' is not one of",
    "plot nowhere --what sky": "nowhere does not exist",
    "plot folder --what sky": "folder is not a run directory",
    "plot unfinished --what corner": "summary_results.json does not exist",
    "plot damaged --what corner": "damaged/samples.feather is damaged",
    "plot done --what sky -o new.jpg": "new.jpg must end in one of .png, .pdf, .svg",
    "plot done --what sky -o new": "new must end in one of",
    "plot done --what sky -o no/such.png": "no/such.png cannot be written",
    "plot done --what sky -o ''": "must end in one of",
    "export done": "Missing option '--format'",
    "export done --format hdf5": "'hdf5' is not one of 'bilby', 'pesummary'",
    "export --format bilby": "Missing argument",
    **{
        f"export {words} --format {form}": sentence
        for form in ("bilby", "pesummary")
        for words, sentence in {
            "nowhere": "the run directory nowhere does not exist",
            "text": "the run directory text does not exist",
            "loop": "the run directory loop does not exist",
            "folder": "folder is not a run directory",
            "unfinished": "unfinished/summary_results.json does not exist",
            "damaged": "damaged/samples.feather is damaged",
            "done": "done/samples.feather lacks the columns weights, m2,",
            "eventless": "eventless holds no event data (.npz)",
            "done -o ''": "output is '', expected a path",
            "done -o folder": "folder is a folder, expected a file",
            "done -o no/such.file": "no/such.file cannot be written",
            "done -o text/such.file": "text/such.file cannot be written",
            "done -o loop/such.file": "loop/such.file cannot be written",
            "done -o /proc/such.file": "/proc/such.file cannot be written",
        }.items()
    },
    "export done done --format bilby": "a bilby result holds one run, 2 were given",
    "export done nowhere --format pesummary": "nowhere does not exist",
    "autotune --event event.npz": "event and bank_folder are given together",
    "autotune --bank-folder bank": "event and bank_folder are given together",
    "autotune --event nowhere --bank-folder bank": "nowhere",
    "autotune --event event.npz --bank-folder nowhere": "nowhere does not exist",
    "autotune --event event.npz --bank-folder {bad": "not valid JSON",
    "autotune --event loop --bank-folder bank": "loop",
    "autotune --max-memory-gb-per-worker lots": "not a valid float",
    "autotune --max-memory-gb-per-worker -1": "max_memory_gb",
    "autotune --max-memory-gb-per-worker nan": "max_memory_gb",
    "info extra": "the run directory extra does not exist",
    "info --yaml": "No such option",
    f"{BUILD} --bank-size 0": "bank_size is 0",
    f"{BUILD} --bank-size -3": "bank_size is -3",
    f"{BUILD} --bank-size 2.5": "not a valid integer",
    f"{BUILD} --bank-size 1000000000000": "GB on the disk",
    f"{BUILD} --n-banks 1000000000000": "GB on the disk",
    f"{BUILD} --mchirp-range 30 20": "mchirp_range",
    f"{BUILD} --mchirp-range 20 20": "mchirp_range",
    f"{BUILD} --mchirp-range -1 20": "mchirp_range",
    f"{BUILD} --mchirp-range nan 20": "mchirp_range",
    f"{BUILD} --mchirp-range 20 inf": "mchirp_range",
    f"{BUILD} --q-min 0": "q_min",
    f"{BUILD} --q-min 2": "q_min",
    f"{BUILD} --q-min nan": "q_min",
    f"{BUILD} --f-ref -5": "f_ref",
    f"{BUILD} --f-ref nan": "f_ref",
    f"{BUILD} --approximant Newton": "Newton",
    f"{BUILD} --pn-phase-tol 0": "pn_phase_tol",
    f"{BUILD} --pn-phase-tol nan": "pn_phase_tol",
    f"{BUILD} --pn-phase-tol 1e-9": "pn_phase_tol",
    f"{BUILD} --pn-phase-tol 1e9": "pn_phase_tol",
    f"{BUILD} --blocksize 0": "blocksize is 0",
    f"{BUILD} --alpha nan": "alpha",
    f"{BUILD} --alpha inf": "alpha",
    f"{BUILD} --n-banks 0": "n_banks is 0",
    f"{BUILD} --n-banks -2": "n_banks is -2",
    f"{BUILD} --prior-mchirp-range 25 30": "prior_mchirp_range",
    f"{BUILD} --prior-mchirp-range nan 50": "prior_mchirp_range",
    f"{BUILD} --seed -1": "seed is -1",
    f"{BUILD} --n-procs 0": "n_procs is 0",
    f"{BUILD} --executor gpu": "executor='gpu'",
    f"{BUILD} --event nowhere.npz": "nowhere.npz",
    f"{BUILD} --event empty.npz": "empty.npz",
    BUILD.replace("new", "text"): "text",
    BUILD.replace("new", "text/new"): "text/new",
    BUILD.replace("new", "loop"): "loop",
    BUILD.replace("new", "foreign"): "foreign holds notes.txt",
    BUILD.replace("new", "/proc/new"): "/proc/new",
    "bank build new --bank-size 8": "Missing option",
    "bank check nowhere": "nowhere does not exist",
    "bank check text": "text",
    "bank check folder": "bank_config.json does not exist",
    "bank check loop": "loop",
    "bank destroy bank": "No such command",
    SIMULATE.replace("new.npz", "new.txt"): "new.txt must end in .npz",
    SIMULATE.replace("new.npz", "empty.npz"): "empty.npz exists already",
    SIMULATE.replace("new.npz", "no/such.npz"): "no/such.npz cannot be written",
    SIMULATE.replace("new.npz", "text/such.npz"): "text/such.npz cannot be written",
    SIMULATE.replace("new.npz", "loop/such.npz"): "loop/such.npz cannot be written",
    SIMULATE.replace("new.npz", "a\nb.npz"): r"a\nb",
    SIMULATE.replace("new.npz", "'a b.npz'"): "'a b' cannot be part of a file name",
    f"{SIMULATE} --duration -4": "duration is -4",
    f"{SIMULATE} --duration 0": "duration is 0",
    f"{SIMULATE} --duration nan": "duration is nan",
    f"{SIMULATE} --duration inf": "duration is inf",
    f"{SIMULATE} --duration 1e13": "make 2.56e+15 samples",
    f"{SIMULATE} --fmax 1e13": "make 8e+13 samples",
    f"{SIMULATE} --fmax -3": "fmax is -3",
    f"{SIMULATE} --fmin 200": "fmin is 200",
    f"{SIMULATE} --fmin nan": "fmin is nan",
    f"{SIMULATE} --tgps nan": "tgps is nan",
    f"{SIMULATE} --tgps 1e300": "tgps is 1e+300",
    f"{SIMULATE} --seed -1": "seed is -1",
    f"{SIMULATE} --seed 1.5": "not a valid integer",
    f"{SIMULATE} --detectors ''": "detectors are ''",
    f"{SIMULATE} --detectors XYZ": "detector 'X'",
    f"{SIMULATE} --detectors HH": "a detector twice",
    f"{SIMULATE} --asds nope": "asds: 1 given",
    f"{SIMULATE} --asds nope,nope,nope": "asds: nope is neither",
    f"{SIMULATE} --approximant Newton": "'Newton'",
    f"{SIMULATE} --injection {{": "not valid JSON",
    f"{SIMULATE} --injection nowhere.json": "injection file nowhere.json does not exist",
    f"{SIMULATE} --injection bad.json": "injection file bad.json is not a JSON file",
    f"{SIMULATE} --injection list.json": "injection file list.json is a list",
    f"{SIMULATE} --injection folder": "injection file folder does not exist",
    f"{SIMULATE} --injection {{}}": "injection lacks",
    f"{SIMULATE} --injection {{\"m1\":NaN}}": "injection: m1 is nan",
    f"{STRAIN} ": "the strain file text cannot be read",
    f"{STRAIN} --detectors H": "2 strain files given for 1 detectors",
    f"{STRAIN} --detectors HX": "the strain file text cannot be read",
    f"{STRAIN} --detectors ''": "detectors are ''",
    f"{STRAIN} --tgps nan": "tgps is nan",
    f"{STRAIN} --tgps now": "not a valid float",
    STRAIN.replace("text", "nowhere"): "strain file nowhere does not exist",
    STRAIN.replace("text", "folder"): "strain file folder does not exist",
    STRAIN.replace("text", "loop"): "strain file loop does not exist",
    STRAIN.replace("text", "empty"): "the strain file empty cannot be read",
    STRAIN.replace("new.npz", "new"): "new must end in .npz",
    STRAIN.replace("new.npz", "empty.npz"): "exists already",
    "event from-strain new.npz": "Missing argument 'FILES...'",
    "demo --folder text": "text",
    "demo --folder loop": "loop",
    "demo --folder ''": "folder is ''",
    "demo --folder /proc/new": "/proc/new",
    "demo --folder new --n-effective 0": "n_effective is 0",
    "demo --folder new --n-effective many": "not a valid float",
    "demo --folder new --seed -1": "seed is -1",
    "demo --folder new --n-procs 0": "n_procs is 0",
    "demo --folder new --executor gpu": "executor='gpu'",
    "run": "Missing option",
    "runn": "No such command",
    f"{RUN} --n-int NaN": "n_int is nan",
    f"{RUN} --n-int [1,": "not valid JSON",
    f"{RUN} --n-ext 0": "n_ext is 0",
    f"{RUN} --n-ext 1000000000000": "n_ext is 1000000000000",
    f"{RUN} --n-phi 1000000000000": "n_phi is 1000000000000",
    f"{RUN} --n-t 1000000000000": "n_t is 1000000000000",
    f"{RUN} --mchirp-guess nan": "mchirp_guess is nan",
    f"{RUN} --mchirp-guess inf": "mchirp_guess is inf",
    f"{RUN} --max-bestfit-lnlike-diff nan": "max_bestfit_lnlike_diff is nan",
    f"{RUN} --seed -1": "seed is -1",
    f"{RUN} --size-limit 0": "size_limit is 0",
    f"{RUN} --rundir text": "text is a file",
    f"{RUN} --rundir loop": "loop",
    f"{RUN} --rundir ''": "rundir is ''",
    f"{RUN} --rundir text/new": "part of the path is a file",
    f"{RUN} --rundir done": "done holds the results of a run",
    f"{RUN} --rundir done --resume": "does not say which run it belongs to",
    f"{RUN} --resume --overwrite": "exclude each other",
    f"{RUN} --event loop": "loop",
    f"{RUN} --event folder": "folder",
    f"{RUN} --event empty.npz": "empty.npz",
    f"{RUN} --bank-folder loop": "loop",
    f"{RUN} --bank-folder text": "text",
    f"{RUN} --bank-folder folder": "bank_config.json does not exist",
    f"{RUN} --bank-folder ,,": "bank_folder",
    f"{RUN} --bank-folder {{\"a/b\":\"bank\"}}": "'a/b' cannot name a folder",
    f"{RUN} --extrinsic-samples loop": "loop does not exist",
    f"{RUN} --extrinsic-samples folder": "folder does not exist",
    f"{RUN} --extrinsic-samples empty": "empty is not a feather file",
    f"{RUN} --par-dic-0 loop": "par_dic_0 file loop does not exist",
    f"{RUN} --par-dic-0 folder": "par_dic_0 file folder does not exist",
    f"{RUN} --preselected-indices loop": "loop",
    f"{RUN} --preselected-indices folder": "folder",
    f"{RUN} --load-inds": "inds_path is None",
    f"{RUN} --load-inds --inds-path empty": "empty",
    f"{RUN} --executor gpu": "executor='gpu'",
    f"{RUN} --n-procs 0": "n_procs is 0",
    f"{RUN} --multicore never": "'never' is not one of",
    f"{RUN} --coherent-posterior-kwargs []": "coherent_posterior_kwargs is a list",
}  # fmt: skip


def words(command):
    return ["" if word == "''" else word for word in _split(command)]


def _split(command):
    """Split at spaces alone, with quotes: a command may hold line ends and JSON."""
    parts = command.strip().split("'")
    for k, part in enumerate(parts):
        if k % 2:
            yield part or "''"
        else:
            yield from part.strip(" ").split(" ") if part.strip(" ") else ()


def plain(text):
    """Return a message in which options and parameters are spelled the same."""
    return text.replace("--", "").replace("_", "-").replace("='", " '")


@pytest.mark.parametrize("command", CASES)
def test_bad_commands_are_refused_in_one_sentence(folder, command):
    before = contents(folder)
    result = CliRunner().invoke(main, words(command))
    assert isinstance(result.exception, SystemExit), result.exc_info
    assert result.exit_code == 2, result.output
    assert plain(CASES[command]) in plain(result.output)
    if result.output.startswith("dotpe-exec:"):
        assert result.output.count("\n") == 1
    assert "Traceback" not in result.output
    assert contents(folder) == before


@pytest.mark.parametrize("name", ["with space", "événement", "重力波", "a,b"])
def test_odd_paths_work(folder, name):
    place = folder / name
    place.mkdir()
    for part in ("event.npz", "bank", "list.json"):
        (folder / part).rename(place / part)
    command = words(RUN.replace(INPUTS, "--n-ext 8 --n-phi 4 --n-t 8"))
    command += ["--bank-folder", str(place / "bank"), "--event", str(place / "event.npz")]
    command += ["--rundir", str(place / "run")]
    result = CliRunner().invoke(main, command)
    assert str(result.exception) == "work starts", result.output
    identity = json.loads((place / "run" / "run_identity.json").read_text())
    assert list(identity["banks"]) == ["bank_0"]


def test_debug_shows_the_traceback(folder):
    result = CliRunner().invoke(main, ["--debug", "report", "nowhere"])
    assert type(result.exception).__name__ == "MissingFileError"
