"""The monitor: bars where somebody looks, log lines elsewhere, records always."""

from __future__ import annotations

import io
import json
import re
import threading
import time

import pytest

from dotpe_exec import atomic, monitor
from dotpe_exec.executors.phases import PhaseRunner, TaskRecord
from dotpe_exec.executors.private_memory import PeakSampler
from dotpe_exec.executors.store import ArrayStore
from dotpe_exec.executors.task import Task
from dotpe_exec.monitor import Monitor


def record(k, phase="incoherent", worker="host:1", restored=False, seconds=2.0, **changes):
    values = {
        "phase": phase,
        "key": f"bank_0/{k:06d}",
        "start": 100.0 + k,
        "end": 100.0 + k + seconds,
        "worker": worker,
        "work": 512,
        "peak_memory_bytes": 10**8 + k,
        "message_bytes": 1000,
        "result_bytes": 4000,
        "restored": restored,
    }
    return TaskRecord(**{**values, **changes})


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def open_terminal(monkeypatch):
    # Called by the test, because pytest sets the streams between fixtures and test.
    def attach():
        stream = Terminal()
        monkeypatch.setattr("sys.stderr", stream)
        return stream

    return attach


def run_phase(watcher, n=4, total_work=2048, restored=0):
    watcher.phase_started("incoherent", n, total_work, "waveform")
    for k in range(n):
        watcher.task_finished(record(k, worker=f"host:{k % 2}", restored=k < restored))
    watcher.phase_finished("incoherent")


def test_terminal_shows_a_bar_in_units_of_work(open_terminal):
    terminal = open_terminal()
    run_phase(Monitor())
    shown = terminal.getvalue()
    assert "incoherent" in shown and "100%" in shown
    assert "2.05k/2.05k" in shown and "waveform/s" in shown
    assert "2/2 busy" in shown or "1/1 busy" in shown


def test_unknown_amount_of_work_is_counted_in_tasks(open_terminal):
    terminal = open_terminal()
    run_phase(Monitor(), total_work=None)
    assert "4.00/4.00" in terminal.getvalue() and "task/s" in terminal.getvalue()


def test_no_progress_means_silence(open_terminal, caplog, capsys):
    terminal = open_terminal()
    caplog.set_level("INFO")
    run_phase(Monitor(progress=False))
    assert terminal.getvalue() == "" and caplog.text == ""
    assert capsys.readouterr().out == ""


def test_without_a_terminal_there_is_a_log_line_every_so_often(monkeypatch, caplog, capfd):
    now = [0.0]
    monkeypatch.setattr(monitor.time, "monotonic", lambda: now[0])
    caplog.set_level("INFO")
    watcher = Monitor()
    watcher.phase_started("incoherent", 100, 51200, "waveform")
    for k in range(100):
        now[0] += 1.0
        watcher.task_finished(record(k))
    watcher.phase_finished("incoherent")
    lines = [line for line in caplog.messages if "of 51200 waveform" in line]
    assert len(lines) == 10
    assert re.search(
        r"incoherent: 5120 of 51200 waveform, .* waveform/s, 1/1 busy", lines[0]
    )
    assert capfd.readouterr() == ("", "")


def test_restored_tasks_advance_the_bar_but_are_no_speed(open_terminal):
    open_terminal()
    watcher = Monitor()
    watcher.phase_started("incoherent", 4, 2048, "waveform")
    for k in range(3):
        watcher.task_finished(record(k, restored=True))
    assert watcher._bar.n == 1536
    assert watcher._bar.n - watcher._bar.initial == 0
    watcher.phase_finished("incoherent")
    phase = watcher.report()["phases"]["incoherent"]
    assert phase["n_tasks_restored"] == 3 and phase["work"] == 0


def test_bar_is_closed_after_an_error(open_terminal):
    open_terminal()
    with pytest.raises(KeyError), Monitor() as watcher:
        watcher.phase_started("incoherent", 4, 2048, "waveform")
        raise KeyError
    assert watcher._bar is None


def test_report_has_efficiency_and_balance(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(monitor.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(monitor.time, "process_time", lambda: clock[0] / 4)
    watcher = Monitor(progress=False, n_workers=2)
    watcher.predict_memory({"coherent": 120_000_000})
    watcher.phase_started("coherent", 3, None, "likelihood")
    for k, (worker, seconds) in enumerate([("h:1", 3.0), ("h:1", 3.0), ("h:2", 4.0)]):
        watcher.task_finished(
            record(
                k, phase="coherent", worker=worker, seconds=seconds, work=10, crashes=k % 2
            )
        )
    clock[0] += 8.0
    watcher.phase_finished("coherent")
    assert watcher.report()["phases"]["coherent"] == {
        "unit": "likelihood",
        "seconds": 8.0,
        "parent_cpu_seconds": 2.0,
        "n_tasks": 3,
        "n_tasks_restored": 0,
        "work": 30,
        "work_per_second": 30 / 8,
        "n_workers": 2,
        "worker_seconds": 10.0,
        "worker_busy_fraction": 10 / 16,
        "load_balance": 10 / 12,
        "n_worker_crashes": 1,
        "message_bytes": 3000,
        "result_bytes": 12000,
        "peak_worker_memory_bytes": 10**8 + 2,
        "predicted_worker_memory_bytes": 120_000_000,
    }


def test_stages_are_timed_also_when_they_fail_and_add_up(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(monitor.time, "perf_counter", lambda: clock[0])
    watcher = Monitor(progress=False)
    with watcher.stage("reference"):
        clock[0] += 2.0
    with pytest.raises(KeyError), watcher.stage("reference"):
        clock[0] += 3.0
        raise KeyError
    assert watcher.report()["stages"] == {"reference": 5.0}


def test_memory_of_the_parent_is_its_peak():
    with Monitor(progress=False) as watcher:
        before = watcher.report()["peak_parent_memory_bytes"]
        with watcher.stage("big"):
            block = bytearray(64 << 20)
            time.sleep(2 * PeakSampler.interval)
        del block
        after = watcher.report()["peak_parent_memory_bytes"]
    assert after - before > 50 << 20


def test_task_table_has_a_row_per_task_that_ran(tmp_path):
    import pandas as pd

    watcher = Monitor(progress=False)
    run_phase(watcher, n=4, restored=1)
    atomic.write_feather(tmp_path / "tasks.feather", watcher.tasks_frame())
    frame = pd.read_feather(tmp_path / "tasks.feather")
    assert frame["key"].tolist() == [f"bank_0/{k:06d}" for k in (1, 2, 3)]
    assert frame["worker"].tolist() == ["host:1", "host:0", "host:1"]
    assert (frame["end"] - frame["start"]).tolist() == [2.0, 2.0, 2.0]
    assert frame["work"].sum() == 3 * 512


def test_report_of_nothing_is_standard_json(tmp_path):
    watcher = Monitor(progress=False)
    watcher.phase_started("empty", 0, 0, "waveform")
    watcher.phase_finished("empty")
    atomic.write_json(tmp_path / "r.json", watcher.report())
    assert json.loads((tmp_path / "r.json").read_text())["phases"]["empty"]["n_tasks"] == 0


def double(payload):
    return 2 * payload


def test_phase_runner_tells_the_monitor(tmp_path):
    watcher = Monitor(progress=False)
    tasks = [Task(f"b/{k}", k) for k in range(5)]
    runner = PhaseRunner(ArrayStore(tmp_path / "store"), monitor=watcher)
    with runner:
        results = list(runner.map("toy", double, tasks, n_tasks=5, work=lambda k: k))
    assert sorted(result for _, result in results) == [0, 2, 4, 6, 8]
    phase = watcher.report()["phases"]["toy"]
    assert phase["n_tasks"] == 5 and phase["work"] == 10
    assert set(watcher.tasks_frame()["key"]) == {f"b/{k}" for k in range(5)}


def test_report_tells_the_stages_thread_from_those_that_it_starts():
    def work():
        began = time.thread_time()
        while time.thread_time() - began < 0.1:
            pass

    watcher = Monitor(progress=False)
    with watcher.stage("results"):
        other = threading.Thread(target=work)
        other.start()
        other.join()
    report = watcher.report()
    assert report["stage_cpu_seconds"]["results"] >= 0.1
    assert report["stage_thread_cpu_seconds"]["results"] < 0.05


def test_report_tells_when_each_phase_ran_and_what_stages_took_of_this_process():
    watcher = Monitor(progress=False)
    before = time.time()
    with watcher.stage("extrinsic"):
        for _ in range(2):
            watcher.phase_started("proposals", 1, None, "proposal")
            time.sleep(0.02)
            watcher.phase_finished("proposals")
        began = time.process_time()
        while time.process_time() - began < 0.05:
            pass
    report = watcher.report()
    assert 0.05 <= report["stage_cpu_seconds"]["extrinsic"] < 1
    assert 0.04 <= report["stage_thread_cpu_seconds"]["extrinsic"] < 1
    (first, start, end), (second, again, last) = report["phase_times"]
    assert first == second == "proposals"
    assert before <= start < start + 0.015 < end <= again < last <= time.time()
    assert report["phases"]["proposals"]["parent_cpu_seconds"] < 0.02
