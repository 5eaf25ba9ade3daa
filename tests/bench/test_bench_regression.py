"""Losses of speed against the last release are found, and noise is not."""

from __future__ import annotations

import json

import pytest


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
