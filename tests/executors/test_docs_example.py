"""The code in docs/executors.md works, and is as short as it claims."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from toy_tasks import Number, results, square

from dotpe_exec.errors import WorkerCrashError
from dotpe_exec.executors.phases import PhaseRunner

PAGE = Path(__file__).parents[2] / "docs" / "executors.md"


def block_with(text):
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (found,) = (block for block in blocks if text in block)
    return found


def test_example_of_a_phase_runs():
    names: dict = {}
    exec(block_with("ArrayStore()"), names)
    assert names["squares"] == {f"example/{n}": float(n) for n in range(10)}


@pytest.fixture
def one_shot():
    names: dict = {}
    exec(block_with("class OneShotExecutor"), names)
    return names["OneShotExecutor"](2)


def test_example_of_a_backend_is_an_executor_like_all(one_shot, store):
    code = block_with("class OneShotExecutor")
    assert len(code[code.index("class") :].splitlines()) < 40
    runner = PhaseRunner(store, one_shot)
    assert runner.executor is one_shot
    assert results(runner, square, map(Number, range(5)), tasks_per_message=1) == [
        0,
        1,
        4,
        9,
        16,
    ]


def die(_):
    import os

    os._exit(3)


def test_example_of_a_backend_reports_a_dead_worker(one_shot, store):
    with pytest.raises(WorkerCrashError, match="one-shot"):
        results(PhaseRunner(store, one_shot), die, [Number(1)])
