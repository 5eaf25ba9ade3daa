"""Which packages tests may take for granted: those that pyproject.toml asks for.

One that it does not ask for, on this machine and with this Python, skips its tests; one
that is asked for and missing fails them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


def _asked_for() -> dict[str, bool]:
    """Return whether a package of the test requirements is asked for here, by its name."""
    project = tomllib.loads(PYPROJECT.read_text())["project"]
    wanted = map(Requirement, project["optional-dependencies"]["test"])
    return {one.name: one.marker is None or one.marker.evaluate() for one in wanted}


_HERE = _asked_for()


def needs(package: str) -> pytest.MarkDecorator:
    """Mark a test of a package that is not there for every Python or machine."""
    return pytest.mark.skipif(
        not _HERE[package], reason=f"pyproject.toml asks for no {package} here"
    )
