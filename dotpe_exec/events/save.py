"""Write an event, the same bytes for the same event."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import numpy as np

from ..atomic import write_npz

if TYPE_CHECKING:
    from cogwheel.data import EventData


def save_event(event_data: EventData, path: str | os.PathLike) -> None:
    """Write an event as cogwheel's ``.npz``, atomically.

    ``EventData.from_npz`` reads it, as it does what ``EventData.to_npz`` writes. There the
    order of entries changes from process to process.

    Parameters
    ----------
    event_data : cogwheel.data.EventData
    path : path
        Ends in ``.npz``; its folder must exist.

    Raises
    ------
    RunDirectoryError
        It cannot be written.
    """
    from cogwheel.utils import NumpyEncoder

    content = event_data.get_init_dict()
    content["injection"] = json.dumps(
        content["injection"], cls=NumpyEncoder, sort_keys=True
    )
    write_npz(path, **{key: np.asarray(content[key]) for key in sorted(content)})
