"""Autotuning: the fastest configuration that works, on a workload or on the kernels."""

from __future__ import annotations

import contextlib
import io
import json
import math
import time
from pathlib import Path

import numpy as np
import pytest
from fake_workload import FakeWorkload

from dotpe_exec import MulticoreConfig, autotune_multicore_config, load_cached_config
from dotpe_exec.config import get_shared_config_cache_path
from dotpe_exec.errors import InputError
from dotpe_exec.machine import usable_cores
from dotpe_exec.tuning.autotune import tune
from dotpe_exec.tuning.trials import Trial
from dotpe_exec.tuning.workload import synthetic_workload


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def peaked(n_procs, i_batch, batches_per_task):
    """Fastest at (4, 512, 2), where neither coordinate alone shows it."""
    distance = abs(math.log2(n_procs / 4)) + abs(
        math.log2(i_batch * batches_per_task / 1024)
    )
    return 100.0 / (1 + distance + 0.1 * abs(math.log2(batches_per_task / 2))), 1.0


def quiet(*arguments, **keywords):
    return autotune_multicore_config(*arguments, progress=False, **keywords)


def test_best_of_all_combinations_is_found():
    best = quiet(peaked, [1, 2, 4, 8], [256, 512, 1024], [1, 2, 4])
    assert best == MulticoreConfig(n_procs=4, i_batch=512, batches_per_task=2)


def test_result_is_kept_for_this_machine():
    best = quiet(peaked, [1, 4], [512], [2])
    assert load_cached_config() == best
    other = quiet(peaked, [1], [512], [2], save=False)
    assert other != best and load_cached_config() == best


def test_candidates_over_the_memory_cap_are_rejected():
    def greedy(n_procs, i_batch, batches_per_task):
        return float(i_batch), i_batch / 256

    best = quiet(greedy, [1], [256, 512, 1024, 2048], [1], max_memory_gb_per_worker=4.0)
    assert best.i_batch == 1024
    result = tune(greedy, [1], [256, 2048], [1], 4.0, progress=False)
    assert [trial.problem for trial in result.trials] == [
        None,
        "8 GB per worker, allowed are 4",
    ]


def test_failing_candidates_are_said_and_skipped(caplog):
    def fragile(n_procs, i_batch, batches_per_task):
        if i_batch == 512:
            raise MemoryError("out of it")
        if i_batch == 1024:
            return float("nan"), 1.0
        if i_batch == 2048:
            return "fast", 1.0
        return 1.0, 1.0

    assert quiet(fragile, [1], [256, 512, 1024, 2048], [1]).i_batch == 256
    assert "i_batch=512" in caplog.text and "MemoryError: out of it" in caplog.text


def test_candidate_that_fails_later_is_not_chosen():
    calls = []

    def moody(n_procs, i_batch, batches_per_task):
        calls.append(i_batch)
        if i_batch == 512 and calls.count(512) > 1:
            raise OSError("gone")
        return float(i_batch), 1.0

    assert quiet(moody, [1], [256, 512], [1]).i_batch == 256


@pytest.mark.parametrize(
    ("benchmark", "reason"),
    [
        (lambda *_: 1 / 0, "ZeroDivisionError"),
        (lambda *_: (1.0, 100.0), "100 GB per worker"),
        (lambda *_: (0.0, 1.0), "not a positive number"),
        (lambda *_: 3.0, "TypeError"),
    ],
)
def test_no_valid_candidate_is_an_error_with_the_reason(benchmark, reason):
    with pytest.raises(InputError, match=f"no candidate can be used.*{reason}"):
        quiet(benchmark, [1], [256], [1], 2.0)
    assert load_cached_config() is None


def test_warm_up_is_not_counted():
    seen = set()

    def slow_start(n_procs, i_batch, batches_per_task):
        first = n_procs not in seen
        seen.add(n_procs)
        return (0.01 if first else 10.0 * n_procs, 1.0)

    result = tune(slow_start, [1, 2], [256], [1], progress=False)
    assert min(min(trial.throughputs) for trial in result.trials) == 10.0
    assert result.config.n_procs == 2


def test_of_equally_fast_ones_the_smallest_is_taken():
    assert quiet(lambda *_: (5.0, 1.0), [2, 1], [512, 256], [4, 1]) == MulticoreConfig(
        1, 256, 1
    )


def test_a_lucky_measurement_does_not_win_unconfirmed():
    rng = np.random.default_rng(1)

    def noisy(n_procs, i_batch, batches_per_task):
        return (100.0 if i_batch == 1024 else 50.0) * rng.uniform(0.8, 1.0), 1.0

    result = tune(noisy, [1], [256, 512, 1024, 2048], [1, 2], progress=False)
    assert result.config.i_batch == 1024
    assert len(max(result.trials, key=lambda t: t.throughput).throughputs) == 3


def test_verdict_says_how_sure_it_is():
    clear = tune(peaked, [1, 4], [512], [2], progress=False)
    assert "is fastest: +" in clear.verdict
    even = tune(lambda *_: (5.0, 1.0), [1, 2], [512], [2], progress=False)
    assert "within the noise" in even.verdict


def test_table_names_what_was_chosen_and_what_failed():
    from rich.console import Console

    result = tune(
        lambda n, i, b: (1.0, 9.0 if i == 512 else 1.0), [1], [256, 512], [1], 2.0,
        progress=False,
    )  # fmt: skip
    console = Console(width=200, file=io.StringIO())
    console.print(result.table())
    text = console.file.getvalue()
    assert "chosen" in text and "9 GB per worker" in text


@pytest.mark.parametrize(
    ("keywords", "named"),
    [
        ({"candidate_n_procs": [0]}, "candidate_n_procs"),
        ({"candidate_i_batch": []}, "candidate_i_batch is empty"),
        ({"candidate_batches_per_task": ["x"]}, "candidate_batches_per_task"),
        ({"candidate_n_procs": 4}, "candidate_n_procs is 4"),
        ({"max_memory_gb_per_worker": -1}, "max_memory_gb_per_worker"),
        ({"event": "GW150914"}, "benchmark_workload excludes"),
    ],
)
def test_bad_arguments_are_named_before_any_work(keywords, named):
    def never(*_):
        pytest.fail("the workload ran")

    with pytest.raises(InputError, match=named):
        quiet(never, **keywords)


def test_event_and_bank_go_together():
    with pytest.raises(InputError, match="together"):
        quiet(event="GW150914")


def test_default_candidates_end_at_the_usable_cores():
    tried = set()

    def record(n_procs, i_batch, batches_per_task):
        tried.add(n_procs)
        return 1.0, 1.0

    quiet(record)
    assert max(tried) == usable_cores() and min(tried) == 1


def test_trial_takes_its_best_measurement():
    trial = Trial(MulticoreConfig())
    for value in (4.0, 5.0, 2.0):
        trial.add(value, 1.0, None)
    assert trial.throughput == 5.0 and trial.noise == pytest.approx(0.2)


# The real kernels


@pytest.fixture
def fake(monkeypatch):
    made = FakeWorkload()
    monkeypatch.setattr(
        "dotpe_exec.tuning.workload.synthetic_workload",
        lambda: contextlib.nullcontext(made),
    )
    monkeypatch.setattr("dotpe_exec.tuning.autotune.usable_cores", lambda: 2)
    monkeypatch.setattr("os.getloadavg", lambda: (0.1, 0.1, 0.1), raising=False)
    return made


def test_batch_sizes_are_found_on_one_core_first_then_processes(fake):
    result = tune(None, [1, 2, 4], [256, 512, 1024], None, 2.0, progress=False)
    assert result.config == MulticoreConfig(
        n_procs=2, i_batch=1024, e_blocksize=256, i_tile=64, e_tile=128
    )
    assert set(fake.measured) == {(n, 1024, 256) for n in (1, 2, 4)}
    assert "n_procs=2 is fastest" in result.verdict
    assert [t.problem for t in result.trials][-1] == "100 GB per worker, allowed are 2"


def test_numbers_of_processes_are_compared_in_turn(fake):
    tune(None, [1, 2], [512], None, progress=False)
    assert [n for n, *_ in fake.measured] == [1, 2, 1, 2, 1, 2, 1, 2]


def test_default_is_replaced_only_by_what_is_faster_in_every_round(fake):
    # Something else takes most of the machine for all but a few moments.
    quiet_moments = iter([1.0] + [0.1] * 10_000)
    fake.disturbance = lambda: next(quiet_moments)
    assert tune(None, [1, 2], [256, 512], progress=False).config.i_batch == 512
    result = tune(None, [2, 1], [512], progress=False)
    assert result.config.n_procs == 2


def test_busy_machine_is_part_of_the_verdict(fake, monkeypatch):
    assert "busy" not in tune(None, [1, 2], [512], progress=False).verdict
    monkeypatch.setattr("os.getloadavg", lambda: (5.5, 1.0, 1.0), raising=False)
    verdict = tune(None, [1, 2], [512], progress=False).verdict
    assert "busy (load average 5.5, 2 usable cores)" in verdict


def test_more_workers_than_fit_are_not_started(fake):
    fake.worker_bytes = 10**18
    with pytest.raises(InputError, match="2 workers need 2e"):
        tune(None, [2], [512], progress=False)
    assert fake.measured == []


def test_how_sure_it_was_is_kept_with_the_result(fake):
    quiet(None, [1, 2], [512])
    content = json.loads(get_shared_config_cache_path().read_text())
    assert "n_procs=2 is fastest" in content["verdict"]


def test_interrupted_tuning_leaves_the_earlier_result_alone(fake):
    kept = quiet(None, [2], [512])

    def interrupt():
        raise KeyboardInterrupt

    fake.disturbance = interrupt
    with pytest.raises(KeyboardInterrupt):
        quiet(None, [1, 2], [512])
    assert load_cached_config() == kept


def test_synthetic_problem_is_like_a_run():
    with synthetic_workload(n_waveforms=64, n_b=96) as workload:
        rate, memory = workload.incoherent(MulticoreConfig(i_batch=16))
        assert rate > 0 and 0 < memory < 10
        assert workload.coherent(MulticoreConfig(e_blocksize=128))[0] > 0
        _, lnlikes = workload._incoherent(MulticoreConfig(), "serial")
        sums = lnlikes["copy_0"].sum(axis=0)
        # The signal is the first waveform, with a signal-to-noise ratio of 12.
        assert np.argmax(sums) == 0
        assert 30 < sums[0] < 150
        folder = workload.bank.folder
    assert not Path(folder).exists()


@pytest.mark.slow
def test_kernels_are_tuned_within_a_minute():
    started = time.monotonic()
    best = autotune_multicore_config(progress=False)
    assert time.monotonic() - started < 120
    assert best.n_procs in range(1, usable_cores() + 1)
    assert best.i_batch in (256, 512, 1024, 2048)
    assert best.e_blocksize in (128, 256, 512)
    assert load_cached_config() == best


@pytest.mark.slow
def test_kernels_are_tuned_on_the_users_event_and_bank(golden):
    result = tune(
        None,
        [1, 2],
        [64, 128],
        event=golden / "event.npz",
        bank_folder=golden / "bank_0",
        progress=False,
    )
    assert result.config.n_procs in (1, 2) and result.config.i_batch in (64, 128)
