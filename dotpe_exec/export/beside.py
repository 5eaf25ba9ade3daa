"""The files for other programs that a page offers, in a folder beside it."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from ..errors import DotpeExecError
from ..report.view import open_views
from .bilby import to_bilby
from .pesummary import to_pesummary

logger = logging.getLogger(__name__)


def export_beside(
    page: str | os.PathLike, rundirs: Sequence[str | os.PathLike]
) -> list[list[Path]]:
    """Write each run for bilby and for PESummary.

    Parameters
    ----------
    page : path
        Files go to a folder beside it that has its name and ``_files``.
    rundirs : sequence of paths

    Returns
    -------
    list of lists of path
        What was written of each run; what could not be is warned of.

    Raises
    ------
    MissingFileError, RunDirectoryError
        A directory does not exist, or is not that of a finished run.
    """
    page = Path(page)
    views = open_views(rundirs)
    folder = page.with_name(f"{page.stem}_files")
    folder.mkdir(exist_ok=True)
    written: list[list[Path]] = []
    for view in views:
        name = view.label.replace("/", "_").replace(": ", "_")
        written.append([])
        for write, suffix in ((to_bilby, "_result.json"), (to_pesummary, ".h5")):
            try:
                written[-1].append(write(view.run.path, folder / f"{name}{suffix}"))
            except DotpeExecError as error:
                logger.warning("%s: not exported: %s", view.label, error)
    return written
