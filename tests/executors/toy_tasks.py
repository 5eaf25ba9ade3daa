"""Task functions for tests of the executors, where workers can import them."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dotpe_exec.executors.task import Task
from dotpe_exec.executors.threads import thread_counts


@dataclass(frozen=True)
class Batch:
    """Rows ``start`` to ``stop`` of a stored matrix, to be multiplied by itself."""

    start: int
    stop: int
    matrix: Any


@dataclass(frozen=True)
class Product:
    values: np.ndarray
    largest: float


def product(batch: Batch) -> Product:
    """Matrix product and elementwise functions: bits that depend on BLAS and threads."""
    matrix = batch.matrix.load()
    values = np.sin(matrix[batch.start : batch.stop] @ matrix)
    return Product(values, float(values.max()))


@dataclass(frozen=True)
class Number:
    value: float
    seconds: float = 0.0


def square(number: Number) -> float:
    if number.seconds:
        time.sleep(number.seconds)
    return number.value**2


def process_id(_: Any) -> int:
    return os.getpid()


def slow_process_id(number: Number) -> int:
    time.sleep(number.seconds)
    return os.getpid()


def loaded_modules(_: Any) -> set[str]:
    return {name.split(".")[0] for name in sys.modules}


def threads_in_use(_: Any) -> dict[str, int]:
    """Load what may have threads, use it, then look."""
    import numba  # noqa: F401
    import scipy.linalg

    scipy.linalg.lu_factor(np.eye(64) + np.ones((64, 64)) @ np.ones((64, 64)))
    return thread_counts()


def numbered(payloads: Iterable[Any]) -> list[Task]:
    return [Task(f"toy/{number:06d}", payload) for number, payload in enumerate(payloads)]


def results(runner: Any, function: Any, payloads: Iterable[Any], **kwargs: Any) -> list:
    """Map, check that every key came exactly once, and return results in order."""
    tasks = numbered(payloads)
    found: dict[str, Any] = {}
    for task, result in runner.map("toy", function, tasks, n_tasks=len(tasks), **kwargs):
        assert task.key not in found
        found[task.key] = result
    assert len(found) == len(tasks)
    return [found[task.key] for task in tasks]
