"""Profiles: every process is in them, results are not affected, the trace is a timeline."""

from __future__ import annotations

import cProfile
import json
import pstats
import subprocess
import sys
from dataclasses import dataclass

import pandas as pd
import pytest
from golden_runs import arguments_of_run

from dotpe_exec import profiling, run_and_profile, run_and_profile_multicore, run_multicore
from dotpe_exec.executors.phases import PhaseRunner
from dotpe_exec.executors.store import ArrayStore
from dotpe_exec.executors.task import Task
from dotpe_exec.monitor import Monitor
from dotpe_exec.profiling import ProfiledTask, ProfilingRunner, chrome_trace
from dotpe_exec.rundir.files import RunFiles


@dataclass(frozen=True)
class Number:
    value: int


def double_slowly(number: Number) -> Number:
    if number.value < 0:
        raise ValueError("negative")
    return Number(sum(number.value for _ in range(2)))


TASKS = [Task(f"{k:02d}", Number(k)) for k in range(12)]


def run_toy(folder, executor):
    """Run the tasks profiled; return their results and the files written."""
    folder.mkdir(exist_ok=True)
    files = RunFiles(folder)
    with (
        Monitor(progress=False) as monitor,
        ArrayStore() as store,
        ProfilingRunner(store, executor, files=files, monitor=monitor, n_procs=2) as runner,
        monitor.stage("toy"),
    ):
        results = dict(
            (task.key, result.value)
            for task, result in runner.map("toy", double_slowly, TASKS, n_tasks=len(TASKS))
        )
    return results, files


def calls_of(stats: pstats.Stats, name: str) -> int:
    return sum(
        value[1] for (_, _, function), value in stats.stats.items() if function == name
    )


@pytest.mark.parametrize("executor", ["serial", "process"])
def test_every_task_of_every_process_is_in_the_profile(tmp_path, executor):
    results, files = run_toy(tmp_path / "run", executor)
    assert results == {task.key: 2 * task.payload.value for task in TASKS}
    stats = pstats.Stats(str(files.profile))
    assert calls_of(stats, "double_slowly") == len(TASKS)
    text = files.profile_text.read_text()
    assert "PARENT" in text
    assert ("WORKERS" in text) == (executor == "process")


def test_serial_tasks_are_counted_once_and_profiling_ends(tmp_path):
    run_toy(tmp_path / "run", "serial")
    assert sys.getprofile() is None


def test_profiling_ends_also_when_a_task_fails(tmp_path):
    bad = [Task("bad", Number(-1))]
    with (
        pytest.raises(Exception, match="negative"),
        Monitor(progress=False) as monitor,
        ArrayStore() as store,
        ProfilingRunner(
            store, "serial", files=RunFiles(tmp_path), monitor=monitor
        ) as runner,
    ):
        list(runner.map("toy", double_slowly, bad, n_tasks=1))
    assert not RunFiles(tmp_path).profile.exists()
    assert sys.getprofile() is None
    with cProfile.Profile() as profile:  # refused by Python 3.12 if ours still ran
        double_slowly(Number(1))
    assert calls_of(pstats.Stats(profile), "double_slowly") == 1


def test_a_task_under_somebody_elses_profiler_still_runs(tmp_path):
    with cProfile.Profile() as profile:
        result = ProfiledTask(double_slowly, str(tmp_path))(Number(4))
    assert result == Number(8)
    assert calls_of(pstats.Stats(profile), "double_slowly") == 1


def test_a_folder_that_cannot_be_written_costs_no_task(tmp_path):
    assert ProfiledTask(double_slowly, str(tmp_path / "gone"))(Number(4)) == Number(8)


def records_of(folder):
    (path,) = folder.glob("*.prof")
    return path


def test_a_workers_file_is_summed_when_it_has_grown(tmp_path, monkeypatch):
    monkeypatch.setattr(profiling, "_MAX_GROWTH_BYTES", 2000)
    sizes = []
    for number in range(60):
        ProfiledTask(double_slowly, str(tmp_path))(Number(number))
        sizes.append(records_of(tmp_path).stat().st_size)
    assert max(sizes) < 6000 < sizes[0] * 60, "it would have grown on and on"
    assert calls_of(profiling._load(records_of(tmp_path)), "double_slowly") == 60


def test_what_a_killed_worker_was_writing_is_left_out(tmp_path):
    for number in range(3):
        ProfiledTask(double_slowly, str(tmp_path))(Number(number))
    path = records_of(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: -len(whole) // 6])
    assert calls_of(profiling._load(path), "double_slowly") == 2


def test_profiles_of_two_runs_in_one_worker_do_not_mix(tmp_path):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        ProfiledTask(double_slowly, str(tmp_path / name))(Number(1))
    (path,) = (tmp_path / "second").glob("*.prof")
    assert calls_of(pstats.Stats(str(path)), "double_slowly") == 1


def test_workers_that_are_profiled_stay_light():
    code = (
        "import sys, dotpe_exec.profiling;"
        "print([m for m in ('lal','cogwheel','pandas','matplotlib') if m in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert output.stdout.strip() == "[]", output.stderr


def test_trace_has_a_row_per_worker_and_the_stages():
    tasks = pd.DataFrame(
        {
            "phase": ["incoherent", "incoherent", "coherent"],
            "key": ["bank_0/0", "bank_0/1", "0"],
            "worker": ["a:1", "b:1", "a:1"],
            "start": [100.0, 100.5, 102.0],
            "end": [101.0, 101.0, 104.0],
            "work": [512, 512, 7],
            "peak_memory_bytes": [10**8, 2 * 10**8, 10**8],
            "message_bytes": [1, 2, 3],
            "result_bytes": [4, 5, 6],
            "crashes": [0, 0, 1],
        }
    )
    events = chrome_trace(tasks, [("reference", 98.0, 99.5)])["traceEvents"]
    spans = {event["name"]: event for event in events if event["ph"] == "X"}
    assert spans["reference"]["ts"] == 0
    assert spans["reference"]["dur"] == 1.5e6
    assert spans["coherent 0"]["ts"] == 4e6
    assert spans["coherent 0"]["dur"] == 2e6
    assert spans["coherent 0"]["args"]["crashes"] == 1
    rows = {
        (event["pid"], event["tid"]): event["args"]["name"]
        for event in events
        if event["name"] == "thread_name"
    }
    for name, worker in (("incoherent bank_0/1", "b:1"), ("coherent 0", "a:1")):
        assert rows[spans[name]["pid"], spans[name]["tid"]] == worker
    assert rows[spans["reference"]["pid"], spans["reference"]["tid"]] == "stages"
    memory = [e["args"]["MB"] for e in events if e["ph"] == "C"]
    assert memory == [100.0, 200.0, 100.0]


def test_trace_of_nothing_is_valid(tmp_path):
    with Monitor(progress=False) as monitor:
        trace = chrome_trace(monitor.tasks_frame(), [])
    assert all(event["ph"] == "M" for event in trace["traceEvents"])


def test_stage_times_agree_with_the_seconds_of_the_stages():
    with Monitor(progress=False) as monitor:
        for name in ("reference", "reference", "coherent"):
            with monitor.stage(name):
                pass
    report = monitor.report()
    assert [name for name, _, _ in report["stage_times"]] == [
        "reference", "reference", "coherent",
    ]  # fmt: skip
    seconds = sum(end - start for name, start, end in report["stage_times"])
    assert seconds == pytest.approx(sum(report["stages"].values()), abs=1e-5)


@pytest.fixture(scope="module")
def golden_arguments(golden):
    return arguments_of_run(golden, bank_folder=golden / "bank_0", mchirp_guess=25.0)


@pytest.fixture(scope="module")
def plain(golden_arguments, tmp_path_factory):
    """The run directory of a run that is not profiled."""
    rundir = tmp_path_factory.mktemp("plain") / "run"
    return run_multicore(**golden_arguments, rundir=rundir, executor="serial")


@pytest.mark.filterwarnings("ignore:.*samples are drawn from a posterior")
def test_profiled_run_writes_the_same_results(golden_arguments, plain, tmp_path):
    rundir, report = run_and_profile(**golden_arguments, rundir=tmp_path / "profiled")
    for name in ("summary_results.json", "samples.feather", "prob_samples.feather"):
        assert (rundir / name).read_bytes() == (plain / name).read_bytes(), name
    files = RunFiles(rundir)
    assert report == files.profile_text.read_text()
    assert calls_of(pstats.Stats(str(files.profile)), "find_reference") == 1
    events = json.loads(files.trace.read_text())["traceEvents"]
    stages = [event["name"] for event in events if event.get("cat") == "stage"]
    assert stages == ["reference", "incoherent", "extrinsic", "coherent", "results"]
    tasks = pd.read_feather(files.tasks)
    shown = [event["cat"] for event in events if event.get("cat") in set(tasks["phase"])]
    assert sorted(shown) == sorted(tasks["phase"])
    assert not RunFiles(plain).trace.exists()


def test_resuming_a_finished_run_profiles_nothing(golden_arguments, plain):
    rundir, report = run_and_profile_multicore(
        **golden_arguments, rundir=plain, executor="serial", resume=True
    )
    assert (rundir, report) == (plain, "")


def test_the_plain_runner_writes_no_profiles():
    with ArrayStore() as store, PhaseRunner(store, "serial") as runner:
        list(runner.map("toy", double_slowly, TASKS, n_tasks=len(TASKS)))
        assert not list(store.folder.glob("profiles-*"))
