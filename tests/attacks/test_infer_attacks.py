"""Attacks on ``infer``: on its checkpoint, its event, its disk and its directory."""

from __future__ import annotations

import errno
import os
import random
import shutil
import subprocess
import sys
import threading

import pytest
from clusters import python_path
from golden_runs import run_files
from obedience import obey_modes
from small_runs import PAR_DIC, infer_arguments

from dotpe_exec import infer, load
from dotpe_exec.errors import DotpeExecError, RunDirectoryError
from dotpe_exec.events import save_event, simulate_event
from dotpe_exec.export import to_bilby
from dotpe_exec.inference import infer_stages
from dotpe_exec.rundir import checkpoint

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


class Killed(BaseException):
    """In place of a signal."""


@pytest.fixture(scope="module")
def adaptive(undamaged):
    return infer_arguments(undamaged)


@pytest.fixture(scope="module")
def inferred(adaptive, tmp_path_factory):
    """The files of an undisturbed run of infer."""
    return run_files(infer(**adaptive, rundir=tmp_path_factory.mktemp("inferred") / "run"))


def interrupted(adaptive, rundir, monkeypatch, *, before="final_likelihoods", **changes):
    """Begin ``infer``, and end it, if nothing is said, before its final likelihoods."""

    def stop(*_, **__):
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(infer_stages, before, stop)
        infer(**adaptive | changes, rundir=rundir)
    return rundir


def of_another_seed(rundir, adaptive, monkeypatch):
    other = interrupted(adaptive, rundir.with_name("other"), monkeypatch, seed=6)
    shutil.rmtree(rundir / "checkpoint")
    shutil.copytree(other / "checkpoint", rundir / "checkpoint")
    return rundir


def flipped(rundir, *_):
    rng = random.Random(1)
    for path in sorted((rundir / "checkpoint").iterdir()):
        content = bytearray(path.read_bytes())
        for _ in range(rng.randint(1, 20)):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(content[: rng.choice([None, rng.randrange(len(content))])])
    return rundir


def exchanged(rundir, *_):
    first, *_, last = sorted((rundir / "checkpoint").iterdir())
    first.rename(first.with_suffix(".x"))
    last.rename(first)
    first.with_suffix(".x").rename(last)
    return rundir


def moved(rundir, *_):
    (rundir.parent / "elsewhere").mkdir()
    return rundir.rename(rundir.parent / "elsewhere" / "moved")


@pytest.mark.slow
@pytest.mark.parametrize("attack", [of_another_seed, flipped, exchanged, moved])
def test_attacked_checkpoint_resumes_to_the_same_bits(
    attack, adaptive, inferred, tmp_path, monkeypatch
):
    rundir = interrupted(adaptive, tmp_path / "run", monkeypatch)
    assert any((rundir / "checkpoint").iterdir())
    rundir = attack(rundir, adaptive, monkeypatch)
    infer(**adaptive, rundir=rundir, resume=True)
    assert run_files(rundir) == inferred


@pytest.mark.slow
@pytest.mark.parametrize("n_writes", [1, 3, 6])
def test_disk_that_is_full_in_a_round_ends_clearly_and_resumes(
    n_writes, adaptive, inferred, tmp_path, monkeypatch
):
    n_left = n_writes

    def write(*arguments):
        nonlocal n_left
        n_left -= 1
        if n_left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write_all(*arguments)

    write_all = checkpoint._write_all
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "_write_all", write)
        patch.setattr(checkpoint, "FLUSH_SECONDS", 0.0)
        with pytest.raises(RunDirectoryError, match=r"ckpt could not .* full; make space"):
            infer(**adaptive, rundir=tmp_path / "run")
    assert not (tmp_path / "run" / "summary_results.json").exists()
    infer(**adaptive, rundir=tmp_path / "run", resume=True)
    assert run_files(tmp_path / "run") == inferred


def test_event_replaced_after_a_kill_is_named(undamaged, adaptive, tmp_path, monkeypatch):
    event = shutil.copy(undamaged / "event.npz", tmp_path / "event.npz")
    arguments = adaptive | {"event": event}
    rundir = interrupted(arguments, tmp_path / "run", monkeypatch, before="find_reference")
    before = run_files(rundir)
    other = simulate_event(
        "attacked", "HL", duration=4.0, fmax=256.0, injection=PAR_DIC, seed=2
    )
    save_event(other, event)
    with pytest.raises(RunDirectoryError, match="what differs: the content of the event"):
        infer(**arguments, rundir=rundir, resume=True)
    assert run_files(rundir) == before


@pytest.mark.slow
def test_event_written_again_after_a_kill_is_the_same(
    undamaged, adaptive, inferred, tmp_path, monkeypatch
):
    event = shutil.copy(undamaged / "event.npz", tmp_path / "event.npz")
    arguments = adaptive | {"event": event}
    rundir = interrupted(arguments, tmp_path / "run", monkeypatch)
    os.utime(shutil.copy(undamaged / "event.npz", event), (1, 1))
    infer(**arguments, rundir=rundir, resume=True)
    assert run_files(rundir) == inferred


@pytest.mark.slow
def test_directory_that_is_moved_away_is_not_made_anew(adaptive, tmp_path, monkeypatch):
    rundir, elsewhere = tmp_path / "run", tmp_path / "elsewhere"

    def move(*arguments, **options):
        rundir.rename(elsewhere)
        return final_likelihoods(*arguments, **options)

    final_likelihoods = infer_stages.final_likelihoods
    monkeypatch.setattr(infer_stages, "final_likelihoods", move)
    with pytest.raises(RunDirectoryError, match="removed, moved or replaced"):
        infer(**adaptive, rundir=rundir)
    assert not rundir.exists() and elsewhere.is_dir()


READ_ONLY = """
import sys
from pathlib import Path
from small_runs import infer_arguments
from dotpe_exec import infer
from dotpe_exec.inference import infer_stages

folder, rundir = map(Path, sys.argv[1:3])
before = sys.argv[3]

def forbid(*arguments, **options):
    for path in (rundir, *rundir.rglob("*")):
        if path.is_dir():
            path.chmod(0o500)
    return forbidden(*arguments, **options)

if before == "everything":
    rundir.chmod(0o500)
else:
    forbidden = getattr(infer_stages, before)
    setattr(infer_stages, before, forbid)
infer(**infer_arguments(folder), rundir=rundir, resume=True)
"""


@pytest.mark.parametrize(
    "before",
    [
        "everything",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("find_reference", "final_likelihoods")
        ),
    ],
)
def test_directory_that_must_not_be_written_is_named_and_keeps_what_it_has(
    before, undamaged, adaptive, tmp_path, request
):
    rundir = tmp_path / "run"
    rundir.mkdir()
    script = tmp_path / "script.py"
    script.write_text(READ_ONLY)
    done = subprocess.run(
        [sys.executable, str(script), str(undamaged), str(rundir), before],
        env={**os.environ, "PYTHONPATH": python_path()},
        capture_output=True,
        text=True,
        preexec_fn=obey_modes,
    )
    assert done.returncode == 1
    said = done.stderr.splitlines()[-1]
    assert "RunDirectoryError" in said and "cannot be written" in said, done.stderr
    assert not (rundir / "summary_results.json").exists()
    for path in (rundir, *rundir.rglob("*")):
        if path.is_dir():
            path.chmod(0o700)
    if before == "everything":
        assert list(rundir.iterdir()) == []
        return
    infer(**adaptive, rundir=rundir, resume=True)
    assert run_files(rundir) == request.getfixturevalue("inferred")


@pytest.mark.slow
def test_second_infer_in_a_directory_is_refused(adaptive, inferred, tmp_path):
    said = []

    def begin():
        try:
            infer(**adaptive, rundir=tmp_path / "run", resume=True)
        except DotpeExecError as error:
            said.append(str(error))

    threads = [threading.Thread(target=begin) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(said) == 1 and "is in use by this process" in said[0]
    assert run_files(tmp_path / "run") == inferred


@pytest.mark.slow
def test_unfinished_run_is_not_exported(adaptive, tmp_path, monkeypatch):
    rundir = interrupted(adaptive, tmp_path / "run", monkeypatch)
    with pytest.raises(DotpeExecError, match="does not exist"):
        to_bilby(rundir, tmp_path / "x_result.json")
    with pytest.raises(DotpeExecError, match="does not exist"):
        _ = load(rundir).samples
    assert not (tmp_path / "x_result.json").exists()
