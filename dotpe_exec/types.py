"""Types of the public functions' arguments, for editors and type checkers.

Nothing here is checked when the program runs: :mod:`dotpe_exec.inference.arguments` and
the readers of banks, events and indices do that, and accept no more than what is written
here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from cogwheel.data import EventData

Path: TypeAlias = "str | os.PathLike[str]"
"""A file or a folder."""

Event: TypeAlias = "Path | EventData"
"""An event file, the name of a bundled event, or cogwheel's object."""

Banks: TypeAlias = "Path | Sequence[Path] | Mapping[str, Path]"
"""One bank folder, several, or folders by bank id."""


class Array(Protocol):
    """A NumPy array, a pandas Series: what NumPy makes an array of."""

    def __array__(self) -> Any: ...


class Submits(Protocol):
    """An executor: ``concurrent.futures.Executor``, ``distributed.Client``, or ours."""

    @property
    def submit(self) -> Callable[..., Any]: ...


Integers: TypeAlias = "Sequence[int] | Array"
Numbers: TypeAlias = "Sequence[float] | Array"
