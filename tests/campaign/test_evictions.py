"""Jobs of a batch system, evicted at random and queued again as the system would."""

from __future__ import annotations

import dataclasses
import os
import queue
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from requirements import needs

from dotpe_exec.campaign import Analysis, Settings, make
from dotpe_exec.campaign.submit import EVICTED, Site, write_jobs

REPOSITORY = Path(__file__).resolve().parents[2]
CHANGING = ["ended", "seconds", "cpu_seconds", "memory_gb"]
_MOST_ATTEMPTS = 60

# From what a job ended with: its exit status, or minus the signal that ended it.
Stays = Callable[[int], bool]


class Pool:
    """A scheduler with some slots, which evicts jobs at random moments.

    A job is told to end (SIGTERM) and given some time, or its node is gone (SIGKILL of all
    its processes). The first always goes back into the queue where the job's exit says so;
    the second always.

    Parameters
    ----------
    command : callable
        From the job's number to its command and environment.
    stays : callable
        Whether a job that ended with a status is kept in the queue.
    most_seconds : float
        After which a job is evicted at the latest.
    n_evictions : int
        Jobs are left alone after so many.
    """

    def __init__(
        self,
        command: Callable[[int], tuple[list[str], dict[str, str]]],
        stays: Stays,
        rng: random.Random,
        most_seconds: float,
        n_evictions: int,
    ):
        self.command, self.stays, self.rng = command, stays, rng
        self.most_seconds, self.left = most_seconds, n_evictions
        self.evicted = {signal.SIGTERM: 0, signal.SIGKILL: 0}
        self.failures: list[str] = []
        self._guard = threading.Lock()

    def run(self, n_jobs: int, n_slots: int = 2) -> None:
        """Run all jobs, each as often as it takes."""
        jobs: queue.SimpleQueue[tuple[int, int]] = queue.SimpleQueue()
        for k in range(n_jobs):
            jobs.put((k, 1))

        def slot() -> None:
            while True:
                try:
                    k, attempt = jobs.get_nowait()
                except queue.Empty:
                    return
                if self._attempt(k):
                    continue
                if attempt < _MOST_ATTEMPTS:
                    jobs.put((k, attempt + 1))
                else:
                    self.failures.append(f"job {k} was never finished")

        slots = [threading.Thread(target=slot) for _ in range(n_slots)]
        for thread in slots:
            thread.start()
        for thread in slots:
            thread.join()
        assert self.failures == []

    def _attempt(self, k: int) -> bool:
        """Run a job until it ends or is evicted; return whether it has left the queue."""
        command, environment = self.command(k)
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
        with self._guard:
            evicting = self.left > 0
            how = self.rng.choice(list(self.evicted))
            seconds = self.rng.uniform(0.5, self.most_seconds) if evicting else 900.0
        try:
            _, errors = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            with self._guard:
                self.left -= 1
                self.evicted[how] += 1
            if how == signal.SIGKILL:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate(timeout=60)
                return False
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=120)
        if self.stays(process.returncode):
            return False
        if process.returncode:
            self.failures.append(f"job {k}: {process.returncode}: {errors.decode()[-500:]}")
        return True


def condor(path: Path) -> tuple[Callable, Stays]:
    """Return how HTCondor runs a job, and what the submit file's expression says then."""
    import classad2

    line = re.search(r"on_exit_remove = (.*)", (path.parent / "event.sub").read_text())
    assert line is not None

    def stays(status: int) -> bool:
        job = classad2.ClassAd(
            {"ExitBySignal": status < 0, "ExitSignal": -status, "ExitCode": status}
        )
        job["OnExitRemove"] = classad2.ExprTree(line[1])
        return not job.eval("OnExitRemove")

    def command(k: int) -> tuple[list[str], dict[str, str]]:
        return [str(path.parent / "event.sh"), str(k)], environment()

    return command, stays


def slurm(path: Path, programs: Path) -> tuple[Callable, Stays]:
    """Return how SLURM runs a job of the array; what asked to be requeued, is."""
    programs.mkdir()
    scontrol = programs / "scontrol"
    scontrol.write_text(
        f'#!/bin/bash\n[ "$1" = requeue ] && touch {programs}/requeued-$2\n'
    )
    scontrol.chmod(0o755)

    def command(k: int) -> tuple[list[str], dict[str, str]]:
        return ["bash", str(path)], environment() | {
            "SLURM_ARRAY_TASK_ID": str(k), "SLURM_JOB_ID": str(k),
            "PATH": f"{programs}:{os.environ['PATH']}",
        }  # fmt: skip

    def stays(status: int) -> bool:
        asked = list(programs.glob("requeued-*"))
        for mark in asked:
            mark.unlink()
        assert not asked or status == EVICTED
        return bool(asked)

    return command, stays


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY)}


def table_of(campaign) -> pd.DataFrame:
    return campaign.table().drop(columns=CHANGING)


def evict(campaign, system: str, rng: random.Random, *, events_per_job: int,
          most_seconds: float, n_evictions: int, programs: Path) -> Pool:  # fmt: skip
    """Run a campaign's jobs on a stand-in for a scheduler that evicts them."""
    path = write_jobs(campaign, system, Site(python=sys.executable), events_per_job)
    command, stays = condor(path) if system == "htcondor" else slurm(path, programs)
    pool = Pool(command, stays, rng, most_seconds, n_evictions)
    pool.run(-(-len(campaign.names) // events_per_job), 1 if system == "slurm" else 2)
    return pool


def assert_same(evicted, calm) -> None:
    assert evicted.counts() == {"finished": len(calm.names)}
    for name in calm.names:
        kept = [c.files.rundir(name) / "samples.feather" for c in (evicted, calm)]
        assert kept[0].read_bytes() == kept[1].read_bytes()
    pd.testing.assert_frame_equal(table_of(evicted), table_of(calm), check_exact=True)


# What HTCondor makes of a job's end is tried with its own parser in test_submit.py.
@pytest.mark.parametrize(
    "system",
    ["slurm", pytest.param("htcondor", marks=[pytest.mark.slow, needs("htcondor")])],
)
def test_evicted_jobs_lose_nothing(system, analysed, settings, tmp_path):
    campaign = make(tmp_path / "evicted", settings, executor="serial", progress=False)
    pool = evict(campaign, system, random.Random(), events_per_job=3, most_seconds=4.0,
                 n_evictions=1, programs=tmp_path / "bin")  # fmt: skip
    assert sum(pool.evicted.values()) >= 1
    assert_same(campaign, analysed)


@pytest.mark.slow
@needs("htcondor")
def test_hundred_events_evicted_at_random(settings, tmp_path):
    many = dataclasses.replace(
        settings, injections=dataclasses.replace(settings.injections, n=100)
    )
    calm = make(tmp_path / "calm", many, n_procs=2, progress=False)
    calm.run(n_procs=2, progress=False)
    evicted = make(tmp_path / "evicted", many, n_procs=2, progress=False)
    pool = evict(evicted, "htcondor", random.Random(), events_per_job=10,
                 most_seconds=20.0, n_evictions=40, programs=tmp_path)  # fmt: skip
    assert min(pool.evicted.values()) >= 5
    assert_same(evicted, calm)


@pytest.mark.slow
@needs("htcondor")
def test_evicted_infer_loses_nothing(injections, tmp_path):
    analysis = Analysis("infer", {"n_effective": 100, "max_waveforms": 6000, "n_ext": 64,
                                  "mchirp_range": [28, 34], "q_min": 0.5})  # fmt: skip
    ten = dataclasses.replace(injections, n=10)
    few = Settings("few", 3, analysis, injections=ten)
    calm = make(tmp_path / "calm", few, executor="serial", progress=False)
    calm.run(executor="serial", progress=False)
    evicted = make(tmp_path / "evicted", few, executor="serial", progress=False)
    pool = evict(evicted, "htcondor", random.Random(), events_per_job=1,
                 most_seconds=15.0, n_evictions=20, programs=tmp_path)  # fmt: skip
    assert min(pool.evicted.values()) >= 3
    assert_same(evicted, calm)


MPI = """
from dotpe_exec.campaign import Campaign
import sys
Campaign(sys.argv[1]).run(executor="mpi", progress=False)
"""


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["process", "loky", "dask", "mpi"])
def test_executors_make_the_same_table(executor, analysed, settings, tmp_path):
    campaign = make(tmp_path / "other", settings, executor="serial", progress=False)
    if executor == "mpi":
        folder = Path(sys.executable).parent
        launcher = shutil.which("mpiexec", path=f"{folder}:{os.environ['PATH']}")
        assert launcher is not None
        script = tmp_path / "script.py"
        script.write_text(MPI)
        command = [launcher, "-n", "3", sys.executable, "-m", "mpi4py.futures", script]
        subprocess.run([*command, campaign.files.path], env=environment(), check=True)
    else:
        campaign.run(executor=executor, n_procs=2, progress=False)
    assert_same(campaign, analysed)
