"""The command line: exit code 2 and one sentence for bad input, results for good."""

from __future__ import annotations

import inspect
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from banks.synthetic_banks import write_bank

from dotpe_exec.cli import main, runs
from dotpe_exec.inference import entry, infer, run_multicore


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """An event and a bank; nothing here may change them."""
    from dotpe_exec.events import save_event, simulate_event

    folder = tmp_path_factory.mktemp("inputs")
    save_event(simulate_event("tiny", "HL", duration=4.0, fmax=128.0), folder / "event.npz")
    write_bank(folder / "bank")
    return folder


@pytest.fixture
def call(inputs, tmp_path, monkeypatch, capsys):
    """Call the command in a folder of its own; return exit code, output and errors."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (folder / "inputs").symlink_to(inputs)

    def call_with(arguments):
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments], prog_name="dotpe-exec")
        code = ended.value.code or 0
        return code, *capsys.readouterr()

    return call_with


RUN = ("run", "--event", "inputs/event.npz", "--bank-folder", "inputs/bank", "--rundir",
       "run", "--executor", "serial", "--no-progress")  # fmt: skip
BUILD = ("bank", "build", "built", "--bank-size", "16", "--mchirp-range", "20", "30",
         "--event", "inputs/event.npz", "--executor", "serial")  # fmt: skip
SIMULATE = ("event", "simulate", "sim.npz", "--duration", "4", "--fmax", "128")
STRAIN = ("event", "from-strain", "ev.npz", "inputs/event.npz", "--detectors", "H",
          "--tgps", "0")  # fmt: skip

BAD = [
    (("no-such-command",), "no-such-command"),
    (("run", "--no-such-option"), "--no-such-option"),
    (("run",), "--event"),
    (("run", "--event", "GW150914"), "--bank-folder"),
    (RUN[:5], "rundir"),
    ((*RUN, "--n-ext", "many"), "'--n-ext'"),
    ((*RUN, "--n-ext", "0"), "n_ext is 0"),
    ((*RUN, "--n_ext", "-4"), "n_ext is -4"),
    ((*RUN, "--n-phi", "0"), "n_phi is 0"),
    ((*RUN, "--n-t", "-1"), "n_t is -1"),
    ((*RUN, "--n-t", "1.5"), "'--n-t'"),
    ((*RUN, "--n-int", "0"), "n_int is 0"),
    ((*RUN, "--n-int", "[1"), "is not valid JSON"),
    ((*RUN, "--n-int", "true"), "n_int is True"),
    ((*RUN, "--n-int", "[1, 2]"), "n_int has 2 entries"),
    ((*RUN, "--n-int", '{"other": 3}'), "'other'"),
    ((*RUN, "--i-int-start", "50"), "i_int_start is 50"),
    ((*RUN, "--blocksize", "0"), "blocksize is 0"),
    ((*RUN, "--seed", "-1"), "seed is -1"),
    ((*RUN, "--size-limit", "0"), "size_limit is 0"),
    ((*RUN, "--n-draws", "0"), "n_draws is 0"),
    ((*RUN, "--mchirp-guess", "-5"), "mchirp_guess is -5"),
    ((*RUN, "--mchirp-guess", "inf"), "mchirp_guess is inf"),
    ((*RUN, "--max-bestfit-lnlike-diff", "nan"), "max_bestfit_lnlike_diff is nan"),
    ((*RUN, "--max-incoherent-lnlike-drop", "-2"), "max_incoherent_lnlike_drop is -2"),
    ((*RUN, "--executor", "gpu"), "executor='gpu'"),
    ((*RUN, "--n-procs", "0"), "n_procs"),
    ((*RUN, "--i-batch", "0"), "i_batch is 0"),
    ((*RUN, "--event", "nowhere.npz"), "nowhere.npz"),
    ((*RUN, "--event", "inputs"), "inputs"),
    ((*RUN, "--event", "inputs/bank/bank_config.json"), "bank_config.json"),
    ((*RUN, "--bank-folder", "nowhere"), "nowhere"),
    ((*RUN, "--bank-folder", "inputs"), "bank_config.json"),
    ((*RUN, "--bank-folder", '{"a": '), "is not valid JSON"),
    ((*RUN, "--bank-folder", '{"../a": "inputs/bank"}'), "'../a'"),
    ((*RUN, "--bank-folder", "[]"), "bank_folder"),
    ((*RUN, "--bank-folder", "5"), "bank_folder"),
    ((*RUN, "--load-inds"), "inds_path is None"),
    ((*RUN, "--load-inds", "--inds-path", "nowhere.npz"), "nowhere.npz"),
    ((*RUN, "--preselected-indices", "[11]"), "preselected_indices"),
    ((*RUN, "--preselected-indices", "nowhere.npy"), "nowhere.npy"),
    ((*RUN, "--bank-logw-override", "[0.5]"), "bank_logw_override"),
    ((*RUN, "--coherent-posterior-kwargs", "[1]"), "coherent_posterior_kwargs"),
    ((*RUN, "--coherent-posterior-kwargs", '{"x": 1}'), "coherent_posterior_kwargs"),
    ((*RUN, "--par-dic-0", "nowhere.json"), "nowhere.json"),
    ((*RUN, "--extrinsic-samples", "nowhere.feather"), "nowhere.feather"),
    ((*RUN, "--resume", "--overwrite"), "resume and overwrite exclude each other"),
    ((*RUN, "--rundir", "inputs/event.npz"), "event.npz is a file"),
    ((*RUN, "--rundir", "/dev/null/run"), "/dev/null/run"),
    (("bank", "check", "nowhere"), "nowhere"),
    (("bank", "check", "inputs/event.npz"), "event.npz"),
    (("bank", "check"), "FOLDER"),
    (BUILD[:4], "--bank-size"),
    ((*BUILD, "--bank-size", "0"), "bank_size"),
    ((*BUILD, "--mchirp-range", "30", "20"), "mchirp"),
    ((*BUILD, "--mchirp-range", "30"), "--mchirp-range"),
    ((*BUILD, "--q-min", "2"), "q_min"),
    ((*BUILD, "--event", "nowhere.npz"), "nowhere.npz"),
    ((*BUILD, "--approximant", "Newton"), "Newton"),
    ((*BUILD, "--pn-phase-tol", "-1"), "pn_phase_tol"),
    ((*BUILD, "--blocksize", "0"), "blocksize"),
    ((*BUILD, "--n-banks", "0"), "n_banks"),
    ((*BUILD, "--executor", "gpu"), "executor='gpu'"),
    (("event", "simulate"), "PATH"),
    (("event", "simulate", "sim.txt", "--duration", "4", "--fmax", "128"), "sim.txt"),
    ((*SIMULATE, "--detectors", "HX"), "'X'"),
    ((*SIMULATE, "--detectors", "HH"), "twice"),
    ((*SIMULATE, "--asds", "nowhere,nowhere,nowhere"), "nowhere"),
    ((*SIMULATE, "--duration", "-4"), "duration"),
    ((*SIMULATE, "--fmin", "500"), "fmin"),
    ((*SIMULATE, "--injection", "nowhere.json"), "nowhere.json"),
    ((*SIMULATE, "--injection", "{m1"), "JSON"),
    ((*SIMULATE, "--injection", '{"m1": 30}'), "lacks"),
    ((*SIMULATE, "--injection", '{"m1": "big"}'), "m1 is 'big'"),
    (("event", "from-strain", "ev.npz", "--detectors", "H", "--tgps", "0"), "FILES"),
    (STRAIN[:6], "--tgps"),
    (STRAIN, "event.npz"),
    ((*STRAIN, "nowhere.hdf5"), ""),
    ((*STRAIN[:3], "nowhere.hdf5", *STRAIN[4:]), "nowhere.hdf5"),
]


def plain(text):
    """Return a message in which options and parameters are spelled the same."""
    return text.replace("--", "").replace("_", "-").replace("='", " '")


def written(folder: Path = Path()) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    BAD,
    ids=[" ".join(a for a in arguments if a not in RUN[1:])[:60] for arguments, _ in BAD],
)
def test_bad_input_is_one_sentence_and_exit_code_2(call, arguments, sentence):
    code, output, errors = call(arguments)
    assert code == 2
    assert plain(sentence) in plain(errors.splitlines()[-1])
    assert "Traceback" not in errors
    assert output == ""
    assert written() == {"inputs"}


def test_debug_shows_the_traceback(tmp_path):
    command = [sys.executable, "-m", "dotpe_exec", "--debug", *RUN]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode != 0
    assert "Traceback" in ended.stderr
    assert "inputs/bank" in ended.stderr.splitlines()[-1]
    command.remove("--debug")
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 1


def test_existing_event_is_kept_unless_asked(call):
    Path("sim.npz").write_bytes(b"mine")
    code, _, errors = call(SIMULATE)
    assert code == 2 and "sim.npz exists already" in errors
    assert Path("sim.npz").read_bytes() == b"mine"
    code, output, _ = call((*SIMULATE, "--overwrite"))
    assert code == 0 and "sim.npz" in output
    assert Path("sim.npz").stat().st_size > 10_000


def test_simulated_events_are_reproducible(call):
    signal = {
        "m1": 30.0, "m2": 20.0, "ra": 0.5, "dec": 0.5, "iota": 1.0, "psi": 1.0,
        "phi_ref": 0.7, "s1z": 0.3, "s2z": 0.3, "f_ref": 50.0, "d_luminosity": 900.0,
        "t_geocenter": 0.0,
    }  # fmt: skip
    for name in ("a", "b"):
        Path(name).mkdir()
        arguments = (*SIMULATE[:2], f"{name}/sim.npz", *SIMULATE[3:])
        code, _, errors = call((*arguments, "--injection", json.dumps(signal)))
        assert code == 0, errors
        # The order in which the parameters were given is not part of the event.
        signal = dict(reversed(signal.items()))
    assert Path("a/sim.npz").read_bytes() == Path("b/sim.npz").read_bytes()


def test_problems_of_a_bank_are_listed(call, tmp_path):
    folder = write_bank(tmp_path / "bank")
    block = folder / "waveforms" / "phase_block_1.npy"
    phase = np.load(block)
    phase[2, 0, 1, 3] = np.nan
    np.save(block, phase)
    (folder / "waveforms" / "amplitudes_block_0.npy").unlink()
    code, _, errors = call(("bank", "check", folder, "--no-progress"))
    assert code == 2
    assert "phase_block_1" in errors and "amplitudes_block_0" in errors


def test_values_arrive_as_given(call, monkeypatch):
    """Flags of ``run`` are parameters of the same name; JSON is read as such."""
    seen = {}

    def stages(run, *rest):
        seen.update(arguments=run.arguments, inputs=run.inputs)
        raise entry.InputError("far enough")

    monkeypatch.setattr(entry, "run_stages", stages)
    call((*RUN, "--n_ext", "7", "--n-int", '{"b": 5}', "--mchirp-guess", "25.5",
          "--bank-folder", '{"b": "inputs/bank"}', "--no-draw-subset"))  # fmt: skip
    arguments, inputs = seen["arguments"], seen["inputs"]
    assert (arguments.n_ext, arguments.n_phi, arguments.n_t) == (7, 100, 128)
    assert arguments.mchirp_guess == 25.5 and arguments.draw_subset is False
    assert inputs.n_int == {"b": 5}


def test_info_says_where_noise_levels_of_runs_differ(call, finished, tmp_path):
    other = shutil.copytree(finished, tmp_path / "other")
    summary = json.loads((other / "summary_results.json").read_text())
    name = next(iter(summary["asd_drift"]))
    summary["asd_drift"][name] *= 1.01
    (other / "summary_results.json").write_text(json.dumps(summary))
    code, output, _ = call(["info", finished, other])
    assert code == 0
    assert f"{finished} and {other} differ in asd_drift: {name} " in output
    code, output, _ = call(["info", finished])
    assert code == 0
    assert "differ in asd_drift" not in output


def test_info_makes_no_sky_map_of_nothing(call):
    code, _, error = call(["info", "--sky"])
    assert code == 2
    assert "dotpe-exec info RUNDIR --sky" in error


@pytest.mark.parametrize(
    ("command", "function"), [(runs.run, run_multicore), (runs.infer, infer)]
)
def test_options_have_the_functions_defaults(command, function):
    defaults = {
        name: argument.default
        for name, argument in inspect.signature(function).parameters.items()
        if argument.default is not inspect.Parameter.empty
    }
    given = command.make_context("command", [], resilient_parsing=True).params
    shared = given.keys() & defaults.keys()
    assert len(shared) > 15
    assert {name: given[name] for name in shared} == {
        name: defaults[name] for name in shared
    }
