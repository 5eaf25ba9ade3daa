"""The model of how runs scale does what drivers do, and is made of what was measured."""

from __future__ import annotations

import heapq
import json
import sys
from collections import deque
from concurrent.futures import Future
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from dotpe_exec.executors import worker
from dotpe_exec.executors.driver import Driver
from dotpe_exec.executors.interface import Executor
from dotpe_exec.executors.task import Task


def phase(bench, tasks, reduction=0.0, **kwargs):
    tasks = np.asarray(tasks, float)
    return bench("simulation").PhaseLoad(tasks, np.full(len(tasks), reduction), **kwargs)


def overheads(bench, **kwargs):
    costs = {"message": 0.0, "task": 0.0, "latency": 0.0, "spawn": 0.0}
    return bench("simulation").Overheads(**costs | kwargs)


# One phase


@pytest.mark.parametrize("n_workers", [1, 4, 64])
def test_equal_tasks_without_overheads_are_shared_evenly(bench, n_workers):
    load = phase(bench, np.full(640, 0.3))
    found = bench("simulation").simulate_phase(load, n_workers, overheads(bench))
    assert found.seconds == pytest.approx(640 * 0.3 / n_workers)
    assert found.workers_busy == pytest.approx(640 * 0.3)
    assert found.driver_busy == 0
    assert found.n_messages == 640  # each is more than a message should be


def test_short_tasks_travel_together_and_the_last_ones_are_divided(bench):
    load = phase(bench, np.full(10_000, 1e-3))
    found = bench("simulation").simulate_phase(load, 4, overheads(bench))
    assert found.n_messages < 10_000 / 50
    assert found.seconds == pytest.approx(2.5, rel=0.05)


def test_driver_limits_where_results_cost_more_than_workers_take(bench):
    load = phase(bench, np.full(200, 0.3), reduction=0.1)
    found = bench("simulation").simulate_phase(load, 32, overheads(bench))
    assert found.seconds == pytest.approx(20.0, rel=0.03)
    assert found.driver_busy == pytest.approx(20.0)


def test_a_long_task_at_the_end_is_waited_for(bench):
    load = phase(bench, [1.0] * 7 + [5.0])
    found = bench("simulation").simulate_phase(load, 8, overheads(bench))
    assert found.seconds == pytest.approx(5.0)


def test_workers_that_start_and_load_come_on_top(bench):
    load = phase(bench, np.full(8, 1.0), begin=2.0, load=0.5, n_cold=8)
    found = bench("simulation").simulate_phase(load, 8, overheads(bench, spawn=0.1))
    # The last of eight workers is started after 0.8 s.
    assert found.seconds == pytest.approx(0.8 + 2.0 + 0.5 + 1.0)
    warm = phase(bench, np.full(8, 1.0))
    found = bench("simulation").simulate_phase(warm, 8, overheads(bench, spawn=0.1))
    assert found.seconds == pytest.approx(1.0)


def test_messages_and_tasks_cost_the_driver_once_each(bench):
    load = phase(bench, np.full(10, 1.0))
    costs = overheads(bench, message=0.02, task=0.01, latency=0.005)
    found = bench("simulation").simulate_phase(load, 1, costs)
    assert found.driver_busy == pytest.approx(10 * 0.03)


class VirtualWorkers(Executor):
    """Workers that take messages in order and end them in virtual time."""

    shares_memory = True

    def __init__(self, n_workers):
        self.n_workers = n_workers
        self.now = 0.0
        self.n_messages = 0
        self._free = [0.0] * n_workers
        self._running = []
        self._ended = deque()

    def submit(self, function, /, *args):
        seconds = sum(args[-1])
        end = max(heapq.heappop(self._free), self.now) + seconds
        heapq.heappush(self._free, end)
        outcomes = [worker.Outcome(payload, None, 0.0, 0.0) for payload in args[-1]]
        future = Future()
        heapq.heappush(self._running, (end, self.n_messages, future))
        self.n_messages += 1
        future.reply = worker.Reply(outcomes, "virtual", seconds, 0)
        return future

    # In place of the queue in which the driver finds messages that ended

    def put(self, number):
        self._ended.append(number)

    def get(self, timeout):
        if not self._ended:
            self.now, _, future = heapq.heappop(self._running)
            future.set_result(future.reply)
        return self._ended.popleft()


@pytest.mark.parametrize(
    ("n_workers", "longest"), [(1, 0.1), (8, 0.1), (32, 2.0), (8, 1e-3)]
)
def test_simulation_does_what_the_driver_does(bench, tmp_path, n_workers, longest):
    durations = np.random.default_rng(0).uniform(0, longest, 500)
    workers = VirtualWorkers(n_workers)
    tasks = [Task(str(k), float(s)) for k, s in enumerate(durations)]
    driver = Driver(workers, "p", float, tasks, n_tasks=500, notes_folder=str(tmp_path))
    driver._done = workers
    assert len(list(driver)) == 500
    found = bench("simulation").simulate_phase(
        phase(bench, durations), n_workers, overheads(bench)
    )
    assert found.n_messages == workers.n_messages
    assert found.seconds == pytest.approx(workers.now)


# A whole run


def parameters(bench, **changes):
    model = bench("scale_model")
    incoherent = model.PhaseParameters(
        "incoherent", model.Growth(0.0, 1.0), 512, (2e-4,), 1e-6, load=0.5
    )
    values = {
        "outside": model.Growth(3.0, 0.0),
        "stages": (
            model.StageParameters(
                "incoherent", model.Growth(1.0, 1e-6), False, (incoherent,)
            ),
            model.StageParameters("results", model.Growth(0.5, 1e-6), True, ()),
        ),
        "begin": 1.0,
        "samples": 10.0,
        "waveform_bytes": 48384.0,
        "overheads": overheads(bench, message=1e-3, task=1e-4, latency=1e-3, spawn=5e-3),
    }
    return model.RunParameters(**values | changes)


def test_serial_run_is_the_sum_of_its_parts(bench):
    found = bench("scale_model").predict(parameters(bench), 2**17, 0)
    serial = 3.0 + 1.0 + 2**17 * 1e-6 + 0.5 + 10 * 2**17 * 1e-6
    assert found.seconds == pytest.approx(serial + 0.5 + 2**17 * (2e-4 + 1e-6))


def test_terms_add_up_and_serial_ones_do_not_shrink(bench):
    model = bench("scale_model")
    two, many = (model.predict(parameters(bench), 2**20, n) for n in (2, 64))
    for found in (two, many):
        assert sum(found.terms().values()) == pytest.approx(found.seconds)
    assert two.serial == many.serial
    assert two.shared["incoherent"] == pytest.approx(2**20 * 1e-4)
    assert many.shared["incoherent"] == pytest.approx(2**20 * 2e-4 / 64)
    assert two.seconds > many.seconds > sum(two.serial.values())
    assert next(iter(two.terms())) == "incoherent: work / workers"


def test_written_samples_stop_growing_at_the_limit(bench):
    model = bench("scale_model")
    name = "results, in the driver alone"
    small, large = (
        model.predict(parameters(bench), n, 32).serial[name] for n in (2**18, 2**24)
    )
    assert small == pytest.approx(0.5 + 10 * 2**18 * 1e-6)
    assert large == pytest.approx(0.5 + model.SIZE_LIMIT * 1e-6)


def test_efficiency_falls_with_the_number_of_workers(bench):
    table = bench("scale_model").prediction_table(parameters(bench), [2**20])
    assert [row["workers"] for row in table.rows] == ["serial", *(2**k for k in range(11))]
    efficiencies = [row["efficiency"] for row in table.rows[1:]]
    assert efficiencies == sorted(efficiencies, reverse=True)
    # With one worker only what is in flight at the end is left for the driver to do alone.
    assert efficiencies[0] == pytest.approx(1.0, abs=0.01)
    published = {row["workers"]: row.get("published_s") for row in table.rows}
    assert published[32] == 237.0
    assert published[16] is None


def test_parameters_survive_a_file(bench, tmp_path):
    stored = tmp_path / "parameters.json"
    run = parameters(bench)
    stored.write_text(json.dumps(run.to_dict()))
    assert bench("scale_model").read_parameters(stored) == run


def test_growth_neither_begins_below_zero_nor_falls(bench):
    growth = bench("scale_model").Growth
    line = growth.fit([10, 20, 40], [7.0, 12.0, 22.0])
    assert (line.start, line.slope) == pytest.approx((2.0, 0.5))
    falling = growth.fit([10, 20], [4.0, 3.0])
    assert falling.slope == 0
    assert 3.0 < falling.start < 4.0
    assert growth.fit([10, 20], [4.0, 4.3], noise=0.1).slope == 0
    assert growth.fit([10, 20], [4.0, 4.3], noise=0.05).slope == pytest.approx(0.03)
    steep = growth.fit([10, 20], [5.0, 20.0])
    assert steep.start == 0
    assert 0.5 < steep.slope < 1.0
    assert growth.fit([10, 10], [1.0, 3.0]) == growth(2.0, 0.0)


# Where the parameters come from


def write_run(folder, n_tasks, *, slow=1.0, in_threads=0.0):
    """Write what a run leaves whose one worker works at ``1 / slow`` of a core.

    A second of each task's wall-clock time is CPU time where ``slow`` is 1. Of the
    second that the results take the driver, threads do a part ``in_threads``.
    """
    folder.mkdir()
    starts = 112.0 + slow * np.arange(n_tasks)
    tasks = pd.DataFrame(
        {
            "phase": pd.Categorical(["incoherent"] * n_tasks),
            "worker": pd.Categorical(["host:1"] * n_tasks),
            "start": starts + 0.5 * slow * (np.arange(n_tasks) > 0),
            "end": starts + 1.5 * slow,
            "work": 512,
        }
    )
    # The first took half a second longer than the others, which take one each.
    begin, end = 112.0 - 2.0 * slow, float(tasks["end"].max())
    tasks.to_feather(folder / "tasks.feather")
    report = {
        "stage_times": [
            ["incoherent", begin - 2.0, end + 0.1],
            ["results", end + 0.1, end + 1.1],
        ],
        "stage_cpu_seconds": {"incoherent": 2.0 + 0.1 * n_tasks, "results": 1.0},
        "stage_thread_cpu_seconds": {"results": 1.0 - in_threads},
        "phase_times": [["incoherent", begin, end]],
        "phases": {"incoherent": {"parent_cpu_seconds": 0.1 * n_tasks}},
    }
    (folder / "run_report.json").write_text(json.dumps(report))
    samples = pd.DataFrame({"weights": np.ones(5 * 512 * n_tasks)})
    samples.to_feather(folder / "prob_samples.feather")
    own = 4.0 + report["stage_cpu_seconds"]["incoherent"] + 1.0
    workers = 2.0 + 0.5 + 1.0 * n_tasks
    return 4.0 + end + 1.1 - (begin - 2.0), own, own + workers


@pytest.mark.parametrize("slow", [1.0, 3.0])
def test_a_run_is_taken_apart_into_cpu_times(bench, tmp_path, slow):
    costs = overheads(bench, message=0.01, task=0.02)
    times = write_run(tmp_path / "run", 20, slow=slow)
    found = bench("calibration").read_run(tmp_path / "run", 20 * 512, *times, costs)
    assert found.n_samples == 5 * 512 * 20
    assert found.outside == pytest.approx(4.0)
    assert found.serial == pytest.approx({"incoherent": 2.0, "results": 1.0})
    incoherent = found.phases["incoherent"]["incoherent"]
    assert incoherent.begin == pytest.approx(2.0)
    assert incoherent.load == pytest.approx(0.5)
    np.testing.assert_allclose(incoherent.rates, 1.0 / 512)
    assert incoherent.driver == pytest.approx(20 * 0.07)
    assert (incoherent.work, incoherent.task_work) == (20 * 512, 512)


def test_model_tells_of_other_sizes_and_workers_what_they_take(bench, tmp_path):
    costs = overheads(bench)
    runs = []
    for n in (20, 40):
        times = write_run(tmp_path / str(n), n)
        read = bench("calibration").read_run
        runs.append(read(tmp_path / str(n), n * 512, *times, costs))
    with pytest.raises(ValueError, match="two sizes or more"):
        bench("calibration").calibrate(runs[:1], costs, 48384.0)
    run = bench("calibration").calibrate(runs, costs, 48384.0)
    assert run.samples == pytest.approx(5.0)
    # 4 s outside, 2 + 1 s in the driver, 2 s to begin, 0.5 s to load, tasks of 1 s, and
    # 0.1 s for the last result.
    found = bench("scale_model").predict(run, 80 * 512, 1)
    assert found.seconds == pytest.approx(4 + 3 + 2.5 + 80 + 0.1)
    found = bench("scale_model").predict(run, 80 * 512, 8)
    assert found.seconds == pytest.approx(4 + 3 + 2.5 + 10 + 0.8, abs=0.1)


def test_what_the_driver_does_in_threads_shrinks_with_the_workers_up_to_a_point(
    bench, tmp_path
):
    calibration, costs = bench("calibration"), overheads(bench)
    runs = []
    for n in (20, 40):
        times = write_run(tmp_path / str(n), n, in_threads=0.6)
        runs.append(calibration.read_run(tmp_path / str(n), n * 512, *times, costs))
    part = calibration.threaded_part(tmp_path / "40")
    assert part == pytest.approx(0.6)
    run = calibration.calibrate(runs, costs, 48384.0, threaded=part)
    results = "results, in the driver alone"
    predict = bench("scale_model").predict
    found = {n: predict(run, 20480, n).serial[results] for n in (0, 1, 2, 8, 32)}
    assert found[0] == found[1] == pytest.approx(1.0)
    assert found[2] == pytest.approx(0.7)
    assert found[8] == found[32] == pytest.approx(0.475)


@pytest.fixture
def fake_runs(bench, monkeypatch, tmp_path):
    """Replace runs by files of runs whose two workers take half the time of one."""
    scale, fresh = bench("scale"), bench("fresh")
    monkeypatch.setenv("DOTPE_EXEC_BENCH_CACHE", str(tmp_path))
    monkeypatch.setattr(scale, "measure_overheads", lambda folder: overheads(bench))
    monkeypatch.setattr(scale, "make_bank", lambda: tmp_path)
    monkeypatch.setattr(scale, "warm_page_cache", lambda bank: None)
    monkeypatch.setattr(scale, "bank_of_size", lambda size, folder: folder / str(size))
    shape = SimpleNamespace(handle=SimpleNamespace(n_m=4, n_b=378))
    monkeypatch.setattr(scale, "open_bank", lambda folder: shape)
    slower = {"serial": 1.0, "loky": 1.0}

    def measure_run(bank, rundir, n_procs, *, executor, n_int):
        assert bank.name == str(n_int)
        n_tasks = n_int // 512
        _, own, cpu = write_run(rundir, n_tasks)
        seconds = 4 + 3 + 0.5 + n_tasks / n_procs
        seconds += 0.1 * n_tasks if executor == "serial" else 2 + 0.1
        peaks = dict.fromkeys(("peak_bytes", "peak_parent_bytes", "peak_uss_bytes"), 0)
        seconds *= slower[executor]
        return fresh.FreshRun("", seconds, cpu, own, **peaks), {}

    monkeypatch.setattr(scale, "measure_run", measure_run)
    return scale, slower


@pytest.mark.parametrize(
    ("factor", "verdict"),
    [pytest.param(1.0, {""}, marks=pytest.mark.slow), (1.3, {"", "off"})],
)
def test_command_checks_the_model_with_what_it_measures(
    fake_runs, bench, monkeypatch, tmp_path, factor, verdict
):
    scale, slower = fake_runs
    slower["serial"] = factor
    figures, saved = tmp_path / "figures.json", tmp_path / "parameters.json"
    words = ["--workers", "2", "--sizes", "10240", "20480", "--repeats", "2"]
    monkeypatch.setattr(
        sys, "argv", ["scale.py", *words, "--json", str(figures), "--save", str(saved)]
    )
    scale.main()
    check, predicted, limits = json.loads(figures.read_text())["tables"]
    rows = {(row["waveforms"], row["workers"]): row for row in check["rows"]}
    assert set(rows) == {(n, w) for n in (10240, 20480) for w in ("serial", 1, 2)}
    assert {row["verdict"] for row in rows.values()} == verdict
    assert rows[20480, "serial"]["measured_s"]["median"] == pytest.approx(51.5 * factor)
    assert rows[20480, 2]["predicted_s"] == pytest.approx(29.6, abs=0.2)
    assert {row["waveforms"] for row in predicted["rows"]} == {2**20, 2**24}
    # 0.1 s of the driver for each second of work: no more than ten workers are of use.
    assert limits["rows"][0]["part"] == "incoherent: start, driver, waiting"
    model = bench("scale_model")
    run = model.read_parameters(saved)
    assert run.waveform_bytes == 48384
    assert model.predict(run, 20480, 2).seconds == rows[20480, 2]["predicted_s"]
