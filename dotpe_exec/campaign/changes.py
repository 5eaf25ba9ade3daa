"""What differs between an analysis that was begun and the one that is asked for now."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any

_FEW = 5


class Changes:
    """Differences, and the events that each concerns."""

    def __init__(self) -> None:
        self._names: dict[str, list[str]] = {}

    def __bool__(self) -> bool:
        return bool(self._names)

    def compare(self, name: str, before: Any, now: Any, path: str = "") -> bool:
        """Note what differs in one event; return whether anything does."""
        if isinstance(before, Mapping) and isinstance(now, Mapping):
            different = [
                self.compare(name, before.get(key), now.get(key), _join(path, key))
                for key in sorted({*before, *now})
            ]
            return any(different)
        if before == now:
            return False
        text = f"{path} from {reprlib.repr(before)} to {reprlib.repr(now)}"
        if path == "event data":
            text = path
        self._names.setdefault(text, []).append(name)
        return True

    def sentence(self, n_events: int) -> str:
        """Return what changed and which events it concerns (of none: what changed)."""
        parts = []
        for text, names in self._names.items():
            which = (
                f"all {n_events} events"
                if len(names) == n_events > 1
                else ", ".join(names[:_FEW])
                + (f" and {len(names) - _FEW} more" if len(names) > _FEW else "")
            )
            parts.append(f"{text} ({which})" if n_events else text)
        return "; ".join(parts)


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
