"""The benchmarks run, and what they report is what happened."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from dotpe_exec.banks.format import open_bank

BENCH = Path(__file__).resolve().parents[1] / "bench"


@pytest.fixture
def bench(monkeypatch):
    """Import modules of the benchmarks by name, and forget them afterwards."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(BENCH))
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if (BENCH / f"{name}.py").exists():
            del sys.modules[name]


def script(name, *options, **environment):
    return subprocess.run(
        [sys.executable, str(BENCH / name), *map(str, options)],
        capture_output=True,
        text=True,
        env=os.environ | environment,
    )


# What all share


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
    listed = script("run.py", "--list")
    assert listed.returncode == 0
    assert [line.split()[0] for line in listed.stdout.splitlines()] == list(benchmarks)
    assert {"micro", "phases", "endtoend", "executors"} <= set(benchmarks)
    assert all((BENCH / one.script).is_file() for one in benchmarks.values())


def test_unknown_table_is_refused():
    done = script("run.py", "nosuch")
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


# Kernels


def test_kernels_agree_with_their_references_and_are_counted(bench):
    measure, micro = bench("measure"), bench("micro")
    figures, remark = micro.measure_all(n_waveforms=16, n_samples=50, repeats=2)
    assert "same accepted set" in remark
    largest = {"distance marginalisation": 1e-4}
    for one in figures:
        assert one.deviation < largest.get(one.kernel, 1e-9), one.kernel
        assert len(one.ratios.values) == 2
    rates = measure.machine_rates(1)
    table = measure.kernel_table("micro", figures, rates, remark)
    assert [row["kernel"] for row in table.rows] == [one.kernel for one in figures]
    for row in table.rows:
        assert row["of_GEMM"] > 0
        assert row["GB_per_s"] > 0


def test_fraction_of_the_machine_is_time_at_its_speed_over_time_taken(bench):
    measure = bench("measure")
    rates = measure.MachineRates(gemm64=1e9, gemm32=2e9, stream=1e10)
    one = measure.KernelFigures("k", "unit", [1.0], [8.0], 2e8, 4e8, 1e9, 0.0, "x")
    assert one.of_gemm(rates) == pytest.approx(0.4)
    assert one.of_stream(rates) == pytest.approx(0.1)
    assert one.ratios.values == (8.0,)


# Scaling


def test_speed_up_is_taken_within_a_repeat(bench):
    phases = bench("phases")
    calls = []

    def run(executor, n_copies):
        # Everything is twice as slow in every second repeat.
        slow = 1 + (len(calls) // 2) % 2
        calls.append((executor, n_copies))
        n = 1 if executor == "one" else 2
        seconds = slow * n_copies / (0.8 * n if n > 1 else 1)
        return {
            "work_per_second": n_copies / seconds,
            "seconds": seconds,
            "worker_busy_fraction": 0.9,
        }

    rows = phases.scaling_rows(
        run, {("serial", 1): "one", ("loky", 2): "two"}, 3, repeats=4, weak=True
    )
    assert calls[:2] == [("one", 3), ("two", 6)]
    assert rows[1]["speed-up"].values == pytest.approx([1.6] * 4)
    assert rows[1]["efficiency"].median == pytest.approx(0.8)


def test_phases_run_on_an_executor(bench):
    from dotpe_exec.executors.resolve import resolve_executor
    from dotpe_exec.workload import synthetic_workload

    with synthetic_workload(64, n_b=60, n_d=2) as workload:
        phases = bench("phases").Phases(workload)
        serial = resolve_executor("serial")
        assert phases.incoherent(serial, 2)["work"] == 2 * 64
        assert phases.coherent(serial, 3)["work"] == 3 * phases.coherent(serial, 1)["work"]


def test_phases_need_few_packages(tmp_path):
    names = ("psutil", "platformdirs", "pandas", "pyarrow", "cogwheel", "lal", "tqdm",
             "matplotlib", "astropy")  # fmt: skip
    code = (
        "import sys; sys.modules |= dict.fromkeys(sys.argv[1].split(','))\n"
        "sys.argv[:2] = ['run.py']; import phases, run\n"
        "assert run.BENCHMARKS['phases'].command('phases', []); phases.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, ",".join(names), "--executors", "serial",
         "--waveforms", "32", "--repeats", "1", "--seconds", "0.001"],
        capture_output=True, text=True, cwd=BENCH,
        env=os.environ | {"DOTPE_EXEC_BENCH_CACHE": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("| serial | 1 |") == 4


def test_line_is_fitted_to_sizes(bench):
    sizes = [1000, 2000, 4000, 8000]
    start, slope, worst = bench("endtoend").line_fit(sizes, [2 + 3e-3 * n for n in sizes])
    assert (start, slope) == pytest.approx((2.0, 3e-3))
    assert worst < 1e-9
    _, _, worst = bench("endtoend").line_fit(sizes, [1e-6 * n**2 for n in sizes])
    assert worst > 0.2


def test_small_banks_and_the_large_one_have_the_same_waveforms(
    bench, golden, monkeypatch, tmp_path
):
    banks = bench("many_banks")
    monkeypatch.setattr(banks, "make_bank", lambda: golden / "bank_0")
    small, large = banks.make_banks(4, tmp_path)
    large, small = open_bank(large), [open_bank(folder) for folder in small.values()]
    assert large.n_waveforms == 4 * 128
    assert [bank.n_waveforms for bank in small] == [128] * 4
    rows = np.arange(128)
    for k, bank in enumerate(small):
        there, here = large.handle.read(rows + 128 * k), bank.handle.read(rows)
        np.testing.assert_array_equal(there[0], here[0])
        np.testing.assert_array_equal(there[1], here[1])
        expected = large.table().iloc[128 * k : 128 * (k + 1)].reset_index(drop=True)
        pd.testing.assert_frame_equal(bank.table(), expected)
    # Three blocks, then the first again.
    assert not small[0].table().equals(small[1].table())
    assert small[0].table().equals(small[3].table())


def test_many_banks_are_compared_with_one_in_pairs(bench, golden, monkeypatch, tmp_path):
    banks, fresh = bench("many_banks"), bench("fresh")
    monkeypatch.setattr(banks, "make_bank", lambda: golden / "bank_0")
    monkeypatch.setattr(banks, "given_inputs", lambda folder, n: {"par_dic_0": "p"})
    slow = iter([1, 1, 10, 10])  # the machine, during the second pair

    def measure_run(bank, rundir, n_procs, *, par_dic_0):
        seconds = next(slow) * (1.1 if isinstance(bank, dict) else 1.0)
        stages = dict.fromkeys(banks.STAGES, seconds / 8) | {"reference": 0.0}
        return fresh.FreshRun("", seconds, 2 * seconds, seconds, 0, 0, 0), stages

    monkeypatch.setattr(banks, "measure_run", measure_run)
    table = banks.banks_table(3, 2, 2, tmp_path)
    rows = {row["what"]: row for row in table.rows}
    assert rows["whole run"]["ratio"].values == pytest.approx((1.1, 1.1))
    assert rows["whole run, CPU"]["one_bank"].values == pytest.approx((2.0, 20.0))
    assert rows["likelihood phases and results"]["small_banks"].values == pytest.approx(
        (3.3 / 8, 33 / 8)
    )
    assert "reference" not in rows
    assert "384 waveforms" in table.caption


# Regressions


def test_only_losses_above_the_limit_are_found(bench):
    baseline = {"a": 10.0, "b": 10.0, "c": 10.0}
    ratios = {"a": 8.5, "b": 7.9, "c": 30.0}
    assert bench("regression").lost(ratios, baseline, 0.2) == ["b"]
    with pytest.raises(ValueError, match="agree on: c"):
        bench("regression").lost({"a": 1.0, "b": 1.0}, baseline, 0.2)


def test_a_loss_must_last(bench):
    regression = bench("regression")
    for values, expected in (([5.0, 10.0], []), ([5.0, 6.0, 7.0], ["a"])):
        attempts = iter(values)
        best = regression.best_of_attempts(
            lambda attempts=attempts: {"a": next(attempts)}, {"a": 10.0}, 0.2, attempts=3
        )
        assert regression.lost(best, {"a": 10.0}, 0.2) == expected
        assert best["a"] == max(values)
        assert next(attempts, None) is None


def test_slower_kernel_fails_and_says_which(bench, monkeypatch, tmp_path, capsys):
    regression, micro = bench("regression"), bench("micro")
    small = ["--waveforms=16", "--samples=2000", "--repeats=1"]
    baseline = tmp_path / "baseline.json"
    small.append(f"--baseline={baseline}")
    assert regression.main([*small, "--update"]) == 0
    stored = json.loads(baseline.read_text())
    names = json.loads(regression.BASELINE.read_text())["ratios"]
    assert set(stored["ratios"]) == set(names)
    # So small a measurement is no comparison, but for what becomes many times slower; and
    # one kernel is enough from here.
    monkeypatch.setattr(regression, "LARGEST_LOSS", 0.7)
    table, fast = micro.load_distance_table(), micro.lnlike_marginalized
    monkeypatch.setattr(
        regression,
        "measure_all",
        lambda _, n, repeats: ([micro.measure_distance(table, n, repeats)], ""),
    )
    kept = {name: stored["ratios"][name] for name in names if name.startswith("distance")}
    stored["ratios"] = kept
    baseline.write_text(json.dumps(stored))
    monkeypatch.setattr(
        micro,
        "lnlike_marginalized",
        lambda *args: [fast(*args) for _ in range(10)].pop(),
    )
    assert regression.main(small) == 1
    printed = capsys.readouterr().out
    lost = [line for line in printed.splitlines() if line.endswith("| lost |")]
    assert {line.split(":")[0] for line in lost} == {"| distance marginalisation"}
    stored["cpu"] = "another"
    baseline.write_text(json.dumps(stored))
    assert regression.main(small) == 0
    assert "nothing fails" in capsys.readouterr().out


def test_release_is_measured_by_its_own_benchmark(bench, tmp_path):
    (tmp_path / "bench").mkdir()
    (tmp_path / "package_of_the_release.py").write_text("RATIO = 12.5")
    (tmp_path / "bench" / "regression.py").write_text(
        "import json, sys, package_of_the_release\n"
        "assert sys.argv[1:3] == ['--update', '--baseline']\n"
        "content = {'ratios': {'a': package_of_the_release.RATIO}, 'with': sys.argv[4:]}\n"
        "open(sys.argv[3], 'w').write(json.dumps(content))\n"
    )
    found = bench("regression").measure_release(tmp_path, ["--repeats=3"])
    assert found == {"ratios": {"a": 12.5}, "with": ["--repeats=3"]}


# Comparison with the published code


def write_run(folder, rows, ln_evidence):
    folder.mkdir()
    columns = ["bank_id", "i", "e", "o", "bestfit_lnlike", "d_h_1Mpc", "h_h_1Mpc",
               "ln_posterior"]  # fmt: skip
    pd.DataFrame(rows, columns=columns).to_feather(folder / "prob_samples.feather")
    (folder / "summary_results.json").write_text(json.dumps({"ln_evidence": ln_evidence}))
    return folder


def test_differences_of_two_runs_are_found(bench, tmp_path):
    rows = [
        ("bank_0", 1, 0, 0, 50.0, 100.0, 10.0, 30.0),
        ("bank_0", 2, 0, 0, 31.0, 200.0, 20.0, 20.0),
        ("bank_0", 3, 0, 0, 29.0, 300.0, 30.0, 10.0),  # below its bank's threshold
        ("bank_1", 1, 0, 0, 29.0, 400.0, 40.0, 5.0),
    ]
    other = [
        rows[3],
        ("bank_0", 1, 0, 0, 50.0, 100.1, 10.0, 30.25),
        ("bank_0", 4, 0, 0, 40.0, 1.0, 1.0, 1.0),
    ]
    found = bench("compare_published").differences(
        write_run(tmp_path / "a", rows, 7.0), write_run(tmp_path / "b", other, 7.5), 20.0
    )
    assert (found.n_first, found.n_second, found.n_symmetric) == (3, 3, 2)
    assert found.largest["d_h_1Mpc"] == pytest.approx(1e-3)
    assert found.largest["h_h_1Mpc"] == 0
    assert found.largest["ln_posterior"] == pytest.approx(0.25)
    assert found.ln_evidence == (7.0, 7.5)


def test_stages_end_when_their_files_are_written(bench, tmp_path):
    bank = tmp_path / "banks" / "bank_0"
    bank.mkdir(parents=True)
    written = {
        "Posterior.json": 110.0,
        "banks/bank_0/intrinsic_samples.npz": 115.0,
        "banks/bank_0/prob_samples.feather": 145.0,
        "summary_results.json": 146.0,
    }
    for name, moment in written.items():
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (moment, moment))
    stages = bench("compare_published").stage_seconds(tmp_path, 100.0)
    assert stages == {
        "reference": 10.0,
        "incoherent": 5.0,
        "coherent": 30.0,
        "results": 1.0,
    }


def test_without_a_checkout_nothing_is_run(tmp_path):
    done = script("compare_published.py")
    assert done.returncode == 2
    assert "--checkout" in done.stderr
    done = script("compare_published.py", "--checkout", tmp_path)
    assert done.returncode == 2
    assert "expected a checkout of the published code" in done.stderr


# What the published package looks like from outside, with our run behind it. The real one
# is on no package index; with a checkout of it, run bench/compare_published.py.
STAND_IN = """
import os
import dotpe_exec

def run(**kwargs):
    n_workers = kwargs.pop("n_workers", 1)
    return dotpe_exec.run_multicore(
        **kwargs,
        par_dic_0=os.environ["STAND_IN_PAR_DIC_0"],
        executor="serial" if n_workers == 1 else "process",
        n_procs=n_workers,
        progress=False,
    )
"""


@pytest.mark.slow
def test_comparison_with_a_stand_in_for_the_published_package(bench, golden, tmp_path):
    stages = bench("compare_published").STAGES
    package = tmp_path / "checkout" / "src" / "dot_pe"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    for name in ("inference.py", "mp_inference.py"):
        (package / name).write_text(STAND_IN)
    cache = tmp_path / "cache"
    cache.mkdir()
    shutil.copytree(golden / "bank_0", tmp_path / "bank_0")
    figures = tmp_path / "figures.json"
    done = script(
        "compare_published.py", "--checkout", tmp_path / "checkout",
        "--event", golden / "event.npz", "--bank", tmp_path / "bank_0", golden / "bank_1",
        "--n-ext", 96, "--n-phi", 16, "--n-t", 64, "--mchirp-guess", 25,
        "--workers", 2, "--repeats", 1, "--json", figures,
        DOTPE_EXEC_BENCH_CACHE=str(cache),
        STAND_IN_PAR_DIC_0=str(golden / "reference" / "par_dic_0.json"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    speed, table = json.loads(figures.read_text())["tables"]
    measured = {row["what"]: row["ratio"]["median"] for row in speed["rows"]}
    for kind in ("serial", "parallel"):
        # The same code behind both, but that the stand-in is told the reference waveform.
        assert 0.2 < measured[f"{kind}: total"] < 5
        assert 0.5 < measured[f"{kind}: peak private memory"] < 2
        assert 0.9 < measured[f"{kind}: size on disk"] < 1.1
        assert {f"{kind}: {stage}" for stage in stages} <= set(measured)
    assert [row["runs"] for row in table["rows"]] == [
        "published serial, ours serial",
        "published parallel, ours parallel",
    ]
    for row in table["rows"]:
        n_first, n_second = map(int, row["accepted"].split(", "))
        assert n_first == n_second > 100
        assert row["symmetric_difference"] == 0
        assert float(row["largest ln_posterior"]) == 0
    assert not list(cache.glob("compare-*"))
