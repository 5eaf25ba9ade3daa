"""Jobs over executors: none waits for another, none takes another with it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from jobs import Job, work

from dotpe_exec.campaign.mapping import Crashed, map_jobs
from dotpe_exec.errors import WorkerCrashError


def results(jobs, **options):
    return {
        job.name: result
        for job, result in map_jobs("jobs", work, jobs, progress=False, **options)
    }


@pytest.mark.parametrize("executor", [None, "serial", "process", "loky"])
def test_every_job_has_its_result(executor):
    jobs = [Job(f"job{k}") for k in range(5)]
    expected = {job.name: f"{job.name} done" for job in jobs}
    assert results(jobs, executor=executor, n_procs=2) == expected


def test_callers_executor_is_used_and_left_alone():
    with ThreadPoolExecutor(2) as pool:
        assert len(results([Job("a"), Job("b")], executor=pool)) == 2
        assert pool.submit(int).result() == 0


def test_no_jobs_are_no_work():
    assert results([], executor="loky") == {}


def test_the_slowest_holds_up_nobody(tmp_path):
    jobs = [Job("slow", seconds=3), *(Job(f"fast{k}") for k in range(6))]
    order = [job.name for job, _ in map_jobs("jobs", work, jobs, executor="process",
                                             n_procs=2, progress=False)]  # fmt: skip
    assert order[-1] == "slow"


def test_killed_worker_costs_its_own_job_only(tmp_path):
    folder = str(tmp_path)
    jobs = [Job("bystander", seconds=4, folder=folder),
            Job("victim", seconds=0.5, kills=2, folder=folder)]  # fmt: skip
    jobs += [Job(f"other{k}", folder=folder) for k in range(3)]
    found = results(jobs, executor="process", n_procs=2)
    assert set(found.values()) == {f"{job.name} done" for job in jobs}
    attempts = [path.name.split("-")[0] for path in tmp_path.iterdir()]
    assert attempts.count("victim") == 3
    assert all(attempts.count(job.name) == 1 for job in jobs if job.name != "victim")


def test_job_that_no_worker_survives_ends_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("dotpe_exec.executors.blame.LOADING_SECONDS", 0.0)
    jobs = [Job("deadly", kills=99, folder=str(tmp_path)), Job("a"), Job("b")]
    found = results(jobs, executor="process", n_procs=1)
    assert isinstance(found["deadly"], Crashed)
    assert "'deadly'" in found["deadly"].sentence and "SIGKILL" in found["deadly"].sentence
    assert (found["a"], found["b"]) == ("a done", "b done")


def test_where_no_worker_survives_anything_it_ends(tmp_path, monkeypatch):
    monkeypatch.setattr("dotpe_exec.executors.blame.LOADING_SECONDS", 0.0)
    monkeypatch.setattr("dotpe_exec.campaign.mapping._MAX_RETRIES", 0)
    jobs = [Job(f"deadly{k}", kills=99, folder=str(tmp_path)) for k in range(20)]
    with pytest.raises(WorkerCrashError, match="deadly"):
        results(jobs, executor="process", n_procs=1)
    assert len(list(tmp_path.iterdir())) < 6


def test_interrupt_ends_the_workers_at_once():
    jobs = [Job("slow0", seconds=60), Job("slow1", seconds=60), Job("fast")]
    stream = map_jobs("jobs", work, jobs[::-1], executor="process", n_procs=2,
                      progress=False)  # fmt: skip
    next(stream)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        stream.throw(KeyboardInterrupt)
    assert time.monotonic() - began < 5
