"""Losses of speed against the last release are found, and noise is not."""

from __future__ import annotations

import json
import subprocess

import pytest


def test_only_losses_above_the_limit_are_found(bench):
    baseline = {"a": 10.0, "b": 10.0, "c": 10.0}
    ratios = {"a": 8.5, "b": 7.9, "c": 30.0}
    assert bench("regression").lost(ratios, baseline, 0.2) == ["b"]
    with pytest.raises(ValueError, match="no longer measured: c"):
        bench("regression").lost({"a": 1.0, "b": 1.0}, baseline, 0.2)
    assert bench("regression").lost({"a": 9.0, "new": 1.0}, {"a": 10.0}, 0.2) == []


def test_one_yardstick_that_moved_is_no_loss(bench):
    baseline = {"a: dense / fast": 250.0, "a: of GEMM": 0.02, "b: of GEMM": 0.5}
    one = {"a: dense / fast": 150.0, "a: of GEMM": 0.02, "b: of GEMM": 0.5}
    assert bench("regression").lost(one, baseline, 0.2) == []
    both = one | {"a: of GEMM": 0.012}
    assert bench("regression").lost(both, baseline, 0.2) == list(baseline)[:2]


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
    # So small a measurement is no comparison, but for what becomes many times slower; and
    # one kernel is enough.
    monkeypatch.setattr(regression, "LARGEST_LOSS", 0.7)
    table, fast = micro.load_distance_table(), micro.lnlike_marginalized
    monkeypatch.setattr(
        regression,
        "measure_all",
        lambda _, n, repeats: ([micro.measure_distance(table, n, repeats)], ""),
    )
    baseline = tmp_path / "baseline.json"
    assert regression.main([*small, "--update", f"--baseline={baseline}"]) == 0
    stored = json.loads(baseline.read_text())
    asked = []

    def release(revision, sizes):
        asked.append((revision, sizes))
        return stored

    monkeypatch.setattr(regression, "measure_release", release)
    assert regression.main([*small, "--release=v9"]) == 0
    assert asked == [("v9", small)]
    monkeypatch.setattr(
        micro,
        "lnlike_marginalized",
        lambda *args: [fast(*args) for _ in range(50)].pop(),
    )
    capsys.readouterr()
    assert regression.main([*small, "--release=v9"]) == 1
    printed = capsys.readouterr().out
    lost = [line for line in printed.splitlines() if line.endswith("| lost |")]
    assert {line.split(":")[0] for line in lost} == {"| distance marginalisation"}


@pytest.fixture
def history(bench, monkeypatch, tmp_path):
    """A repository of a release whose benchmark writes a number of its own package."""
    (tmp_path / "bench").mkdir()
    (tmp_path / "package_of_the_release.py").write_text("RATIO = 12.5")
    (tmp_path / "bench" / "regression.py").write_text(
        "import json, sys, package_of_the_release\n"
        "assert sys.argv[1:3] == ['--update', '--baseline']\n"
        "content = {'ratios': {'a': package_of_the_release.RATIO}, 'with': sys.argv[4:]}\n"
        "open(sys.argv[3], 'w').write(json.dumps(content))\n"
    )

    def git(*words):
        who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
        subprocess.run(["git", "-C", tmp_path, *who, *words], check=True)

    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "the release")
    git("tag", "v0.9.0")
    (tmp_path / "package_of_the_release.py").write_text("RATIO = 0")
    git("commit", "-qam", "after it")
    monkeypatch.setattr(bench("regression"), "HERE", tmp_path / "bench")
    return tmp_path


def test_release_is_measured_by_its_own_benchmark(bench, history):
    regression = bench("regression")
    assert regression.release_revision() == "v0.9.0"
    found = regression.measure_release("v0.9.0", ["--repeats=3"])
    assert found == {"ratios": {"a": 12.5}, "with": ["--repeats=3"]}
    with pytest.raises(SystemExit, match="v7 cannot be compared with"):
        regression.measure_release("v7", [])
