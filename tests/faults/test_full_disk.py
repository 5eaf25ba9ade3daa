"""Real runs where the disk is full, or where nothing but the run directory is writable."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest
from golden_runs import arguments_of_run, run_files

from dotpe_exec import run
from dotpe_exec.atomic import TEMPORARY_PREFIX
from dotpe_exec.errors import RunDirectoryError
from dotpe_exec.inference import entry
from dotpe_exec.report import page

pytestmark = pytest.mark.filterwarnings("ignore:.*samples are drawn from a posterior")


@pytest.fixture(scope="module")
def arguments(golden):
    return arguments_of_run(golden)


@pytest.fixture(scope="module")
def expected(finished):
    """The files of a run that had space."""
    return run_files(finished)


@pytest.fixture
def small_disk(tmp_path):
    """A function that makes a file system of so many bytes, or resizes it."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(n_bytes, *options):
        command = ["mount", "-t", "tmpfs", "-o", ",".join([f"size={n_bytes}", *options])]
        ended = subprocess.run(
            [*command, "tmpfs", folder], capture_output=True, text=True, check=False
        )
        if ended.returncode:
            pytest.skip(f"no file system can be mounted here: {ended.stderr.strip()}")
        return folder

    yield mount
    subprocess.run(["umount", "--lazy", folder], capture_output=True, check=False)


@pytest.mark.parametrize(
    "fraction",
    [
        0.6,
        *(pytest.param(x, marks=pytest.mark.slow) for x in (0.05, 0.3, 0.8, 0.9, 0.97)),
    ],
)
def test_full_disk_ends_clearly_and_resumes(arguments, expected, small_disk, fraction):
    space = sum(len(content) for content in expected.values())
    rundir = small_disk(int(fraction * space)) / "run"
    with pytest.raises(RunDirectoryError, match=r"full; make space .* resume=True"):
        run(**arguments, rundir=rundir)
    assert not (rundir / "summary_results.json").exists()
    assert not list(rundir.rglob(f"{TEMPORARY_PREFIX}*"))
    for name, content in run_files(rundir).items():
        # What is there is whole.
        if name in expected:
            assert content == expected[name], name
    small_disk(8 * space, "remount")
    assert run(**arguments, rundir=rundir, resume=True) == rundir
    assert run_files(rundir) == expected


@pytest.mark.parametrize("room", [0, 4096, 8192], ids="{} bytes".format)
def test_disk_that_is_full_from_the_start_is_named_before_any_work(
    arguments, small_disk, room, monkeypatch
):
    """Room for nothing, for the lock, for lock and identity."""

    def work_starts(*args, **kwargs):
        raise AssertionError("work starts")

    monkeypatch.setattr(entry, "run_stages", work_starts)
    disk = small_disk(1 << 20)
    (disk / "run").mkdir()
    free = shutil.disk_usage(disk).free
    (disk / "filler").write_bytes(bytes(free - room))
    with pytest.raises(RunDirectoryError, match=r"full; make space"):
        run(**arguments, rundir=disk / "run")
    left = {path.name for path in (disk / "run").rglob("*") if path.is_file()}
    assert left <= {"run_identity.json"}
    (disk / "filler").unlink()
    with pytest.raises(AssertionError, match="work starts"):
        run(**arguments, rundir=disk / "run", resume=True)


def test_report_on_a_full_disk_leaves_nothing(small_disk, tmp_path, monkeypatch):
    monkeypatch.setattr(page, "open_views", lambda rundirs: [])
    monkeypatch.setattr(page, "render", lambda *_: "x" * 100_000)
    disk = small_disk(65536)
    with pytest.raises(RunDirectoryError, match=r"report.html could not be written.*full"):
        page.write_report("run", disk / "report.html")
    assert list(disk.iterdir()) == []


RUN = """
import json, sys
from dotpe_exec import run_multicore
if __name__ == "__main__":
    run_multicore(**json.loads(sys.argv[1]), executor="serial")
"""


@pytest.mark.slow
def test_home_and_cache_need_not_be_writable(golden, tmp_path, monkeypatch):
    """Nothing can be made below /proc, whoever asks."""
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, "/proc/nowhere")
    (tmp_path / "script.py").write_text(RUN)
    arguments = arguments_of_run(golden, rundir=tmp_path / "run")
    ended = subprocess.run(
        [sys.executable, tmp_path / "script.py", json.dumps(arguments, default=str)],
        capture_output=True,
        text=True,
        cwd="/proc",
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "run" / "summary_results.json").is_file()
