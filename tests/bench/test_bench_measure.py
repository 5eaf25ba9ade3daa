"""What all benchmarks share: figures are what happened, with where and how."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from bench_scripts import BENCH, run_script


def test_ratios_are_those_of_pairs_not_of_medians(bench):
    measure = bench("measure")
    # The machine was ten times slower during the second pair.
    ratios = measure.paired_ratios([2.0, 40.0, 6.0], [1.0, 10.0, 1.0])
    assert ratios.values == (2.0, 4.0, 6.0)
    assert ratios.median == 4.0
    with pytest.raises(ValueError):
        measure.paired_ratios([1.0], [1.0, 2.0])


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (123.4, "123"), (1.234, "1.23"), (0.01234, "0.0123"), (1e-7, "1.00e-07")],
)
def test_numbers_have_three_digits(bench, value, text):
    assert bench("measure").number_text(value) == text


def test_table_prints_the_union_of_columns(bench):
    measure = bench("measure")
    table = measure.Table("name", "How it was made.")
    table.add(case="a", time_s=measure.Spread.of([3.0, 1.0, 2.0]))
    table.add(case="b", workers=2)
    assert table.markdown().splitlines() == [
        "| case | time s | workers |",
        "| --- | --- | --- |",
        "| a | 2.00 (1.00 to 3.00) |  |",
        "| b |  | 2 |",
        "",
        "How it was made.",
    ]


def test_report_says_where_and_with_what(bench, tmp_path, capsys):
    measure = bench("measure")
    arguments = SimpleNamespace(
        json=tmp_path / "new" / "figures.json", repeats=2, bank=[Path("a"), Path("b")]
    )
    report = measure.Report(arguments)
    table = measure.Table("name", "How.")
    table.add(ratio=measure.Spread.of([1.0, 3.0]))
    report.show(table)
    report.write()
    assert "| 2.00 (1.00 to 3.00) |" in capsys.readouterr().out
    written = json.loads(arguments.json.read_text())
    assert written["machine"]["usable_cores"] >= 1
    assert written["versions"]["numpy"] == np.__version__
    assert {"commit", "load_average", "quiet"} <= set(written)
    assert written["arguments"]["repeats"] == 2
    assert written["arguments"]["bank"] == ["a", "b"]
    assert written["tables"][0]["rows"][0]["ratio"]["values"] == [1.0, 3.0]


def test_list_names_every_table_and_its_script_exists(bench):
    benchmarks = bench("run").BENCHMARKS
    listed = run_script("run.py", "--list")
    assert listed.returncode == 0
    assert [line.split()[0] for line in listed.stdout.splitlines()] == list(benchmarks)
    assert {"micro", "phases", "endtoend", "executors"} <= set(benchmarks)
    assert all((BENCH / one.script).is_file() for one in benchmarks.values())


def test_unknown_table_is_refused():
    done = run_script("run.py", "nosuch")
    assert done.returncode == 2
    assert "expected one of micro" in done.stderr


def test_file_is_written_where_it_is_wanted(bench, tmp_path, monkeypatch):
    monkeypatch.setenv("DOTPE_EXEC_BENCH_CACHE", str(tmp_path))
    micro = bench("run").BENCHMARKS["micro"]
    assert str(tmp_path / "results/micro.json") in micro.command("micro", [])
    assert str(tmp_path / "results/micro.json") not in micro.command("micro", ["--json=x"])


# Fresh processes

TASKS = """
import subprocess, sys, time

def fill(megabytes, child_megabytes, mapped):
    block = bytearray(megabytes << 20)
    block[::4096] = b"x" * (len(block) // 4096)
    n = child_megabytes << 20
    code = f"b = bytearray({n}); b[::4096] = b'x' * ({n} // 4096); "
    code += "import time; time.sleep(0.7)"
    subprocess.run([sys.executable, "-c", code], check=True)
    import mmap
    with open(mapped, "rb") as stream:
        view = mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ)
        touched = sum(view[k] for k in range(0, len(view), 4096))
        time.sleep(0.3)
    return len(block) + touched

def burn(seconds):
    began = time.process_time()
    while time.process_time() - began < seconds:
        pass

def threads():
    import os
    return os.environ["OMP_NUM_THREADS"]

def fail():
    raise KeyError("the reason")
"""


@pytest.fixture
def tasks(tmp_path):
    (tmp_path / "bench_tasks.py").write_text(TASKS)
    return tmp_path


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_memory_of_descendants_counts_and_mapped_files_do_not(bench, tasks):
    mapped = tasks / "mapped"
    mapped.write_bytes(bytes(200 << 20))
    run = bench("fresh").run_fresh(
        "bench_tasks:fill",
        {"megabytes": 100, "child_megabytes": 150, "mapped": str(mapped)},
        paths=[tasks],
    )
    assert run.answer == str(100 << 20)
    assert 100 << 20 < run.peak_parent_bytes < 180 << 20
    assert 250 << 20 < run.peak_bytes < 330 << 20
    assert run.peak_uss_bytes > 200 << 20


def test_cpu_time_and_threads_of_a_fresh_process(bench, tasks):
    fresh = bench("fresh")
    run = fresh.run_fresh("bench_tasks:burn", {"seconds": 0.5}, paths=[tasks])
    assert 0.5 <= run.cpu_seconds < 2.5
    assert run.seconds >= 0.5
    assert fresh.run_fresh("bench_tasks:threads", {}, paths=[tasks]).answer == "1"


def test_failure_in_a_fresh_process_says_why(bench, tasks):
    with pytest.raises(RuntimeError, match="the reason"):
        bench("fresh").run_fresh("bench_tasks:fail", {}, paths=[tasks])
