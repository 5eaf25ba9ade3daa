"""Packages that are needed for some things only, and what to say where they are missing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from .errors import InputError


@contextlib.contextmanager
def needs(package: str, extra: str) -> Iterator[None]:
    """Turn an import error inside into a sentence that says what to install.

    Parameters
    ----------
    package : str
        What is imported, as it is called by people.
    extra : str
        The extra of this package that brings it.

    Raises
    ------
    InputError
    """
    try:
        yield
    except ImportError as error:
        raise InputError(
            f"this needs {package}, which cannot be imported ({error}): install it with "
            f"pip install 'dotpe-exec[{extra}]'"
        ) from error
