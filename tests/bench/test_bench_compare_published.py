"""The comparison with the published code."""

from __future__ import annotations

import json
import os
import shutil

import pandas as pd
import pytest
from bench_scripts import run_script


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
    done = run_script("validation/compare_published.py")
    assert done.returncode == 2
    assert "--checkout" in done.stderr
    done = run_script("validation/compare_published.py", "--checkout", tmp_path)
    assert done.returncode == 2
    assert "expected a checkout of the published code" in done.stderr


# What the published package looks like from outside, with our run behind it. The real one
# is on no package index; with a checkout of it, run bench/run.py published.
STAND_IN = """
import os
import dotpe_exec

def run(**kwargs):
    n_workers = kwargs.pop("n_workers", 1)
    assert kwargs.pop("n_ext_workers", n_workers) == n_workers
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
    done = run_script(
        "validation/compare_published.py", "--checkout", tmp_path / "checkout",
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
