"""Real runs resumed after random damage to any file that an interrupted one left."""

from __future__ import annotations

import os
import random
import shutil

import pytest
from golden_runs import arguments_of_run, run_files

from dotpe_exec import run
from dotpe_exec.errors import RunDirectoryError
from dotpe_exec.inference import pipeline

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*samples are drawn from a posterior"),
]

N_TRIES = int(os.environ.get("DOTPE_EXEC_FAULT_TRIES", "60"))

IDENTITY = ("run_identity.json", "run_inputs.json", "run_sizes.json")


class Stopped(BaseException):
    """In place of the last stage; nothing catches it by accident."""


@pytest.fixture(scope="module")
def arguments(golden):
    return arguments_of_run(golden, blocksize=64, single_detector_blocksize=64)


@pytest.fixture(scope="module")
def finished(arguments, tmp_path_factory):
    return run(**arguments, rundir=tmp_path_factory.mktemp("finished") / "run")


@pytest.fixture(scope="module")
def interrupted(arguments, tmp_path_factory):
    """A run that was stopped before its last stage: all results are in the checkpoint."""

    def stop(*args, **kwargs):
        raise Stopped

    rundir = tmp_path_factory.mktemp("interrupted") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "marginalize_bank", stop)
        with pytest.raises(Stopped):
            run(**arguments, rundir=rundir)
    assert len(list((rundir / "checkpoint").iterdir())) == 2
    return rundir


def damage(path, rng):
    """Change a file at random; return what was done."""
    content = bytearray(path.read_bytes())
    span = len(content) if rng.random() < 0.5 else min(400, len(content))
    at = rng.randrange(span)
    kind = rng.choice(["flip", "flip", "flip", "cut", "zeros", "noise", "append", "empty"])
    if kind == "flip":
        content[at] ^= 1 << rng.randrange(8)
    elif kind == "cut":
        del content[at:]
    elif kind == "zeros":
        content[at : at + 64] = bytes(len(content[at : at + 64]))
    elif kind == "noise":
        content[at : at + 200] = rng.randbytes(len(content[at : at + 200]))
    elif kind == "append":
        content += rng.randbytes(50)
    else:
        content.clear()
    path.write_bytes(content)
    return f"{path.name}: {kind} at {at}"


def test_damage_never_changes_a_resumed_run(arguments, finished, interrupted, tmp_path):
    rng = random.Random(20260314)
    expected = run_files(finished)
    names = sorted(
        str(path.relative_to(interrupted))
        for path in interrupted.rglob("*")
        if path.is_file()
    )
    for number in range(N_TRIES):
        rundir = shutil.copytree(interrupted, tmp_path / str(number))
        # Most of what matters is in the checkpoint and in the records.
        some = rng.choice([names, [n for n in names if "ckpt" in n], IDENTITY])
        name = rng.choice(some)
        done = damage(rundir / name, rng)
        before = run_files(rundir)
        try:
            run(**arguments, rundir=rundir, resume=True)
        except RunDirectoryError as error:
            assert name in IDENTITY, done
            assert name in str(error) and "\n" not in str(error), done
            assert run_files(rundir) == before, done
        else:
            assert run_files(rundir) == expected, done
        shutil.rmtree(rundir)


def test_damage_to_a_finished_run_is_repaired_on_resuming(arguments, finished, tmp_path):
    rng = random.Random(1)
    expected = run_files(finished)
    for name in ("samples.feather", "Posterior.json", "summary_results.json"):
        rundir = shutil.copytree(finished, tmp_path / name)
        done = damage(rundir / name, rng)
        assert run(**arguments, rundir=rundir, resume=True) == rundir
        assert run_files(rundir) == expected, done
