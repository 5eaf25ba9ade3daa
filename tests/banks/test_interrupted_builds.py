"""Builds that end too soon, and folders that hold something else: nothing is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from builds import ARGUMENTS, FBIN, InterruptedRunner, build, content

from dotpe_exec.banks.blocks import BlockWriter
from dotpe_exec.banks.build import build_bank
from dotpe_exec.banks.check import check_bank
from dotpe_exec.banks.format import open_bank
from dotpe_exec.errors import BankError, MissingFileError, RunDirectoryError


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
