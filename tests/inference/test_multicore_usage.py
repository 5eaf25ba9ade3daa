"""How users choose processes and batch sizes: every way of the documentation.

What a configuration does to a run is the subject of other tests; here the stages are left
out but for the last test.
"""

from __future__ import annotations

import contextlib
import json

import pytest
from click.testing import CliRunner
from fake_workload import FakeWorkload

from dotpe_exec import (
    MulticoreConfig,
    autotune_multicore_config,
    load_cached_config,
    run,
    run_multicore,
)
from dotpe_exec.cli import main
from dotpe_exec.config import get_shared_config_cache_path, save_config
from dotpe_exec.errors import InputError
from dotpe_exec.inference import entry
from dotpe_exec.machine import usable_cores


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def inputs(golden, tmp_path):
    return {
        "event": str(golden / "event.npz"),
        "bank_folder": str(golden / "bank_0"),
        "rundir": str(tmp_path / "run"),
        "n_ext": 96,
        "n_phi": 16,
        "n_t": 64,
        "seed": 1,
        "progress": False,
    }


@pytest.fixture
def resolved(monkeypatch):
    """Leave the stages out; collect (configuration, executor) of the runs."""
    runs = []

    def no_stages(run, runner, monitor):
        runs.append((run.config, runner.executor))
        return {}

    monkeypatch.setattr(entry, "run_stages", no_stages)
    return runs


@pytest.fixture
def fake(monkeypatch):
    """A workload in place of the user's event and bank; collects what it was asked for."""
    made = FakeWorkload()
    made.asked = []

    def event_workload(*data):
        made.asked.append(data)
        return contextlib.nullcontext(made)

    monkeypatch.setattr("dotpe_exec.tuning.workload.event_workload", event_workload)
    return made


# From Python


def test_nothing_needs_to_be_said(inputs, resolved):
    run_multicore(**inputs)
    config, executor = resolved[0]
    assert (config.n_procs, config.i_batch) == (usable_cores(), 512)
    assert executor.name == ("loky" if usable_cores() > 1 else "serial")
    assert set(config.sources.values()) == {"default"}


def test_custom_configuration(inputs, resolved):
    config = MulticoreConfig(n_procs=3, i_batch=256, batches_per_task=4)
    run_multicore(**inputs, multicore_config=config)
    config, executor = resolved[0]
    assert (config.n_procs, config.i_batch, config.batches_per_task) == (3, 256, 4)
    assert executor.n_workers == 3


def test_quick_parameters_override_the_configuration(inputs, resolved):
    run_multicore(
        **inputs,
        multicore_config=MulticoreConfig(n_procs=3, e_blocksize=64),
        n_procs=2,
        i_batch=1024,
        batches_per_task=2,
        pairs_per_task=5,
    )
    config, executor = resolved[0]
    assert (config.n_procs, config.i_batch, config.batches_per_task) == (2, 1024, 2)
    assert (config.e_blocksize, config.pairs_per_task) == (64, 5)
    assert executor.n_workers == 2


def test_autotuned_configuration_is_for_this_and_later_runs(inputs, resolved):
    def benchmark_workload(n_procs, i_batch, batches_per_task):
        return n_procs * min(i_batch, 512), 0.5 * n_procs

    best_config = autotune_multicore_config(
        benchmark_workload,
        candidate_n_procs=[1, 2, 4],
        candidate_i_batch=[256, 512, 1024],
        candidate_batches_per_task=[1, 2],
        max_memory_gb_per_worker=1.0,
        progress=False,
    )
    assert best_config == MulticoreConfig(n_procs=2, i_batch=512, batches_per_task=1)
    run_multicore(**inputs, multicore_config=best_config)
    run_multicore(**inputs, overwrite=True)
    sources = [config.sources["n_procs"] for config, _ in resolved]
    assert sources == ["multicore_config", "cache"]
    assert resolved[0][0] == resolved[1][0]


def test_cache_can_be_cleared(inputs, resolved):
    save_config(MulticoreConfig(n_procs=1, i_batch=64))
    cache_path = get_shared_config_cache_path()
    if cache_path.exists():
        cache_path.unlink()
    assert load_cached_config() is None
    run_multicore(**inputs)
    assert resolved[0][0].sources["i_batch"] == "default"


def test_serial_run_knows_nothing_of_tuning(inputs, resolved):
    save_config(MulticoreConfig(n_procs=2, i_batch=64))
    run(**inputs)
    config, executor = resolved[0]
    assert config.i_batch == 512 and executor.name == "serial"


def test_resumed_run_keeps_its_batches_where_there_is_less_memory(inputs, monkeypatch):
    runs = []

    def interrupted(run, runner, monitor):
        runs.append((run.config, runner.executor))
        raise KeyboardInterrupt

    monkeypatch.setattr(entry, "run_stages", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_multicore(**inputs, n_procs=8)
    monkeypatch.setattr(
        "dotpe_exec.inference.memory_model.available_memory", lambda: 4 * 10**8
    )
    with pytest.raises(KeyboardInterrupt):
        run_multicore(**inputs, n_procs=8, resume=True)
    (before, _), (after, executor) = runs
    assert after.sizes() == before.sizes() and before.n_procs == 8
    assert executor.n_workers == after.n_procs < 8
    assert after.sources["n_procs"] == "memory"


def test_sizes_beyond_all_memory_leave_no_run_directory(inputs, resolved, tmp_path):
    with pytest.raises(InputError, match=r"^n_ext is 1000000000: "):
        run_multicore(**inputs | {"n_ext": 10**9})
    assert not (tmp_path / "run").exists() and not resolved


# On the command line


@pytest.fixture
def command(inputs, monkeypatch):
    monkeypatch.setattr("dotpe_exec.cli.runs.show_results", lambda rundir, strict: None)

    def call(*flags):
        words = ["run", "--no-progress"]
        for name in ("event", "bank_folder", "rundir", "n_ext", "n_phi", "n_t", "seed"):
            words += [f"--{name}", str(inputs[name])]
        done = CliRunner().invoke(main, [*words, *flags], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    return call


def test_auto_tunes_on_these_data_when_there_is_no_tuned_configuration(
    command, fake, resolved, inputs
):
    output = command("--multicore", "auto")
    assert fake.asked == [(inputs["event"], inputs["bank_folder"])]
    config, _ = resolved[0]
    assert config.i_batch == load_cached_config().i_batch == 1024
    assert config.sources["i_batch"] == "cache"
    assert "kept in" in output and "i_batch=1024" in output


def test_auto_uses_the_tuned_configuration_when_there_is_one(command, fake, resolved):
    save_config(MulticoreConfig(n_procs=1, i_batch=64))
    command("--multicore", "auto")
    assert not fake.asked and resolved[0][0].i_batch == 64


def test_manual_leaves_the_tuned_configuration_out(command, fake, resolved):
    tuned = MulticoreConfig(n_procs=1, i_batch=64, batches_per_task=7, e_tile=3)
    save_config(tuned)
    command("--multicore", "manual", "--blocksize", "128")
    config, _ = resolved[0]
    assert (config.n_procs, config.i_batch) == (usable_cores(), 512)
    assert (config.i_blocksize, config.e_blocksize) == (128, 128)
    assert config.batches_per_task is None and config.e_tile is None
    assert "cache" not in config.sources.values() and not fake.asked
    assert load_cached_config() == tuned  # for the next run


def test_flags_win_over_configuration_and_defaults(command, resolved):
    command(
        "--multicore", "manual", "--n-procs", "3", "--i-batch", "32",
        "--multicore-config", '{"n_procs": 5, "e_blocksize": 16, "max_memory_gb": 9}',
    )  # fmt: skip
    config, _ = resolved[0]
    assert (config.n_procs, config.i_batch, config.e_blocksize) == (3, 32, 16)
    assert config.max_memory_gb == 9


def test_autotune_only_does_not_run(command, fake, resolved):
    command("--autotune-only")
    assert fake.asked and not resolved
    assert load_cached_config().e_blocksize == 256


# The real thing


@pytest.mark.slow
def test_workload_may_be_a_small_run(inputs, golden):
    inputs |= {
        "par_dic_0": str(golden / "reference/par_dic_0.json"),
        "extrinsic_samples": str(golden / "reference/extrinsic_samples.feather"),
    }

    def benchmark_workload(n_procs, i_batch, batches_per_task):
        rundir = run_multicore(
            **inputs,
            n_procs=n_procs,
            i_batch=i_batch,
            batches_per_task=batches_per_task,
            overwrite=True,
        )
        report = json.loads((rundir / "run_report.json").read_text())["phases"]
        return (
            report["incoherent"]["work_per_second"],
            report["incoherent"]["peak_worker_memory_bytes"] / 1e9,
        )

    best = autotune_multicore_config(
        benchmark_workload, [1, 2], [64], [1], max_memory_gb_per_worker=16.0, progress=False
    )
    rundir = run_multicore(**inputs, multicore_config=best, overwrite=True)
    report = json.loads((rundir / "run_report.json").read_text())
    assert report["config"]["i_batch"] == 64
    assert report["config"]["n_procs"] == best.n_procs
