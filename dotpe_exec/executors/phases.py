"""What a stage sees of the machinery: one object with which it maps tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from .store import ArrayStore
from .task import Task


@dataclass
class PhaseRunner:
    """Runs the phases of one run on one executor."""

    store: ArrayStore

    def map(
        self,
        phase: str,
        function: Callable[[Any], Any],
        tasks: Iterable[Task],
        *,
        n_tasks: int,
        refresh: Callable[[Any], Any] | None = None,
        tasks_per_message: int | None = None,
        work: Callable[[Any], int] | None = None,
        unit: str = "task",
    ) -> Iterator[tuple[Task, Any]]:
        """Yield ``(task, function(task.payload))`` as tasks finish, in any order."""
        for task in tasks:
            payload = refresh(task.payload) if refresh else task.payload
            yield task, function(payload)
