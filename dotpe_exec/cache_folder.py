"""Where this package keeps what it can make again: a folder of this user alone."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

_NOWHERE = Path("/nonexistent/dotpe")  # reading finds nothing, writing fails


def user_cache_folder() -> Path:
    """Return the folder ``dotpe`` in the user's cache folder; it may not exist.

    A process without a home (in a container, in a grid job) gets one under the temporary
    folder, if that is private to this user; otherwise a path at which nothing is and
    nothing can be made.
    """
    import platformdirs

    try:
        folder = Path(platformdirs.user_cache_dir("dotpe", appauthor=False))
    except RuntimeError:  # newer versions; others return a path that begins with "~"
        return _temporary_folder()
    return folder if folder.is_absolute() else _temporary_folder()


def _temporary_folder() -> Path:
    try:
        folder = Path(tempfile.gettempdir(), f"dotpe-exec-cache-{os.getuid()}")
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError:
        return _NOWHERE
    # Its name can be guessed, so somebody else may have made it first.
    private = status.st_uid == os.getuid() and not status.st_mode & 0o077
    return folder if stat.S_ISDIR(status.st_mode) and private else _NOWHERE
