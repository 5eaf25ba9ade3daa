"""Ways to damage the files that a run reads, and what is said of each."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from refusals import refused


@dataclass(frozen=True)
class Damage:
    """A change to the good inputs, and what is said of it."""

    name: str
    do: Callable[[Path], Any]
    error_class: type[Exception]
    sentence: str
    arguments: dict[str, Any] = field(default_factory=dict)


def each(damages: Iterable[Damage]) -> pytest.MarkDecorator:
    """Call a test with each of them."""
    return pytest.mark.parametrize(
        "damage", [pytest.param(d, id=d.name.replace(" ", "-")) for d in damages]
    )


def named(folder: Path, damage: Damage) -> None:
    """Do the damage; expect that the run is refused and says so."""
    damage.do(folder)
    refused(folder, damage.arguments, damage.error_class, damage.sentence)


def rewrite_event(**replaced: Any) -> Callable[[Path], None]:
    """Replace arrays of the event; None leaves one out, a function changes it."""

    def do(folder: Path) -> None:
        with np.load(folder / "event.npz") as archive:
            content = dict(archive)
        for key, value in replaced.items():
            content[key] = value(content[key]) if callable(value) else value
        kept = {key: value for key, value in content.items() if value is not None}
        np.savez(folder / "event.npz", **kept)

    return do


def truncate(name: str, n_bytes: int) -> Callable[[Path], None]:
    """Keep the first bytes of a file, or leave out the last ones."""
    return lambda folder: (folder / name).write_bytes(
        (folder / name).read_bytes()[:n_bytes]
    )


def write(name: str, content: bytes) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_bytes(content)


def remove(name: str) -> Callable[[Path], None]:
    def do(folder: Path) -> None:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return do


def replace_by_folder(name: str) -> Callable[[Path], None]:
    def do(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).mkdir()

    return do


def rewrite_array(name: str, change: Callable) -> Callable[[Path], None]:
    return lambda folder: np.save(folder / name, change(np.load(folder / name)))


def rewrite_table(name: str, change: Callable) -> Callable[[Path], None]:
    return lambda folder: change(pd.read_feather(folder / name)).to_feather(folder / name)


def rewrite_config(bank: str = "bank_0", **replaced: Any) -> Callable[[Path], None]:
    def do(folder: Path) -> None:
        path = folder / bank / "bank_config.json"
        content = json.loads(path.read_text()) | replaced
        path.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))

    return do


def with_value(value: float, *index: int) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        array = array.copy()
        array[index] = value
        return array

    return change


class Pickled:
    """What must never be unpickled."""

    def __reduce__(self):
        return os.abort, ()
