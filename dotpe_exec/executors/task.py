"""A task: a stable key and a frozen dataclass; what every executor runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Task:
    """One unit of work; its payload alone fixes the arithmetic.

    Parameters
    ----------
    key : str
        Unique within its phase and the same in every run with the same inputs, for
        example ``"bank_0/000012"``; checkpoints are filed under it.
    payload : frozen dataclass
        The only argument of the task function. Pickles to less than 64 kB: large
        arrays travel as handles of the store.
    group : str
        Neighbours of one group share what a worker makes for the first of them, and go
        to the same worker. Empty: on its own.
    """

    key: str
    payload: Any
    group: str = ""
