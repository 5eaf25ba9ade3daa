"""Benchmarks of kernels, of phases on executors and of many banks."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from bench_scripts import BENCH

from dotpe_exec.banks.format import open_bank

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
    from dotpe_exec.tuning.workload import synthetic_workload

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
