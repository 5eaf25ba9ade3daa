"""Processes killed at random, one or all: a run goes on, or resumes, to the same bits."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner
from clusters import python_path
from golden_runs import arguments_of_run, as_flags, run_files
from waiting import wait_for_the_end_of

from dotpe_exec.cli import main

TARGETS = ("everybody", "driver", "worker", "tracker")

# A phase whose results are kept, so that it may be started again.
PHASE = """
import hashlib, sys
import numpy as np
from toy_tasks import Batch, numbered, product
from dotpe_exec.executors.phases import PhaseRunner
from dotpe_exec.executors.store import ArrayStore
from dotpe_exec.rundir.checkpoint import Checkpoint

folder, executor = sys.argv[1:]
with (
    Checkpoint(folder, packages=("toy_tasks",)) as checkpoint,
    ArrayStore() as store,
    PhaseRunner(store, executor, n_procs=2, checkpoint=checkpoint) as runner,
):
    handle = store.put(np.random.default_rng(1).normal(size=(800, 800)))
    tasks = numbered(Batch(at, at + 4, handle) for at in range(0, 800, 4))
    done = runner.map("toy", product, tasks, n_tasks=200, tasks_per_message=2)
    found = {task.key: hashlib.sha256(result.values).hexdigest() for task, result in done}
assert len(found) == 200
print(hashlib.sha256(repr(sorted(found.items())).encode()).hexdigest())
"""


class Attacked:
    """A command that is started again until it ends by itself; it is killed before."""

    def __init__(self, folder, seed, seconds, names_loss=False):
        """With ``names_loss`` an attempt may also end in an ExecutorError, one line."""
        self.rng = random.Random(seed)
        self.seconds = seconds
        self.names_loss = names_loss
        self.n_kills = 0
        self.tmp = Path(folder) / "tmp"
        self.tmp.mkdir()

    def run(self, command, n_kills, look=lambda: None):
        """Return what the last attempt printed; ``look`` at what each kill left."""
        while True:
            process = subprocess.Popen(
                command,
                env={**os.environ, "PYTHONPATH": python_path(), "TMPDIR": str(self.tmp)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
            attempt = 0
            while attempt < n_kills and self._wait(process):
                attempt += 1
                if self._kill(process):
                    break
            said, errors = process.communicate(timeout=120)
            if process.returncode == 0:
                return said
            if process.returncode != -signal.SIGKILL:
                assert self.names_loss and attempt and process.returncode == 1, errors
                assert re.search(
                    r"ExecutorError: .*(lost|killed it|did not start)", errors
                ), errors
            look()
            n_kills -= attempt

    def _wait(self, process):
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(self.rng.uniform(0.0, self.seconds))
        return process.poll() is None

    def _kill(self, process):
        """Kill one or all; return whether the driver was among them."""
        driver = psutil.Process(process.pid)
        below = []
        with contextlib.suppress(psutil.NoSuchProcess):
            below = driver.children(recursive=True)
        target = self.rng.choice(TARGETS)
        if target == "everybody":
            killed = [driver, *below]
        elif target == "driver":
            killed = [driver]
        else:
            killed = [one for one in below if is_tracker(one) == (target == "tracker")]
            # A command without such processes loses itself.
            killed = self.rng.sample(killed, min(1, len(killed))) or [driver]
        for one in killed:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        self.n_kills += len(killed) > 0
        if driver not in killed:
            return False
        process.wait()
        wait_for_the_end_of([one.pid for one in below], 20)
        return True


def is_tracker(process):
    with contextlib.suppress(psutil.NoSuchProcess):
        return any("resource_tracker" in word for word in process.cmdline())
    return False


@pytest.mark.parametrize(
    ("executor", "n_rounds"),
    [
        ("loky", 1),
        *(
            pytest.param(executor, 12, marks=pytest.mark.slow)
            for executor in ("serial", "process", "loky", "dask")
        ),
    ],
)
def test_phase_whose_processes_are_killed_has_the_same_results(
    executor, n_rounds, tmp_path
):
    script = tmp_path / "phase.py"
    script.write_text(PHASE)

    def command(name, kind):
        return [sys.executable, str(script), str(tmp_path / name), kind]

    # Of dask's processes one is the cluster itself, which nobody replaces.
    attacked = Attacked(tmp_path, seed=n_rounds, seconds=1.0, names_loss=executor == "dask")
    expected = attacked.run(command("undisturbed", "serial"), 0)
    for number in range(n_rounds):
        assert attacked.run(command(str(number), executor), 3) == expected
    assert attacked.n_kills >= n_rounds
    attacked.run(command("afterwards", "serial"), 0)
    assert not list(attacked.tmp.glob("dotpe-exec-arrays-*")), "the next run cleans up"


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["serial", "loky", "process"])
def test_runs_whose_processes_are_killed_end_with_the_same_files(
    executor, golden, tmp_path
):
    flags = as_flags(arguments_of_run(golden, blocksize=16, single_detector_blocksize=16))
    run = [sys.executable, "-m", "dotpe_exec", "run", *flags]
    begun = time.monotonic()
    attacked = Attacked(tmp_path, seed=7, seconds=1.0)
    attacked.run([*run, "--rundir", str(tmp_path / "undisturbed")], 0)
    attacked.seconds = (time.monotonic() - begun) / 2
    expected = run_files(tmp_path / "undisturbed")
    for number in range(12):
        rundir = tmp_path / str(number)
        again = [*run, "--rundir", str(rundir), "--resume", "--executor", executor]
        attacked.run([*again, "--n-procs", "2"], 3)
        assert run_files(rundir) == expected
    assert attacked.n_kills >= 12


@pytest.mark.slow
def test_bank_whose_building_is_killed_ends_with_the_same_files(tmp_path):
    build = [
        *(sys.executable, "-m", "dotpe_exec", "bank", "build"),
        *("--bank-size", "512", "--blocksize", "32", "--seed", "3", "--n-procs", "2"),
        *("--mchirp-range", "20", "40", "--event", "GW150914", "--no-progress"),
    ]
    attacked = Attacked(tmp_path, seed=8, seconds=6.0)
    attacked.run([*build, str(tmp_path / "undisturbed")], 0)
    expected = run_files(tmp_path / "undisturbed")
    for number in range(8):
        folder = tmp_path / str(number)
        attacked.run([*build, str(folder)], 3)
        assert run_files(folder) == expected
    assert attacked.n_kills >= 12


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["serial", "loky", "process"])
def test_infer_whose_processes_are_killed_ends_with_the_same_files(
    executor, undamaged, tmp_path
):
    infer = [
        *(sys.executable, "-m", "dotpe_exec", "infer", str(undamaged / "event.npz")),
        *("--par-dic-0", str(undamaged / "par_dic_0.json"), "--mchirp-range", "26", "34"),
        *("--q-min", "0.5", "--n-effective", "8", "--max-waveforms", "600"),
        *("--n-ext", "64", "--n-phi", "16", "--n-t", "32", "--seed", "5"),
        *("--save-waveforms", "--no-progress", "--rundir"),
    ]
    begun = time.monotonic()
    attacked = Attacked(tmp_path, seed=9, seconds=1.0)
    attacked.run([*infer, str(tmp_path / "undisturbed"), "--executor", "serial"], 0)
    attacked.seconds = (time.monotonic() - begun) / 2
    expected = run_files(tmp_path / "undisturbed")
    for number in range(5):
        rundir = tmp_path / str(number)
        options = ["--resume", "--executor", executor, "--n-procs", "2"]
        attacked.run([*infer, str(rundir), *options], 3)
        assert run_files(rundir) == expected
    assert attacked.n_kills >= 5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["export", "RUN", "--format", "bilby"], "x_result.json"),
        (["export", "RUN", "--format", "pesummary"], "x.h5"),
        (["report", "RUN"], "x.html"),
        (["plot", "RUN", "--what", "corner"], "x.png"),
    ],
)
def test_file_whose_writing_is_killed_is_the_old_or_the_new_one(
    words, name, finished, tmp_path
):
    words = [str(finished) if word == "RUN" else word for word in words]
    command = [sys.executable, "-m", "dotpe_exec", *words, "-o"]
    attacked = Attacked(tmp_path, seed=10, seconds=3.0)  # of which two are for imports
    done = CliRunner().invoke(main, [*words, "-o", str(tmp_path / name)])
    assert done.exit_code == 0, done.output
    size = (tmp_path / name).stat().st_size
    before = run_files(finished)
    for number in range(6):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / name).write_text("old")

        def look(folder=folder):
            now = (folder / name).stat().st_size
            assert now == len("old") or abs(now - size) < 0.02 * size
            assert all(
                path.name == name or path.name.startswith(".dotpe-exec-tmp-")
                for path in folder.iterdir()
            )

        attacked.run([*command, str(folder / name)], 3, look)
        look()
        assert (folder / name).read_bytes() != b"old"
    assert attacked.n_kills >= 6
    assert run_files(finished) == before
