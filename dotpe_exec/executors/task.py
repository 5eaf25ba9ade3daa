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
    """

    key: str
    payload: Any
