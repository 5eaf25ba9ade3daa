"""Names of a package that are imported when they are first used.

Importing the package must stay light, because every worker imports it, and cogwheel, LAL,
pandas and matplotlib take seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from .gc_pause import no_collection


def attributes_from(
    package: str, modules: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return a package's ``__getattr__`` and ``__dir__``.

    Parameters
    ----------
    package : str
        Its ``__name__``.
    modules : dict of str
        The module, relative to the package, that each public name comes from.
    """

    def getattr_(name: str) -> Any:
        if name in modules:
            with no_collection():
                module = import_module(f".{modules[name]}", package)
            return getattr(module, name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return getattr_, lambda: sorted(modules)
